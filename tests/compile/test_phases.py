"""The phases: staging, stores, memory, devices; and everything that is wrong, at once."""

from dataclasses import replace
from typing import Any

import pytest

from hcs_steps.compile import CompileOptions, compile_plate
from hcs_steps.compile.plan import Plan, TablePlan
from hcs_steps.errors import CompileError
from hcs_steps.pipeline import FunctionStep, Pipeline
from hcs_steps.plate import Problem

DISK = {"vfs": {"intermediate_backend": "disk"}}


def stage_names(plan: Plan) -> list[str]:
    return [stage.name for stage in plan.stages]


def problems(lab: Any, *steps: FunctionStep, **options: Any) -> list[str]:
    with pytest.raises(CompileError) as caught:
        lab.plan(steps, **options)
    return [str(problem) for problem in caught.value.problems]


def abc(lab: Any, **middle: Any) -> list[FunctionStep]:
    return [
        FunctionStep(lab.smooth, name="a"),
        FunctionStep(lab.smooth, name="b", **middle),
        FunctionStep(lab.find, name="c"),
    ]


def test_in_memory_all_steps_are_one_stage_and_only_the_last_images_are_kept(lab: Any) -> None:
    plan = lab.plan(abc(lab))
    assert stage_names(plan) == ["a_to_c", "consolidate", "report"]
    assert [(s.backend, s.store, s.kept) for s in plan.steps] == [
        ("memory", "", False),
        ("zarr", "images/b.ome.zarr", True),
        ("memory", "", False),  # it only measures
    ]


@pytest.mark.parametrize(("backend", "suffix"), [("disk", ""), ("zarr", ".ome.zarr")])
def test_on_disk_every_step_is_a_stage(lab: Any, backend: str, suffix: str) -> None:
    plan = lab.plan(abc(lab), config={"vfs": {"intermediate_backend": backend}})
    assert stage_names(plan) == ["a", "b", "c", "consolidate", "report"]
    assert plan.steps[0].store == f"images/a{suffix}"
    assert [stage.upstream for stage in plan.stages] == [
        (),
        ("a",),
        ("b",),
        ("a", "b", "c"),
        ("a", "b", "c", "consolidate"),
    ]
    assert not plan.steps[0].kept


def test_force_disk_output_keeps_images_and_ends_the_stage(lab: Any) -> None:
    steps = [FunctionStep(lab.smooth, name="a", force_disk_output=True), *abc(lab)[1:]]
    plan = lab.plan(steps, config={"vfs": {"materialization_backend": "disk"}})
    assert stage_names(plan) == ["a", "b_to_c", "consolidate", "report"]
    assert (plan.steps[0].backend, plan.steps[0].store, plan.steps[0].kept) == ("disk", "images/a", True)


def test_a_measuring_step_that_is_forced_to_disk_has_images(lab: Any) -> None:
    plan = lab.plan([FunctionStep(lab.find, name="f", force_disk_output=True)])
    assert plan.steps[0].store == "images/f.ome.zarr"


def test_labels_make_a_step_keep_its_images(lab: Any) -> None:
    plan = lab.plan([FunctionStep(lab.segment, name="s"), FunctionStep(lab.smooth, name="t")])
    assert plan.steps[0].store == "images/s.ome.zarr"
    assert plan.steps[0].kept


def test_a_plate_step_is_a_stage_between_those_of_its_neighbours(lab: Any) -> None:
    steps = [
        FunctionStep(lab.smooth, name="a"),
        FunctionStep(lab.estimate, name="flat", scope="plate"),
        FunctionStep(lab.smooth, name="b"),
        FunctionStep(lab.smooth, name="c"),
    ]
    plan = lab.plan(steps)
    assert stage_names(plan) == ["a", "flat", "b_to_c", "consolidate", "report"]
    assert plan.stage("flat").scope == "plate"
    assert plan.stage("flat").upstream == ("a",)
    assert plan.units_of(plan.stage("flat")) == ("plate",)


def test_images_before_a_plate_step_can_be_read_after_it(lab: Any) -> None:
    """A step whose images another job reads must have a store: memory is gone with the job."""
    flat = FunctionStep(lab.estimate, name="flat", scope="plate")
    plan = lab.plan([FunctionStep(lab.smooth, name="a"), flat, FunctionStep(lab.smooth, name="b")])
    assert [step.store for step in plan.steps] == ["images/a.ome.zarr", "", "images/b.ome.zarr"]
    assert not plan.steps[0].kept
    raw = FunctionStep(lab.smooth, name="b", input_source="pipeline_start")
    assert lab.plan([FunctionStep(lab.smooth, name="a"), flat, raw]).steps[0].store, "the plate step reads it"


