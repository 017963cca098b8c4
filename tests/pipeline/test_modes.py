"""Modes in pipeline files."""

from __future__ import annotations

import pytest

from hcs_steps.errors import ConfigError
from hcs_steps.pipeline import (
    FunctionStep,
    Pipeline,
    pipeline_from_dict,
    pipeline_to_python,
    pipeline_to_yaml,
)
from hcs_steps.pipeline.files import load_pipeline, parse_yaml
from hcs_steps.pipeline.modes import find_mode

FILE = {
    "name": "p",
    "modes": {"quick": {"every": 4, "sites": 2, "until": "b"}, "late": {"from": "b", "skip": "a"}},
    "steps": [{"name": "a", "func": "tophat", "gate": True}, {"name": "b", "func": "tophat"}],
}


def test_modes_and_gates_survive_both_forms_of_a_pipeline_file(tmp_path):
    pipeline = pipeline_from_dict(FILE, where="x")
    assert pipeline.modes["late"].from_step == "b"
    assert pipeline.modes["late"].skip == ["a"]
    again = pipeline_from_dict(parse_yaml(pipeline_to_yaml(pipeline), where="x"), where="x")
    (tmp_path / "p.py").write_text(pipeline_to_python(pipeline))
    assert again == pipeline == load_pipeline(tmp_path / "p.py")
    assert [step.gate for step in again.steps] == [True, False]


def test_a_pipeline_has_the_usual_modes_and_its_own_ones_go_first():
    pipeline = Pipeline([FunctionStep("tophat")], modes={"preview": {"every": 2}})
    assert find_mode(pipeline.modes, "preview", "x").every == 2
    assert find_mode({}, "preview", "x").every == 8
    assert find_mode({}, "analysis_only", "x").existing_images
    assert not find_mode({}, "full", "x").narrows
    with pytest.raises(ConfigError, match=r"has no mode 'previw'.*preview"):
        find_mode({}, "previw", "The pipeline")


@pytest.mark.parametrize("mode", [{"every": 0}, {"sites": 0}, {"unntil": "a"}])
def test_a_mode_that_means_nothing_is_refused(mode):
    with pytest.raises(ConfigError, match=r"modes\.m"):
        pipeline_from_dict({**FILE, "modes": {"m": mode}}, where="x")
