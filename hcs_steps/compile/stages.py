"""Phase 3: materialization planning. Which steps end a stage, what each stage reads, and its fingerprint.

A stage ends where images leave memory (they are then a checkpoint), before and after a plate-scope step, at a gate,
and at the end. Steps in between run in one job, their images never written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import replace

from hcs_steps import __version__
from hcs_steps.compile.homes import stored
from hcs_steps.compile.plan import RAW, CallPlan, Layout, Plan, StagePlan, StepPlan, digest, plain_values
from hcs_steps.compile.request import Request
from hcs_steps.errors import HcsError
from hcs_steps.pipeline.enums import Backend

CONSOLIDATE = "consolidate"
"""The stage of every plan that joins the units' tables, computes what follows from them and says what is missing."""

_PACKING = frozenset({"compressor", "compression_level"})
SETTINGS = {
    Backend.ZARR.value: _PACKING | {"chunk_strategy", "ngff_version"},
    Backend.DISK.value: _PACKING | {"tiff_files", "tiff_metadata"},
}
"""Which of the `StoreSettings` the images of a backend depend on; those of others on all."""

REPORT = "report"
"""The last stage of every plan: the page that shows it all."""


def plan_stages(plan: Plan, request: Request) -> tuple[Plan, list[HcsError]]:
    """Cut the steps into stages and hash them."""
    gates = {index for index, step in enumerate(request.pipeline.steps) if step.gate}
    groups = _cut(plan.steps, gates)
    plan = _store_what_stays(plan, groups, str(request.pipeline.config.vfs.materialization_backend))
    stages: list[StagePlan] = []
    for steps in groups:
        scope = plan.steps[steps[0]].scope
        upstream = tuple(s.name for s in stages) if scope == "plate" else _upstream(plan, steps, stages)
        name = _name(plan, steps)
        if name in {stage.name for stage in stages}:  # a step may be called like two others with _to_ between
            name = f"{name}_{len(stages)}"
        stages.append(StagePlan(name, scope, steps, upstream, gate=steps[-1] in gates))
    for name in (CONSOLIDATE, REPORT):
        stages.append(StagePlan(name, "plate", (), tuple(stage.name for stage in stages)))
    hashed: dict[str, str] = {}
    for number, stage in enumerate(stages):
        hashed[stage.name] = stage_fingerprint(plan, stage, [hashed[name] for name in stage.upstream])
        stages[number] = replace(stage, fingerprint=hashed[stage.name])
    return replace(plan, stages=tuple(stages)), []


def _cut(steps: Sequence[StepPlan], gates: Set[int]) -> list[tuple[int, ...]]:
    groups: list[list[int]] = []
    open_group = False
    for index, step in enumerate(steps):
        if open_group and step.scope == "unit":
            groups[-1].append(index)
        else:
            groups.append([index])
        open_group = step.scope == "unit" and not step.checkpoint and index not in gates
    return [tuple(group) for group in groups]


def _store_what_stays(plan: Plan, groups: Sequence[Sequence[int]], backend: str) -> Plan:
    """Give a store to every step whose images outlive its job.

    Another stage reads them, or they are the last ones of a well that the steps after it leave out.
    """
    home = {step: number for number, steps in enumerate(groups) for step in steps}
    crossing = {
        source
        for layout in plan.layouts
        for index in home
        if (source := source_of(plan.steps, layout, index)) is not None
        and source != RAW
        and home[source] != home[index]
    }
    final = {
        max((i for i in home if layout.sources[i] is not None and plan.steps[i].own_images), default=RAW)
        for layout in plan.layouts
    }
    steps = (
        replace(stored(step, backend), kept=index in final)
        if index in crossing | final and not step.written
        else step
        for index, step in enumerate(plan.steps)
    )
    return replace(plan, steps=tuple(steps))


def source_of(steps: Sequence[StepPlan], layout: Layout, index: int) -> int | None:
    """The step whose images a step reads, or `RAW`; None where it is not for the units of the layout.

    A plate-scope step reads the last images before it, which are therefore stored.
    """
    step = steps[index]
    if step.scope == "unit":
        return layout.sources[index]
    if step.input_source == "pipeline_start":
        return RAW
    before = (i for i in range(index) if layout.sources[i] is not None and steps[i].own_images)
    return max(before, default=RAW)


def _upstream(plan: Plan, steps: Sequence[int], stages: Sequence[StagePlan]) -> tuple[str, ...]:
    """Stages that hold the images or the named outputs that ``steps`` read."""
    home = {step: stage.name for stage in stages for step in stage.steps}
    needed: set[str] = set()
    for index in steps:
        sources = {layout.sources[index] for layout in plan.layouts}
        needed |= {home[s] for s in sources if s is not None and s != RAW and s in home}
        wanted = {name for chain in plan.steps[index].branches.values() for name in looked_up(chain)}
        for layout in plan.layouts:
            if layout.sources[index] is not None:
                producers = {last_producer(plan.steps[:index], layout, name) for name in wanted}
                needed |= {home[p] for p in producers if p is not None and p in home}
    return tuple(stage.name for stage in stages if stage.name in needed)


def looked_up(chain: Sequence[CallPlan]) -> set[str]:
    """Names that are filled from outside a chain: injected, and not returned for certain by a call before."""
    wanted: set[str] = set()
    made: set[str] = set()
    for call in chain:
        wanted |= set(call.injected) - made
        made |= {name for name, _ in call.outputs[: len(call.outputs) - call.optional]}
    return wanted


def last_producer(steps: Sequence[StepPlan], layout: Layout, output: str) -> int | None:
    """Index of the last of ``steps`` that returns an output of that name for the units of a layout, or None.

    What a plate-scope step returns is for all units.
    """
    makers = [
        i
        for i, step in enumerate(steps)
        if (step.scope == "plate" or layout.sources[i] is not None)
        and any(name == output for c in step.calls for name, _ in c.outputs)
    ]
    return makers[-1] if makers else None


def _name(plan: Plan, steps: Sequence[int]) -> str:
    first, last = plan.steps[steps[0]].name, plan.steps[steps[-1]].name
    return first if len(steps) == 1 else f"{first}_to_{last}"


def _storage(plan: Plan, stage: StagePlan) -> dict[str, object]:
    """The settings that the images written in a stage depend on. Which package reads them back changes nothing."""
    settings = plain_values(plan.storage)
    backends = {plan.steps[index].backend for index in stage.steps if plan.steps[index].written}
    apply = {
        name
        for backend in backends
        for name in SETTINGS.get(backend, frozenset(settings) - {"codec_pipeline"})
    }
    return {name: value for name, value in settings.items() if name in apply}


def stage_fingerprint(plan: Plan, stage: StagePlan, upstream: Sequence[str]) -> str:
    """Hash of what the stage does: code, parameters, storage, everything upstream; not of where or how
    fast.
    """
    content = {
        "version": __version__,
        "steps": [plain_values(plan.steps[index]) for index in stage.steps],
        "channels": dict(plan.plate.channels),
        "pixel_size_um": plan.plate.pixel_size_um,
        "storage": _storage(plan, stage),
        "rois": plan.table_settings.rois if any(plan.steps[index].labels for index in stage.steps) else None,
    }
    if stage.name == CONSOLIDATE:
        # Of the columns and values nothing is left out: a new reading of the plate map makes new statistics.
        content |= {
            "tables": plain_values(plan.tables),
            "table_settings": plain_values(plan.table_settings),
            "analysis": plain_values(plan.analysis),
        }
    return digest(json.dumps(content, sort_keys=True), *upstream)
