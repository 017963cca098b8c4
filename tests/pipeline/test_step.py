"""Function patterns, steps and pipelines."""

import copy
import dataclasses
import pickle
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcs_steps.errors import PipelineError
from hcs_steps.functions import count_cells_single_channel, tophat
from hcs_steps.pipeline import (
    FunctionStep,
    GlobalPipelineConfig,
    GroupBy,
    InputSource,
    Pipeline,
    Scope,
    Unlisted,
    VariableComponents,
)


class Method(Enum):
    OTSU = "otsu"


def written(func: Any, **settings: Any) -> Any:
    """The pattern as a pipeline file holds it."""
    return FunctionStep(func, **settings).func


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (tophat, "tophat"),
        ("tophat", "tophat"),
        ((tophat, {"selem_radius": 9}), {"use": "tophat", "with": {"selem_radius": 9}}),
        ((tophat, {}), "tophat"),
        ({"use": "tophat", "with": None}, "tophat"),
        ([tophat], "tophat"),
        (
            [(tophat, {"selem_radius": 9}), count_cells_single_channel],
            [{"use": "tophat", "with": {"selem_radius": 9}}, "count_cells_single_channel"],
        ),
        ({"DAPI": tophat, 2: [tophat, tophat]}, {"DAPI": "tophat", "2": ["tophat", "tophat"]}),
        (
            {1: [(tophat, {"selem_radius": 9})]},
            {"1": {"use": "tophat", "with": {"selem_radius": 9}}},
        ),
    ],
    ids=["callable", "name", "pair", "empty pair", "empty with", "chain of 1", "chain", "dict", "nested"],
)
def test_every_form_of_a_pattern_has_one_written_form(pattern: Any, expected: Any) -> None:
    assert written(pattern) == expected
    assert written(expected) == expected


def nested() -> Any:
    def inside(stack: Any) -> Any:
        return stack

    return inside


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (lambda stack: stack, "lambda"),
        (nested(), "defined inside another function"),
        ((tophat, 3), "(function, {arguments})"),
        ((tophat,), "(function, {arguments})"),
        ((tophat, {}, {}, {}), "(function, {arguments})"),
        ((tophat, {}, {"image": 3}), "'as' must be a mapping"),
        ({"use": tophat, "as": "nuclei"}, "'as' must be a mapping"),
        (3, "is not a function"),
        (None, "is not a function"),
        ([], "empty"),
        ({}, "empty"),
        ({"DAPI": []}, "branch 'DAPI'"),
        ({"use": tophat, "width": 3}, "'width'"),
        ({"use": tophat, "with": [3]}, "'with' must be a mapping"),
        ({1: {"func": tophat}}, "{use: function"),
        ((tophat, {"selem_radius": object()}), "cannot be written into a plan"),
        ((tophat, {"selem_radius": float("inf")}), "infinite"),
        ((tophat, {"selem_radius": [float("nan")]}), "not a number"),
        ((tophat, {"selem_radius": {True: 1}}), "cannot be a key"),
        ((tophat, {"selem_radius": {(1, 2): 1}}), "cannot be a key"),
    ],
)
def test_what_is_no_pattern_is_refused_with_a_reason(pattern: Any, said: str) -> None:
    with pytest.raises(PipelineError) as caught:
        FunctionStep(pattern, name="smooth")
    assert said in str(caught.value)


def test_an_error_names_the_step() -> None:
    with pytest.raises(PipelineError, match="'smooth'"):
        FunctionStep([], name="smooth")


def test_arguments_become_plain_values_whatever_they_were() -> None:
    given = {
        "enum": Method.OTSU,
        "path": Path("a/b"),
        "tuple": (1, 2),
        "set": {3, 1},
        "float64": np.float64(0.5),
        "int": np.int32(7),
        "bool": np.bool_(True),
        "text": np.str_("x"),
        "array": np.arange(3),
        "nested": {1: (np.float32(0.5),)},
    }
    arguments = written((tophat, given))["with"]
    assert arguments == {
        "enum": "otsu",
        "path": "a/b",
        "tuple": [1, 2],
        "set": [1, 3],
        "float64": 0.5,
        "int": 7,
        "bool": True,
        "text": "x",
        "array": [0, 1, 2],
        "nested": {"1": [0.5]},
    }
    assert all(type(v) in (str, int, float, bool, list, dict) for v in arguments.values())


@pytest.mark.parametrize(
    ("argument", "kind"),
    [("group_by", GroupBy), ("input_source", InputSource), ("scope", Scope), ("unlisted", Unlisted)],
)
def test_enumerated_arguments_take_the_member_its_string_and_any_case(argument: str, kind: Any) -> None:
    for member in kind:
        by_member = FunctionStep(tophat, **{argument: member})
        assert by_member == FunctionStep(tophat, **{argument: member.value})
        assert by_member == FunctionStep(tophat, **{argument: member.value.upper()})
        assert getattr(by_member, argument) is member


