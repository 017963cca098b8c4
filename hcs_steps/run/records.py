"""Records, failures and job markers: the small JSON files that say what is done.

A record is written last and atomically, so a unit that has one has everything the record lists. A failure
file is open until the unit succeeds; then it is kept under another name, because its attempt number tells
the next run that the unit has already been tried again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcs_steps.compile.plan import PLATE_UNIT, digest
from hcs_steps.results import Results
from hcs_steps.storage.atomic import sweep_leftovers, write_json

if TYPE_CHECKING:
    from hcs_steps.compile.plan import Plan, StagePlan


@dataclass(frozen=True)
class Record:
    """The checkpoint of one finished unit in one stage.

    ``start`` and ``end`` are UTC in ISO 8601; ``seconds`` is the time by step, with ``read`` and ``write``;
    memory peaks are in MB; ``published`` lists every file or image group with size and checksum;
    ``outputs`` what later steps may ask for: step -> calls, each with its fixed components, tables, arrays
    and values.
    """

    stage: str
    unit: str
    fingerprint: str
    start: str
    end: str
    seconds: Mapping[str, float]
    items_processed: int
    items_failed: int
    peak_host_mb: int
    peak_gpu_mb: int
    device: str
    machine: str
    versions: Mapping[str, str]
    git_commit: str
    published: tuple[Mapping[str, Any], ...]
    outputs: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    success: bool = True


@dataclass(frozen=True)
class Failure:
    """Why one unit failed in one stage. ``attempt`` counts its failures; ``stack`` is the traceback."""

    stage: str
    unit: str
    step: str
    kind: str
    error: str
    file: str
    time: str
    log: str
    attempt: int
    stack: str


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file, or None if there is no such file or it holds something else."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def write_record(results: Results, record: Record) -> None:
    """Write the record and close the unit's failure, in that order."""
    _write(results.record(record.stage, record.unit), asdict(record))
    close_failure(results, record.stage, record.unit)


def close_failure(results: Results, stage: str, unit: str) -> None:
    """Keep the failure of a unit that is done now under its other name."""
    failure = results.failure(stage, unit)
    if failure.exists():
        os.replace(failure, results.resolved(stage, unit))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that only one job writes; what a killed predecessor left beside it goes."""
    sweep_leftovers(path)
    write_json(path, content)


def unit_fingerprint(plan: Plan, results: Results, stage: StagePlan, unit: str) -> str:
    """What a unit's record must carry: its own fingerprint, and those of the plate stages that it builds on.

    A plate stage's result depends on every unit, so it is known only when it is there.
    """
    own = plan.fingerprint(stage, unit)
    records = [read_json(results.record(name, PLATE_UNIT)) or {} for name in plan.plate_stages_above(stage)]
    return digest(own, *(str(record.get("fingerprint")) for record in records)) if records else own


def valid_record(results: Results, stage: str, unit: str, fingerprint: str) -> dict[str, Any] | None:
    """The unit's record if it has this fingerprint and what it published is still there; otherwise None."""
    record = read_json(results.record(stage, unit))
    if record is None or not record.get("success") or record.get("fingerprint") != fingerprint:
        return None
    try:
        there = all((results.root / item["path"]).exists() for item in record["published"])
    except (KeyError, TypeError):  # damaged by hand: compute it again
        return None
    return record if there else None


def write_failure(results: Results, failure: Failure) -> None:
    """Open a failure; the record that the unit may have had is gone by now."""
    _write(results.failure(failure.stage, failure.unit), asdict(failure))
    results.resolved(failure.stage, failure.unit).unlink(missing_ok=True)


def attempts(results: Results, stage: str, unit: str) -> int:
    """How often the unit has failed in the stage so far."""
    for path in (results.failure(stage, unit), results.resolved(stage, unit)):
        found = read_json(path)
        if found is not None:
            return int(found.get("attempt", 1))
    return 0


def all_attempts(results: Results, stage: str) -> dict[str, int]:
    """Unit -> failures so far, of every unit that ever failed in the stage; one directory listing if none
    did.
    """
    folder = results.failure(stage, "x").parent
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.endswith(".json")]
    except OSError:
        return {}
    units = {name.removesuffix(".json").removesuffix(".resolved") for name in names}
    return {unit: attempts(results, stage, unit) for unit in sorted(units)}


def open_failures(plan: Plan, results: Results) -> list[dict[str, Any]]:
    """The open failures of what is in the plan, by stage, then by unit; a unit left out of it is forgotten."""
    found = []
    for stage in plan.stages:
        units = set(plan.units_of(stage))
        for path in sorted(results.failure(stage.name, "x").parent.glob("*.json")):
            if path.stem in units:
                failure = read_json(path)
                found += [failure] if failure else []
    return found


def write_marker(
    path: Path, stage: str, job: str, done: Mapping[str, str], failed: Iterable[str], blocked: Iterable[str]
) -> None:
    """The output of a Snakemake job: its units' fingerprints, and which failed here or lack an upstream
    result.
    """
    content = {
        "stage": stage,
        "job": job,
        "done": dict(done),
        "failed": sorted(failed),
        "blocked": sorted(blocked),
    }
    _write(path, content)
