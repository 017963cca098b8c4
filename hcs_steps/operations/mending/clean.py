"""Making room: intermediate images of finished units, what former plans left, or a whole plate.

Every removal can be interrupted at any moment, and a plain run mends what is left. Intermediates: first the records say
that their files go, then the job markers go, so that Snakemake has the jobs run again if, and only if, something needs
their results, and the files go last, each store or group of files as one. A plate: markers first, so that every job
runs again, then records, and only then what they list.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hcs_steps.compile.plan import RAW, Plan, StagePlan, StepPlan
from hcs_steps.compile.stages import source_of
from hcs_steps.emit.prepare import check_folders
from hcs_steps.emit.workflow import FINISH, Workflow
from hcs_steps.operations.mending._survey import FOREIGN, Leftover
from hcs_steps.operations.mending.leftovers import find_leftovers
from hcs_steps.results import Results
from hcs_steps.run._record_shape import is_record
from hcs_steps.run.records import mark_cleaned, read_json, read_record, unit_fingerprint, valid_record
from hcs_steps.storage.atomic import remove_path, storage_errors

_AT_ONCE = 8
"""Records that are written at a time, for that is mostly waiting for the disk."""

Told = Callable[[Path], None]


def _silent(path: Path) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Intermediate:
    """Intermediate images (and arrays beside them) of one job of a stage, and their bytes.

    ``kept`` says why they stay; where it is empty they can go. ``paths`` are relative to the results, by unit.
    """

    stage: str
    job: str
    paths: Mapping[str, tuple[str, ...]]
    size: int
    kept: str = ""


def find_intermediates(plan: Plan, results: Results) -> tuple[Intermediate, ...]:
    """The intermediate images that are there, job by job.

    Intermediate are the images of steps that are written for later stages, but are no results. They can go when all
    units of the job are done in all later stages, and if nothing made of the whole plate reads them or waits for their
    jobs: it would need all of them again as soon as one unit changes.
    """
    found: list[Intermediate] = []
    awaited = _awaited(plan, results)
    done = _Done(plan, results)
    for stage in plan.stages:
        steps = [plan.steps[i] for i in stage.steps if plan.steps[i].written and not plan.steps[i].kept]
        if not steps or stage.scope != "unit":
            continue
        later = _later(plan, stage)
        reason = _plate_reason(plan, stage)
        jobs = plan.jobs_of(replace(stage, skipped=""))  # also of one that is left out at the moment
        for job, units in jobs.items():
            paths, size = _published(results, stage, steps, units)
            if not paths:
                continue
            waited = results.marker(stage.name, job) in awaited
            kept = reason or ("tables of the plate are made right after them" if waited else "")
            kept = kept or ("their stage is left out at the moment" if stage.skipped else "")
            if not kept and not all(done(s, unit) for unit in units for s in (stage, *later)):
                kept = "units that are not done need them"
            found.append(Intermediate(stage.name, job, paths, size, kept))
    return tuple(found)


def remove_intermediates(
    plan: Plan, results: Results, found: Iterable[Intermediate], told: Told = _silent
) -> int:
    """Remove what can go of what was found; returns the bytes. The caller has the results to itself."""
    going = [item for item in found if not item.kept]
    marks = [(item.stage, unit, own) for item in going for unit, own in item.paths.items()]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in [pool.submit(mark_cleaned, results, *mark) for mark in marks]:
            done.result()
    for item in going:
        results.marker(item.stage, item.job).unlink(missing_ok=True)
    doomed = [path for item in going for own in item.paths.values() for path in own]
    spared = {item.path for item in find_leftovers(plan, results) if item.kind == FOREIGN}
    for path in _as_stores(plan, results, doomed):
        told(path)
        _remove_but(path, spared)
    prune(results, (results.images, results.array("x", "x", "x", 0).parent.parent))
    return sum(item.size for item in going)


def remove_leftovers(results: Results, chosen: Iterable[Leftover], told: Told = _silent) -> int:
    """Remove leftovers, and folders that are empty then; returns the bytes. The caller has the results to itself."""
    markers, records = _markers(results), _records(results)
    # What tells a run that something is done goes before what it tells of.
    order = sorted(
        chosen, key=lambda i: (markers not in i.path.parents, records not in i.path.parents, i.path)
    )
    for item in order:
        told(item.path)
        remove_path(item.path)
    prune(results, [entry for entry in _entries(results.root) if entry.is_dir()])
    return sum(item.size for item in order)


def remove_plate(plan: Plan | None, results: Results, told: Told = _silent) -> tuple[Leftover, ...]:
    """Remove everything that hcs-steps has made of a plate; returns what stays since it is not of hcs-steps.

    Links are not followed. The caller has the results to itself. `HcsError` if the plate itself lies in there.
    """
    if plan is not None:
        check_folders(Path(plan.plate.path), results.root)
    strange = tuple(item for item in find_leftovers(plan, results) if item.kind == FOREIGN)
    spared = {item.path for item in strange}
    for path in _removal_order(results):
        if path not in spared and os.path.lexists(path):
            told(path)
            _remove_but(path, spared)
    with storage_errors("remove", results.root):
        results.lock.unlink(missing_ok=True)
        if not os.listdir(results.root) and not results.root.is_symlink():
            results.root.rmdir()
    return strange


def prune(results: Results, folders: Iterable[Path]) -> None:
    """Remove folders that hold nothing but empty folders."""
    for folder in folders:
        if folder.is_symlink() or results.root not in folder.parents:
            continue
        with storage_errors("remove", folder):
            for parent, _, _ in os.walk(folder, topdown=False):
                if not os.listdir(parent):
                    os.rmdir(parent)


class _Done:
    """Whether a unit is done in a stage, cleaned or not; looked up once."""

    def __init__(self, plan: Plan, results: Results) -> None:
        self.plan = plan
        self.results = results
        self._known: dict[tuple[str, str], bool] = {}

    def __call__(self, stage: StagePlan, unit: str) -> bool:
        if not self.plan.in_stage(stage, unit):
            return True
        key = stage.name, unit
        if key not in self._known:
            fingerprint = unit_fingerprint(self.plan, self.results, stage, unit)
            found = valid_record(self.results, stage.name, unit, fingerprint, files=False)
            self._known[key] = found is not None
        return self._known[key]


def _later(plan: Plan, stage: StagePlan) -> list[StagePlan]:
    """The unit stages that depend on a stage, directly or through others."""
    names = {stage.name}
    for other in plan.stages:
        if names.intersection(other.upstream):
            names.add(other.name)
    return [s for s in plan.stages if s.name in names and s.scope == "unit" and s.name != stage.name]


def _plate_reason(plan: Plan, stage: StagePlan) -> str:
    """Why the images of a stage stay if a plate-scope step reads them; empty if none does."""
    for index, step in enumerate(plan.steps):
        if step.scope != "plate":
            continue
        sources = {source_of(plan.steps, layout, index) for layout in plan.layouts}
        if sources.intersection(stage.steps) - {RAW}:
            return f"the plate-scope step {step.name} reads all of them again whenever a unit changes"
    return ""


def _awaited(plan: Plan, results: Results) -> set[Path]:
    """The markers that plate stages wait for directly."""
    folder = results.root.as_posix()
    workflow = Workflow({folder: plan})
    plate_stages = [stage for stage in plan.stages if stage.scope == "plate"]
    return {
        Path(marker)
        for stage in plate_stages
        for job in plan.jobs_of(stage)
        for marker in workflow.markers(folder, stage.name, job)
    }


def _published(
    results: Results, stage: StagePlan, steps: Sequence[StepPlan], units: Iterable[str]
) -> tuple[dict[str, tuple[str, ...]], int]:
    """By unit, what the steps have published that is there; and its bytes by the records."""
    arrays = [results.relative(results.array(step.name, "x", "x", 0).parent) for step in steps]
    prefixes = tuple(f"{folder}/" for folder in (*(step.store for step in steps), *arrays))
    paths, size = {}, 0
    for unit in units:
        record: Mapping[str, Any] = read_record(results, stage.name, unit) or {"published": ()}
        own = [item for item in record["published"] if item["path"].startswith(prefixes)]
        own = [item for item in own if os.path.lexists(results.root / item["path"])]
        if own:
            paths[unit] = tuple(item["path"] for item in own)
            size += sum(item["size"] for item in own)
    return paths, size


def _as_stores(plan: Plan, results: Results, paths: Sequence[str]) -> Iterator[Path]:
    """What to remove: whole stores where nothing else is in them that a record lists, else one path after the other."""
    going = set(paths)
    staying: set[str] = set()
    for file in _records(results).glob("*/*.json"):
        record = read_json(file)
        if record is not None and is_record(record):
            staying.update(item["path"] for item in record["published"] if not item.get("cleaned"))
    stores = [step.store for step in plan.steps if step.written]
    by_store: dict[str, list[str]] = defaultdict(list)
    for path in going:
        by_store[next((s for s in stores if path.startswith(f"{s}/")), "")].append(path)
    for store, own in sorted(by_store.items()):
        if store and not any(path.startswith(f"{store}/") for path in staying - going):
            yield results.root / store
        else:
            yield from (results.root / path for path in sorted(own))


def _removal_order(results: Results) -> list[Path]:
    """Everything in the results: what would tell a run that something is done, then all else, then the plan."""
    finished = _markers(results) / f"{FINISH}.json"
    first, last = [finished, _markers(results), _records(results)], [results.inventory, results.plan]
    others = [path for path in _entries(results.root) if path not in (*first, *last, results.lock)]
    return [*first, *others, *last]


def _remove_but(path: Path, spared: Collection[Path]) -> None:
    """Remove a file, or a folder but for what is spared in it."""
    if not any(path in other.parents for other in spared):
        remove_path(path)
        return
    for entry in _entries(path):
        if entry not in spared:
            _remove_but(entry, spared)


def _entries(folder: Path) -> list[Path]:
    with storage_errors("read", folder):
        return sorted(folder.iterdir())


def _markers(results: Results) -> Path:
    return results.marker("x", "x").parent.parent


def _records(results: Results) -> Path:
    return results.record("x", "x").parent.parent
