"""``hcs run`` and ``hcs retry``: start the workflow, or run again what failed."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.emit.configured import configured_plates
from hcs_steps.operations.by_plate import run_by_plate
from hcs_steps.operations.launch import Request, configured
from hcs_steps.operations.launch import run as launch
from hcs_steps.operations.watching.status import StatusReader
from hcs_steps.plate import compact_wells, expand_wells, sort_wells


def run(arguments: argparse.Namespace) -> int:
    """Run plates, or a part of the work."""
    request = _request(arguments)
    return run_by_plate(request, arguments.by_plate) if arguments.by_plate else launch(request)


def retry(arguments: argparse.Namespace) -> int:
    """Run again exactly what failed, and what depends on it."""
    request = _request(arguments)
    failed = failed_results(request, arguments.stage)
    if not failed.count:
        print(f"Nothing has failed in {arguments.stage}." if arguments.stage else "Nothing has failed.")
        return 0
    for plate, wells in failed.wells.items():
        print(f"{plate}: trying again {compact_wells(wells) or 'what is made of all wells'}", file=sys.stderr)
    chosen = replace(request, plates=tuple(failed.wells), wells=None)
    if failed.others and all(failed.wells.values()):
        chosen = replace(chosen, changes={**request.changes, "only_wells": failed.wells})
    return launch(chosen)


def _request(arguments: argparse.Namespace) -> Request:
    changes: dict[str, Any] = {
        key: getattr(arguments, key, None)
        for key in ("mode", "from_step", "until")
        if getattr(arguments, key, None) is not None
    }
    if getattr(arguments, "timeout", None):
        changes["orchestration"] = {"total_timeout": arguments.timeout}
    return Request(
        config=Path(arguments.config),
        plates=tuple(name for text in arguments.plates or () for name in text.split(",") if name) or None,
        wells=arguments.wells,
        changes=changes,
        force=getattr(arguments, "force", False),
        jobs=arguments.jobs,
        profile=arguments.profile,
        dry_run=arguments.dry_run,
        snakemake=tuple(arguments.snakemake),
    )


@dataclass(frozen=True)
class Failed:
    """What failed: wells by plate (none for a plate whose plate stages failed only), how many results, and whether
    anything else is still to be done.
    """

    wells: dict[str, list[str]]
    count: int
    others: bool


def failed_results(request: Request, stage: str | None) -> Failed:
    """What has failed of the plates and wells of a request, in one stage or in all."""
    wells: dict[str, list[str]] = {}
    count, others = 0, False
    for name, plate in configured_plates(configured(replace(request, wells=None))).items():
        if not plate.results.plan.is_file():
            others = True
            continue
        plan = Plan.load(plate.results.plan)
        if stage is not None:
            plan.stage(stage)  # says which there are
        status = StatusReader(plan, plate.results).read()
        bad = [
            unit
            for told in status.stages
            for unit, state in told.states.items()
            if state in ("failed", "died") and stage in (None, told.name) and _is_meant(plan, unit, request)
        ]
        failed = {plan.units[unit].well for unit in bad if unit != PLATE_UNIT}
        undone = {plan.units[u].well for u, state in status.units.items() if state not in ("done", "skipped")}
        others |= bool(undone - failed)
        count += len(bad)
        if bad:
            wells[name] = list(sort_wells(failed))
    return Failed(wells, count, others)


def _is_meant(plan: Plan, unit: str, request: Request) -> bool:
    if request.wells is None:
        return True
    every = {found.well for found in plan.units.values()}
    return unit != PLATE_UNIT and plan.units[unit].well in expand_wells(request.wells, every)
