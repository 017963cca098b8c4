"""Records against files: what was published and is damaged, and how exactly that is computed again.

Only what records list is compared: their files are never changed after publication, so any difference is a damage.
The one exception is the table of failures, which every run may write again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan, digest
from hcs_steps.emit.workflow import FINISH
from hcs_steps.errors import StorageError
from hcs_steps.operations.mending._survey import size_of
from hcs_steps.results import Results
from hcs_steps.run._record_shape import is_record
from hcs_steps.run.records import check_version, forget, read_json
from hcs_steps.storage.atomic import measure

MISSING = "missing"


@dataclass(frozen=True)
class Damage:
    """One thing that is not as the record of a unit says.

    ``path`` is relative to the results; ``well`` is empty for the whole plate. ``since`` (seconds since 1970) is when
    the file was changed last: whatever was made before had it as it should be. Infinity: nobody can have read it.
    """

    stage: str
    unit: str
    well: str
    path: str
    problem: str
    since: float = math.inf

    def __str__(self) -> str:
        return f"{self.unit} in {self.stage}: {self.path}: {self.problem}"


@dataclass(frozen=True)
class Extent:
    """How much there is to verify: records, what they list and its bytes, without what was ``cleaned``; ``undone`` are
    units without a record, in all stages together.
    """

    records: int = 0
    undone: int = 0
    entries: int = 0
    size: int = 0
    cleaned: int = 0


@dataclass(frozen=True)
class Dropped:
    """A result that was given up, and why. ``damaged`` is False where it may have been made from a damaged file."""

    stage: str
    unit: str
    why: str
    damaged: bool = True


def extent(plan: Plan, results: Results) -> Extent:
    """How many records, files and image groups, and bytes there are by the records of the plan's units."""
    records = undone = entries = size = cleaned = 0
    for stage, unit in _units(plan):
        record = read_json(results.record(stage.name, unit))
        records += record is not None
        undone += record is None and not stage.skipped
        published = record["published"] if record is not None and is_record(record) else []
        listed = [item["size"] for item in published if not item.get("cleaned")]
        entries += len(listed)
        size += sum(listed)
        cleaned += len(published) - len(listed)
    return Extent(records, undone, entries, size, cleaned)


def verify(
    plan: Plan,
    results: Results,
    *,
    quick: bool = False,
    threads: int = 4,
    told: Callable[[int], None] = lambda size: None,
) -> tuple[Damage, ...]:
    """Compare the records of all units of the plan with what is there: existence, sizes and checksums.

    ``quick`` leaves out the checksums, and with them the reading. ``threads`` files or image groups are read at a
    time; ``told`` is called from these threads with the bytes of each that has been looked at. What a run replaces
    meanwhile is no damage. `ConfigError` for a record of a newer hcs-steps.
    """
    pool = ThreadPoolExecutor(max(1, threads))
    try:
        units = [pool.submit(_check, plan, results, stage, unit, quick, told) for stage, unit in _units(plan)]
        return tuple(damage for found in units for damage in found.result())
    finally:
        pool.shutdown(cancel_futures=True)


def lost_plans(plan: Plan, results: Results) -> tuple[str, ...]:
    """The hashes of plans that records name and that are not kept any more, or not as they were."""
    named = {
        str(record["plan"])
        for stage, unit in _units(plan)
        if (record := read_json(results.record(stage.name, unit))) and record.get("plan")
    }
    return tuple(sorted(name for name in named if not _is_kept(results, name)))


def fix(plan: Plan, results: Results, found: Collection[Damage]) -> tuple[Dropped, ...]:
    """Give up what is damaged, and what may have been made from it, so that the next run computes exactly that.

    A later result is given up only if it was made after the damaged file was changed last; of a file that has changed
    without a trace (a worn disk) nobody knows when. The job markers of all that follows are removed: what is up to date
    is not computed again, but a run that has lost Snakemake's own notes, as in a copy, starts nothing without that.
    """
    dropped = _to_drop(plan, results, found)
    for (stage, unit), (why, _) in dropped.items():
        forget(results, stage, unit, why)
    _remove_markers(plan, results, dropped)
    damaged = {(damage.stage, damage.unit) for damage in found}
    return tuple(Dropped(*key, why, key in damaged) for key, (why, _) in dropped.items())


def _units(plan: Plan) -> Iterator[tuple[StagePlan, str]]:
    for stage in plan.stages:
        for unit in plan.units_of(stage):
            yield stage, unit


