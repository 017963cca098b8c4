"""Phase 4: memory. Host and GPU bytes of every stage, predicted from shapes, dtypes and declared multipliers.

The prediction of a stage is the largest, over its steps, of what is held at that moment: images of the
stage that later steps still need, the step's output so far, and its largest call at the function's declared
peak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from hcs_steps.compile.plan import RAW, CallPlan, Layout, Plan, StagePlan, StepPlan
from hcs_steps.compile.request import Request
from hcs_steps.compile.stages import last_producer, looked_up, source_of
from hcs_steps.compile.units import chain_of, channel_names
from hcs_steps.errors import HcsError, PipelineError
from hcs_steps.frozen import thaw
from hcs_steps.functions.declare import spec_of
from hcs_steps.pipeline.registry import resolve
from hcs_steps.pipeline.stacks import group_stacks

MB = 1 << 20
BASE_MB = 350
"""A process with Python, NumPy, SciPy, scikit-image, Zarr and Arrow loaded."""
GPU_BASE_MB = 500
"""A CUDA context."""
WRITE_FACTOR = 1.5
"""Images being written: themselves, their pyramid and compression buffers, as a multiple of their bytes."""


def predict_memory(plan: Plan, request: Request) -> tuple[Plan, list[HcsError]]:
    """Set ``mem_mb`` and ``gpu_mem_mb`` of every stage and check them against the limits."""
    scales = _Scales(plan, request)
    peaks = {stage.name: _Peak() for stage in plan.stages}
    examples = {unit.layout: unit.well for unit in plan.units.values()}
    for index, layout in enumerate(plan.layouts):
        steps = _needs(plan, layout, examples[index], scales)
        for stage in plan.stages:
            peaks[stage.name] = peaks[stage.name].or_more(_stage_peak(plan, stage, steps))
    stages = []
    problems: list[HcsError] = list(scales.problems.values())
    for stage in plan.stages:
        host, gpu = peaks[stage.name].host, peaks[stage.name].gpu
        mem_mb = _rounded(BASE_MB + host / MB)
        gpu_mem_mb = _rounded(GPU_BASE_MB + gpu / MB) if gpu else 0
        stages.append(replace(stage, mem_mb=mem_mb, gpu_mem_mb=gpu_mem_mb))
        limit = request.options.limits.mem_mb
        if limit is not None and mem_mb > limit:
            problems.append(
                PipelineError(
                    f"Stage {stage.name} needs about {mem_mb:,} MB of memory for one {_unit_word(request)} "
                    f"({_largest(plan, stage)}), but {limit:,} MB are there.",
                    hint="Use parallel_by: site, stack fewer planes (variable_components), split the "
                    "stage with force_disk_output or intermediate_backend: disk, or raise limits.mem_mb.",
                )
            )
    return replace(plan, stages=tuple(stages)), problems


@dataclass(frozen=True)
class _Peak:
    """Peak bytes on the host and on the GPU."""

    host: float = 0.0
    gpu: float = 0.0

    def or_more(self, other: _Peak) -> _Peak:
        return _Peak(max(self.host, other.host), max(self.gpu, other.gpu))


@dataclass(frozen=True)
class _Images:
    """Images of one unit: pixels of the largest plane, bytes and edge length of a pixel."""

    area: float
    itemsize: int
    pixel_size: float

    def or_larger(self, other: _Images) -> _Images:
        return _Images(
            max(self.area, other.area),
            max(self.itemsize, other.itemsize),
            max(self.pixel_size, other.pixel_size),
        )


@dataclass
class _Need:
    """What a step takes of one unit: its largest call, and the bytes of the images and of the labels that it
    leaves.
    """

    left: _Images
    call: _Peak = _Peak()
    images: float = 0.0
    labels: float = 0.0


class _Scales:
    """Evaluates the ``scale`` of functions, and keeps what it refuses; see `FunctionSpec`."""

    def __init__(self, plan: Plan, request: Request) -> None:
        references = {call.function for step in plan.steps for call in step.calls}
        found = {name: spec_of(resolve(name, plan.search_path)).scale for name in sorted(references)}
        self.functions = {name: scale for name, scale in found.items() if scale is not None}
        self.problems: dict[str, HcsError] = {}
        self.pixel_size = math.nan
        if self.functions:
            sizes = (plane.pixel_size_um for plane in request.inventory.planes)
            self.pixel_size = max((size for size in sizes if size > 0), default=math.nan)

    def of(self, step: StepPlan, call: CallPlan, pixel_size: float) -> float:
        """Pixels that come back per pixel along each axis."""
        scale = self.functions.get(call.function)
        if scale is None:
            return 1.0
        try:
            found = float(scale(thaw(call.kwargs), pixel_size))
            if not 0 < found < math.inf:
                raise ValueError(f"it would return {found:g} pixels per pixel")
        except Exception as error:  # a function's own check of its arguments
            message = f"Step {step.name!r}: {call.function} cannot work with its arguments: {error}"
            self.problems[message] = PipelineError(message, hint="Correct the arguments under 'with'.")
            return 1.0
        return found


def _needs(plan: Plan, layout: Layout, well: str, scales: _Scales) -> dict[int, _Need]:
    """What every step takes of a unit of a layout, and the plate's own images under `RAW`."""
    channels = {int(number): name for number, name in plan.plate.channels.items()}
    raw = _Images(layout.height * layout.width, np.dtype(layout.dtype).itemsize, scales.pixel_size)
    needs = {RAW: _Need(raw)}
    for index, step in enumerate(plan.steps):
        if step.scope == "plate":
            needs[index] = _plate_need(plan, index, layout, needs)
            continue
        source = layout.sources[index]
        if source is None:
            continue
        before = needs[source].left
        names = channel_names(plan.steps, layout.sources, source, channels)
        left: list[_Images] = []
        needs[index] = need = _Need(before)
        for group, stack in group_stacks(layout.left_by(source), step.variable_components):
            branch = chain_of(step, group, well, names)
            if branch is not None:
                given = _label_sets(plan, index, layout, step.branches[branch])
                own = _chain_need(step, branch, len(stack), before, given, scales)
            elif step.unlisted == "pass":
                own = _Need(before, images=len(stack) * before.area * before.itemsize)
            else:
                continue
            left.append(own.left)
            need.call = need.call.or_more(own.call)
            need.images += own.images
            need.labels += own.labels
        if step.own_images:
            need.left = reduce(_Images.or_larger, left) if left else before
    return needs


