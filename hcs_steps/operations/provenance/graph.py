"""The stage graph of a plan: which stage reads which, as data, as a text drawing and as an SVG picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hcs_steps.compile.plan import RAW, Plan, StagePlan
from hcs_steps.compile.stages import CONSOLIDATE, REPORT, source_of
from hcs_steps.operations.provenance._graph_svg import Box, draw
from hcs_steps.operations.provenance._graph_text import Node, lanes

PLATE = ""
"""Stands for the plate's own images among the things that a stage reads."""

OWN = {CONSOLIDATE: "joins tables, computes statistics", REPORT: "makes the page of the plate"}
"""What the stages do that every plan has."""


@dataclass(frozen=True)
class StageNode:
    """One stage: what it reads (`PLATE` for the plate's own images; ``drawn`` leaves out what follows from the rest),
    what runs in it and what it leaves.

    ``steps`` are (step, its functions), ``keeps`` what it writes, ``facts`` the jobs and what they are given, in words.
    """

    name: str
    scope: str
    reads: tuple[str, ...]
    drawn: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    keeps: tuple[str, ...]
    facts: tuple[str, ...]
    gate: bool
    skipped: str


def stage_graph(plan: Plan) -> tuple[StageNode, ...]:
    """The stages of a plan in their order."""
    reads = {stage.name: _reads(plan, stage) for stage in plan.stages}
    return tuple(
        StageNode(
            name=stage.name,
            scope=stage.scope,
            reads=reads[stage.name],
            drawn=_without_detours(stage.name, reads),
            steps=tuple((plan.steps[i].name, _functions(plan, i)) for i in stage.steps)
            or (("", OWN[stage.name]),),
            keeps=tuple(_keeps(plan, stage)),
            facts=tuple(_facts(plan, stage)),
            gate=stage.gate,
            skipped=stage.skipped,
        )
        for stage in plan.stages
    )


def graph_text(plan: Plan) -> str:
    """The stage graph as a drawing in text: lines lead from what is read to what reads it."""
    nodes = [Node(PLATE, (), (f"raw images   {_plate_facts(plan)}",))]
    nodes += [
        Node(node.name, node.drawn, tuple(_lines(plan, node)), bool(node.skipped))
        for node in stage_graph(plan)
    ]
    return "\n".join(lanes(nodes))


def graph_svg(plan: Plan, title: str) -> str:
    """The stage graph as a picture: one SVG file without scripts, for light and dark pages."""
    boxes = [Box(PLATE, (), "raw images", (_plate_facts(plan),), "plate")]
    for node in stage_graph(plan):
        kind = "skipped" if node.skipped else "gate" if node.gate else node.scope
        boxes.append(Box(node.name, node.drawn, node.name, tuple(_box_lines(node)), kind))
    return draw(boxes, title)


def _reads(plan: Plan, stage: StagePlan) -> tuple[str, ...]:
    """What a stage reads: stages, and `PLATE` if any of its steps takes the plate's own images."""
    raw = [PLATE] if any(_reads_raw(plan, index) for index in stage.steps) else []
    return (*raw, *stage.upstream)


def _reads_raw(plan: Plan, index: int) -> bool:
    return any(source_of(plan.steps, layout, index) == RAW for layout in plan.layouts)


def _without_detours(name: str, reads: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """What a stage reads, but for what another thing that it reads has read before."""
    behind: set[str] = set()
    for source in reads[name]:
        waiting = [*reads.get(source, ())]
        while waiting:
            found = waiting.pop()
            if found not in behind:
                behind.add(found)
                waiting += reads.get(found, ())
    # The plate's images are drawn wherever they are read: reading them again is what a branch is.
    return tuple(source for source in reads[name] if source not in behind or source == PLATE)


def _functions(plan: Plan, index: int) -> str:
    step = plan.steps[index]
    chains = {branch: " + ".join(call.function for call in chain) for branch, chain in step.branches.items()}
    if step.group_by == "channel":
        chains = {plan.plate.channels.get(branch, branch): chain for branch, chain in chains.items()}
    return "; ".join(f"{branch}: {chain}" if branch else chain for branch, chain in chains.items())


def _keeps(plan: Plan, stage: StagePlan) -> Iterable[str]:
    for step in (plan.steps[index] for index in stage.steps):
        if step.written:
            yield f"{step.store} ({'images' if step.kept else 'checkpoint'})"
        for kind in ("labels", "table", "array"):
            names = dict.fromkeys(
                name for call in step.calls for name, found in call.outputs if found == kind
            )
            if names:
                yield f"{kind if len(names) == 1 or kind == 'labels' else f'{kind}s'} {', '.join(names)}"
    if stage.name == CONSOLIDATE:
        yield "tables of the plate"
    if stage.name == REPORT:
        yield "report.html"


def _facts(plan: Plan, stage: StagePlan) -> Iterable[str]:
    yield "once for the plate" if stage.scope == "plate" else _count(len(plan.units_of(stage)), "unit")
    jobs = len(plan.jobs_of(stage))
    if stage.scope == "unit" and jobs:
        yield _count(jobs, "job")
    yield f"{stage.mem_mb:,} MB"
    if stage.threads > 1:
        yield _count(stage.threads, "thread")
    if stage.gpu:
        yield f"GPU {stage.gpu_mem_mb:,} MB"
    if stage.timeout_s:
        yield f"at most {stage.timeout_s:g} s per unit"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _plate_facts(plan: Plan) -> str:
    wells = len({unit.well for unit in plan.units.values()})
    return f"{_count(wells, 'well')} · {', '.join(plan.plate.channels.values())}"


def _lines(plan: Plan, node: StageNode) -> Iterable[str]:
    """What the drawing says beside a stage."""
    if node.skipped:
        yield f"{node.name}   left out: {node.skipped}"
        return
    yield f"{node.name}   {' · '.join(node.facts)}"
    yield f"reads    {_reads_text(plan, node)}"
    for step, functions in node.steps:
        yield f"runs     {step}: {functions}" if step not in ("", node.name) else f"runs     {functions}"
    if node.keeps:
        yield f"writes   {', '.join(node.keeps)}"
    if node.gate:
        yield "gate     the run stops here for people to look"


def _reads_text(plan: Plan, node: StageNode) -> str:
    if node.name in OWN:
        stages = [stage for stage in plan.stages if stage.name in node.reads]
        return f"all {len(stages)} stages before" if len(stages) > 1 else ", ".join(node.reads)
    return ", ".join("raw images" if source == PLATE else source for source in node.reads) or "nothing"


def _box_lines(node: StageNode) -> Iterable[str]:
    """What the picture says in the box of a stage."""
    if node.skipped:
        yield f"left out: {node.skipped}"
        return
    for step, functions in node.steps:
        yield f"{step}: {functions}" if step not in ("", node.name) else functions
    yield from node.keeps
    yield " · ".join(node.facts)
    if node.gate:
        yield "gate: the run stops here to be looked at"
