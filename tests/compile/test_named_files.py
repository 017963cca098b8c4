"""Files that a step's arguments name, such as a model's weights, are part of what its results depend on."""

from __future__ import annotations

import os

import pytest

from hcs_steps.compile.key import plan_key
from hcs_steps.compile.request import CompileOptions, Request
from hcs_steps.errors import CompileError
from hcs_steps.functions.declare import step_function
from hcs_steps.pipeline import FunctionStep, Pipeline


@step_function(files=("weights",))
def predict(stack, weights=None, strength=1):
    return stack


def test_replacing_the_file_changes_the_stage_and_the_key_of_the_plan(lab, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"1234")
    steps = [FunctionStep((predict, {"weights": str(path)}), name="predict")]

    def state():
        key = plan_key(Request(lab.inventory(), Pipeline(steps), CompileOptions(plate_id="P1")))
        return lab.plan(steps).stages[0].fingerprint, key

    before = state()
    assert state() == before
    os.utime(path, ns=(1, 1))
    after = state()
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert lab.plan([FunctionStep(predict, name="predict")]).stages[0].fingerprint not in {
        before[0],
        after[0],
    }


def test_a_file_that_is_not_there_is_an_error_before_anything_runs(lab, tmp_path):
    with pytest.raises(CompileError, match=r"weights=.*none\.pt, but there is no such file"):
        lab.plan([FunctionStep((predict, {"weights": str(tmp_path / "none.pt")}), name="predict")])
