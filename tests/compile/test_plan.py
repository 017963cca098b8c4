"""Plans: the same bytes for the same input, JSON forth and back, one layout for units that look alike."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcs_steps.compile.plan import PLAN_VERSION, PLATE_UNIT, Plan
from hcs_steps.errors import ConfigError
from hcs_steps.pipeline import FunctionStep
from hcs_steps.plate.inventory import Plane, PlaneKey


@pytest.fixture(scope="session")
def rich(lab: Any) -> Callable[..., Plan]:
    """A plan with something of everything."""

    def rich(**options: Any) -> Plan:
        steps = [
            FunctionStep((lab.smooth, {"sigma": 2.5}), name="smooth"),
            FunctionStep(lab.segment, name="segment"),
            FunctionStep({"DAPI": (lab.find, {"threshold": 1}), 2: [lab.smooth, lab.measure]}, name="find"),
            FunctionStep(lab.project, name="merge", variable_components="channel", well_filter="row:A"),
        ]
        values = {"config": {"vfs": {"intermediate_backend": "disk"}}, "units_per_job": 2}
        plan: Plan = lab.plan(steps, **(values | options))
        return plan

    return rich


def test_the_same_input_gives_the_same_bytes(rich: Callable[..., Plan]) -> None:
    assert rich().to_json() == rich().to_json()
    assert rich().hash == rich().hash


def test_json_gives_the_plan_back(rich: Callable[..., Plan]) -> None:
    plan = rich()
    again = Plan.from_json(plan.to_json(), where="plan.json")
    assert again == plan
    assert again.to_json() == plan.to_json()
    for stage in plan.stages:
        for unit in plan.units_of(stage):
            assert again.fingerprint(again.stage(stage.name), unit) == plan.fingerprint(stage, unit)


def test_json_gives_the_order_of_branches_back(lab: Any) -> None:
    plan = lab.plan([FunctionStep({2: lab.smooth, "DAPI": lab.find}, name="x")])
    again = Plan.from_json(plan.to_json(), where="plan.json")
    assert {call.function for call in again.steps[0].calls} == {lab.smooth, lab.find}
    assert again.fingerprint(again.stages[0], "A01") == plan.fingerprint(plan.stages[0], "A01")


def test_a_plan_cannot_be_changed(rich: Callable[..., Plan]) -> None:
    plan = rich()
    with pytest.raises(TypeError):
        plan.units["A01"] = plan.units["A02"]  # type: ignore[index]
    with pytest.raises(TypeError):
        plan.steps[0].calls[0].kwargs["sigma"] = 3  # type: ignore[index]


def test_compiling_does_not_change_the_steps(lab: Any) -> None:
    step = FunctionStep({"DAPI": (lab.smooth, {"sigma": 2.0})}, name="s", well_filter=["A01"])
    before = step.settings()
    lab.plan([step])
    assert step.settings() == before


@pytest.mark.parametrize("wells", [96, 384, 1536])
def test_units_that_look_alike_share_one_layout_on_any_plate(lab: Any, wells: int) -> None:
    plan = lab.plan([lab.smooth, lab.find], lab.inventory(lab.wells(wells), sites=1))
    assert len(plan.units) == wells
    assert len(plan.layouts) == 1


def test_a_layout_of_its_own_only_for_what_looks_different(lab: Any) -> None:
    lacks_a_plane = lab.inventory(
        lab.wells(96), drop=lambda p: (p.well, p.site, p.channel) in {("C03", 1, 2), ("D04", 1, 2)}
    )
    plan = lab.plan([lab.smooth, FunctionStep(lab.find, well_filter="row:A")], lacks_a_plane, missing="blank")
    assert len(plan.layouts) == 3  # row A, the others, C03 and D04
    assert plan.units["C03"].layout == plan.units["D04"].layout


def test_a_plan_grows_in_proportion_to_the_wells(lab: Any) -> None:
    sizes = {
        n: len(lab.plan([lab.smooth], lab.inventory(lab.wells(n), sites=1)).to_json())
        for n in (96, 384, 1536)
    }
    per_well = (sizes[384] - sizes[96]) / 288
    assert (sizes[1536] - sizes[384]) / 1152 == pytest.approx(per_well, rel=0.1)


def test_more_planes_per_well_do_not_make_a_plan_grow_per_well(lab: Any) -> None:
    def per_well(**shape: int) -> float:
        small, large = (
            len(lab.plan([lab.smooth], lab.inventory(lab.wells(n), **shape)).to_json()) for n in (96, 384)
        )
        return (large - small) / 288

    assert per_well(sites=9, t=3) == pytest.approx(per_well(sites=1), rel=0.1)


def test_a_plan_of_another_version_is_refused(rich: Callable[..., Plan]) -> None:
    data = json.loads(rich().to_json())
    with pytest.raises(ConfigError, match=r"another version.*compiles the plan anew"):
        Plan.from_json(json.dumps({**data, "version": PLAN_VERSION + 1, "new": 1}), where="plan.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"x"', "{}", '{"version": 1}', "[" * 100_000])
def test_what_is_no_plan_is_a_config_error_that_names_the_file(text: str) -> None:
    with pytest.raises(ConfigError, match=r"here/plan\.json"):
        Plan.from_json(text, where="here/plan.json")


def test_a_plan_file_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    for name in ("absent.json", "binary.json", "."):
        with pytest.raises(ConfigError):
            Plan.load(tmp_path / name)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
    max_leaves=4,
)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_plan_is_a_plan_or_a_config_error(rich: Callable[..., Plan], data: st.DataObject) -> None:
    plan = json.loads(PLAN_TEXT.setdefault("text", rich().to_json()))
    node: Any = plan
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
            node = node[key]
            continue
        break
    if data.draw(st.booleans()):
        node[key] = data.draw(anything)
    else:
        del node[key]
    with suppress(ConfigError):
        Plan.from_json(json.dumps(plan), where="plan.json")


PLAN_TEXT: dict[str, str] = {}


@given(st.text(max_size=40))
def test_any_text_is_no_plan(text: str) -> None:
    with pytest.raises(ConfigError):
        Plan.from_json(text, where="plan.json")


def test_an_unknown_stage_gets_the_nearest_one(rich: Callable[..., Plan]) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'smooth'"):
        rich().stage("smoth")


def test_units_are_wells_or_sites(lab: Any) -> None:
    assert list(lab.plan([lab.smooth]).units) == ["A01", "A02", "B01"]
    by_site = lab.plan([lab.smooth], lab.inventory(["A01", "B01"]), parallel_by="site")
    assert list(by_site.units) == ["A01_s1", "A01_s2", "B01_s1", "B01_s2"]
    assert {unit.well for unit in by_site.units.values()} == {"A01", "B01"}
    assert all(
        {k.site for k in by_site.layouts[u.layout].planes} == {int(n[-1])} for n, u in by_site.units.items()
    )


@pytest.mark.parametrize(
    ("size", "jobs"),
    [
        (1, {"A01": ("A01",), "A02": ("A02",), "A03": ("A03",), "A04": ("A04",), "A05": ("A05",)}),
        (2, {"A01-A02": ("A01", "A02"), "A03-A04": ("A03", "A04"), "A05": ("A05",)}),
        (9, {"A01-A05": ("A01", "A02", "A03", "A04", "A05")}),
    ],
)
def test_units_per_job_makes_chunks_named_by_their_ends(lab: Any, size: int, jobs: dict[str, Any]) -> None:
    plan = lab.plan([lab.smooth], lab.inventory(lab.wells(5)), units_per_job=size)
    assert dict(plan.jobs) == jobs
    assert plan.jobs_of(plan.stages[0]) == jobs
    assert plan.jobs_of(plan.stage("consolidate")) == {PLATE_UNIT: (PLATE_UNIT,)}


def test_a_job_without_units_of_a_stage_does_not_exist(lab: Any) -> None:
    steps = [FunctionStep(lab.smooth, force_disk_output=True), FunctionStep(lab.find, well_filter="A01")]
    plan = lab.plan(steps, lab.inventory(lab.wells(4)), units_per_job=2)
    assert plan.jobs_of(plan.stage("find")) == {"A01-A02": ("A01",)}
    assert not plan.in_stage(plan.stage("find"), "A02")


@pytest.mark.parametrize(
    ("policy", "planes", "refused"),
    [("fail_unit", 3, True), ("skip_site", 2, False), ("blank", 4, False)],
)
def test_what_a_missing_plane_does_is_a_policy(lab: Any, policy: str, planes: int, refused: bool) -> None:
    def lost(plane: Plane) -> bool:
        return (plane.well, plane.site, plane.channel) == ("A02", 2, 1)

    plan = lab.plan([lab.smooth], lab.inventory(drop=lost), missing=policy)
    unit = plan.units["A02"]
    layout = plan.layouts[unit.layout]
    assert len(layout.planes) == planes
    assert bool(unit.refused) == refused
    assert [tuple(key) for key in layout.blank] == ([(2, 1, 1, 1)] if policy == "blank" else [])
    assert not plan.units["A01"].refused
    if refused:
        assert "site 2 channel 1 z 1 t 1" in unit.refused
        assert any(note.startswith("A02 cannot run") for note in plan.notes)


def test_a_unit_with_a_hole_at_every_site_is_refused_under_skip_site(lab: Any) -> None:
    inventory = lab.inventory(drop=lambda p: p.well == "A02" and p.channel == 1)
    assert "every site" in lab.plan([lab.smooth], inventory, missing="skip_site").units["A02"].refused


@pytest.mark.parametrize("policy", ["fail_unit", "skip_site", "blank"])
@pytest.mark.parametrize(("by", "units"), [("well", {"A02"}), ("site", {"A02_s1", "A02_s2"})])
def test_a_well_that_was_lost_altogether_is_a_unit_that_cannot_run(
    lab: Any, policy: str, by: str, units: set[str]
) -> None:
    whole = lab.inventory()
    gone = tuple(PlaneKey(*plane[:5]) for plane in whole.planes if plane.well == "A02")
    kept = tuple(plane for plane in whole.planes if plane.well != "A02")
    plan = lab.plan([lab.smooth], replace(whole, planes=kept, missing=gone), missing=policy, parallel_by=by)
    assert {name for name, unit in plan.units.items() if unit.refused} == units
    assert all("none of its" in plan.units[name].refused for name in units)
    assert list(plan.units) == sorted(plan.units)
    chosen = lab.plan([lab.smooth], replace(whole, planes=kept, missing=gone), wells="A01", parallel_by=by)
    assert not any(unit.refused for unit in chosen.units.values())
