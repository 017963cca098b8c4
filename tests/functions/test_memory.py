"""Predicted memory against what is taken: of calls, as the decorators declare it, and of units, as a job runs them."""

from __future__ import annotations

import importlib.util
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from hcs_steps import functions
from hcs_steps.functions.declare import Cost, PlateSize, spec_of, step_function
from hcs_steps.functions.preprocessing.background import tophat
from hcs_steps.functions.preprocessing.composite import create_composite
from hcs_steps.functions.preprocessing.normalize import stack_percentile_normalize
from hcs_steps.functions.segmentation.count import count_cells_single_channel

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "memory.py"
NUCLEI = [(y, x, 10) for y in range(20, 1000, 45) for x in range(20, 1000, 45)]


def load():
    spec = importlib.util.spec_from_file_location("memory_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["memory_benchmark"] = module
    spec.loader.exec_module(module)
    return module


benchmark = load()


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    """``plates(size, planes, stacks, dtype)``: the folder of a plate, each made once."""
    made = {}

    def plate(*shape):
        if shape not in made:
            made[shape] = tmp_path_factory.mktemp("plates") / "plate"
            benchmark.make_images(made[shape], *shape)
        return made[shape]

    return plate


def hold(case, plates, folder, size, planes, dtype):
    if case.needs:
        pytest.importorskip(case.needs)
    found = benchmark.measure(case, plates(size, planes, case.stacks, dtype), folder)
    assert found.measured <= found.predicted <= benchmark.LARGEST_RATIO * found.measured, found


def by_name(case):
    return case.function


def test_every_built_in_function_has_a_case_and_says_what_it_loads():
    every = {name for names in functions.STEP_FUNCTIONS.values() for name in names}
    own = {getattr(functions, name).__name__ for name in every}
    called = {case.function for case in benchmark.CASES}
    # Some names are those of a function that has another.
    assert {name for name in own if hasattr(getattr(functions, name, None), "__hcs_step__")} == called
    assert [name for name in called if spec_of(getattr(functions, name)).packages is None] == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux measures the peak of a unit")
@pytest.mark.parametrize("case", benchmark.CASES, ids=by_name)
def test_a_unit_takes_what_is_predicted_and_not_less_than_half(case, plates, tmp_path):
    hold(case, plates, tmp_path, 1080, 4, "uint16")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux measures the peak of a unit")
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize(
    ("size", "planes"), [(512, 1), (512, 16), (1080, 9), (2160, 1), (2160, 4), (2160, 9)]
)
@pytest.mark.parametrize("case", benchmark.CASES, ids=by_name)
def test_predictions_hold_for_other_sizes_and_types(case, size, planes, dtype, plates, tmp_path):
    hold(case, plates, tmp_path, size, planes, dtype)


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (stack_percentile_normalize, {"target_max": 1e9}),
        (tophat, {}),
        (tophat, {"downsample_factor": 1, "selem_radius": 8}),
        (create_composite, {}),
        (count_cells_single_channel, {}),
        (count_cells_single_channel, {"detection_method": "log"}),
    ],
)
def test_a_call_allocates_what_is_declared_and_not_less_than_a_third(
    draw_disks, function, parameters, planes
):
    stack = np.repeat(draw_disks((1000, 1000), NUCLEI)[None], planes, axis=0)
    function(stack[:, :64, :64], **parameters)
    tracemalloc.start()
    function(stack, **parameters)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(function)
    declared = spec.cost(parameters).of(stack)
    # Labels are predicted apart: 4 bytes per pixel.
    labels = 4 * stack.size * sum(output.kind == "labels" for output in spec.outputs)
    assert peak <= declared + labels <= 3 * peak


def test_what_depends_on_arguments_is_declared_by_the_defaults_otherwise():
    @step_function(needs=lambda params, plate: Cost(params.get("copies", 2), 3.0 * plate.channels))
    def copy(stack, copies=2):
        return stack

    spec = spec_of(copy)
    assert (spec.memory, spec.scratch) == (2, 3.0)
    assert spec.cost({"copies": 5}, PlateSize(channels=4)) == Cost(5, 12.0)
