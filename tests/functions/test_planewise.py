"""What is declared to treat planes one by one gives the same, however many planes it is given at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hcs_steps import functions
from hcs_steps.compile.plan import CallPlan
from hcs_steps.errors import PipelineError, StepError
from hcs_steps.frozen import freeze
from hcs_steps.functions.declare import spec_of, step_function
from hcs_steps.run._attempt import Attempt, Size
from hcs_steps.run.held import Held
from hcs_steps.run.workplace import Workplace

PLANES = 5
EVERY = sorted({n for names in functions.STEP_FUNCTIONS.values() for n in names})
PLANEWISE = [name for name in EVERY if spec_of(getattr(functions, name)).planewise]


def stack() -> np.ndarray:
    """Planes that differ in brightness, noise and content, one of them empty and one saturated in places."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:64, :80]
    planes = []
    for level, noise, spots in [(300, 20, 9), (20_000, 500, 4), (0, 0, 0), (900, 30, 14), (65_000, 900, 3)]:
        plane = np.full(y.shape, float(level)) + rng.normal(0, noise, y.shape)
        for cy, cx in zip(rng.integers(8, 56, spots), rng.integers(8, 72, spots), strict=True):
            plane += (2 * level + 500) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 12)
        planes.append(plane)
    return np.clip(planes, 0, 65535).astype(np.uint16)


def labels() -> np.ndarray:
    found = np.zeros((PLANES, 64, 80), np.uint32)
    for number, plane in enumerate(found):
        for label in range(number + 1):
            plane[6 + 9 * label : 12 + 9 * label, 10 + 5 * number : 20 + 5 * number] = label + 1
    return found


def field() -> dict[str, Any]:
    y, x = np.mgrid[-1:1:64j, -1:1:80j]
    layers = [np.stack([1.2 - k * 0.1 * (x**2 + y**2), np.full(x.shape, 100.0 * k)]) for k in (1, 2)]
    return {"flatfield": np.stack(layers).astype(np.float32), "flatfield_channels": [1, 2]}


def table() -> dict[str, np.ndarray]:
    return {
        "site": np.arange(1, PLANES + 1),
        "channel": np.array([1, 2, 1, 2, 2]),
        "channel_name": np.array(list("abABb")),
        "z_index": np.ones(PLANES, int),
        "timepoint": np.ones(PLANES, int),
        "pixel_size_um": np.full(PLANES, 0.5),
    }


ARGUMENTS: dict[str, dict[str, Any]] = {
    "apply_flatfield": field(),
    "crop": {"margin": 3},
    "gaussian": {"sigma_um": 1.0},
    "rescale": {"factor": 0.7},
    "segment_cytoplasm": {"nuclei": labels(), "ring_width": 3, "ring_gap": 1},
    "segment_spots": {"cells": labels()},
    "subtract_background": {"tile": 16, "mask": labels()},
    "tophat": {"selem_radius": 7},
}
BY_PLANE = frozenset({"nuclei", "cells", "mask", "planes"})


def made(function: Any, arguments: dict[str, Any], planes: int) -> tuple[np.ndarray, list[Any]]:
    """What a function on the device returns that is given so many planes at a time; 0 for all."""
    spec, work = spec_of(function), Workplace(on_gpu=True)
    filled = {n: work.hold(v) if isinstance(v, np.ndarray) else v for n, v in arguments.items()}
    if "planes" in function.__code__.co_varnames[: function.__code__.co_argcount]:
        filled["planes"] = table()
    outputs = tuple((output.name, output.kind) for output in spec.outputs)
    call = CallPlan(
        function.__name__,
        freeze({}),
        "",
        outputs,
        {},
        0,
        (),
        spec.reduces,
        True,
        "same",
        False,
        False,
        spec.devices,
    )
    left, others = Attempt(call, function, work.hold(stack()), filled, BY_PLANE).made(
        Size(planes=planes), True, work.hold
    )
    return left.on_host(), [other.on_host() if isinstance(other, Held) else other for other in others]


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("name", PLANEWISE)
def test_planes_come_out_the_same_a_few_at_a_time(cupy_standin: Any, name: str, planes: int) -> None:
    function, arguments = getattr(functions, name), ARGUMENTS.get(name, {})
    image, others = made(function, arguments, 0)
    again, others_again = made(function, arguments, planes)
    np.testing.assert_array_equal(again, image)
    assert again.dtype == image.dtype
    for one, other in zip(others, others_again, strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(other, one)
            continue
        assert list(one) == list(other)
        for column, values in one.items():
            np.testing.assert_array_equal(other[column], values, err_msg=column)
            assert np.asarray(other[column]).dtype.kind == np.asarray(values).dtype.kind, column


def test_one_that_looks_at_the_whole_stack_would_be_noticed(cupy_standin: Any) -> None:
    image, _ = made(functions.stack_percentile_normalize, {}, 0)
    again, _ = made(functions.stack_percentile_normalize, {}, 1)
    assert not np.array_equal(image, again)


def test_a_function_that_makes_one_plane_of_many_cannot_be_planewise() -> None:
    with pytest.raises(PipelineError, match="reduces them to one"):
        step_function(planewise=True, reduces=True)
    with pytest.raises(PipelineError, match="'best' is none"):
        step_function(planewise=True, outputs={"best": "value"})


def test_only_arguments_that_a_function_has_can_be_halved() -> None:
    with pytest.raises(PipelineError, match="no argument 'tile'"):
        step_function(halves=("tile",))(lambda stack, batch=4: stack)


def test_a_table_that_does_not_say_of_which_planes_it_is_cannot_be_put_together(cupy_standin: Any) -> None:
    @step_function(planewise=True, devices=("cpu", "gpu"), outputs={"means": "table"})
    def means(stack: Any) -> Any:
        return stack, {"mean": [float(plane.mean()) for plane in stack]}

    with pytest.raises(StepError, match="no column 'plane'"):
        made(means, {}, 2)
