"""Records, failures and job markers: the small JSON files that say what is done.

A record is written last and atomically, so a unit that has one has everything the record lists, but for what was
cleaned on purpose: its entries say so. A failure file is open until the unit succeeds; then it is kept under another
name, because its attempt number tells the next run that the unit has already been tried again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcs_steps.compile.plan import PLATE_UNIT, digest
from hcs_steps.errors import ConfigError
from hcs_steps.results import Results
from hcs_steps.run._memory import OUT_OF_MEMORY
from hcs_steps.run._record_shape import is_record
from hcs_steps.storage.atomic import json_bytes, publish_file, remove_path, rename_file, write_json

if TYPE_CHECKING:
    from hcs_steps.compile.plan import Plan, StagePlan

logger = logging.getLogger("hcs_steps")

RECORD_VERSION = 1
"""Goes up when a record says something that an older hcs-steps would misread."""

DROPPED = "dropped"
"""Kind of a failure that is none: the unit's result was given up, to be computed again."""


@dataclass(frozen=True)
class Record:
    """The checkpoint of one finished unit in one stage.

    ``start`` and ``end`` are UTC in ISO 8601; ``seconds`` is the time by step, with ``read`` and ``write``;
    memory peaks are in MB; ``published`` lists every file or image group with size and checksum, and ``cleaned``
    where it was removed on purpose; ``outputs`` what later steps may ask for: step -> calls, each with its fixed
    components, tables, arrays and values. ``plan`` is the hash of the plan, ``because`` says why it was computed.
    ``device`` is ``cpu`` or ``cuda:<name>``; ``gpu`` is empty on the CPU, else it says more of the device (see
    docs/gpu.md): its ``id`` and ``slot``, the ``transfers`` between host and device, and ``fallbacks``, what was done
    where its memory did not suffice.
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
    plan: str = ""
    mode: str = ""
    because: tuple[str, ...] = ()
    gpu: Mapping[str, Any] = field(default_factory=dict)
    version: int = RECORD_VERSION


@dataclass(frozen=True)
class Failure:
    """Why one unit failed in one stage. ``attempt`` counts its failures; ``shortages`` those for want of the host's
    memory, since it was last done; ``stack`` is the traceback.
    """

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
    shortages: int = 0


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file, or None if there is no such file or it holds something else."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def read_record(results: Results, stage: str, unit: str) -> dict[str, Any] | None:
    """The unit's record; None, with a note in the log, where it is damaged, and where there is none.

    `ConfigError` for one of a newer version of hcs-steps, which is not to be replaced.
    """
    path = results.record(stage, unit)
    record = read_json(path)
    check_version(record, path)
    if record is not None and is_record(record):
        return record
    if os.path.lexists(path):
        logger.warning("%s is not a record, or damaged; it counts for nothing", path)
    return None


def check_version(record: Mapping[str, Any] | None, path: Path) -> None:
    """Raise `ConfigError` for the content of a record file that a newer version of hcs-steps has written."""
    version = (record or {}).get("version", 0)
    if isinstance(version, int) and version > RECORD_VERSION:
        raise ConfigError(
            f"{path} was written by a newer hcs-steps (record version {version}; this one knows {RECORD_VERSION}).",
            hint="Update hcs-steps, or give the older one an output folder of its own.",
        )


def write_record(results: Results, record: Record) -> None:
    """Write the record and close the unit's failure, in that order."""
    _write(results.record(record.stage, record.unit), asdict(record))
    close_failure(results, record.stage, record.unit)


