"""The check of GPU against CPU runs without a GPU, and forgets no function."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from hcs_steps import functions
from hcs_steps.functions.declare import spec_of

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_check.py"
PARTS = {"focus_score", "saturation", "signal_to_background"}
"""Functions that `image_quality` calls, all of them."""


@pytest.fixture(scope="module")
def gpu_check():
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module
    spec.loader.exec_module(module)
    return module


def test_all_functions_agree_with_numpy_in_the_place_of_cupy():
    command = [sys.executable, str(SCRIPT), "--stand-in", "--size", "160"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DIFFERS" not in done.stdout
    assert "FAILED" not in done.stdout
    assert "4 planes at a time" in done.stdout


def test_every_function_that_runs_on_a_gpu_has_a_case(gpu_check):
    every = {name for names in functions.STEP_FUNCTIONS.values() for name in names}
    on_gpu = {
        getattr(functions, name).__name__
        for name in every
        if "gpu" in spec_of(getattr(functions, name)).devices
    }
    assert on_gpu - PARTS <= {case.function for case in gpu_check.CASES}


def test_differences_are_seen(gpu_check):
    import numpy as np

    labels = np.zeros((1, 20, 20), np.uint32)
    labels[0, 2:8, 2:8], labels[0, 10:16, 10:16] = 1, 2
    renumbered = np.array([0, 2, 1], np.uint32)[labels]
    assert gpu_check.difference(labels, renumbered) == 0
    merged = (labels > 0).astype(np.uint32)
    assert gpu_check.difference(labels, np.where(labels == 1, labels, 0)) == 0.5
    assert gpu_check.difference(merged, labels) == 0.5
    image = np.full((1, 3, 3), 7, np.uint16)
    assert gpu_check.difference(image, image + np.uint16(2)) == 2
    assert gpu_check.difference(image, image.astype(np.float32)) == float("inf")
    table = {"a": np.array([1.0, np.nan]), "b": np.array(["x", "y"])}
    assert gpu_check.difference(table, table) == 0
    assert gpu_check.difference(table, {**table, "a": np.array([1.0, 2.0])}) == float("inf")
