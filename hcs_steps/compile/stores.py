"""Phase 2: store declaration. Which store each written step has, and which wells and sites it will hold."""

from __future__ import annotations

from pathlib import Path

from hcs_steps.compile.homes import check_backends
from hcs_steps.compile.plan import RAW, Layout, Plan, StepPlan
from hcs_steps.compile.request import Request
from hcs_steps.compile.units import channel_names
from hcs_steps.errors import ConfigError, HcsError
from hcs_steps.storage.protocol import Expected, StoreSpec


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
    expected: dict[str, list[Expected]] = {}
    looks = [_expected(plan, layout, index) if step.kept else None for layout in plan.layouts]
    for unit in plan.units.values():
        sites = {key.site for key in plan.layouts[unit.layout].keys[index]}
        if sites:
            wells[unit.well] = sorted(sites.union(wells.get(unit.well, [])))
            look = looks[unit.layout]
            if look is not None:
                expected.setdefault(unit.well, []).append(look)
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
        expected=expected,
        ngff_version=plan.storage.ngff_version,
        codec_pipeline=plan.storage.codec_pipeline,
        tiff_files=plan.storage.tiff_files,
        tiff_metadata=plan.storage.tiff_metadata,
    )


def _expected(plan: Plan, layout: Layout, index: int) -> Expected | None:
    """What a step will leave of a unit of a layout; None where the size of its planes is not known beforehand."""
    if not layout.keys[index]:
        return None
    dtype = layout.dtype
    for step in _lineage(layout, index):
        if any(call.moves for call in plan.steps[step].calls):
            return None
        for call in next(iter(plan.steps[step].branches.values())):
            dtype = dtype if call.dtype == "same" else call.dtype
    channels = {int(number): name for number, name in plan.plate.channels.items()}
    size = plan.plate.pixel_size_um
    return Expected(
        planes=layout.keys[index],
        height=layout.height,
        width=layout.width,
        dtype=dtype,
        channels=channel_names(plan.steps, layout.sources, index, channels),
        pixel_size_um=float("nan") if size is None else size,
    )


def _lineage(layout: Layout, index: int) -> list[int]:
    """The steps that the images of a step have gone through, itself the last."""
    steps: list[int] = []
    source: int | None = index
    while source is not None and source != RAW:
        steps.insert(0, source)
        source = layout.sources[source]
    return steps
