"""Why a unit is computed: what is different from what its record was made of, in sentences.

The same sentences say, in a record, why it was made, and, in ``hcs explain``, why the unit would run now.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcs_steps import __version__
from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan
from hcs_steps.errors import HcsError
from hcs_steps.operations.provenance._differences import (
    plate_differences,
    raw_differs,
    stage_differences,
    unit_differences,
)
from hcs_steps.operations.provenance._step_differences import some
from hcs_steps.results import Results
from hcs_steps.run.plate import plate_fingerprint
from hcs_steps.run.records import DROPPED, read_json, unit_fingerprint

if TYPE_CHECKING:
    from hcs_steps.plate.inventory import Plane

NEVER = "no record: it has not run yet"
FORCED = "asked for by --force"
ANEW = "everything is computed anew (smart caching or resuming is off)"
UNKNOWN = "its fingerprint is another one, and nothing that is kept tells why"
MOST = 12
"""So many differences of plans are told; of the others there is the number."""


def reasons(
    plan: Plan,
    results: Results,
    stage: StagePlan,
    unit: str,
    record: Mapping[str, Any] | None,
    *,
    attempts: int,
    forced: bool,
    fingerprint: str = "",
    planes: Iterable[Plane] | None = None,
    files: bool = True,
) -> tuple[str, ...]:
    """Why a unit is to be computed in a stage, in sentences; empty if it is up to date.

    ``record`` is the one it has (None: none), ``attempts`` how often it has failed. ``fingerprint`` is what its record
    must carry (found out if not given), ``planes`` the planes of its well (else those of the inventory on disk, which
    is opened only if they changed); with ``files``, what was cleaned on purpose must be there, too. Without a record
    and failures nothing is read; the plan that made the record is read once per process. Never raises for what is
    missing or damaged in the results.
    """
    asked = [sentence for sentence, holds in ((FORCED, forced), (ANEW, not plan.smart_caching)) if holds]
    if record is None:
        return (*asked, _without_record(results, stage, unit, attempts))
    if not record.get("success"):
        return (*asked, "its record says that it did not succeed")
    if record.get("fingerprint") == (fingerprint or current_fingerprint(plan, results, stage, unit)):
        return (*asked, *_gone(results, record, files))
    found = [*_changes(plan, results, stage, unit, record, planes)]
    rest = [f"and {len(found) - MOST} more differences"] if len(found) > MOST else []
    return (*asked, *(found[:MOST] or [UNKNOWN]), *rest)


def current_fingerprint(plan: Plan, results: Results, stage: StagePlan, unit: str) -> str:
    """What the unit's record must carry now."""
    if unit == PLATE_UNIT:
        return plate_fingerprint(plan, stage, results)
    return unit_fingerprint(plan, results, stage, unit)


def made_by(results: Results, record: Mapping[str, Any]) -> Plan:
    """The plan that a record was made from. `ConfigError` if it is not kept, or cannot be read any more."""
    name = str(record.get("plan", ""))
    # A record is data: it never names a file elsewhere.
    return _load(results.plan_copy(name if re.fullmatch("[0-9a-f]+", name) else "unknown"))


