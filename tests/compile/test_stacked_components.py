"""Which planes a step stacks: what it says, else what its functions put together."""

from __future__ import annotations

import pytest

from hcs_steps.errors import CompileError
from hcs_steps.functions.declare import step_function
from hcs_steps.pipeline import FunctionStep


@step_function(reduces=True, stacks="channel")
def merge(stack):
    return stack[:1]


@step_function(reduces=True, stacks="z_index")
def project(stack):
    return stack[:1]


@step_function(reduces=True, stacks="site", needs_stacks=True, mosaic=True)
def stitch(stack):
    return stack[:1]


def components(lab, *arguments, **settings):
    plan = lab.plan([FunctionStep(*arguments, name="one", **settings)], lab.inventory(z=3))
    return plan.steps[0].variable_components


def test_a_step_that_does_not_say_stacks_what_its_function_puts_together(lab):
    assert components(lab, lab.smooth) == ("site",)
    assert components(lab, merge) == ("channel",)
    assert components(lab, [lab.smooth, project]) == ("z_index",)


def test_what_a_step_says_counts(lab):
    assert components(lab, merge, variable_components=["site"]) == ("site",)
    assert components(lab, stitch, variable_components=["site", "z_index"]) == ("site", "z_index")


def test_a_function_that_only_stitches_sites_gets_sites_and_the_plan_says_so(lab):
    plan = lab.plan([FunctionStep(stitch, name="mosaic", variable_components=["channel"])])
    assert plan.steps[0].variable_components == ("site",)
    (note,) = [note for note in plan.notes if "mosaic" in note]
    assert note.startswith("Step mosaic stacks site and not channel: ")
    assert "stitch puts sites together" in note
    assert not lab.plan([FunctionStep(stitch, name="mosaic")]).notes


def test_functions_that_put_different_components_together_need_steps_of_their_own(lab):
    with pytest.raises(CompileError, match=r"different components \(channel, z_index\)"):
        lab.plan([FunctionStep([merge, project], name="both")])
    assert components(lab, [merge, project], variable_components="z_index") == ("z_index",)


def test_a_mosaic_and_what_follows_are_predicted_as_large_as_all_sites(lab):
    def mem(function, sites):
        first = FunctionStep(function, name="first", variable_components=["site"])
        return (
            lab.plan([first, FunctionStep(lab.greedy, name="second")], lab.inventory(sites=sites))
            .stages[0]
            .mem_mb
        )

    # The second step takes 200 times its stack: 100 MB for a plane.
    assert mem(stitch, 16) > mem(stitch, 1) + 15 * 90
    assert mem(project, 16) < mem(project, 1) + 100


def test_sites_cannot_be_stitched_where_every_job_has_one(lab):
    with pytest.raises(CompileError, match=r"'mosaic' puts the sites of a well together.*parallel_by: well"):
        lab.plan([FunctionStep(stitch, name="mosaic")], parallel_by="site")