def _chain_need(
    step: StepPlan, branch: str, planes: int, images: _Images, given: int, scales: _Scales
) -> _Need:
    """What a chain takes of one stack; ``given`` is the number of label stacks that it is handed."""
    stack = planes * images.area * images.itemsize
    labels = 4 * planes * images.area * given
    # While a stack is read, its planes are there as well.
    peak = _Peak(max(2 * stack, stack + labels + (labels / given if given else 0)))
    made = 0.0
    for number, call in enumerate(step.branches[branch]):
        scale = scales.of(step, call, images.pixel_size)
        area = images.area * scale**2 * (planes if call.mosaic else 1)
        returned = 1 if call.reduces else planes
        grown = max(1.0, returned * area / (planes * images.area))
        own_labels = 4 * returned * area * sum(kind == "labels" for _, kind in call.outputs)
        taken = (
            planes * images.area * images.itemsize * grown * call.memory
            + images.area * max(1.0, scale**2) * call.scratch
            + labels
            + own_labels
        )
        # The runner holds the stack that went into a chain until the chain has ended.
        peak = peak.or_more(_Peak(taken + (stack if number else 0), taken if "gpu" in call.devices else 0))
        itemsize = images.itemsize if call.dtype == "same" else np.dtype(call.dtype).itemsize
        images = _Images(area, itemsize, images.pixel_size / scale)
        planes = returned
        made += own_labels
    return _Need(images, peak, planes * images.area * images.itemsize, made)


def _plate_need(plan: Plan, index: int, layout: Layout, needs: Mapping[int, _Need]) -> _Need:
    """What a plate-scope step takes: one stack of the images that it reads."""
    step = plan.steps[index]
    source = source_of(plan.steps, layout, index)
    assert source is not None  # of a plate-scope step
    images = needs[source].left
    stacks = group_stacks(layout.left_by(source), step.variable_components)
    largest = max((len(stack) for _, stack in stacks), default=0) * images.area * images.itemsize
    taken = max(largest * call.memory + images.area * call.scratch for call in step.calls)
    return _Need(images, _Peak(taken))


def _label_sets(plan: Plan, index: int, layout: Layout, chain: Sequence[CallPlan]) -> int:
    """How many label stacks of earlier steps a chain of a step is handed."""
    makers = {name: last_producer(plan.steps[:index], layout, name) for name in looked_up(chain)}
    return sum(
        maker is not None
        and (name, "labels") in {output for c in plan.steps[maker].calls for output in c.outputs}
        for name, maker in makers.items()
    )


def _stage_peak(plan: Plan, stage: StagePlan, needs: Mapping[int, _Need]) -> _Peak:
    """The peak of a stage over one unit."""
    peak = _Peak()
    held = kept = 0.0
    for index in stage.steps:
        if index not in needs:
            continue
        step, need = plan.steps[index], needs[index]
        output = need.labels + (need.images if step.own_images else 0.0)
        peak = peak.or_more(_Peak(kept + held + output + need.call.host, need.call.gpu))
        if step.own_images:
            held = 0.0 if step.written else need.images  # the next step replaces it
        # What is published stays until the stage has ended.
        kept += need.labels + (need.images if step.written else 0.0)
    return peak.or_more(_Peak(kept * (1 + WRITE_FACTOR)))


def _largest(plan: Plan, stage: StagePlan) -> str:
    layout = max(plan.layouts, key=lambda item: len(item.planes) * item.height * item.width)
    calls: list[CallPlan] = [call for index in stage.steps for call in plan.steps[index].calls]
    greedy = max(calls, key=lambda call: (call.memory, call.scratch), default=None)
    planes = f"{len(layout.planes)} planes of {layout.height} x {layout.width} {layout.dtype}"
    return planes + (f"; {greedy.function} takes {greedy.memory:g} times its stack" if greedy else "")


def _unit_word(request: Request) -> str:
    return request.options.parallel_by


def _rounded(mb: float) -> int:
    """Up to the next 64 MB, so that plates that differ a little share their rules."""
    return math.ceil(mb / 64) * 64