def when(text: object) -> float:
    """Seconds since 1970 of a time in ISO 8601; 0 if it is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


@lru_cache(maxsize=8)
def _load(path: Path) -> Plan:
    return Plan.load(path)


def _without_record(results: Results, stage: StagePlan, unit: str, attempts: int) -> str:
    """Why there is no record: never run, failed, or given up."""
    if not attempts:
        return NEVER
    failure = read_json(results.failure(stage.name, unit))
    resolved = None if failure else read_json(results.resolved(stage.name, unit))
    found = failure or resolved or {}
    error = " ".join(str(found.get("error", "")).split()) or "it is not known why"
    error = error if len(error) <= 200 else f"{error[:197]}..."
    if found.get("kind") == DROPPED:
        return f"it was dropped: {error}"
    return (
        f"its record is gone (once it had failed: {error})"
        if resolved
        else f"its last attempt failed: {error}"
    )


def _gone(results: Results, record: Mapping[str, Any], files: bool) -> list[str]:
    """What the record lists and is not there any more; what was cleaned on purpose only counts if it is needed."""
    try:
        items = [(str(item["path"]), bool(item.get("cleaned"))) for item in record["published"]]
    except (KeyError, TypeError, AttributeError):
        return ["its record is damaged"]
    missing = [item for item in items if not os.path.exists(results.root / item[0])]
    cleaned = [path for path, on_purpose in missing if on_purpose]
    lost = [path for path, on_purpose in missing if not on_purpose]
    return [
        *([f"files that it published are gone: {some(lost)}"] if lost else ()),
        *([f"files that are needed again were cleaned: {some(cleaned)}"] if files and cleaned else ()),
    ]


def _changes(
    plan: Plan,
    results: Results,
    stage: StagePlan,
    unit: str,
    record: Mapping[str, Any],
    planes: Iterable[Plane] | None,
) -> Iterator[str]:
    """What is different from what the record was made of: versions, the plan, other results."""
    version = str((record.get("versions") or {}).get("hcs-steps", __version__))
    if version != __version__:
        yield f"hcs-steps {version} -> {__version__}"
    told: list[str] = []
    if record.get("plan") == plan.hash:
        own_differs = False
    else:
        try:
            old = made_by(results, record)
            own_differs = old.fingerprint(old.stage(stage.name), unit) != plan.fingerprint(stage, unit)
            told = _plan_changes(old, plan, results, stage, unit, record, planes) if own_differs else []
        except (HcsError, LookupError) as error:
            own_differs = True
            told = [_unreadable(error, record)]
    yield from told
    for sentence, about in _other_results(plan, results, stage, record, explained=bool(told)):
        if not any(text.startswith(f"the result of stage {about} changed") for text in told):
            own_differs = True
            yield sentence
    if not own_differs and version == __version__:
        yield _unknown_results(plan, stage)


def _unreadable(error: Exception, record: Mapping[str, Any]) -> str:
    """Why differences cannot be told."""
    name = str(record.get("plan", ""))[:12]
    if not name:
        return "its record does not say which plan made it, so what changed cannot be told"
    if isinstance(error, LookupError):
        return (
            f"the plan that made its record ({name}) does not know the unit, so what changed cannot be told"
        )
    why = "is of another version" if "plan version" in str(error) else "is not kept or cannot be read"
    return f"the plan that made its record ({name}) {why}, so what changed cannot be told"


def _plan_changes(
    old: Plan,
    plan: Plan,
    results: Results,
    stage: StagePlan,
    unit: str,
    record: Mapping[str, Any],
    planes: Iterable[Plane] | None,
) -> list[str]:
    found = list(_stage_differences(old, plan, stage))
    if unit == PLATE_UNIT:
        return found + plate_differences(old, plan, stage)
    if raw_differs(old, plan, unit):
        found.append(_raw_text(plan, results, unit, record, planes))
    return found + unit_differences(old, plan, stage, unit)


@lru_cache(maxsize=64)
def _known(old: str, new: str, stage: str) -> list[str]:
    """The list in which the differences of a stage are kept, which are the same for all units."""
    return []


def _stage_differences(old: Plan, new: Plan, stage: StagePlan) -> list[str]:
    if old.stage(stage.name).fingerprint == stage.fingerprint:
        return []
    kept = _known(old.hash, new.hash, stage.name)
    if not kept:
        kept += stage_differences(old, new, stage)
    return kept


def _raw_text(
    plan: Plan, results: Results, unit: str, record: Mapping[str, Any], planes: Iterable[Plane] | None
) -> str:
    """That the raw planes changed, with the files that are newer than the record."""
    from hcs_steps.plate import read_unit_planes

    found = plan.units[unit]
    if planes is None:
        with suppress(HcsError, OSError):
            planes = read_unit_planes(results.inventory, found.well)
    sites = {key.site for key in plan.layouts[found.layout].planes}
    start = when(record.get("start"))
    newer = {p.path for p in planes or () if p.site in sites and p.mtime_ns / 1e9 > start > 0}
    return f"its raw images changed: {some(sorted(newer))}" if newer else "its raw images changed"


def _other_results(
    plan: Plan, results: Results, stage: StagePlan, record: Mapping[str, Any], *, explained: bool
) -> Iterator[tuple[str, str]]:
    """What was made, failed or went since the record, of the results that it was made of: (sentence, stage).

    If it is ``explained`` by the plan why a plate stage runs, what ran upstream for the same reason is not told.
    """
    start = when(record.get("start"))
    if stage.scope == "plate":
        yield from _since(plan, results, stage, start, explained)
        return
    for name in plan.plate_stages_above(stage):
        above = read_json(results.record(name, PLATE_UNIT))
        if above is None:
            yield f"the result of stage {name} is missing", name
        elif when(above.get("end")) > start:
            yield f"the result of stage {name} was made again", name


def _since(
    plan: Plan, results: Results, stage: StagePlan, start: float, explained: bool
) -> Iterator[tuple[str, str]]:
    """What happened upstream of a plate stage since it ran, by stage."""
    for upstream in map(plan.stage, stage.upstream):
        name, units = upstream.name, plan.units_of(upstream)
        if not explained:
            newer = _touched(results.record(name, "x").parent, units, start)
            made = [unit for unit in newer if _ended(results, name, unit) > start]
            if made and upstream.scope == "plate":
                yield f"the result of stage {name} was made again", name
            elif made:
                yield f"stage {name} was run for {some(made)}", name
        failed = _touched(results.failure(name, "x").parent, units, start)
        if failed:
            yield f"stage {name} failed for {some(failed)}", name


def _ended(results: Results, stage: str, unit: str) -> float:
    return when((read_json(results.record(stage, unit)) or {}).get("end"))


def _touched(folder: Path, units: Iterable[str], start: float) -> list[str]:
    """The units whose file in a folder was written after a time, in the order of the plate; clocks may differ by some
    minutes.
    """
    try:
        with os.scandir(folder) as entries:
            newer = {entry.name for entry in entries if entry.stat().st_mtime > start - 600}
    except OSError:
        return []
    return [unit for unit in units if f"{unit}.json" in newer]


def _unknown_results(plan: Plan, stage: StagePlan) -> str:
    """What must have changed if the plan has not: results of stages above, which a fingerprint is made of, too."""
    names = stage.upstream if stage.scope == "plate" else plan.plate_stages_above(stage)
    return f"the result of stage {' or '.join(names)} changed" if names else UNKNOWN
