"""What state a plate is in, unit by unit and stage by stage, from the small files of its results alone.

Nothing is asked of Snakemake: plan, records, failures, running files and run.json say it, so it works while a run goes
on anywhere that writes to the same folder, and for a run that died.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from hcs_steps.compile.plan import Plan
from hcs_steps.operations.runs import read_run
from hcs_steps.operations.watching._estimate import (
    RECENT_UNITS,
    seconds_left,
    units_at_once,
    units_per_minute,
    usual_seconds,
)
from hcs_steps.operations.watching._run_state import RunState, run_state
from hcs_steps.operations.watching._stage_reader import Done, StageReader, seconds_of
from hcs_steps.results import Results

UnitState = Literal["done", "running", "failed", "blocked", "waiting", "skipped", "died"]
"""State of a unit in a stage. ``failed``: its failure is open. ``died``: its process ended without a word.
``blocked``: an earlier stage has failed for it. ``skipped``: the plan leaves the stage out.
"""
STATES: tuple[UnitState, ...] = ("done", "running", "failed", "died", "blocked", "waiting", "skipped")
RANK = {s: n for n, s in enumerate(("running", "died", "failed", "blocked", "waiting", "done", "skipped"))}
"""Of a unit's states in several stages, the one of the lowest rank is the unit's."""


@dataclass(frozen=True)
class StageStatus:
    """How far a stage is.

    ``skipped`` says why the plan leaves it out. ``states`` are by unit. ``new`` counts the units that this run has
    done, ``started`` and ``ended`` are of the first and the last of these (UTC, ISO 8601; empty if none). ``seconds``
    is the median of a unit, ``rate`` the units per minute lately (of a unit stage), ``left`` the seconds that the stage
    still takes; None where not known.
    """

    name: str
    scope: str
    skipped: str
    states: Mapping[str, UnitState]
    started: str = ""
    ended: str = ""
    new: int = 0
    seconds: float | None = None
    rate: float | None = None
    left: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    def count(self, state: UnitState) -> int:
        """Number of units in a state."""
        return self.counts.get(state, 0)

    @property
    def total(self) -> int:
        """Number of units of the stage."""
        return len(self.states)


@dataclass(frozen=True)
class PlateStatus:
    """How far a plate is.

    ``run`` is run.json, or None. ``failures`` are the open ones in the order of stages and units, ``running`` the
    running files of units whose process lives, ``died`` those of the others. ``state`` and ``reason`` are of the
    run. ``eta_seconds`` is None while it is not known, and ``unestimated`` names plate stages that it leaves out
    because they have never run; ``rate`` is units per minute lately, each stage of a unit counted. ``units`` are the
    states of the units over all stages, see `unit_state`.
    """

    plate: str
    results: Results
    plan_hash: str
    mode: str
    run: Mapping[str, Any] | None
    stages: tuple[StageStatus, ...]
    failures: tuple[Mapping[str, Any], ...]
    running: tuple[Mapping[str, Any], ...]
    died: tuple[Mapping[str, Any], ...] = ()
    state: RunState = "never"
    reason: str = ""
    eta_seconds: float | None = None
    unestimated: tuple[str, ...] = ()
    rate: float | None = None
    units: Mapping[str, UnitState] = field(default_factory=dict)

    def unit_state(self, unit: str) -> UnitState:
        """The state of a unit over all its stages: where it runs, else the worst, ``done`` if it is done everywhere."""
        return self.units[unit]

    @property
    def complete(self) -> bool:
        """Whether every unit is done in every stage of the plan that is not left out."""
        return all(stage.skipped or stage.count("done") == stage.total for stage in self.stages)

    @property
    def success(self) -> bool:
        """Whether the required work is done: `complete`, and no failure is open."""
        return self.complete and not self.failures


class StatusReader:
    """Reads the status of one plate; every further `read` opens only what has changed since."""

    def __init__(self, plan: Plan, results: Results) -> None:
        self.plan = plan
        self.results = results
        self._readers: dict[str, StageReader] = {}
        for stage in plan.stages:
            self._readers[stage.name] = StageReader(plan, stage, results)
        self._times: dict[str, tuple[object, list[Done], float | None]] = {}
        self._unit_basis: dict[str, int] | None = None
        self._unit_states: dict[str, UnitState] = {}

    @property
    def records(self) -> dict[str, Mapping[str, Done]]:
        """Stage -> unit -> its record, as of the last `read`; also those that the plan does not ask for any more."""
        return {name: reader.records.items for name, reader in self._readers.items()}

    @property
    def version(self) -> int:
        """Counts up when records have changed."""
        return sum(reader.records.version for reader in self._readers.values())

    def read(self) -> PlateStatus:
        """The status now. What is damaged or missing in the results counts as absent."""
        now = time.time()
        readers = list(self._readers.values())
        for reader in readers:
            reader.refresh(self._readers, now)
        latest = read_run(self.results)
        run = None if latest is None else asdict(latest)
        state, reason = run_state(run, self.results.run, now)
        running = [told for r in readers for u, told in r.alive.items() if r.states.get(u) == "running"]
        running.sort(key=lambda told: str(told.get("started")))
        if state == "never" and running:
            state = "running"
        began = seconds_of((run or {}).get("start_time"))
        wanted = set((run or {}).get("units") or ()) or None
        stages = self._stages(began, now if state == "running" else None, wanted)
        unestimated = tuple(
            s.name for s in stages if s.left is None and s.scope == "plate" and s.seconds is None
        )
        lefts = [stage.left for stage in stages if stage.name not in unestimated]
        return PlateStatus(
            plate=self.plan.plate.id,
            results=self.results,
            plan_hash=self.plan.hash,
            mode=self.plan.mode,
            run=run,
            stages=stages,
            failures=tuple(f for r in readers for f in r.open_failures() if r.states[f["unit"]] != "done"),
            running=tuple(running),
            died=tuple(r.dead[u] for r in readers for u in sorted(r.dead) if r.states.get(u) == "died"),
            state=state,
            reason=reason,
            eta_seconds=_total(lefts) if state == "running" else None,
            unestimated=unestimated,
            rate=self._rate(now if state == "running" else None),
            units=self._units(),
        )

    def _stages(
        self, began: float, now: float | None, wanted: Collection[str] | None
    ) -> tuple[StageStatus, ...]:
        """The stages; ``began`` is when the run started, ``now`` is None if it does not go on, ``wanted`` are the units
        that it is for.
        """
        for reader in self._readers.values():
            self._times[reader.stage.name] = self._timed(reader, began)
        at_once = None if now is None else units_at_once(self._readers.values(), began, now)
        found = []
        for name, reader in self._readers.items():
            _, ours, usual = self._times[name]
            counts = Counter(reader.states.values())
            busy = counts["running"] or counts["waiting"]
            left = None if now is None else seconds_left(reader, usual, at_once, now, wanted)
            found.append(
                StageStatus(
                    name=name,
                    scope=reader.stage.scope,
                    skipped=reader.stage.skipped,
                    states=reader.states,
                    started=_iso(min((record.start for record in ours), default=0.0)),
                    ended=_iso(ours[-1].end) if ours else "",
                    new=len(ours),
                    seconds=usual,
                    rate=units_per_minute(ours, now if busy else None)
                    if reader.stage.scope == "unit"
                    else None,
                    left=left,
                    counts=counts,
                )
            )
        return tuple(found)

    def _timed(self, reader: StageReader, began: float) -> tuple[object, list[Done], float | None]:
        """(what it holds for, the records of this run by end, the usual time of a unit)."""
        basis = (reader.version, began)
        known = self._times.get(reader.stage.name)
        if known is not None and known[0] == basis:
            return known
        ours = sorted((r for r in reader.done.values() if r.start >= began), key=lambda record: record.end)
        return basis, ours, usual_seconds(reader)

    def _rate(self, now: float | None) -> float | None:
        """Units per minute of all stages together."""
        latest = [record for _, ours, _ in self._times.values() for record in ours[-RECENT_UNITS:]]
        return units_per_minute(sorted(latest, key=lambda record: record.end), now)

    def _units(self) -> dict[str, UnitState]:
        """The state of every unit over the stages that are not left out."""
        found: dict[str, UnitState] = {}
        versions = {name: reader.version for name, reader in self._readers.items()}
        if versions == self._unit_basis:
            return self._unit_states
        for reader in self._readers.values():
            if reader.stage.skipped or reader.stage.scope == "plate":
                continue
            for unit, state in reader.states.items():
                known = found.get(unit, state)
                found[unit] = known if RANK[known] <= RANK[state] else state
        self._unit_basis = versions
        self._unit_states = {unit: found.get(unit, "skipped") for unit in self.plan.units}
        return self._unit_states


def _total(seconds: Sequence[float | None]) -> float | None:
    """The sum, or None if a part is not known."""
    known = [part for part in seconds if part is not None]
    return sum(known) if len(known) == len(seconds) else None


def _iso(seconds: float) -> str:
    """A time as ISO 8601 in UTC; empty for 0."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds") if seconds else ""
