"""Phase 4: memory. Host and GPU bytes of every stage, predicted from shapes, dtypes and declared multipliers.

The prediction of a stage is the largest, over its steps, of what is held at that moment: images of the
stage that later steps still need, the step's output so far, and its largest call at the function's declared
peak.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from hcs_steps.compile.plan import RAW, CallPlan, Layout, Plan, StagePlan, StepPlan
from hcs_steps.compile.request import Request
from hcs_steps.compile.units import chain_of, channel_names
from hcs_steps.errors import HcsError, PipelineError
from hcs_steps.pipeline.stacks import group_stacks
from hcs_steps.storage.protocol import PlaneKey

MB = 1 << 20
BASE_MB = 350
"""A process with Python, NumPy, SciPy, scikit-image, Zarr and Arrow loaded."""
GPU_BASE_MB = 500
"""A CUDA context."""
WRITE_FACTOR = 1.5
"""Images being written: themselves, their pyramid and compression buffers, as a multiple of their bytes."""


def predict_memory(plan: Plan, request: Request) -> tuple[Plan, list[HcsError]]:
    """Set ``mem_mb`` and ``gpu_mem_mb`` of every stage and check them against the limits."""
    stages = []
    problems: list[HcsError] = []
    channels = {int(number): name for number, name in plan.plate.channels.items()}
    examples = {unit.layout: unit.well for unit in plan.units.values()}
    for stage in plan.stages:
        host = gpu = 0.0
        for index, layout in enumerate(plan.layouts):
            seen = _stage_bytes(plan, stage, layout, examples[index], channels)
            host, gpu = max(host, seen[0]), max(gpu, seen[1])
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


def _stage_bytes(
    plan: Plan, stage: StagePlan, layout: Layout, well: str, channels: Mapping[int, str]
) -> tuple[float, float]:
    """Peak host and GPU bytes of a stage over one unit of a layout."""
    plane = layout.height * layout.width
    sizes = {RAW: np.dtype(layout.dtype).itemsize}
    areas = {RAW: plane}
    for index, step in enumerate(plan.steps):
        source = layout.sources[index]
        if source is not None:
            keys = layout.planes if source == RAW else layout.keys[source]
            tiles = _largest_stack(keys, step) if any(call.mosaic for call in step.calls) else 1
            sizes[index] = _itemsize(step, sizes[source])
            areas[index] = areas[source] * tiles
    if stage.scope == "plate":
        if not stage.steps:
            return 0.0, 0.0
        whole = plan.steps[stage.steps[0]]
        largest = _largest_stack(layout.planes, whole) * plane * sizes[RAW]
        return max(largest * call.memory + plane * call.scratch for call in whole.calls), 0.0
    peak = gpu = held = kept = 0.0
    for index in stage.steps:
        source = layout.sources[index]
        if source is None:
            continue
        step = plan.steps[index]
        keys = layout.planes if source == RAW else layout.keys[source]
        plane = areas[source]
        call_peak = 0.0
        for group, stack in group_stacks(keys, step.variable_components):
            chain = chain_of(step, group, well, channel_names(plan.steps, layout.sources, source, channels))
            if chain is None:
                continue
            stack_bytes = len(stack) * plane * sizes[source]
            for call in step.branches[chain]:
                labels = 4 * len(stack) * plane * sum(kind == "labels" for _, kind in call.outputs)
                call_bytes = stack_bytes * call.memory + plane * call.scratch
                call_peak = max(call_peak, call_bytes + labels)
                if "gpu" in call.devices:
                    gpu = max(gpu, call_bytes)
        output = (
            len(layout.keys[index]) * areas[index] * (sizes[index] + _label_bytes(step))
            if step.own_images
            else 0
        )
        peak = max(peak, kept + held + output + call_peak)
        held = output if step.own_images else held  # the next step replaces it
        kept += output if step.written else 0  # written ones stay until the stage publishes
    return max(peak, kept * (1 + WRITE_FACTOR)), gpu


def _itemsize(step: StepPlan, size: int) -> int:
    """Bytes per pixel that a step leaves, given those it gets."""
    declared = [call.dtype for call in step.calls if call.dtype != "same"]
    return max((np.dtype(name).itemsize for name in declared), default=size) if step.own_images else size


def _label_bytes(step: StepPlan) -> int:
    return 4 * max(sum(kind == "labels" for _, kind in call.outputs) for call in step.calls)


def _largest_stack(keys: Iterable[PlaneKey], step: StepPlan) -> int:
    return max((len(stack) for _, stack in group_stacks(keys, step.variable_components)), default=0)


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
