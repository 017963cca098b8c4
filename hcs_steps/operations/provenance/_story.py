"""What there is to tell of a well: stage by stage, how its results were made, and whether they would be made again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan, plain_values
from hcs_steps.emit.prepare import Prepared
from hcs_steps.errors import HcsError, PlateError
from hcs_steps.operations._alive import is_alive
from hcs_steps.operations.provenance.explain import current_fingerprint, made_by, reasons
from hcs_steps.plate.inventory import Plane
from hcs_steps.plate.wells import canonical_well, compact_wells
from hcs_steps.report._run_facts import step_command, unit_seconds
from hcs_steps.results import Results
from hcs_steps.run.records import DROPPED, attempts, read_json, read_record


@dataclass(frozen=True)
class UnitStory:
    """One unit in one stage.

    ``state`` is ``up to date``, ``out of date`` (its result is there, but of something else), ``failed``, ``blocked``
    (what it waits for has failed), ``not run yet``, ``running``, ``died`` or ``left out``. ``record`` is that of its
    last run, ``parameters`` what its steps were called with then, or would be now without a record: (step, function,
    arguments). ``would_run`` says why it would run now; empty if it would not. ``waits`` says what has to be done
    before, ``todo`` what a user can do, ``command`` runs it alone.
    """

    stage: str
    unit: str
    state: str
    left_out: str
    would_run: tuple[str, ...]
    waits: tuple[str, ...]
    record: Mapping[str, Any] | None
    seconds: float
    parameters: tuple[tuple[str, str, Mapping[str, Any]], ...]
    failure: Mapping[str, Any] | None
    running: Mapping[str, Any] | None
    todo: str
    command: str


def story(prepared: Prepared, well: str, stage: str | None = None) -> list[UnitStory]:
    """Everything about a well (``plate``: the stages of the whole plate), or about it in one stage, against the plan
    as it would be made now. `PlateError` for a well that the plan does not have, `ConfigError` for a stage.
    """
    plan, results = prepared.plan, prepared.results
    chosen = [plan.stage(stage)] if stage else plan.stages
    units = _units(plan, well)
    if stage is None:
        chosen = [s for s in chosen if (s.scope == "plate") == (units == (PLATE_UNIT,))]
    elif chosen[0].scope == "plate":
        units = (PLATE_UNIT,)
    states: dict[tuple[str, str], UnitStory] = {}
    above = {name for found in chosen for name in plan.plate_stages_above(found)}
    wells = {plan.units[unit].well for unit in units if unit != PLATE_UNIT}
    planes = [plane for plane in prepared.inventory.planes if plane.well in wells]
    for found in plan.stages:
        wanted = (*units, PLATE_UNIT) if found.name in above or found in chosen else units
        for unit in (u for u in plan.units_of(found) if u in wanted):
            states[found.name, unit] = _unit(plan, results, found, unit, planes, states)
    names = [s.name for s in chosen]
    told = [one for (name, _), one in states.items() if name in names]
    if not told:
        raise PlateError(
            f"Stage {stage} is not for {well}: its steps leave the well out.", hint="Leave out --stage."
        )
    return told


def _units(plan: Plan, well: str) -> tuple[str, ...]:
    """The units of a well, or the unit that is named."""
    if well.lower() == PLATE_UNIT:
        return (PLATE_UNIT,)
    if well in plan.units:
        return (well,)
    name = canonical_well(well)
    units = tuple(unit for unit, found in plan.units.items() if found.well == name)
    if not units:
        wells = {found.well for found in plan.units.values()}
        raise PlateError(
            f"The plan of {plan.plate.id} has no well {name}.", hint=f"It has {compact_wells(wells)}."
        )
    return units


def _unit(
    plan: Plan,
    results: Results,
    stage: StagePlan,
    unit: str,
    planes: Iterable[Plane],
    before: Mapping[tuple[str, str], UnitStory],
) -> UnitStory:
    record = _record(results, stage.name, unit)
    failure = read_json(results.failure(stage.name, unit))
    fingerprint = current_fingerprint(plan, results, stage, unit)
    tried = attempts(results, stage.name, unit)
    would_run = reasons(
        plan, results, stage, unit, record, attempts=tried, forced=False,
        fingerprint=fingerprint, planes=planes, files=False,
    )  # fmt: skip
    running, alive = _running(results, stage.name, unit)
    upstream = [
        before[key] for name in stage.upstream for key in ((name, unit), (name, PLATE_UNIT)) if key in before
    ]
    waits = tuple(_waits(one) for one in upstream if one.state in _OPEN)
    state = _state(stage, record, failure, would_run, running, alive, upstream)
    return UnitStory(
        stage=stage.name,
        unit=unit,
        state=state,
        left_out=stage.skipped,
        would_run=() if stage.skipped else would_run,
        waits=waits,
        record=record,
        seconds=unit_seconds(record or {}),
        parameters=tuple(_parameters(_maker(plan, results, record), stage.name)),
        failure=failure if failure and failure.get("kind") != DROPPED else None,
        running=running,
        todo=_todo(state, waits),
        command=step_command(results, stage.name, unit),
    )


_OPEN = frozenset({"failed", "died", "blocked", "not run yet", "out of date", "running"})
_STUCK = frozenset({"failed", "died", "blocked"})


def _state(
    stage: StagePlan,
    record: Mapping[str, Any] | None,
    failure: Mapping[str, Any] | None,
    would_run: tuple[str, ...],
    running: Mapping[str, Any] | None,
    alive: bool,
    upstream: Iterable[UnitStory],
) -> str:
    if stage.skipped:
        return "left out"
    if running and alive:
        return "running"
    if not would_run:
        return "up to date"
    if running:
        return "died"
    if failure and failure.get("kind") != DROPPED:
        return "failed"
    if stage.scope == "unit" and any(one.state in _STUCK for one in upstream):
        return "blocked"
    return "out of date" if record else "not run yet"


def _record(results: Results, stage: str, unit: str) -> dict[str, Any] | None:
    try:
        return read_record(results, stage, unit)
    except HcsError:  # of a newer version: shown as far as it can be
        return read_json(results.record(stage, unit))


def _running(results: Results, stage: str, unit: str) -> tuple[dict[str, Any] | None, bool]:
    """The running file of a unit, and whether its process lives."""
    path = results.running(stage, unit)
    told = read_json(path)
    if told is None:
        return None, False
    try:
        return told, is_alive(told, path.stat().st_mtime, time.time())
    except OSError:  # it has ended just now
        return None, False


def _waits(one: UnitStory) -> str:
    where = one.stage if one.unit != PLATE_UNIT else f"{one.stage} (of the plate)"
    error = str((one.failure or {}).get("error", "")).partition("\n")[0] if one.state == "failed" else ""
    return f"stage {where} is {one.state}" + (f": {error}" if error else "")


def _todo(state: str, waits: tuple[str, ...]) -> str:
    """What a user can do about it."""
    if state == "failed":
        return (
            "Mend the cause (the log and hcs logs say more), then hcs retry, or the next run, tries it again."
        )
    if state == "died":
        return "Its process ended without a word: the next run computes it again."
    if state == "blocked":
        return f"It runs as soon as what it waits for is done: {waits[0]}." if waits else ""
    return ""


def _maker(plan: Plan, results: Results, record: Mapping[str, Any] | None) -> Plan | None:
    """The plan that made a record; the one of now where there is no record; None if it is not kept."""
    if record is None or record.get("plan") == plan.hash:
        return plan
    try:
        return made_by(results, record)
    except HcsError:
        return None


def _parameters(plan: Plan | None, stage: str) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    """What the steps of a stage call with which arguments, branch by branch."""
    found = next((s for s in plan.stages if s.name == stage), None) if plan else None
    for step in [plan.steps[i] for i in found.steps] if plan and found else []:
        for branch, chain in step.branches.items():
            for call in chain:
                yield (
                    f"{step.name} ({step.group_by} {branch})" if branch else step.name,
                    call.function,
                    plain_values(call.kwargs),
                )