def test_images_that_pass_by_a_filtered_step_can_be_read_by_the_next_stage(lab: Any) -> None:
    steps = abc(lab, force_disk_output=True, well_filter="A01")
    plan = lab.plan(steps)
    layout = plan.layouts[plan.units["B01"].layout]
    homes = {index: stage.name for stage in plan.stages for index in stage.steps}
    assert layout.sources == (-1, None, 0)
    for index, source in enumerate(layout.sources):
        if source is not None and source >= 0 and homes[source] != homes[index]:
            assert plan.steps[source].store, f"{plan.steps[index].name} reads {plan.steps[source].name}"


def test_stage_names_are_unique_even_where_a_step_is_called_like_a_stage(lab: Any) -> None:
    steps = [
        FunctionStep(lab.smooth, name="a"),
        FunctionStep(lab.smooth, name="b", force_disk_output=True),
        FunctionStep(lab.smooth, name="a_to_b"),
    ]
    names = stage_names(lab.plan(steps))
    assert len(set(names)) == len(names) == 4


def test_what_a_mapping_leaves_out_is_noted_and_dropped_unless_passed(lab: Any) -> None:
    plan = lab.plan([FunctionStep({"DAPI": lab.smooth}, name="s")])
    assert plan.notes == ("Step s leaves out GFP (unlisted: pass would keep them).",)
    assert {key.channel for key in plan.layouts[0].keys[0]} == {1}
    passed = lab.plan([FunctionStep({"DAPI": lab.smooth}, name="s", unlisted="pass")])
    assert passed.notes == ()
    assert {key.channel for key in passed.layouts[0].keys[0]} == {1, 2}


def test_channels_are_named_by_name_or_number(lab: Any) -> None:
    plan = lab.plan([FunctionStep({"GFP": lab.smooth, 1: lab.find}, name="s")])
    assert set(plan.steps[0].branches) == {"GFP", "1"}
    assert plan.notes == ()


def test_merged_channels_are_called_like_the_step_that_merged_them(lab: Any) -> None:
    merge = FunctionStep(lab.project, name="merge", variable_components="channel")
    plan = lab.plan([merge, FunctionStep({"merge": lab.find}, name="f")])
    assert len(plan.layouts[0].keys[0]) == 2  # one per site


def test_group_by_changes_no_stack(lab: Any) -> None:
    plans = [
        lab.plan([FunctionStep(lab.project, name="s", group_by=g)]) for g in ("channel", "z_index", "none")
    ]
    assert len({plan.layouts for plan in plans}) == 1


@pytest.mark.parametrize("name", ["all", "finish", "consolidate", "report"])
def test_names_of_the_workflows_own_rules_are_reserved(lab: Any, name: str) -> None:
    assert "Choose another name" in problems(lab, FunctionStep(lab.smooth, name=name))[0]


@pytest.mark.parametrize("names", [("a", "a"), ("top hat", "top-hat"), ("µ", "é")])
def test_step_names_that_give_the_same_files_are_refused(lab: Any, names: tuple[str, str]) -> None:
    (problem,) = problems(lab, *(FunctionStep(lab.smooth, name=name) for name in names))
    assert "Give each step a name of its own" in problem


def test_everything_that_is_wrong_is_said_at_once_each_with_its_fix(lab: Any) -> None:
    found = problems(
        lab,
        FunctionStep("tophatt", name="one"),
        FunctionStep((lab.smooth, {"sigm": 1}), name="two"),
        FunctionStep({"DAPY": lab.smooth}, name="three"),
        FunctionStep({"DAPI": lab.smooth}, name="four", variable_components=["channel"]),
        FunctionStep(lab.smooth, name="five", well_filter=["A99"]),
        FunctionStep(lab.measure, name="six"),
        FunctionStep(lab.no_stack, name="seven"),
        FunctionStep(lab.smooth, name="eight", scope="plate"),
        FunctionStep({1: lab.smooth}, name="nine", group_by="none"),
        config={"vfs": {"intermediate_backend": "disc"}},
    )
    for step, said in [
        ("one", "Did you mean 'tophat'?"),
        ("two", "Did you mean 'sigma'?"),
        ("three", "Did you mean 'DAPI'?"),
        ("four", "Take it out of variable_components"),
        ("five", "A99"),
        ("six", "'cells'"),
        ("seven", "no image stack"),
        ("eight", "Set scope: unit"),
        ("nine", "Set group_by"),
    ]:
        assert [p for p in found if f"'{step}'" in p and said in p], f"{step}: {said} not in {found}"
    assert [p for p in found if "'disc'" in p and "Did you mean 'disk'?" in p]
    assert len(found) == 10


def test_the_errors_text_counts_and_numbers_the_problems(lab: Any) -> None:
    with pytest.raises(CompileError) as caught:
        lab.plan(["nothing", "nobody"])
    assert "2 problems" in str(caught.value)
    assert "  2. " in str(caught.value)
    assert "'p'" in str(caught.value)
    assert "'P1'" in str(caught.value)


def test_an_unknown_value_in_select_gets_the_nearest_one(lab: Any) -> None:
    found = problems(lab, FunctionStep("nothing"), select={"channel": ["GFB"], "site": [3]})
    assert len(found) == 3
    assert "select.channel" in found[0]
    assert "Did you mean 'GFP'?" in found[0]
    assert "Allowed: 1, 2." in found[1]


