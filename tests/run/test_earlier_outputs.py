"""Which outputs of earlier steps fill a parameter: of the last step that ran for the unit, in both ways they travel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hcs_steps.functions import project
from hcs_steps.functions.declare import step_function
from hcs_steps.pipeline import FunctionStep
from hcs_steps.run.records import read_json


@step_function(outputs={"nuc": "labels"}, changes_image=False)
def label(stack, value=1):
    return stack, np.full(stack.shape, value, np.uint32)


@step_function(outputs={"score": "value"}, optional_outputs={"nuc": "labels"}, changes_image=False)
def label_if_asked(stack, value=0):
    return (stack, 1.0, np.full(stack.shape, value, np.uint32)) if value else (stack, 1.0)


@step_function(outputs={"score": "value"}, optional_outputs={"spots": "table"}, changes_image=False)
def count_if_asked(stack, rows=None):
    return (stack, 1.0) if rows is None else (stack, 1.0, {"plane": np.zeros(rows, int)})


@step_function(outputs={"got": "value"}, changes_image=False)
def use(stack, nuc=None, spots=None):
    return stack, [
        None if nuc is None else int(nuc.max()),
        None if spots is None else len(spots["Metadata_Z"]),
    ]


@step_function(outputs={"got": "value"}, changes_image=False)
def need(stack, nuc):
    return stack, int(nuc.max())


@step_function(outputs={"got": "value"}, changes_image=False)
def use_brightness(stack, brightness):
    return stack, brightness


@step_function(outputs={"brightness": "value"}, changes_image=False)
def brightness(stack, of="max"):
    return stack, of


both_ways = pytest.mark.parametrize("stored", [False, True])


def got(ran, step, unit):
    return [call["values"]["got"] for call in ran.outputs(step, unit)["calls"]]


@both_ways
def test_where_the_last_step_did_not_run_the_one_before_counts(run_steps, stored):
    ran = run_steps(
        [
            FunctionStep((label, {"value": 1}), name="every", force_disk_output=stored),
            FunctionStep((label, {"value": 2}), name="some", well_filter=["A01"], force_disk_output=stored),
            FunctionStep(need, name="need"),
        ]
    )
    assert set(got(ran, "need", "A01")) == {2}
    assert set(got(ran, "need", "B02")) == {1}


@both_ways
def test_the_same_holds_for_values_and_a_change_of_either_step_is_noticed(run_steps, stored):
    def steps(first, second):
        return [
            FunctionStep((brightness, {"of": first}), name="every", force_disk_output=stored),
            FunctionStep(
                (brightness, {"of": second}), name="some", well_filter=["A01"], force_disk_output=stored
            ),
            FunctionStep(use_brightness, name="used", input_source="pipeline_start", force_disk_output=True),
        ]

    ran = run_steps(steps("max", "mean"))
    assert (set(got(ran, "used", "A01")), set(got(ran, "used", "B02"))) == ({"mean"}, {"max"})
    again = replace(ran, steps=steps("median", "mean")).again()
    assert (set(got(again, "used", "A01")), set(got(again, "used", "B02"))) == ({"mean"}, {"median"})
    again = replace(ran, steps=steps("median", "min")).again()
    assert (set(got(again, "used", "A01")), set(got(again, "used", "B02"))) == ({"min"}, {"median"})


def test_a_chain_that_makes_its_own_does_not_ask_for_an_earlier_one(run_steps):
    """The earlier labels are of a projection: they would not do for the planes that the chain works on."""
    ran = run_steps(
        [
            FunctionStep(project, name="projected", variable_components="z_index"),
            FunctionStep(label, name="labelled", force_disk_output=True),
            FunctionStep([(label, {"value": 2}), need], name="own", input_source="pipeline_start"),
        ],
        z=3,
    )
    assert set(got(ran, "own", "A01")) == {2}
    assert ran.plan.stage("own").upstream == ()


def test_a_branch_asks_only_for_what_its_own_calls_take(run_steps):
    ran = run_steps(
        [
            FunctionStep(project, name="projected", variable_components="z_index"),
            FunctionStep(label, name="labelled"),
            FunctionStep(
                {"DAPI": [(label, {"value": 2}), need], "GFP": (brightness, {"of": "max"})},
                name="own",
                input_source="pipeline_start",
            ),
        ],
        z=3,
    )
    assert {value for call in ran.outputs("own", "A01")["calls"] for value in call["values"].values()} == {
        2,
        "max",
    }


@both_ways
def test_an_optional_output_that_was_not_asked_for_leaves_a_parameter_to_its_default(run_steps, stored):
    def made(value, rows):
        return [
            FunctionStep((label_if_asked, {"value": value}), name="labels", force_disk_output=stored),
            FunctionStep((count_if_asked, {"rows": rows}), name="spots", force_disk_output=stored),
            FunctionStep(use, name="use"),
        ]

    ran = run_steps(made(0, None))
    assert got(ran, "use", "A01") == [[None, None]] * 2
    ran = replace(ran, steps=made(3, 0)).again()
    assert got(ran, "use", "A01") == [[3, 0]] * 2


@both_ways
def test_one_that_is_needed_and_was_not_returned_is_named(run_steps, stored):
    ran = run_steps(
        [
            FunctionStep(label_if_asked, name="labels", force_disk_output=stored),
            FunctionStep(need, name="need"),
        ]
    )
    failure = read_json(ran.results.failure(ran.plan.stages[-3].name, "A01"))
    assert "needs 'nuc', which no step before returned for this unit" in failure["error"]
