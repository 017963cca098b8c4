"""What lies in the results of a plate without being a result of its plan, and why it is there.

Four kinds: ``former`` (of a plan that was another, or a step that now makes less), ``left out`` (of wells and sites
that ``select`` leaves out at the moment: it makes widening the selection free), ``temporary`` (of processes that were
stopped) and ``foreign`` (not of hcs-steps). Links are foreign, and never followed. What belongs to a unit of the plan
that is not done yet is nothing of this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.compile.stages import CONSOLIDATE
from hcs_steps.compile.steps import RESERVED_TABLES
from hcs_steps.emit.workflow import FINISH
from hcs_steps.operations.mending._image_leftovers import image_leftovers
from hcs_steps.operations.mending._survey import FORMER, LEFT_OUT, Leftover, Survey, foreign, leftover
from hcs_steps.results import Results
from hcs_steps.run.records import read_json

KEPT_RUNS = 50
"""So many former runs are remembered."""

NamesFile = Callable[[str, str], Path]
"""Of a stage, and a unit or job: one of `Results`' methods."""

_UNSELECTED = "of units that are left out"


def find_leftovers(plan: Plan | None, results: Results) -> tuple[Leftover, ...]:
    """Everything in the results that is not a result of the plan, by path. Without a plan nothing is a result."""
    survey = Survey(plan, results)
    found = [*_top(survey), *_stages(survey), *_plans(survey), *_runs(survey), *_gates(survey)]
    found += [*image_leftovers(survey), *_steps(survey), *_tables(survey), *_exports(survey)]
    return tuple(sorted(found, key=lambda item: item.path))


def _top(survey: Survey) -> Iterator[Leftover]:
    results = survey.results
    known = {
        results.plan, results.inventory, results.failures_table, results.run, results.learned, results.runs_folder,
        results.outputs_index, results.lock, results.report, results.plate_map, results.images,
        results.plan_copy("x"), results.gate("x"), results.well_summary, results.record("x", "x"),
        results.running("x", "x"), results.failure("x", "x"), results.marker("x", "x"), results.log("x", "x"),
        results.table(survey.tables, "x"), results.array("x", "x", "x", 0),
    }  # fmt: skip
    names = {path.relative_to(results.root).parts[0] for path in known}
    for entry in survey.entries(results.root):
        if isinstance(entry, Leftover):
            yield entry
        elif entry.name not in names:
            yield foreign(entry)


def _stages(survey: Survey) -> Iterator[Leftover]:
    """Leftovers among ``<stage>/<unit or job>.json`` (or ``.log``)."""
    results = survey.results
    for path in (results.record, results.failure, results.running, results.marker, results.log):
        for folder in survey.entries(path("x", "x").parent.parent):
            if isinstance(folder, Leftover):
                yield folder
            elif folder.is_dir():
                for entry in survey.entries(Path(folder.path)):
                    found = (
                        entry if isinstance(entry, Leftover) else _of_stage(survey, entry, folder.name, path)
                    )
                    yield from [found] if found else []
            elif folder.name.partition(".")[0] != FINISH:
                yield foreign(folder)


def _of_stage(survey: Survey, entry: os.DirEntry[str], stage: str, path: NamesFile) -> Leftover | None:
    if entry.is_dir() or not entry.name.endswith((".json", ".log")):
        return foreign(entry)
    name = entry.name.rpartition(".")[0].removesuffix(".resolved")
    plan, results = survey.plan, survey.results
    jobs = path in (results.marker, results.log)
    if plan is None or stage not in survey.stages:
        return leftover(FORMER, f"stage {stage} is not in the plan", entry.path)
    if name == PLATE_UNIT or (jobs and name in plan.jobs):
        return None
    # A log is what a unit's record names, whichever job wrote it; a marker is of the plan's jobs, or of former ones.
    if survey.is_planned(name) and path != results.marker:
        wanted = jobs or plan.in_stage(survey.stages[stage], name)
        return None if wanted else leftover(FORMER, f"stage {stage} is not for the unit any more", entry.path)
    if survey.is_left_out(name) and not (jobs and "-" in name):
        return leftover(LEFT_OUT, _UNSELECTED, entry.path)
    return leftover(FORMER, "of units or jobs that were cut otherwise", entry.path)


def _plans(survey: Survey) -> Iterator[Leftover]:
    run = read_json(survey.results.run) or {}
    kept = {str(run.get("plan")), "" if survey.plan is None else survey.plan.hash}
    kept |= {
        str(record.get("plan"))
        for (stage, unit), record in survey.records.items()
        if stage in survey.stages and not survey.is_former(unit)
    }
    for entry in _json_files(survey, survey.results.plan_copy("x").parent):
        if isinstance(entry, Leftover):
            yield entry
        elif entry.name.removesuffix(".json") not in kept:
            yield leftover(FORMER, "a plan that no record names", entry.path)


