"""Named outputs under other names: two steps of one function, told apart by what later steps ask for."""

from __future__ import annotations

import pytest

from hcs_steps.errors import CompileError
from hcs_steps.pipeline import FunctionStep


def test_later_steps_find_an_output_under_its_new_name(lab):
    plan = lab.plan(
        [
            FunctionStep((lab.segment, {}, {"cells": "nuclei"}), name="first"),
            FunctionStep({"use": lab.segment}, name="second"),
            FunctionStep(lab.measure, name="measure"),
        ]
    )
    outputs = [plan.steps[i].calls[0].outputs for i in (0, 1)]
    assert outputs == [(("nuclei", "labels"),), (("cells", "labels"),)]
    assert plan.steps[2].calls[0].injected == ("cells", "planes")


def test_what_was_renamed_away_is_missed(lab):
    steps = [
        FunctionStep((lab.segment, {}, {"cells": "nuclei"}), name="first"),
        FunctionStep(lab.measure, name="m"),
    ]
    with pytest.raises(CompileError, match=r"needs 'cells'.*outputs so far: nuclei"):
        lab.plan(steps)


def test_an_output_that_a_function_does_not_have_cannot_be_renamed(lab):
    with pytest.raises(CompileError, match=r"has no output 'cels' to rename.*Did you mean 'cells'"):
        lab.plan([FunctionStep((lab.segment, {}, {"cels": "nuclei"}), name="first")])
