"""Phase 4: memory. Host and GPU bytes of every stage, predicted from shapes, dtypes and what functions declare.

What is predicted: ``StagePlan.mem_mb``, the largest resident set, in MB (2**20 bytes), that the process of a job
reaches in one unit of the stage: all that the system counts as the process's own and shared memory in RAM, from the
unit's first plane read to its last file written, Python and libraries included. It is what a record's
``peak_host_mb`` measures. ``benchmarks/memory.py`` and the tests hold the one against the other: a prediction is not
below what was measured, nor more than twice that.

The prediction is the sum of the process (see `process_memory`) and the largest, over the steps, of what is held at
that moment: images of the stage that later steps still need, the step's output so far, and its largest call at the
function's declared peak; or of what is held while the results are written. Not predicted, since only the images
tell: tables, which take about 1 KB per object and set of `measure_objects`, less elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from hcs_steps.compile.declared import Declared
from hcs_steps.compile.plan import RAW, CallPlan, Layout, Plan, StagePlan, StepPlan
from hcs_steps.compile.process_memory import (
    ASSUMED,
    CONSOLIDATE_MB,
    GPU_KEPT_MB,
    REPORT_MB,
    TABLE,
    process_mb,
)
from hcs_steps.compile.request import Request
from hcs_steps.compile.stages import CONSOLIDATE, last_producer, looked_up, source_of
from hcs_steps.compile.units import chain_of, channel_names
from hcs_steps.errors import HcsError, PipelineError
from hcs_steps.functions.declare import is_wide
from hcs_steps.pipeline.stacks import group_stacks

MB = 1 << 20
GPU_BASE_MB = 500
"""A CUDA context."""
WRITE_FACTOR = 2.0
"""What writing takes besides the images of a site: their packed bytes and pyramid, as a multiple of their bytes."""
SITES_AT_ONCE = 2
"""Sites that a store writes at a time."""


def predict_memory(plan: Plan, request: Request) -> tuple[Plan, list[HcsError]]:
    """Set ``mem_mb`` and ``gpu_mem_mb`` of every stage and check them against the limits."""
    functions = Declared(plan, request)
    peaks = {stage.name: _Peak() for stage in plan.stages}
    examples = {unit.layout: unit.well for unit in plan.units.values()}
    for index, layout in enumerate(plan.layouts):
        steps = _needs(plan, layout, examples[index], functions)
        for stage in plan.stages:
            peaks[stage.name] = peaks[stage.name].or_more(_stage_peak(plan, stage, steps))
    stages = []
    problems: list[HcsError] = list(functions.problems.values())
    for stage in plan.stages:
        host, gpu = peaks[stage.name].host, peaks[stage.name].gpu
        waits = min(peaks[stage.name].waits, GPU_KEPT_MB * MB)
        packages = _packages(plan, stage, functions)
        mem_mb = _rounded(_process_mb(plan, stage, packages) + host / MB)
        gpu_mem_mb = _rounded(GPU_BASE_MB + (gpu + waits) / MB) if gpu else 0
        stages.append(replace(stage, packages=packages, mem_mb=mem_mb, gpu_mem_mb=gpu_mem_mb))
        limit = request.options.limits.mem_mb
        if limit is not None and mem_mb > limit:
            problems.append(
                PipelineError(
                    f"Stage {stage.name} needs about {mem_mb:,} MB of memory for one {_unit_word(request)} "
                    f"({_largest(plan, stage, functions)}), but {limit:,} MB are there.",
                    hint="Use parallel_by: site, stack fewer planes (variable_components), split the "
                    "stage with force_disk_output or intermediate_backend: disk, or raise limits.mem_mb.",
                )
            )
    return replace(plan, stages=tuple(stages)), problems


@dataclass(frozen=True)
class _Peak:
    """Peak bytes on the host, of a call on the GPU, and of what waits there meanwhile."""

    host: float = 0.0
    gpu: float = 0.0
    waits: float = 0.0

    def or_more(self, other: _Peak) -> _Peak:
        return _Peak(max(self.host, other.host), max(self.gpu, other.gpu), max(self.waits, other.waits))

    def beside(self, held: float) -> _Peak:
        """The peak while so many bytes more are held on the host."""
        return replace(self, host=self.host + held)


@dataclass(frozen=True)
class _Images:
    """Images of one unit: pixels of the largest plane, bytes and edge length of a pixel, and whether float32 does not
    hold its values.
    """

    area: float
    itemsize: int
    pixel_size: float
    wide: bool = False

    def or_larger(self, other: _Images) -> _Images:
        return _Images(
            max(self.area, other.area),
            max(self.itemsize, other.itemsize),
            max(self.pixel_size, other.pixel_size),
            self.wide or other.wide,
        )

    def of_type(self, dtype: str) -> _Images:
        """These images as another data type; ``same`` is none."""
        if dtype == "same":
            return self
        kind = np.dtype(dtype)
        return replace(self, itemsize=kind.itemsize, wide=is_wide(kind))

    @property
    def plane(self) -> float:
        """Bytes of a plane."""
        return self.area * self.itemsize


@dataclass
class _Need:
    """What a step takes of one unit: the most while it runs, and the bytes of the images and of the labels that it
    leaves. ``sites`` is the number of sites that these are of, ``planes`` that of the planes of a site.
    """

    left: _Images
    call: _Peak = _Peak()
    images: float = 0.0
    labels: float = 0.0
    sites: int = 1
    planes: float = 1.0


def _packages(plan: Plan, stage: StagePlan, functions: Declared) -> tuple[str, ...]:
    """The large packages that the process of a stage loads, sorted."""
    if not stage.steps:
        return tuple(sorted(ASSUMED))
    calls = _calls(plan, stage)
    packages = {name for step, call in calls for name in functions.packages(step, call)}
    if any(kind == "table" for _, call in calls for _, kind in call.outputs):
        packages.add(TABLE)
    return tuple(sorted(packages))


def _process_mb(plan: Plan, stage: StagePlan, packages: Iterable[str]) -> float:
    """What the process of a stage takes apart from images."""
    if not stage.steps:
        base, unit = CONSOLIDATE_MB if stage.name == CONSOLIDATE else REPORT_MB
        return base + unit * len(plan.units)
    return process_mb(packages)


def _calls(plan: Plan, stage: StagePlan) -> list[tuple[StepPlan, CallPlan]]:
    """Every call of a stage, with its step."""
    return [(plan.steps[index], call) for index in stage.steps for call in plan.steps[index].calls]


def _needs(plan: Plan, layout: Layout, well: str, functions: Declared) -> dict[int, _Need]:
    """What every step takes of a unit of a layout, and the plate's own images under `RAW`."""
    channels = {int(number): name for number, name in plan.plate.channels.items()}
    stages = {index: stage.name for stage in plan.stages for index in stage.steps}
    raw = _Images(layout.height * layout.width, 1, functions.pixel_size).of_type(layout.dtype)
    needs = {RAW: _Need(raw)}
    for index, step in enumerate(plan.steps):
        if step.scope == "plate":
            needs[index] = _plate_need(plan, index, layout, needs, functions)
            continue
        source = layout.sources[index]
        if source is None:
            continue
        before = needs[source].left
        held = source != RAW and stages[source] == stages[index]
        names = channel_names(plan.steps, layout.sources, source, channels)
        left: list[_Images] = []
        keys = layout.keys[index]
        sites = max(1, len({key.site for key in keys}))
        needs[index] = need = _Need(before, sites=sites, planes=max(1.0, len(keys) / sites))
        last = 0.0
        for group, stack in group_stacks(layout.left_by(source), step.variable_components):
            branch = chain_of(step, group, well, names)
            if branch is None and step.unlisted != "pass":
                continue
            size = len(stack) * before.plane
            # Planes are read one by one and stacked then; those in memory are only stacked.
            reading = size if held else 2 * size + before.plane
            made = need.images + need.labels
            need.call = need.call.or_more(_Peak(made + last + reading))
            if branch is None:
                own, last = _Need(before, images=size), 0.0
            else:
                given = _label_sets(plan, index, layout, step.branches[branch])
                own = _chain_need(step, branch, len(stack), before, given, functions)
                # The stack that went in stays until the next one is there; one that passed through is among the images.
                last = size if any(call.changes_image for call in step.branches[branch]) else 0.0
            left.append(own.left)
            need.call = need.call.or_more(own.call.beside(made))
            need.images += own.images
            need.labels += own.labels
        if step.own_images:
            need.left = reduce(_Images.or_larger, left) if left else before
    return needs


