"""Predicted memory: what changes the size of planes, labels that are handed over, what a plate's step reads."""

from __future__ import annotations

import pytest

from hcs_steps.compile.process_memory import ASSUMED, process_mb
from hcs_steps.errors import CompileError
from hcs_steps.functions import rescale
from hcs_steps.functions.declare import Cost, step_function
from hcs_steps.pipeline import FunctionStep

PLANE_MB = 2048 * 2048 * 2 / 2**20
PROCESS_MB = process_mb(ASSUMED)
RESCALE_MB = process_mb(["scipy.ndimage"])


@step_function(memory=10.0)
def hold(stack):
    return stack


@step_function(outputs={"sizes": "table"}, changes_image=False, memory=1.0)
def measure(stack, cells=None, nuclei=None):
    return stack, {}


@step_function(reduces=True, stacks="site", needs_stacks=True, mosaic=True, memory=4.0)
def stitch(stack):
    return stack[:1]


@step_function(outputs={"flat_field": "array"}, scope="plate", memory=10.0)
def estimate(plate):
    return ()


@step_function(scale=lambda params, pixel_size_um: params["by"])
def grow(stack, by):
    return stack


@step_function(memory=2.0, packages=())
def light(stack):
    return stack


@step_function(memory=2.0, packages=("torch",))
def networked(stack):
    return stack


@step_function(
    needs=lambda params, plate: Cost(2.0, float(params.get("fields", 1) * plate.channels)), packages=()
)
def per_channel(stack, fields=1):
    return stack


@step_function(
    needs=lambda params, plate: Cost(2.0) if "cells" in params else Cost(2.0, packages=("torch",)),
    packages=(),
)
def finds_cells_if_not_given(stack, cells=None):
    return stack


def plate(lab, pixel_size=0.5, **shape):
    def larger(plane):
        return plane._replace(height=2048, width=2048, pixel_size_um=pixel_size)

    return lab.inventory(change=larger, **shape)


def mem(lab, *steps, inventory=None, **settings):
    """The memory of the last stage before the tables are put together."""
    plan = lab.plan(list(steps), inventory or plate(lab), **settings)
    return plan.stages[-3].mem_mb


def rescaled(name="rescale", **arguments):
    """A step that is a stage of its own."""
    return FunctionStep((rescale, arguments), name=name, force_disk_output=True)


def held(lab, *steps, **settings):
    """What a stage after the steps takes, beyond the process, that holds its planes ten times over."""
    return mem(lab, *steps, FunctionStep(hold, name="hold"), **settings) - PROCESS_MB


@pytest.mark.parametrize("arguments", [{"factor": 3}, {"pixel_size_um": 0.5 / 3}])
def test_enlarged_planes_take_more_memory_in_their_step_and_after_it(lab, arguments):
    one, three = rescaled(factor=1), rescaled(**arguments)
    # Two sites are stacked: twice the stack, and 10 bytes per pixel of a plane.
    added = 8 * (2 * 2 * PLANE_MB + 10 * PLANE_MB / 2)
    assert mem(lab, three) - mem(lab, one) > added
    assert held(lab, three) == pytest.approx(9 * held(lab, one), abs=9 * 64)  # of rounding


def test_shrunk_planes_take_less_memory_after_their_step_and_no_less_in_it(lab):
    assert held(lab, rescaled(factor=0.25)) < 0.5 * held(lab, rescaled(factor=1))
    # Its own input is there whatever comes back.
    assert mem(lab, rescaled(factor=0.01)) > RESCALE_MB + 2 * 2 * PLANE_MB


def test_the_pixel_size_is_that_of_the_images_that_a_step_gets(lab):
    at_once, first = rescaled(pixel_size_um=0.25), rescaled("half", factor=0.5)
    assert held(lab, first, at_once) == held(lab, at_once) > 3 * held(lab, rescaled(factor=1))


def test_a_chain_is_as_large_as_its_calls_make_it(lab):
    chain = FunctionStep([{"use": rescale, "with": {"factor": 3}}, hold], name="chain")
    assert mem(lab, chain) > PROCESS_MB + 10 * 9 * 2 * PLANE_MB
    assert mem(lab, FunctionStep([lab.widen, hold], name="chain")) > PROCESS_MB + 10 * 4 * 2 * PLANE_MB


def test_arguments_that_a_function_cannot_be_resized_by_are_an_error_before_anything_runs(lab):
    for arguments, said in [
        ({"factor": -1}, "factor"),
        ({"factor": 101}, "factor"),
        ({"factor": "big"}, "factor"),
        ({"factor": 2, "pixel_size_um": 1.0}, "not both"),
    ]:
        with pytest.raises(CompileError) as caught:
            lab.plan([FunctionStep((rescale, arguments), name="bad")], plate(lab))
        (problem,) = caught.value.problems
        assert str(problem).startswith("Step 'bad': rescale cannot work with its arguments: ")
        assert said in str(problem)
    with pytest.raises(CompileError, match="0 pixels per pixel"):
        lab.plan([FunctionStep((grow, {"by": 0}), name="bad")])


