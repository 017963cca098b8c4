"""Whether what was read from a plan's file is a plan, so that nobody who works by it has to look again.

A plan says where results are written and how many there are. One that was damaged, or written by somebody else, is
refused whole: no name in it leads out of the results folder, every index is one of something that is there, and no
image is made of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import PurePosixPath

from hcs_steps.compile.plan import RAW, Layout, Plan
from hcs_steps.shape import check_types, is_name


def check_plan(plan: Plan) -> None:
    """Raise `ValueError` that says what of a decoded plan is wrong."""
    check_types(plan, "plan")
    _check_names(plan)
    stages = {stage.name for stage in plan.stages}
    for stage in plan.stages:
        _need(stages.issuperset(stage.upstream), f"stage {stage.name} builds on stages that are not there")
        _need(all(0 <= step < len(plan.steps) for step in stage.steps), f"stage {stage.name} has other steps")
    _need(
        all(RAW <= step.labels_in < len(plan.steps) for step in plan.steps), "labels lie in no step's store"
    )
    _need(all(step.branches for step in plan.steps), "a step has no functions")
    _need(all(c.isascii() and c.isdigit() for c in plan.plate.channels), "a channel has no number")
    for number, layout in enumerate(plan.layouts):
        _check_layout(layout, len(plan.steps), f"layout {number}")
    _need(all(0 <= unit.layout < len(plan.layouts) for unit in plan.units.values()), "a unit has no layout")
    _need(plan.units.keys() >= set(chain.from_iterable(plan.jobs.values())), "a job has other units")
    steps = {step.name for step in plan.steps}
    _need(
        steps.issuperset(name for t in plan.tables.values() for name, _ in t.sources), "a table has no step"
    )


def _check_names(plan: Plan) -> None:
    """Names become parts of paths: none may be more than one, and paths stay inside."""
    outputs = (name for step in plan.steps for call in step.calls for name, _ in call.outputs)
    names: Sequence[Iterable[str]] = (
        (plan.plate.id,),
        (stage.name for stage in plan.stages),
        (step.name for step in plan.steps),
        outputs,
        plan.units,
        (unit.well for unit in plan.units.values()),
        plan.jobs,
        plan.tables,
        (output for table in plan.tables.values() for _, output in table.sources),
    )
    for name in chain.from_iterable(names):
        _need(is_name(name), f"{name[:80]!r} is no name")
    for path in (plan.tables_folder, *(step.store for step in plan.steps if step.store)):
        parts = PurePosixPath(path).parts
        _need(bool(parts) and all(map(is_name, parts)), f"{path[:80]!r} is no path inside the results")


def _check_layout(layout: Layout, steps: int, what: str) -> None:
    _need(len(layout.sources) == len(layout.keys) == steps, f"{what} is of other steps")
    _need(layout.height >= 0 and layout.width >= 0, f"{what} has a negative size")
    for step, source in enumerate(layout.sources):
        _need(source is None or RAW <= source < step, f"{what}: step {step} reads images of step {source}")


def _need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