def _chain_need(
    step: StepPlan, branch: str, planes: int, images: _Images, given: int, functions: Declared
) -> _Need:
    """What a chain takes of one stack; ``given`` is the number of label stacks that it is handed."""
    stack = planes * images.plane
    labels = 4 * planes * images.area * given
    # Labels are read plane by plane and stacked then; what the planes took serves others, but is not given back.
    labels += labels / given if given else 0
    peak = _Peak(stack + labels)
    made = 0.0
    for number, call in enumerate(step.branches[branch]):
        scale = functions.scale(step, call, images.pixel_size)
        cost = functions.cost(step, call)
        area = images.area * scale**2 * (planes if call.mosaic else 1)
        returned = 1 if call.reduces else planes
        grown = max(1.0, returned * area / (planes * images.area))
        own_labels = 4 * returned * area * sum(kind == "labels" for _, kind in call.outputs)
        taken = (
            cost.bytes(planes * images.plane * grown, images.area * max(1.0, scale**2), images.wide)
            + labels
            + made
            + own_labels
        )
        # The runner holds the stack that went into a chain until the chain has ended.
        peak = peak.or_more(_Peak(taken + (stack if number else 0), taken if "gpu" in call.devices else 0))
        images = replace(images.of_type(call.dtype), area=area, pixel_size=images.pixel_size / scale)
        planes = returned
        made += own_labels
    return _Need(images, peak, planes * images.plane, made)


