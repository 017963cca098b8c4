"""Which stages are run: what a mode, ``from`` and ``until``, and gates that nobody has looked at leave out.

A stage that is left out stays in the plan with the reason: what it has made before is used, and every fingerprint is
that of the whole pipeline, so that no mode makes another one compute anything again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from hcs_steps.compile.plan import Plan, StagePlan, TablePlan
from hcs_steps.compile.request import Choice, Request
from hcs_steps.compile.stages import CONSOLIDATE, REPORT, stage_fingerprint
from hcs_steps.compile.steps import slugify
from hcs_steps.errors import HcsError, PipelineError, nearest

ALWAYS = (CONSOLIDATE, REPORT)
"""The stages that tell of the others; no choice leaves them out."""


def choose_stages(plan: Plan, request: Request) -> tuple[Plan, list[HcsError]]:
    """Mark the stages that are left out with the reason, and take those after them out of the last two stages."""
    choice = request.options.choice
    reasons: dict[str, str] = {}
    problems: list[HcsError] = []
    try:
        later = _not_wanted(plan, choice, reasons)
    except PipelineError as error:
        return plan, [*problems, error]
    gate = _closed_gate(plan, choice, reasons, later)
    if not reasons:
        return plan, []
    stages: list[StagePlan] = []
    for stage in plan.stages:
        if stage.name in ALWAYS:
            upstream = tuple(name for name in stage.upstream if name not in later)
            above = {found.name: found.fingerprint for found in stages}
            stage = replace(stage, upstream=upstream)
            stage = replace(
                stage, fingerprint=stage_fingerprint(plan, stage, [above[name] for name in upstream])
            )
        stages.append(replace(stage, skipped=reasons.get(stage.name, "")))
    tables = _tables_without(
        plan, {index for stage in stages if stage.name in later for index in stage.steps}
    )
    notes = tuple(f"Stage {name} is left out: {reason}." for name, reason in reasons.items())
    return replace(plan, stages=tuple(stages), tables=tables, gate=gate, notes=(*plan.notes, *notes)), []


def _not_wanted(plan: Plan, choice: Choice, reasons: dict[str, str]) -> set[str]:
    """Put the reasons of the stages that are not wanted into ``reasons``; returns those that come after the rest."""
    stages = [stage for stage in plan.stages if stage.name not in ALWAYS]
    mode = "" if choice.mode == "full" else f"mode {choice.mode}: "
    first, last = 0, len(stages) - 1
    if choice.existing_images:
        makers = [number for number, stage in enumerate(stages) if _makes_images(plan, stage)]
        first = makers[-1] + 1 if makers else 0
        reasons |= {stage.name: f"{mode}the images that are there are used" for stage in stages[:first]}
    if choice.from_step is not None:
        first = _find(plan, stages, choice.from_step, begins=True)
        reasons |= {stage.name: f"{mode}it comes before {choice.from_step}" for stage in stages[:first]}
    if choice.until is not None:
        last = _find(plan, stages, choice.until, begins=False)
        reasons |= {stage.name: f"{mode}it comes after {choice.until}" for stage in stages[last + 1 :]}
    if choice.until is not None and last < first:
        raise PipelineError(
            f"Nothing is left to run: {choice.until} comes before everything that this run starts with.",
            hint="Choose a later 'until' or an earlier 'from'.",
        )
    for name in choice.skip:
        stage = stages[_find(plan, stages, name)]
        reasons[stage.name] = f"{mode}it is left out"
    return {stage.name for stage in stages[last + 1 :]}


def _find(plan: Plan, stages: Sequence[StagePlan], name: str, begins: bool | None = None) -> int:
    """The number of the stage called ``name``, or that begins (or ends) with the step of that name."""
    slug = slugify(name)
    for number, stage in enumerate(stages):
        steps = [plan.steps[index].name for index in stage.steps]
        if stage.name == name or (begins is None and steps == [slug]):
            return number
        if slug in steps and begins is not None:
            if steps[0 if begins else -1] == slug:
                return number
            raise _inside(stage, name, steps, "begin" if begins else "end")
        if slug in steps:
            raise _inside(stage, name, steps, "stand alone")
    known = [*(stage.name for stage in stages), *(step.name for step in plan.steps)]
    raise PipelineError(f"The pipeline has no step or stage {name!r}.", hint=nearest(name, known))


def _inside(stage: StagePlan, name: str, steps: Sequence[str], what: str) -> PipelineError:
    others = ", ".join(step for step in steps if step != name)
    return PipelineError(
        f"Step {name!r} cannot {what}: it runs in one job with {others}, whose images stay in memory (stage "
        f"{stage.name}).",
        hint="Set gate: true or force_disk_output: true where the stage is to be cut, or "
        "vfs.intermediate_backend: disk for a stage per step.",
    )


def _makes_images(plan: Plan, stage: StagePlan) -> bool:
    """Whether the stage changes pixels; one that only finds and measures objects in them does not."""
    return any(call.changes_image for index in stage.steps for call in plan.steps[index].calls)


def _tables_without(plan: Plan, steps: Set[int]) -> Mapping[str, TablePlan]:
    """The plan's tables, as far as other steps make them."""
    names = {plan.steps[index].name for index in steps}
    kept = {
        name: replace(table, sources=tuple(source for source in table.sources if source[0] not in names))
        for name, table in plan.tables.items()
    }
    return {name: table for name, table in kept.items() if table.sources}


def _closed_gate(plan: Plan, choice: Choice, reasons: dict[str, str], later: set[str]) -> str:
    """The first gated stage of those that are run whose results nobody has been shown; what follows is left out."""
    stages = [stage for stage in plan.stages if stage.name not in ALWAYS]
    for number, stage in enumerate(stages[:-1]):
        closed = stage.gate and choice.shown.get(stage.name) != stage.fingerprint
        if closed and stage.name not in reasons:
            for after in stages[number + 1 :]:
                reasons.setdefault(after.name, f"the run stops at the gate {stage.name}")
                later.add(after.name)
            return stage.name
    return ""
