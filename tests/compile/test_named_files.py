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
    with pytest.raises(CompileError, match=r"weights='.*none\.pt', but there is no such file"):
        lab.plan([FunctionStep((predict, {"weights": str(tmp_path / "none.pt")}), name="predict")])


DEFAULT = "no such model.pt"


@step_function(files=("weights",))
def predict_by_default(stack, weights=DEFAULT):
    return stack


def fingerprint(lab, function, **arguments):
    return lab.plan([FunctionStep((function, arguments), name="predict")]).stages[0].fingerprint


def test_a_file_that_is_the_default_counts_as_well(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CompileError, match=r"uses by default weights='no such model\.pt'"):
        fingerprint(lab, predict_by_default)
    (tmp_path / DEFAULT).write_bytes(b"1234")
    before = fingerprint(lab, predict_by_default)
    os.utime(tmp_path / DEFAULT, ns=(1, 1))
    assert fingerprint(lab, predict_by_default) != before
    assert fingerprint(lab, predict_by_default, weights=None), "none is given"


def test_a_change_anywhere_in_a_folder_changes_the_stage(lab, tmp_path):
    model = tmp_path / "model"
    deep = model / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "weights.bin").write_bytes(b"1")
    (model / "to_itself").symlink_to(model)
    (model / "to_nowhere").symlink_to(tmp_path / "nowhere")
    seen = [fingerprint(lab, predict, weights=str(model))]
    assert fingerprint(lab, predict, weights=str(model)) == seen[0]
    os.utime(deep / "weights.bin", ns=(1, 1))
    seen.append(fingerprint(lab, predict, weights=str(model)))
    (deep / "more.bin").write_bytes(b"")
    seen.append(fingerprint(lab, predict, weights=str(model)))
    (deep / "more.bin").rename(deep / "other.bin")
    seen.append(fingerprint(lab, predict, weights=str(model)))
    assert len(set(seen)) == 4


def test_a_folder_of_far_too_many_files_is_refused(lab, tmp_path, monkeypatch):
    monkeypatch.setattr("hcs_steps.compile.source.LARGEST_FOLDER", 3)
    for number in range(3):
        (tmp_path / str(number)).touch()
    fingerprint(lab, predict, weights=str(tmp_path))
    (tmp_path / "4").touch()
    with pytest.raises(CompileError, match="folder of up to"):
        fingerprint(lab, predict, weights=str(tmp_path))


@pytest.mark.parametrize("path", ["~nobody-of-that-name/x", "a\0b", "x" * 5000, ""])
def test_what_is_no_path_is_an_error_like_a_file_that_is_not_there(lab, path):
    with pytest.raises(CompileError, match="there is no such file"):
        fingerprint(lab, predict, weights=path)
    steps = Pipeline([FunctionStep((predict, {"weights": path}))])
    assert plan_key(Request(lab.inventory(), steps, CompileOptions(plate_id="P1")))