def _plate_need(
    plan: Plan, index: int, layout: Layout, needs: Mapping[int, _Need], functions: Declared
) -> _Need:
    """What a plate-scope step takes: one stack of the images that it reads."""
    step = plan.steps[index]
    source = source_of(plan.steps, layout, index)
    assert source is not None  # of a plate-scope step
    images = needs[source].left
    stacks = group_stacks(layout.left_by(source), step.variable_components)
    largest = max((len(stack) for _, stack in stacks), default=0) * images.plane
    costs = [functions.cost(step, call) for call in step.calls]
    taken = max(cost.bytes(largest, images.area, images.wide) for cost in costs)
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
    held = kept = writing = 0.0
    for index in stage.steps:
        if index not in needs:
            continue
        step, need = plan.steps[index], needs[index]
        peak = peak.or_more(need.call.beside(kept + held))
        if _uses_gpu(plan, [i for i in stage.steps if i > index]):
            peak = peak.or_more(_Peak(waits=kept + held + need.images + need.labels))
        elif _uses_gpu(plan, [index]):
            peak = peak.or_more(_Peak(waits=kept + held))
        if step.own_images:
            held = 0.0 if step.written else need.images  # the next step replaces it
        # What is published stays until the stage has ended.
        published = need.labels + (need.images if step.written else 0.0)
        kept += published
        share = min(1.0, SITES_AT_ONCE / need.sites)
        # A plane of odd sizes is copied to be halved.
        writing = max(writing, share * published * (WRITE_FACTOR + 1 / need.planes))
    return peak.or_more(_Peak(kept + writing))


def _uses_gpu(plan: Plan, steps: Sequence[int]) -> bool:
    """Whether any of some steps can use a GPU."""
    return any("gpu" in call.devices for index in steps for call in plan.steps[index].calls)


def _largest(plan: Plan, stage: StagePlan, functions: Declared) -> str:
    layout = max(plan.layouts, key=lambda item: len(item.planes) * item.height * item.width)
    planes = f"{len(layout.planes)} planes of {layout.height} x {layout.width} {layout.dtype}"
    costs = [(functions.cost(step, call), call.function) for step, call in _calls(plan, stage)]
    if not costs:
        return planes
    cost, function = max(costs)
    return f"{planes}; {function} takes {cost.memory:g} times its stack and {cost.scratch:g} bytes per pixel"


def _unit_word(request: Request) -> str:
    return request.options.parallel_by


def _rounded(mb: float) -> int:
    """Up to the next 32 MB, so that plates that differ a little share their rules."""
    return math.ceil(mb / 32) * 32
