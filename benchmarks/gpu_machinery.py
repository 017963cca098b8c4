"""Does what the runner does with a GPU work on this one: leasing, transfers, memory that runs out, DLPack?

`gpu_check.py` runs these checks after those of the functions, and tests run them with the stand-in of CuPy. Each takes
the module ``cupy``, raises `AssertionError`, and returns a line for people.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.compile.plan import CallPlan
from hcs_steps.functions.declare import step_function
from hcs_steps.run import _gpu_memory, workplace
from hcs_steps.run._attempt import Attempt
from hcs_steps.run._gpu_slots import FOLDER, take
from hcs_steps.run.devices import leased_device
from hcs_steps.run.held import as_array
from hcs_steps.run.workplace import Workplace

MB = 1 << 20
PLANES, SIDE = 8, 1024
"""A stack of 16 MB."""


@step_function(devices=("cpu", "gpu"), planewise=True)
def by_plane(stack: Any) -> Any:
    """Twice each value; takes as much memory as its stack, besides that."""
    return stack * 2


@step_function(devices=("cpu", "gpu"))
def whole(stack: Any) -> Any:
    """The same, but only of a whole stack."""
    return stack * 2


def lease(cupy: Any) -> str:
    """A device is held while it is leased, by its own name, and the process gets the same again."""
    with tempfile.TemporaryDirectory() as folder, _environment(FOLDER, folder):
        with leased_device(True) as first:
            assert first.on_gpu, "no GPU was leased"
            assert take(Path(folder), first.key, first.slot) is None, "the leased slot is free"
            block = cupy.zeros(4 * MB, dtype="uint8")
            assert _gpu_memory.peak_mb() >= 4
            del block
        assert cupy.get_default_memory_pool().total_bytes() == 0, "memory was not given back"
        slot = take(Path(folder), first.key, first.slot)
        assert slot is not None, "the slot is not free after the lease"
        slot.release()
        with leased_device(True) as second:
            assert second == first, f"another device: {second}"
    return f"{first.device} is {first.key}"


def transfers(cupy: Any) -> str:
    """Two calls on the device: the stack goes up once and comes down once."""
    work = Workplace(on_gpu=True)
    stack, expected = _stack()
    left = _make(work, by_plane, stack)
    left = _make(work, whole, left.on_gpu())
    np.testing.assert_array_equal(left.on_host(), expected * 2)
    moved = work.transfers.summary()
    assert (moved["to_device"], moved["to_host"]) == (1, 1), moved
    assert moved["to_device_mb"] == moved["to_host_mb"] == 16, moved
    return f"{moved}"


def fewer_planes(cupy: Any) -> str:
    """With memory for half of a stack, half of it is worked on at a time."""
    return _with_memory(cupy, 28, by_plane, {"planes": 4})


def the_cpu(cupy: Any) -> str:
    """What needs the whole stack is done by the CPU."""
    return _with_memory(cupy, 28, whole, {"device": "cpu"})


def dlpack(cupy: Any) -> str:
    """Between CuPy and PyTorch nothing is copied."""
    try:
        import torch
    except ImportError:
        return "not checked: PyTorch is not installed"
    if not torch.cuda.is_available():
        return "not checked: PyTorch finds no GPU"
    tensor = torch.arange(12, dtype=torch.int32, device="cuda").reshape(1, 3, 4)
    array = as_array(tensor, on_gpu=True)
    assert array.data.ptr == tensor.data_ptr(), "PyTorch to CuPy copies"
    assert torch.from_dlpack(array).data_ptr() == tensor.data_ptr(), "CuPy to PyTorch copies"
    np.testing.assert_array_equal(array.get(), np.arange(12).reshape(1, 3, 4))
    return "CuPy and PyTorch share memory"


CHECKS: dict[str, Callable[[Any], str]] = {
    check.__name__: check for check in (lease, transfers, fewer_planes, the_cpu, dlpack)
}


def _stack() -> tuple[np.ndarray, np.ndarray]:
    """A stack (N, Y, X) uint16, and twice it."""
    stack = np.random.default_rng(0).integers(0, 9999, (PLANES, SIDE, SIDE), dtype=np.uint16)
    return stack, stack * 2


def _make(work: Workplace, function: Any, stack: Any) -> Any:
    """What a function makes of a stack."""
    call = CallPlan(
        function.__name__, {}, "", (), {}, 0, (), False, True, "same", False, False, ("cpu", "gpu")
    )
    return work.make("check", 0, Attempt(call, function, work.hold(stack), {}, frozenset()))[0]


def _with_memory(cupy: Any, megabytes: int, function: Any, expected: dict[str, Any]) -> str:
    """Make a call with so much memory in CuPy's pool; what was done must be as expected, twice the same."""
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    workplace._worked.clear()
    stack, doubled = _stack()
    pool.set_limit(size=megabytes * MB)
    try:
        works = [Workplace(on_gpu=True), Workplace(on_gpu=True)]
        for work in works:
            np.testing.assert_array_equal(_make(work, function, stack).on_host(), doubled)
            (done,) = work.fallbacks
            assert expected.items() <= done.items(), done
    finally:
        pool.set_limit(size=0)
        workplace._worked.clear()
    return works[0].notes[0]


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