def close_failure(results: Results, stage: str, unit: str) -> None:
    """Keep the failure of a unit that is done now under its other name."""
    failure = results.failure(stage, unit)
    if failure.exists():
        rename_file(failure, results.resolved(stage, unit))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that only one job writes; what a killed predecessor left beside it goes."""
    with publish_file(path) as temporary:
        temporary.write_bytes(json_bytes(content))


def unit_fingerprint(plan: Plan, results: Results, stage: StagePlan, unit: str) -> str:
    """What a unit's record must carry: its own fingerprint, and those of the plate stages that it builds on.

    A plate stage's result depends on every unit, so it is known only when it is there.
    """
    own = plan.fingerprint(stage, unit)
    records = [read_json(results.record(name, PLATE_UNIT)) or {} for name in plan.plate_stages_above(stage)]
    return digest(own, *(str(record.get("fingerprint")) for record in records)) if records else own


def valid_record(
    results: Results, stage: str, unit: str, fingerprint: str, *, files: bool = True
) -> dict[str, Any] | None:
    """The unit's record if it has this fingerprint and what it published is still there; otherwise None.

    Without ``files``, what was cleaned on purpose need not be there: the unit is done, although who wants to read its
    images has to have them made again. `ConfigError` for a record of a newer hcs-steps.
    """
    record = read_record(results, stage, unit)
    if record is None or not record["success"] or record["fingerprint"] != fingerprint:
        return None
    needed = (item["path"] for item in record["published"] if files or not item.get("cleaned"))
    return record if all(os.path.exists(results.root / path) for path in needed) else None


def mark_cleaned(results: Results, stage: str, unit: str, paths: Collection[str]) -> None:
    """Note in the unit's record that the published ``paths`` are there no more, or soon will not be, on purpose."""
    record = read_record(results, stage, unit)
    if record is None:
        return
    published = [{**item, "cleaned": True} if item["path"] in paths else item for item in record["published"]]
    if published != record["published"]:
        write_json(results.record(stage, unit), {**record, "published": published})


def forget(results: Results, stage: str, unit: str, why: str) -> None:
    """Give the unit's result in a stage up: the next run computes it again. What it published stays until then.

    Snakemake sees it by the number of attempts, which goes up first: a stop in between leaves a record that the next
    run finds up to date, never a unit that nobody misses.
    """
    opened = results.failure(stage, unit)
    path = opened if opened.exists() else results.resolved(stage, unit)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    dropped = asdict(Failure(stage, unit, stage, DROPPED, why, "", now, "", 0, ""))
    # An open failure stays what it is; one that was mended has nothing to do with this.
    _write(path, {**dropped, **(read_json(opened) or {}), "attempt": attempts(results, stage, unit) + 1})
    remove_path(results.record(stage, unit))


def write_failure(results: Results, failure: Failure) -> None:
    """Open a failure; the record that the unit may have had is gone by now."""
    _write(results.failure(failure.stage, failure.unit), asdict(failure))
    results.resolved(failure.stage, failure.unit).unlink(missing_ok=True)


def attempts(results: Results, stage: str, unit: str) -> int:
    """How often the unit has failed in the stage so far."""
    for path in (results.failure(stage, unit), results.resolved(stage, unit)):
        found = read_json(path)
        if found is not None:
            attempt = found.get("attempt")
            return attempt if isinstance(attempt, int) and attempt > 0 else 1
    return 0


def shortages(results: Results, stage: str, unit: str) -> int:
    """How often the unit has run out of the host's memory in the stage since it was last done."""
    failure = read_json(results.failure(stage, unit)) or {}
    known = failure.get("shortages")
    if isinstance(known, int) and known >= 0:
        return known
    # Older versions did not count them apart: of that failure it is known only what the last attempt met.
    return int(failure.get("kind") == OUT_OF_MEMORY)


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
    """The open failures of what is in the plan, by stage, then by unit; a unit left out of it is forgotten.

    Each has all entries of a `Failure`, whatever its file holds.
    """
    found = []
    for stage in plan.stages:
        units = set() if stage.skipped else set(plan.units_of(stage))
        for path in sorted(results.failure(stage.name, "x").parent.glob("*.json")):
            failure = _failure_in(path, stage.name) if path.stem in units else None
            found += [failure] if failure else []
    return found


def _failure_in(path: Path, stage: str) -> dict[str, Any] | None:
    """The failure in a file; one that says no more than that where it is damaged, None where it is gone."""
    content = read_json(path)
    if content is None and not path.exists():
        return None
    return sound_failure(content or {}, path, stage)


def sound_failure(content: Mapping[str, Any], path: Path, stage: str) -> dict[str, Any]:
    """The content of a failure's file with all entries of a `Failure`, each of its type; the path tells the unit."""
    unit = path.stem
    unknown = asdict(Failure(stage, unit, stage, "unknown", f"{path} is damaged.", "", "", "", 1, ""))
    sound = {n: v for n, v in content.items() if isinstance(v, type(unknown.get(n, v)))}
    return {**unknown, **sound, "stage": stage, "unit": unit}


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
