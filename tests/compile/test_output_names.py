"""Names of outputs: they become file names, and none may take another's place."""

from __future__ import annotations

import pytest

from hcs_steps.compile.plan import TablePlan
from hcs_steps.errors import CompileError, PipelineError
from hcs_steps.functions.declare import step_function
from hcs_steps.pipeline import FunctionStep


@step_function(outputs={"spots": "table", "cells": "labels"}, changes_image=False)
def both(stack):
    return stack, {}, stack


@step_function(outputs={"cells": "table"}, changes_image=False)
def table_of_cells(stack):
    return stack, {}


@step_function(outputs={"planes": "table"}, changes_image=False)
def own_planes(stack):
    return stack, {}


def problems(lab, *steps, **options):
    with pytest.raises(CompileError) as caught:
        lab.plan(steps, **options)
    return [str(problem) for problem in caught.value.problems]


def found_as(function, **names):
    return FunctionStep({"use": function, "as": names}, name="one")


@pytest.mark.parametrize(
    "name",
    ["../../../escape", "/../shared", "x/../shared", "a/b", "a\\b", "", ".", "a.b", "1", "_x", "é", "a\n", 101 * "x"],
)  # fmt: skip
def test_an_output_cannot_be_given_a_name_that_is_no_plain_word(lab, name):
    (problem,) = problems(lab, found_as(lab.find, spots=name))
    assert problem.startswith(f"Step 'one': An output cannot be called {name!r}.")
    assert "a letter, then letters, digits and _" in problem


def test_plain_words_are_fine(lab):
    for name in ("spots_2", "Spots", "x", "x" * 100):
        assert lab.plan([found_as(lab.find, spots=name)]).steps[0].calls[0].outputs == ((name, "table"),)


@pytest.mark.parametrize("group", ["outputs", "optional_outputs"])
def test_a_function_cannot_declare_such_a_name(group):
    with pytest.raises(PipelineError, match=r"cannot be called '\.\./x'"):
        step_function(**{group: {"../x": "table"}})


def test_a_function_cannot_declare_a_kind_that_nobody_knows():
    with pytest.raises(PipelineError, match=r"'spots' cannot be of the kind 'tabel'.*Did you mean 'table'"):
        step_function(outputs={"spots": "tabel"})


@pytest.mark.parametrize("names", [{"spots": "x", "cells": "x"}, {"spots": "Cells"}])
def test_two_outputs_of_a_call_cannot_have_one_name(lab, names):
    (problem,) = problems(lab, found_as(both, **names))
    assert "would keep only one" in problem
    assert "Rename one of them with 'as'" in problem


def test_two_calls_of_a_chain_cannot_return_the_same_name(lab):
    chain = [lab.find, lab.smooth, lab.find]
    (problem,) = problems(lab, FunctionStep(chain, name="one"))
    assert "'spots'" in problem
    assert "would keep only one" in problem
    plan = lab.plan([FunctionStep([*chain[:2], {"use": lab.find, "as": {"spots": "after"}}], name="one")])
    assert set(plan.tables) == {"spots", "after"}


def test_branches_may_return_the_same_name_of_the_same_kind(lab):
    plan = lab.plan([FunctionStep({"DAPI": lab.find, "GFP": (lab.find, {"threshold": 1})}, name="one")])
    assert dict(plan.tables) == {"spots": TablePlan("objects", (("one", "spots"),))}
    (kinds,) = problems(lab, FunctionStep({"DAPI": lab.segment, "GFP": table_of_cells}, name="one"))
    assert "of the kind labels" in kinds
    assert "of the kind table" in kinds
    upper = {"use": lab.find, "as": {"spots": "Spots"}}
    (case,) = problems(lab, FunctionStep({"DAPI": lab.find, "GFP": upper}, name="one"))
    assert "upper and lower case are the same" in case


@pytest.mark.parametrize("name", ["wells", "Wells", "failures", "inventory"])
def test_a_table_cannot_be_called_like_one_that_every_plate_has(lab, name):
    (problem,) = problems(lab, found_as(lab.find, spots=name))
    assert "which every plate has" in problem
    assert "Rename it with 'as'" in problem
    assert lab.plan([found_as(lab.segment, cells=name)]), "labels are kept elsewhere"


def test_tables_of_several_steps_cannot_share_a_file(lab):
    upper = {"use": lab.find, "as": {"spots": "Spots"}}
    (problem,) = problems(lab, FunctionStep(lab.find, name="a"), FunctionStep(upper, name="b"))
    assert "as the table 'Spots' of step 'a'" in problem or "as the table 'spots' of step 'a'" in problem
    # Two steps with the table t get a_b_t and x_t; two with b_t get a_b_t and y_b_t.
    named = [
        FunctionStep({"use": lab.find, "as": {"spots": name}}, name=step)
        for step, name in [("a_b", "t"), ("x", "t"), ("a", "b_t"), ("y", "b_t")]
    ]
    (problem,) = problems(lab, *named)
    assert "'a_b_t'" in problem


@pytest.mark.parametrize("name", ["planes", "grid_dimensions"])
def test_an_output_cannot_be_called_like_what_the_runner_fills(lab, name):
    (problem,) = problems(lab, found_as(lab.find, spots=name))
    assert f"called {name!r}" in problem
    assert "Rename it with 'as'" in problem
    lab.plan([found_as(own_planes, planes="rows")])
    assert problems(lab, FunctionStep(own_planes))