@pytest.mark.parametrize("wells", ["Z99", [], "row:H", 0, 3.5])
def test_a_bad_choice_of_wells_is_a_compile_error(lab: Any, wells: Any) -> None:
    assert problems(lab, FunctionStep(lab.smooth), wells=wells)


def test_an_output_of_an_earlier_step_fills_the_parameter_of_its_name(lab: Any) -> None:
    plan = lab.plan([lab.segment, lab.measure])
    assert set(plan.steps[1].calls[0].injected) == {"cells", "planes"}
    (problem,) = problems(lab, FunctionStep(lab.measure), FunctionStep(lab.segment))
    assert "outputs so far: none" in problem


def test_tables_of_the_same_name_are_kept_apart(lab: Any) -> None:
    plan = lab.plan(
        [FunctionStep(lab.find, name="a"), FunctionStep(lab.find, name="b"), lab.segment, lab.measure]
    )
    assert dict(plan.tables) == {
        "a_spots": TablePlan("objects", (("a", "spots"),)),
        "b_spots": TablePlan("objects", (("b", "spots"),)),
        "sizes": TablePlan("objects", (("measure", "sizes"),)),
    }


def test_the_memory_prediction_grows_with_what_a_call_holds(lab: Any) -> None:
    def mem(function: str = lab.greedy, **shape: Any) -> int:
        stacked = shape.pop("variable_components", "site")
        plan = lab.plan([FunctionStep(function, variable_components=stacked)], lab.inventory(**shape))
        return int(plan.stages[0].mem_mb)

    assert mem(sites=1) < mem(sites=4) < mem(sites=16)
    assert mem(sites=4) < mem(sites=4, variable_components=["site", "channel"])
    assert mem(lab.smooth, sites=64) < mem(lab.widen, sites=64) < mem(sites=64)
    big = {"change": lambda p: p._replace(height=2048, width=2048)}
    assert mem() < mem(**big)
    assert mem(sites=16) - mem(sites=4) == pytest.approx(200 * 12 * 0.5, abs=64 + 20)


def test_memory_does_not_depend_on_the_number_of_wells(lab: Any) -> None:
    one, many = (lab.plan([lab.greedy], lab.inventory(lab.wells(n))) for n in (1, 96))
    assert one.stages[0].mem_mb == many.stages[0].mem_mb


def test_too_little_memory_is_an_error_with_numbers_and_ways_out(lab: Any) -> None:
    (problem,) = problems(lab, FunctionStep(lab.greedy, name="g"), limits={"mem_mb": 400})
    assert "400 MB are there" in problem
    assert "own.py:greedy takes 200 times its stack" in problem
    assert "parallel_by: site" in problem
    lab.plan([lab.greedy], limits={"mem_mb": None})


def test_a_site_as_a_unit_needs_less_memory(lab: Any) -> None:
    by_well, by_site = (lab.plan([lab.greedy], parallel_by=unit) for unit in ("well", "site"))
    assert by_site.stages[0].mem_mb < by_well.stages[0].mem_mb


@pytest.mark.parametrize(
    ("policy", "gpus", "granted"),
    [("auto", 0, 0), ("auto", 2, 1), ("always", 0, 1), ("always", 2, 1), ("never", 2, 0)],
)
def test_who_gets_a_gpu(lab: Any, policy: str, gpus: int, granted: int) -> None:
    steps = [FunctionStep(lab.on_gpu, name="g"), FunctionStep(lab.smooth, name="c")]
    plan = lab.plan(steps, config=DISK, gpu=policy, limits={"gpus": gpus})
    assert plan.stage("g").gpu == granted
    assert bool(plan.stage("g").gpu_mem_mb) == bool(granted)
    assert plan.stage("g").gpu_only == (policy == "always"), "auto may go on with the CPU"
    assert plan.stage("c").gpu == 0
    assert plan.stage("c").gpu_mem_mb == 0


def test_too_little_gpu_memory_is_an_error_unless_no_gpu_is_used(lab: Any) -> None:
    step = FunctionStep(lab.on_gpu, name="g")
    (problem,) = problems(lab, step, gpu="always", limits={"gpu_mem_mb": 100})
    assert "GPU memory" in problem
    assert "gpu: never" in problem
    lab.plan([step], gpu="never", limits={"gpu_mem_mb": 100})


def test_what_the_reader_found_amiss_is_noted_in_the_plan(lab: Any) -> None:
    inventory = replace(
        lab.inventory(),
        problems=(
            Problem("missing", "A01 s2", "No file."),
            Problem("missing", "A02 s2", "No file."),
            Problem("excluded", "x_thumb.tif", "A thumbnail."),
        ),
    )
    plan = compile_plate(inventory, Pipeline([FunctionStep("tophat")]), CompileOptions(plate_id="P1"))
    assert plan.notes == ("The plate has problems: 2 missing; hcs inspect lists them.",)
