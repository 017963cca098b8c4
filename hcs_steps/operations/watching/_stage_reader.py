"""The states of the units of one stage, kept current from the folders of its records, failures and running files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan, digest
from hcs_steps.operations._alive import is_alive
from hcs_steps.operations.watching._folders import JsonFolder
from hcs_steps.results import Results
from hcs_steps.run._record_shape import is_record
from hcs_steps.run.devices import CPU
from hcs_steps.run.plate import fingerprint_over
from hcs_steps.run.records import sound_failure

_RUNNING: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("machine", "started", "updated", "step", "what", "log"), str),
    **dict.fromkeys(("pid", "item", "items", "rss_mb", "predicted_mb"), int),
    "process_start": (int, float),
}
"""Types of what is read of running files."""
_BLOCKING = frozenset({"failed", "died", "blocked"})


@dataclass(frozen=True)
class Done:
    """What matters here of a record: its fingerprint, and when the unit started and ended (seconds since 1970).

    ``plan`` is the hash of the plan it was made with, ``host_mb`` the peak memory, ``gpu_mb`` that on a device: what
    the unit needs there, so None where it ran on none, or had to do with less than it wanted.
    """

    fingerprint: str
    start: float
    end: float
    plan: str = ""
    host_mb: float = 0.0
    gpu_mb: float | None = None


def seconds_of(text: object) -> float:
    """Seconds since 1970 of a time in ISO 8601; 0 if it is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


