"""What ran on a plate, what failed and what it cost, from its plan, records and failures."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from hcs_steps.compile.plan import Plan, StagePlan, StepPlan, plain_values
from hcs_steps.report._disk import Records, told_stages
from hcs_steps.results import Results
from hcs_steps.run.records import open_failures

MOVING = ("read", "write")
"""Entries of a record's seconds that are no step."""


@dataclass(frozen=True)
class CallFacts:
    """One function call: ``branch`` says what it is for, e.g. ``channel DAPI`` ('' for everything)."""

    branch: str
    function: str
    parameters: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class StepFacts:
    """One step and the stage that it runs in; ``stacks`` names the components that it stacks."""

    name: str
    stage: str
    scope: str
    stacks: str
    keeps: str
    calls: tuple[CallFacts, ...]


@dataclass(frozen=True)
class RunFacts:
    """What ran. ``start`` and ``end`` are UTC (ISO 8601, '' if nothing ran); ``seconds`` is the sum over all
    units.
    """

    start: str
    end: str
    seconds: float
    versions: tuple[tuple[str, str], ...]
    commits: tuple[str, ...]
    machines: tuple[str, ...]
    devices: tuple[str, ...]
    steps: tuple[StepFacts, ...]


@dataclass(frozen=True)
class FailureFacts:
    """One open failure; ``command`` runs that unit alone, ``scope`` is that of its stage."""

    unit: str
    well: str
    scope: str
    stage: str
    step: str
    kind: str
    error: str
    file: str
    log: str
    time: str
    attempt: int
    command: str


@dataclass(frozen=True)
class StageCost:
    """Time and memory of one stage; memory in MB. ``shares`` are (step, part of the stage's seconds)."""

    name: str
    scope: str
    planned: int
    done: int
    failed: int
    median_seconds: float
    max_seconds: float
    total_seconds: float
    predicted_mb: int
    measured_mb: int
    predicted_gpu_mb: int
    measured_gpu_mb: int
    devices: tuple[str, ...]
    shares: tuple[tuple[str, float], ...]


def run_facts(plan: Plan, records: Records) -> RunFacts:
    """What the plan says of the pipeline and the records of the run."""
    times = [str(r[key]) for r in records.values() for key in ("start", "end") if _is_time(r.get(key))]
    start, end = (min(times, key=_time), max(times, key=_time)) if times else ("", "")
    versions: dict[str, set[str]] = {}
    for record in records.values():
        for name, version in _mapping(record.get("versions")).items():
            versions.setdefault(str(name), set()).add(str(version))
    return RunFacts(
        start=start,
        end=end,
        seconds=sum(unit_seconds(record) for record in records.values()),
        versions=tuple((name, ", ".join(sorted(found))) for name, found in sorted(versions.items())),
        commits=_values(records, "git_commit"),
        machines=_values(records, "machine"),
        devices=_values(records, "device"),
        steps=tuple(_step_facts(plan, index) for index in range(len(plan.steps))),
    )


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _values(records: Records, key: str) -> tuple[str, ...]:
    """The different values of a key of the records, '' left out."""
    return tuple(sorted({str(record.get(key) or "") for record in records.values()} - {""}))


def _step_facts(plan: Plan, index: int) -> StepFacts:
    step = plan.steps[index]
    return StepFacts(
        name=step.name,
        stage=next((stage.name for stage in plan.stages if index in stage.steps), ""),
        scope=step.scope,
        stacks=", ".join(step.variable_components),
        keeps=step.store,
        calls=tuple(_calls(step, plan.plate.channels)),
    )


def _calls(step: StepPlan, channels: Mapping[str, str]) -> Iterable[CallFacts]:
    for value, chain in step.branches.items():
        name = channels.get(value, value) if step.group_by == "channel" else value
        branch = f"{step.group_by} {name}" if value else ""
        for call in chain:
            parameters = tuple(
                (name, json.dumps(plain_values(value), ensure_ascii=False, default=str))
                for name, value in call.kwargs.items()
            )
            yield CallFacts(branch, call.function, parameters)


def failure_facts(plan: Plan, results: Results) -> tuple[FailureFacts, ...]:
    """The open failures of the plate, stage by stage, each with the command that runs its unit alone."""
    found = []
    for failure in open_failures(plan, results):
        stage, unit = str(failure.get("stage", "")), str(failure.get("unit", ""))
        scopes = {known.name: known.scope for known in told_stages(plan)}
        if stage not in scopes:
            continue
        attempt = failure.get("attempt", 1)
        found.append(
            FailureFacts(
                unit=unit,
                well=plan.units[unit].well if unit in plan.units else "",
                scope=scopes[stage],
                stage=stage,
                attempt=attempt if isinstance(attempt, int) else 1,
                command=step_command(results, stage, unit),
                **{
                    name: str(failure.get(name, ""))
                    for name in ("step", "kind", "error", "file", "log", "time")
                },
            )
        )
    return tuple(found)


def step_command(results: Results, stage: str, unit: str) -> str:
    """The command that runs one unit of a stage in the terminal."""
    return shlex.join(
        ["hcs", "step", "--plan", results.plan.as_posix(), "--stage", stage, "--unit", unit, "--debug"]
    )


def retry_command(results: Results) -> str:
    """The command that runs again what failed or is missing on this plate, and what depends on it."""
    return shlex.join(["snakemake", results.marker("finish", "x").parent.with_suffix(".json").as_posix()])


def stage_costs(plan: Plan, records: Records, failures: Sequence[FailureFacts]) -> tuple[StageCost, ...]:
    """What every stage took, from the records of its units."""
    stages = (stage for stage in told_stages(plan) if not stage.skipped)
    return tuple(_stage_cost(plan, stage, records, failures) for stage in stages)


def _stage_cost(
    plan: Plan, stage: StagePlan, records: Records, failures: Sequence[FailureFacts]
) -> StageCost:
    units = plan.units_of(stage)
    own = [records[stage.name, unit] for unit in units if (stage.name, unit) in records]
    seconds = [unit_seconds(record) for record in own]
    total = sum(seconds)
    parts: dict[str, float] = {}
    for record in own:
        for name, value in _mapping(record.get("seconds")).items():
            parts[str(name)] = parts.get(str(name), 0.0) + _amount(value)
    order = sorted(parts, key=lambda name: (name in MOVING, -parts[name]))
    return StageCost(
        name=stage.name,
        scope=stage.scope,
        planned=len(units),
        done=len(own),
        failed=sum(failure.stage == stage.name for failure in failures),
        median_seconds=median(seconds) if seconds else float("nan"),
        max_seconds=max(seconds, default=float("nan")),
        total_seconds=total,
        predicted_mb=stage.mem_mb,
        measured_mb=int(max((_amount(record.get("peak_host_mb")) for record in own), default=0)),
        predicted_gpu_mb=stage.gpu_mem_mb if stage.gpu else 0,
        measured_gpu_mb=int(max((_amount(record.get("peak_gpu_mb")) for record in own), default=0)),
        devices=tuple(sorted({str(record.get("device") or "") for record in own} - {""})),
        shares=tuple((name, parts[name] / total) for name in order if total),
    )


def unit_seconds(record: Mapping[str, Any]) -> float:
    """The seconds of one unit in one stage: its steps, reading and writing."""
    return sum(_amount(value) for value in _mapping(record.get("seconds")).values())


def _amount(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
