"""Which units are taken to need the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.learning.needs import Needs

MakePlan = Callable[..., Plan]


def need(plan: Plan, stage: str = "b", unit: str = "A01") -> str:
    return Needs(plan).of(plan.stage(stage), unit)


def with_layout(plan: Plan, **changes: Any) -> Plan:
    return replace(plan, layouts=tuple(replace(layout, **changes) for layout in plan.layouts))


def test_another_plate_of_the_same_pipeline_and_size_needs_the_same(make_plan: MakePlan) -> None:
    one, other = make_plan("a", "b"), make_plan("a", "b", plate="P2", wells=["C03", "D04"])
    assert need(one) == need(one, unit="B02") == need(other, unit="C03")
    assert need(one, "consolidate", PLATE_UNIT) == need(other, "consolidate", PLATE_UNIT)


def test_another_parameter_is_another_need(make_plan: MakePlan) -> None:
    assert need(make_plan("a", "b")) != need(make_plan("a", "b", radius=6))


def test_a_change_further_up_is_none(make_plan: MakePlan) -> None:
    plan = make_plan("a", "b")
    stages = tuple(replace(stage, fingerprint=f"other {stage.name}") for stage in plan.stages)
    assert need(replace(plan, stages=stages, key="other")) == need(plan)


def test_size_type_and_number_of_planes_are_part_of_it(make_plan: MakePlan) -> None:
    plan = make_plan("a", "b")
    (layout,) = plan.layouts
    fewer = tuple(planes[:1] for planes in layout.keys)
    others = [{"height": 65}, {"dtype": "float32"}, {"keys": fewer}]
    assert len({need(plan), *(need(with_layout(plan, **other)) for other in others)}) == 4


def test_a_stage_of_the_whole_plate_needs_more_with_more_wells(make_plan: MakePlan) -> None:
    small, large = make_plan("a"), make_plan("a", wells=["A01", "A02", "A03"])
    assert need(small, "a") == need(large, "a")
    assert need(small, "report", PLATE_UNIT) != need(large, "report", PLATE_UNIT)