class StageReader:
    """One stage of a plate. After `refresh`, ``states`` maps its units to their states.

    A unit is done if its record has the fingerprint that the plan and the plate stages above ask for, exactly as the
    runner decides it, except that the published files are not looked for (``hcs verify`` does that). ``alive`` and
    ``dead`` are the running files by whether their processes live.
    """

    def __init__(self, plan: Plan, stage: StagePlan, results: Results) -> None:
        self.plan = plan
        self.stage = stage
        self.units = plan.units_of(stage)
        self.records = JsonFolder(results.record(stage.name, PLATE_UNIT).parent, _parse_record)
        self.failures = JsonFolder(results.failure(stage.name, PLATE_UNIT).parent, _parse_failure)
        self.running = JsonFolder(results.running(stage.name, PLATE_UNIT).parent, _parse_running)
        self.states: dict[str, Any] = {}
        self.done: dict[str, Done] = {}
        self.alive: dict[str, Mapping[str, Any]] = {}
        self.dead: dict[str, Mapping[str, Any]] = {}
        self.version = 0
        self._own: Mapping[str, str] = {}
        self._above: tuple[str, ...] = ()
        self._with_above: Mapping[str, str] = {}
        self._builds_on = {*stage.upstream, *plan.plate_stages_above(stage)}
        self._basis: dict[str, int] = {}

    def refresh(self, readers: Mapping[str, StageReader], now: float) -> None:
        """Look again. ``readers`` are those of the stages before, which have been refreshed; ``version`` counts what
        later stages must know of.
        """
        results = self.records.refresh() | self.failures.refresh()
        self.running.refresh()
        there = self.running.items
        alive: dict[str, Mapping[str, Any]] = {
            unit: told for unit, told in there.items() if is_alive(told, self.running.times[unit], now)
        }
        moved = alive.keys() != self.alive.keys() or there.keys() != self.alive.keys() | self.dead.keys()
        self.alive, self.dead = alive, {unit: told for unit, told in there.items() if unit not in alive}
        basis = {name: readers[name].version for name in self._builds_on}
        if self._own and not results and not moved and basis == self._basis:
            return
        self._basis = basis
        before, expected = self.states, self._expected(readers)
        self.done = {u: r for u, r in self.records.items.items() if expected.get(u) == r.fingerprint}
        self.states = self._states(readers)
        self.version += results or self.states != before

    def upstream_fingerprints(self) -> dict[tuple[str, str], str]:
        """The fingerprints of the results that a later plate stage finds, as `upstream_records` of the runner."""
        found = self.records.items if self.stage.scope == "plate" else self.done
        return {(self.stage.name, unit): found[unit].fingerprint for unit in self.units if unit in found}

    def open_failures(self) -> list[dict[str, Any]]:
        """The open failures of units of the stage, as `hcs_steps.run.records.open_failures` lists them."""
        there = {} if self.stage.skipped else self.failures.items
        return [there[u] for u in sorted(there, key=lambda unit: f"{unit}.json") if u in self._own]

    def _expected(self, readers: Mapping[str, StageReader]) -> Mapping[str, str]:
        """Unit -> what its record must carry."""
        if not self._own:
            self._own = {unit: self.plan.fingerprint(self.stage, unit) for unit in self.units}
        if self.stage.scope == "plate":
            return self._expected_of_plate(readers) if PLATE_UNIT in self.records.items else {}
        above = [
            readers[name].records.items.get(PLATE_UNIT) for name in self.plan.plate_stages_above(self.stage)
        ]
        if not above:
            return self._own
        parts = tuple(str(record.fingerprint if record else None) for record in above)
        if parts != self._above:
            self._above = parts
            self._with_above = {unit: digest(own, *parts) for unit, own in self._own.items()}
        return self._with_above

    def _expected_of_plate(self, readers: Mapping[str, StageReader]) -> Mapping[str, str]:
        upstream = [readers[name] for name in self.stage.upstream]
        found = {key: value for reader in upstream for key, value in reader.upstream_fingerprints().items()}
        failures = [failure for reader in readers.values() for failure in reader.open_failures()]
        return {PLATE_UNIT: fingerprint_over(self._own[PLATE_UNIT], self.stage, found, failures)}

    def _states(self, readers: Mapping[str, StageReader]) -> dict[str, Any]:
        if self.stage.skipped:
            return dict.fromkeys(self.units, "skipped")
        states = {unit: "done" if unit in self.done else "waiting" for unit in self.units}
        open_ones = [unit for unit in states if states[unit] == "waiting"]
        # A plate stage works on what is there, so nothing blocks it.
        upstream = [] if self.stage.scope == "plate" else [readers[n].states for n in self.stage.upstream]
        for unit in open_ones:
            if unit in self.alive:
                states[unit] = "running"
            elif unit in self.dead and self._died_last(unit):
                states[unit] = "died"
            elif unit in self.failures.items:
                states[unit] = "failed"
            elif any(above.get(unit, above.get(PLATE_UNIT)) in _BLOCKING for above in upstream):
                states[unit] = "blocked"
        return states

    def _died_last(self, unit: str) -> bool:
        """Whether the process that died was not yet the one whose failure is told."""
        failure = self.failures.items.get(unit)
        return failure is None or seconds_of(self.dead[unit].get("started")) > seconds_of(failure.get("time"))


def _parse_record(data: dict[str, Any] | None, path: Path) -> Done | None:
    if data is None or not is_record(data) or not data["success"]:
        return None
    return Done(
        data["fingerprint"],
        seconds_of(data.get("start")),
        seconds_of(data.get("end")),
        data.get("plan", ""),
        data.get("peak_host_mb", 0),
        _gpu_mb(data),
    )


def _gpu_mb(data: Mapping[str, Any]) -> float | None:
    if data.get("device", CPU) == CPU:
        return None
    # The peak of a unit that was held down (halved, a few planes at a time, a call on the CPU) is what the device had.
    if data.get("gpu", {}).get("fallbacks"):
        return None
    return data.get("peak_gpu_mb", 0) or None


def _parse_failure(data: dict[str, Any] | None, path: Path) -> dict[str, Any]:
    """The failure, as it is listed everywhere: one that is damaged says so."""
    return sound_failure(data or {}, path, path.parent.name)


def _parse_running(data: dict[str, Any] | None, path: Path) -> Mapping[str, Any] | None:
    """The running file; what is of another type than it should be is as good as not there."""
    if data is None:
        return None
    sound = {name: value for name, value in data.items() if isinstance(value, _RUNNING.get(name, object))}
    return {**sound, "stage": path.parent.name, "unit": path.stem}