def _runs(survey: Survey) -> Iterator[Leftover]:
    runs = list(_json_files(survey, survey.results.runs_folder))
    yield from (entry for entry in runs if isinstance(entry, Leftover))
    told = [entry for entry in runs if not isinstance(entry, Leftover)]  # their names sort by time
    for entry in told[:-KEPT_RUNS]:
        yield leftover(FORMER, f"runs before the last {KEPT_RUNS}", entry.path)


def _gates(survey: Survey) -> Iterator[Leftover]:
    for entry in _json_files(survey, survey.results.gate("x").parent):
        if isinstance(entry, Leftover):
            yield entry
        elif entry.name.removesuffix(".json") not in survey.stages:
            yield leftover(FORMER, "a gate of a stage that is not in the plan", entry.path)


def _json_files(survey: Survey, folder: Path) -> Iterator[os.DirEntry[str] | Leftover]:
    for entry in survey.entries(folder):
        sound = isinstance(entry, Leftover) or (entry.name.endswith(".json") and not entry.is_dir())
        yield entry if sound or isinstance(entry, Leftover) else foreign(entry)


def _steps(survey: Survey) -> Iterator[Leftover]:
    """Leftovers among ``<step>/<unit>.<...>``: arrays, units' tables, outlines."""
    results = survey.results
    files = (
        results.array("x", "x", "x", 0), results.part(survey.tables, "x", "x", "x"), results.rois("x", "x", 0, "x", ""),
    )  # fmt: skip
    for file in files:
        for folder in survey.entries(file.parent.parent):
            if isinstance(folder, Leftover):
                yield folder
            elif not folder.is_dir():
                yield foreign(folder)
            else:
                for entry in survey.entries(Path(folder.path)):
                    found = entry if isinstance(entry, Leftover) else _of_step(survey, entry, folder.name)
                    yield from [found] if found else []


def _of_step(survey: Survey, entry: os.DirEntry[str], step: str) -> Leftover | None:
    if entry.is_dir() or entry.name.count(".") < 2:
        return foreign(entry)
    listed = survey.listed.get(survey.relative(entry.path))
    if listed is not None:
        return leftover(LEFT_OUT, _UNSELECTED, entry.path) if survey.is_left_out(listed.unit) else None
    if step not in survey.stage_of:
        return leftover(FORMER, f"step {step} is not in the plan", entry.path)
    unit = entry.name.partition(".")[0]
    unit = unit if survey.by_site else unit.partition("_s")[0]
    if survey.is_planned(unit) and (survey.stage_of[step], unit) not in survey.records:
        return None  # not done yet
    return leftover(FORMER, f"step {step} does not make it any more", entry.path)


def _tables(survey: Survey) -> Iterator[Leftover]:
    folder = survey.results.table(survey.tables, "x").parent
    if folder == survey.results.root:
        return
    parts = survey.results.part(survey.tables, "x", "x", "x").parent.parent
    names = _table_names(survey, parts)
    for entry in survey.entries(folder):
        if isinstance(entry, Leftover):
            yield entry
        elif Path(entry.path) == parts:
            continue
        elif (
            entry.is_dir()
            or Path(entry.name).suffix not in (".parquet", ".csv")
            or Path(entry.name).stem not in names
        ):
            yield foreign(entry)
        elif _is_unmade(survey, entry):
            yield leftover(FORMER, "tables that are not made any more", entry.path)


def _is_unmade(survey: Survey, entry: os.DirEntry[str]) -> bool:
    """Whether a file of the plate is one that nothing makes, and not just not made yet."""
    if survey.relative(entry.path) in survey.listed or entry.name == "plate_map_problems.csv":
        return False
    return survey.plan is None or (CONSOLIDATE, PLATE_UNIT) in survey.records


def _table_names(survey: Survey, parts: Path) -> set[str]:
    """Names of tables: those of every plate, of the plan, of kept plans, and of what units have made."""
    names = set(RESERVED_TABLES) | set(() if survey.plan is None else survey.plan.tables)
    for path in survey.results.plan_copy("x").parent.glob("*.json"):
        tables = (read_json(path) or {}).get("tables")
        names |= set(tables) if isinstance(tables, dict) else set()
    for path in parts.glob("*/*.*.parquet"):
        output = path.name.split(".")[1]
        names |= {output, f"{path.parent.name}_{output}"}
    return names


def _exports(survey: Survey) -> Iterator[Leftover]:
    summary = survey.results.well_summary
    rois = survey.results.rois("x", "x", 0, "x", "").parent.parent
    for entry in survey.entries(summary.parent):
        if isinstance(entry, Leftover):
            yield entry
        elif Path(entry.path) not in (summary, rois):
            yield foreign(entry)
        elif Path(entry.path) == summary and _is_unmade(survey, entry):
            yield leftover(FORMER, "tables that are not made any more", entry.path)
