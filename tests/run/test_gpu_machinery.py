"""The checks of a real GPU that `benchmarks/gpu_check.py` makes, with the stand-in and, where there is one, a GPU."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from hcs_steps.run.devices import gpu_ready

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_machinery.py"
spec = importlib.util.spec_from_file_location("gpu_machinery", SCRIPT)
assert spec is not None
assert spec.loader is not None
machinery = importlib.util.module_from_spec(spec)
spec.loader.exec_module(machinery)


@pytest.mark.parametrize("check", machinery.CHECKS)
def test_the_checks_hold_for_the_stand_in(one_gpu: Any, check: str) -> None:
    assert machinery.CHECKS[check](one_gpu)


@pytest.mark.gpu
@pytest.mark.parametrize("check", machinery.CHECKS)
def test_the_checks_hold_for_a_real_gpu(check: str) -> None:
    if not gpu_ready():
        pytest.skip("CuPy finds no CUDA device here")
    import cupy

    assert machinery.CHECKS[check](cupy)


def test_a_check_notices_what_is_wrong(one_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machinery.Workplace, "make", lambda self, step, number, attempt: (attempt.stack, []))
    for check in ("transfers", "fewer_planes", "the_cpu"):
        with pytest.raises((AssertionError, ValueError)):
            machinery.CHECKS[check](one_gpu)
