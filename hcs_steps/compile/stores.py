"""Phase 2: store declaration. Which store each written step has, and which wells and sites it will hold."""

from __future__ import annotations

from pathlib import Path

from hcs_steps.compile.plan import Plan, StepPlan
from hcs_steps.compile.request import Request
from hcs_steps.compile.steps import check_backends
from hcs_steps.errors import ConfigError, HcsError
from hcs_steps.storage.protocol import StoreSpec


def declare_stores(plan: Plan, request: Request) -> tuple[Plan, list[HcsError]]:
    """Check that every backend exists and that a plate's layout fits it."""
    problems = check_backends(request)
    if request.inventory.rows <= 0 or request.inventory.columns <= 0:
        problems.append(
            ConfigError(
                f"The plate {plan.plate.id} has no dimensions.", hint="Check its inventory with hcs inspect."
            )
        )
    return plan, problems


def store_spec(plan: Plan, step: StepPlan, results: Path) -> StoreSpec:
    """The store of a written step, as a backend needs it; ``results`` is the plate's results folder."""
    index = plan.steps.index(step)
    wells: dict[str, list[int]] = {}
    for unit in plan.units.values():
        sites = {key.site for key in plan.layouts[unit.layout].keys[index]}
        if sites:
            wells[unit.well] = sorted(sites.union(wells.get(unit.well, [])))
    return StoreSpec(
        path=results / step.store,
        plate_name=plan.plate.id,
        rows=plan.plate.rows,
        columns=plan.plate.columns,
        wells=wells,
        compressor=plan.storage.compressor,
        compression_level=plan.storage.compression_level,
        chunk_strategy=plan.storage.chunk_strategy,
        pyramid=step.kept,
    )