@pytest.mark.parametrize("argument", ["group_by", "input_source", "scope", "unlisted", "variable_components"])
def test_a_misspelt_enumerated_argument_gets_the_nearest_value(argument: str) -> None:
    value = {"group_by": "chanel", "input_source": "pipeline_begin", "scope": "plat", "unlisted": "dropp"}
    with pytest.raises(PipelineError, match="Did you mean"):
        FunctionStep(tophat, name="smooth", **{argument: value.get(argument, "sites")})


def test_variable_components_are_a_set_in_stacking_order() -> None:
    expected = (VariableComponents.SITE, VariableComponents.Z_INDEX)
    for given in (["z_index", "site"], ("site", "z_index", "site"), {"z_index", VariableComponents.SITE}):
        assert FunctionStep(tophat, variable_components=given).variable_components == expected
    assert FunctionStep(tophat, variable_components="channel").variable_components == ("channel",)
    assert FunctionStep(tophat, variable_components=[]).variable_components == ()


def test_group_by_none_is_the_same_as_the_word_none() -> None:
    assert FunctionStep(tophat, group_by=None) == FunctionStep(tophat, group_by="none")


def rich_step() -> FunctionStep:
    return FunctionStep(
        {
            "DAPI": (tophat, {"selem_radius": 9, "list": [1, {"a": 2}]}),
            2: [tophat, count_cells_single_channel],
        },
        name="clean",
        variable_components=["site", "z_index"],
        input_source="pipeline_start",
        force_disk_output=True,
        well_filter={"include": ["row:A"], "exclude": ["A01"]},
        unlisted="pass",
    )


def test_steps_that_mean_the_same_are_equal_and_hash_alike() -> None:
    assert rich_step() == rich_step()
    assert len({rich_step(), rich_step()}) == 1
    a = FunctionStep((tophat, {"a": 1, "b": 2}), name="x")
    b = FunctionStep((tophat, {"b": 2, "a": 1}), name="x")
    assert a == b
    assert hash(a) == hash(b)
    assert a != FunctionStep((tophat, {"a": 1, "b": 3}), name="x")


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies_and_pickles_of_steps_and_pipelines_are_equal(clone: Any) -> None:
    pipeline = Pipeline([rich_step()], name="p", config=GlobalPipelineConfig(num_workers=3))
    assert clone(rich_step()) == rich_step()
    assert hash(clone(rich_step())) == hash(rich_step())
    assert clone(pipeline) == pipeline


def test_a_step_cannot_be_changed() -> None:
    step = rich_step()
    with pytest.raises(dataclasses.FrozenInstanceError):
        step.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        step.pattern["DAPI"] = ()  # type: ignore[index]
    with pytest.raises(TypeError):
        step.pattern["DAPI"][0].kwargs["selem_radius"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        step.well_filter["include"] = "all"
    step.func["DAPI"]["with"]["list"].append(3)
    assert step == rich_step()


def test_a_step_does_not_follow_later_changes_of_what_it_was_made_of() -> None:
    arguments: dict[str, Any] = {"selem_radius": 9, "list": [1]}
    wells = ["A01"]
    step = FunctionStep([(tophat, arguments)], well_filter=wells)
    arguments["list"].append(2)
    arguments["selem_radius"] = 10
    wells.append("A02")
    assert step.func["with"] == {"selem_radius": 9, "list": [1]}
    assert list(step.well_filter) == ["A01"]


def test_a_pipeline_is_immutable_and_holds_only_steps() -> None:
    steps = [rich_step()]
    pipeline = Pipeline(steps)
    steps.clear()
    assert pipeline.steps == (rich_step(),)
    with pytest.raises(dataclasses.FrozenInstanceError):
        pipeline.name = "other"  # type: ignore[misc]
    with pytest.raises(PipelineError, match=r"Wrap it: FunctionStep"):
        Pipeline([tophat])  # type: ignore[list-item]


def test_a_step_is_called_like_its_first_function_unless_named() -> None:
    assert FunctionStep([tophat, count_cells_single_channel]).name == "tophat"
    assert FunctionStep("lab.filters:smooth").name == "smooth"
    assert FunctionStep(tophat, name="mine").name == "mine"


def test_settings_say_only_what_differs_from_the_defaults() -> None:
    assert FunctionStep(tophat, name="t").settings() == {"name": "t", "func": "tophat"}
    assert set(rich_step().settings()) == {
        "name", "func", "variable_components", "input_source", "force_disk_output", "well_filter", "unlisted",
    }  # fmt: skip
