"""Taking back what a unit has published in a stage: all of it, or what a newer run of it did not publish again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan
from hcs_steps.errors import HcsError
from hcs_steps.results import Results
from hcs_steps.run.records import read_json
from hcs_steps.storage.atomic import remove_path


def retract_record(results: Results, stage: StagePlan, unit: str) -> list[str]:
    """Take back the unit's record, so that nothing claims to be done meanwhile; returns what it published."""
    path = results.record(stage.name, unit)
    record = read_json(path)
    if path.exists():
        # For good: a record that a power failure brings back would list what is about to be replaced.
        remove_path(path)
    published = (record or {}).get("published")
    items = published if isinstance(published, list) else []
    return [str(item["path"]) for item in items if isinstance(item, dict) and "path" in item]


def withdraw_unit(
    plan: Plan,
    results: Results,
    stage: StagePlan,
    unit: str,
    published: Iterable[str],
    stores: Callable[[int], Any],
) -> None:
    """Remove everything that was ever published of the unit, and let its stores say again what they expect.

    Not only what its record listed (``published``): the record may be gone, or have been that of a stage or unit of
    another name, or the run may have been ended before it could write one.
    """
    remove_published(results, published, ())
    _remove_named_outputs(plan, results, stage, unit)
    if unit == PLATE_UNIT:
        return
    found = plan.units[unit]
    layout = plan.layouts[found.layout]
    for index in (i for i in stage.steps if plan.steps[i].written):
        sites = sorted({key.site for key in layout.keys[index]})
        with suppress(HcsError):  # a store that cannot be opened is why the unit failed
            stores(index).remove(found.well, sites)
    for index in (i for i in stage.steps if plan.steps[i].labels):
        for site in {key.site for key in layout.keys[index]}:
            for path in results.all_rois(plan.steps[index].name, found.well, site):
                path.unlink(missing_ok=True)


def remove_published(results: Results, published: Iterable[str], keep: Iterable[str]) -> None:
    """Remove what an earlier run of the unit published and this one did not."""
    root = results.root.resolve()
    for relative in set(published) - set(keep):
        path = (root / relative).resolve()
        if root not in path.parents:  # a record is data: it never reaches outside the results
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _remove_named_outputs(plan: Plan, results: Results, stage: StagePlan, unit: str) -> None:
    """Remove tables and arrays of the unit, and what was left of them half written."""
    calls = 1 if unit == PLATE_UNIT else len(plan.layouts[plan.units[unit].layout].planes)
    for step in (plan.steps[index] for index in stage.steps):
        for name, kind in {output for call in step.calls for output in call.outputs}:
            with suppress(HcsError):  # where nothing can be removed, nothing could be written
                if kind == "table":
                    remove_path(results.part(plan.tables_folder, step.name, unit, name))
                elif kind == "array":
                    remove_path(results.array(step.name, unit, name, 0))
                    for number in range(1, calls):
                        results.array(step.name, unit, name, number).unlink(missing_ok=True)