def test_an_unknown_pixel_size_leaves_the_error_to_the_run(lab):
    """A function before it may say what the pixel size is."""
    step = FunctionStep((rescale, {"pixel_size_um": 0.1}), name="rescale")
    assert lab.plan([step], plate(lab, pixel_size=float("nan")))


def test_labels_that_a_call_is_handed_count(lab):
    def renamed(step, name):
        return FunctionStep({"use": lab.segment, "as": {"cells": name}}, name=step, force_disk_output=True)

    def with_sets(*names, stacked="site"):
        steps = [renamed(f"make_{name}", name) for name in names]
        return mem(lab, *steps, FunctionStep(measure, name="measure", variable_components=stacked))

    # A label stack has 4 bytes per pixel and is as long as the stack, and one more is there while it is read.
    a_set = 2 * 2 * PLANE_MB
    assert with_sets("cells", "nuclei") - with_sets("cells") == pytest.approx(a_set, abs=64)
    assert with_sets("cells") - with_sets("others") >= a_set - 64
    both = with_sets("cells", "nuclei", stacked=["channel", "site"])
    assert both - with_sets("others", stacked=["channel", "site"]) >= 2 * 2 * a_set - 64


def test_all_labels_of_a_chain_are_kept(lab):
    def chain(*names):
        return FunctionStep([{"use": lab.segment, "as": {"cells": name}} for name in names], name="chain")

    # Two sites of two channels.
    assert mem(lab, chain("a", "b")) - mem(lab, chain("a")) >= 4 * 2 * PLANE_MB


def test_a_plate_step_reads_the_images_of_the_step_before_it(lab):
    flat = FunctionStep(estimate, name="flat", scope="plate")
    inventory = plate(lab, sites=4)
    tiles = mem(lab, flat, inventory=inventory)
    mosaic = mem(lab, FunctionStep(stitch, name="mosaic"), flat, inventory=inventory)
    assert mosaic == tiles > PROCESS_MB + 10 * 4 * PLANE_MB  # one plane as large as four
    grown = FunctionStep((rescale, {"factor": 2}), name="rescale")
    assert mem(lab, grown, flat, inventory=inventory) > PROCESS_MB + 10 * 4 * 4 * PLANE_MB
    raw = FunctionStep(estimate, name="flat", scope="plate", input_source="pipeline_start")
    assert mem(lab, grown, raw, inventory=inventory) == tiles
    assert (
        mem(lab, FunctionStep(lab.widen, name="wide"), flat, inventory=inventory)
        > PROCESS_MB + 10 * 4 * 4 * PLANE_MB
    )


def test_packages_count_once_and_only_where_they_are_loaded(lab):
    one = FunctionStep(light, name="one", force_disk_output=True)
    heavy = FunctionStep(networked, name="heavy", force_disk_output=True)
    both = FunctionStep([networked, networked], name="both", force_disk_output=True)
    added = process_mb(["torch"]) - process_mb([])
    assert mem(lab, heavy) - mem(lab, one) == pytest.approx(added, abs=32)  # of rounding
    assert mem(lab, both) - mem(lab, heavy) <= 2 * PLANE_MB + 32  # the stack that went in


def test_a_cost_may_depend_on_arguments_and_on_the_plate(lab):
    def step(**arguments):
        return FunctionStep((per_channel, arguments), name="step", force_disk_output=True)

    one, four = (plate(lab, channels=[f"C{n}" for n in range(count)]) for count in (1, 4))
    more = mem(lab, step(fields=100), inventory=four) - mem(lab, step(fields=100), inventory=one)
    assert more >= 3 * 100 * PLANE_MB / 2  # bytes per pixel of a plane of 16 bits
    assert mem(lab, step(fields=1), inventory=four) < mem(lab, step(fields=100), inventory=four)


def test_a_cost_may_depend_on_what_an_earlier_step_hands_over(lab):
    step = FunctionStep(finds_cells_if_not_given, name="step", force_disk_output=True)
    segment = FunctionStep(lab.segment, name="segment", force_disk_output=True)
    alone, after = mem(lab, step), mem(lab, segment, step)
    assert alone - after > (process_mb(["torch"]) - process_mb([])) / 2


def test_the_stages_of_the_plate_itself_grow_with_its_wells(lab):
    few, many = (lab.plan(["gaussian"], lab.inventory(wells=lab.wells(count))) for count in (96, 1536))
    for name in ("consolidate", "report"):
        assert 200 < many.stage(name).mem_mb - few.stage(name).mem_mb < 800


def test_a_cost_that_arguments_spoil_is_an_error_before_anything_runs(lab):
    step = FunctionStep(("estimate_flatfield", {"max_planes": "many"}), name="flat", scope="plate")
    with pytest.raises(CompileError, match="estimate_flatfield cannot work with its arguments"):
        lab.plan([step], plate(lab))