def _check(
    plan: Plan, results: Results, stage: StagePlan, unit: str, quick: bool, told: Callable[[int], None]
) -> list[Damage]:
    """What is wrong with one unit in one stage; nothing if it is not done."""
    path = results.record(stage.name, unit)
    if not os.path.lexists(path):
        return []
    record = read_json(path)
    check_version(record, path)
    well = "" if unit == PLATE_UNIT else plan.units[unit].well
    if record is None or not is_record(record):
        return [Damage(stage.name, unit, well, results.relative(path), "not a record, or damaged")]
    found = []
    for item in record["published"]:
        problem = _problem(results, item, quick)
        told(item["size"])
        if problem:
            since = math.inf if problem == MISSING else _changed(results.root / item["path"])
            found.append(Damage(stage.name, unit, well, item["path"], problem, since))
    return found if read_json(path) == record else []  # else a run has replaced it meanwhile


def _problem(results: Results, item: Mapping[str, Any], quick: bool) -> str:
    """What is wrong with a published file or image group; empty if nothing is."""
    path = results.root / item["path"]
    try:
        if not path.exists():
            return "" if item.get("cleaned") else MISSING
        if path == results.failures_table:
            return ""
        size = size_of(path)
        if size != item["size"]:
            return f"size {size:,} instead of {item['size']:,}"
        if quick:
            return ""
        return "" if measure(path)[1] == item["checksum"] else "checksum differs"
    except (OSError, StorageError) as error:
        return f"cannot be read: {getattr(error.__cause__ or error, 'strerror', None) or error}"


def _changed(path: Path) -> float:
    """When anything of a file or folder was changed last; infinity where that cannot be told."""
    try:
        times = [path.stat().st_mtime]
        for parent, _, names in os.walk(path):
            times += [
                os.stat(parent).st_mtime,
                *(os.stat(os.path.join(parent, name)).st_mtime for name in names),
            ]
    except OSError:
        return math.inf
    return max(times)


def _is_kept(results: Results, plan_hash: str) -> bool:
    try:
        return digest(results.plan_copy(plan_hash).read_text(encoding="utf-8")) == plan_hash
    except (OSError, ValueError):
        return False


def _to_drop(
    plan: Plan, results: Results, found: Collection[Damage]
) -> dict[tuple[str, str], tuple[str, float]]:
    """(stage, unit) -> why it is to be given up, and since when it cannot be trusted; in the order of the plan."""
    damaged: dict[tuple[str, str], list[Damage]] = {}
    for damage in found:
        damaged.setdefault((damage.stage, damage.unit), []).append(damage)
    dropped: dict[tuple[str, str], tuple[str, float]] = {}
    for stage, unit in _units(plan):
        own = damaged.get((stage.name, unit), [])
        if own:
            why = "; ".join(f"{damage.path}: {damage.problem}" for damage in own)
            dropped[stage.name, unit] = f"Damaged: {why}.", min(damage.since for damage in own)
            continue
        record = read_json(results.record(stage.name, unit))
        end = _end(record) if record is not None else -math.inf
        for key, (_, since) in list(dropped.items()):
            if (
                key[0] in stage.upstream
                and (unit == PLATE_UNIT or key[1] in (unit, PLATE_UNIT))
                and end > since
            ):
                dropped[stage.name, unit] = (
                    f"May have been made from damaged results of {key[1]} in {key[0]}.",
                    end,
                )
                break
    return dropped


def _end(record: Mapping[str, Any]) -> float:
    """When a result was made, in seconds since 1970."""
    try:
        return datetime.fromisoformat(record["end"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return math.inf


def _remove_markers(plan: Plan, results: Results, dropped: Collection[tuple[str, str]]) -> None:
    """Remove the job markers of what was dropped and of everything that follows from it."""
    stale: dict[str, set[str]] = {}
    for stage in plan.stages:
        jobs = plan.jobs_of(stage)
        found = {job for job, units in jobs.items() if any((stage.name, unit) in dropped for unit in units)}
        for name in stage.upstream:
            above = stale.get(name, set())
            if above and (stage.scope == "plate" or plan.stage(name).scope == "plate"):
                found |= set(jobs)
            found |= above & set(jobs)
        stale[stage.name] = found
        for job in found:
            results.marker(stage.name, job).unlink(missing_ok=True)
    results.marker(FINISH, FINISH).parent.with_suffix(".json").unlink(missing_ok=True)
