"""What happens where the memory of a GPU does not suffice. The stand-in of CuPy has as much as a test gives it."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from hcs_steps.compile.plan import CallPlan
from hcs_steps.functions.declare import step_function
from hcs_steps.pipeline import FunctionStep
from hcs_steps.run import _gpu_memory
from hcs_steps.run._attempt import Attempt
from hcs_steps.run.held import planes_of
from hcs_steps.run.records import read_json, read_record
from hcs_steps.run.workplace import Workplace

Run = Callable[..., Any]

PLANE = 96 * 112 * 2
"""Bytes of a plane of the plate; a stack is the four sites of a channel."""
PLATE = {"wells": ["A01", "A02", "A03"], "sites": (2, 2), "channels": ("DAPI",)}


class Calls:
    """Of which kind and how many planes the stacks are that a step function got."""

    seen: ClassVar[list[tuple[str, int]]] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    Calls.seen = []


def noted(stack: Any) -> Any:
    Calls.seen.append((type(stack).__module__, len(stack)))
    return stack


@step_function(devices=("cpu", "gpu"), planewise=True, outputs={"bright": "labels", "means": "table"})
def doubled(stack: Any) -> Any:
    """Takes twice the memory of its stack besides that, and labels."""
    wide = noted(stack) * 2
    means = {"plane": np.arange(len(stack)), "mean": np.array([float(plane.mean()) for plane in stack])}
    return wide, (wide > 500).astype(np.uint32), means


@step_function(devices=("cpu", "gpu"))
def needs_all(stack: Any) -> Any:
    """As much, but of the whole stack at once."""
    return noted(stack) + stack.mean(axis=0, keepdims=True).astype(stack.dtype)


@step_function(devices=("cpu", "gpu"), halves=("batch_size",))
def in_batches(stack: Any, batch_size: int = 8) -> Any:
    """Needs 100 kB for each of a batch."""
    Calls.seen.append((type(stack).__module__, batch_size))
    xp = np if isinstance(stack, np.ndarray) else __import__("cupy")
    assert xp.zeros(100_000 * batch_size, dtype=np.uint8).size
    return stack + stack.dtype.type(1)


def records(ran: Any) -> list[dict[str, Any]]:
    found = [read_record(ran.results, ran.plan.stages[0].name, unit) for unit in ran.plan.units]
    return [record or {} for record in found]


def results(ran: Any) -> dict[str, str]:
    """The checksum of everything that is published."""
    return {item["path"]: item["checksum"] for record in records(ran) for item in record["published"]}


def test_a_function_that_treats_planes_one_by_one_gets_half_of_them(run_steps: Run, one_gpu: Any) -> None:
    steps = [FunctionStep(doubled, name="double")]
    whole = run_steps(steps, place="whole", gpu="auto", **PLATE)
    assert {record["device"] for record in records(whole)} == {"cuda:0"}
    Calls.seen.clear()
    one_gpu.get_default_memory_pool().set_limit(size=11 * PLANE)
    halved = run_steps(steps, place="halved", gpu="auto", **PLATE)
    one_gpu.get_default_memory_pool().set_limit(size=0)
    assert results(halved) == results(whole)
    first, *others = records(halved)
    assert first["gpu"]["fallbacks"] == [{"step": "double", "function": _name(halved), "planes": 2}]
    assert "2 planes at a time" in first["notes"][0]
    assert {record["device"] for record in records(halved)} == {"cuda:0"}
    assert Calls.seen[:4] == [("cupy", 4), ("cupy", 4), ("cupy", 2), ("cupy", 2)], "tidied, then halved"
    assert Calls.seen[4:] == [("cupy", 2)] * 4, "the next units start with what worked"
    assert all(record["gpu"]["fallbacks"] == first["gpu"]["fallbacks"] for record in others)


def test_one_that_needs_the_whole_stack_is_left_to_the_cpu(run_steps: Run, one_gpu: Any) -> None:
    steps = [FunctionStep(needs_all, name="sum")]
    host = run_steps(steps, place="host", **PLATE)
    Calls.seen.clear()
    one_gpu.get_default_memory_pool().set_limit(size=5 * PLANE)
    ran = run_steps(steps, place="device", gpu="auto", **PLATE)
    assert results(ran) == results(host)
    assert Calls.seen == [("cupy", 4), ("cupy", 4), ("numpy", 4), ("numpy", 4), ("numpy", 4)]
    for record in records(ran):
        assert record["gpu"]["fallbacks"] == [{"step": "sum", "function": _name(ran), "device": "cpu"}]
        assert "done by the CPU" in record["notes"][0]
    assert records(ran)[1]["gpu"]["transfers"]["to_device"] == 0, "not even tried again"


def test_where_only_a_gpu_will_do_the_unit_fails_and_says_why(run_steps: Run, one_gpu: Any) -> None:
    one_gpu.get_default_memory_pool().set_limit(size=5 * PLANE)
    ran = run_steps([FunctionStep(needs_all, name="sum")], gpu="always", **PLATE)
    failure = read_json(ran.results.failure(ran.plan.stages[0].name, "A01"))
    assert failure is not None
    assert (failure["kind"], failure["shortages"]) == ("out of GPU memory", 0)
    assert "It needed more GPU memory than there was" in failure["error"]
    assert "next attempt" not in failure["error"], "which would have no more"
    assert failure["error"].endswith("or gpu: auto for the plate, which leaves it to the CPU.")
    assert ("numpy", 4) not in Calls.seen
    assert read_json(ran.results.failure(ran.plan.stages[0].name, "A03")), "the next units are tried"


def test_a_declared_argument_is_halved_until_it_fits(run_steps: Run, one_gpu: Any) -> None:
    host = run_steps([FunctionStep(in_batches, name="batch")], place="host", **PLATE)
    Calls.seen.clear()
    one_gpu.get_default_memory_pool().set_limit(size=250_000 + 8 * PLANE)
    ran = run_steps([FunctionStep(in_batches, name="batch")], place="device", gpu="always", **PLATE)
    assert [batch for _, batch in Calls.seen] == [8, 8, 4, 2, 2, 2]
    assert records(ran)[2]["gpu"]["fallbacks"] == [
        {"step": "batch", "function": _name(ran), "arguments": {"batch_size": 2}}
    ]
    assert results(ran) == results(host)


def test_what_did_not_fit_with_other_arguments_says_nothing_of_another_branch(
    run_steps: Run, one_gpu: Any
) -> None:
    """A model too large for the device does not send the small one of the next channel to the CPU."""
    branches = {1: (needs_memory, {"kilobytes": 900}), 2: (needs_memory, {"kilobytes": 1})}
    steps = [FunctionStep(branches, name="model", group_by="channel")]
    one_gpu.get_default_memory_pool().set_limit(size=500_000)
    ran = run_steps(steps, gpu="auto", **{**PLATE, "channels": ("DAPI", "GFP")})
    tried_first = [("cupy", 900), ("cupy", 900), ("numpy", 900), ("cupy", 1)]
    assert Calls.seen == tried_first + [("numpy", 900), ("cupy", 1)] * 2
    for record in records(ran):
        assert [fallback["device"] for fallback in record["gpu"]["fallbacks"]] == ["cpu"]


@step_function(devices=("cpu", "gpu"))
def needs_memory(stack: Any, kilobytes: int = 1) -> Any:
    """Needs as much as it is told to, besides its stack."""
    xp = np if isinstance(stack, np.ndarray) else __import__("cupy")
    Calls.seen.append((type(stack).__module__, kilobytes))
    assert xp.zeros(1000 * kilobytes, dtype=np.uint8).size
    return stack + stack.dtype.type(1)


@pytest.mark.parametrize(
    "small", [np.ones((1, 100, 200), np.uint8), np.ones((2, 50, 100), np.uint8)], ids=["fewer", "smaller"]
)
def test_a_stack_that_did_not_fit_says_nothing_of_another_one(one_gpu: Any, small: Any) -> None:
    one_gpu.get_default_memory_pool().set_limit(size=250_000)
    assert _device_of_result(np.ones((2, 100, 200), np.uint32)) == "cpu"
    assert _device_of_result(small) == "gpu"
    assert _device_of_result(np.ones((2, 100, 200), np.uint8)) == "gpu", "of another type, too"


def test_a_chain_starts_on_the_device_if_its_own_kind_of_stack_fits(one_gpu: Any) -> None:
    one_gpu.get_default_memory_pool().set_limit(size=250_000)
    large, small = (np.ones((2, 100, 200), dtype) for dtype in (np.uint32, np.uint8))
    assert _device_of_result(large) == "cpu"
    work = Workplace(on_gpu=True)
    assert not work.starts_on_gpu("step", _call(), planes_of(work.hold(large)))
    assert work.starts_on_gpu("step", _call(), planes_of(work.hold(small)))
    assert work.starts_on_gpu("step", _call(), planes_of(work.hold(large))[:1])


def _device_of_result(stack: Any) -> str:
    """Where a call that takes as much memory again as its stack is made."""
    work = Workplace(on_gpu=True)
    attempt = Attempt(_call(), lambda stack: stack + stack.dtype.type(1), work.hold(stack), {}, frozenset())
    left, _ = work.make("step", 0, attempt)
    return "gpu" if left.is_on_gpu else "cpu"


def test_what_waits_on_the_device_makes_room_first(one_gpu: Any) -> None:
    """Nothing is done with less while it helps to bring to the host what nobody needs now."""
    work = Workplace(on_gpu=True)
    waiting = work.hold(np.ones(60_000, np.uint8))
    waiting.on_gpu()
    one_gpu.get_default_memory_pool().set_limit(size=100_000)
    planes = work.hold(np.ones((2, 100, 200), np.uint8))
    left, _ = work.make("step", 0, Attempt(_call(), lambda stack: stack + 1, planes, {}, frozenset()))
    assert not waiting.is_on_gpu
    assert left.is_on_gpu
    assert work.fallbacks == []


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("OutOfMemoryError", "CUDA out of memory.", True),
        ("CUDARuntimeError", "cudaErrorMemoryAllocation: out of memory", True),
        ("CuFFTError", "CUFFT_ALLOC_FAILED", True),
        ("CUBLASError", "CUBLAS_STATUS_ALLOC_FAILED", True),
        ("CUDARuntimeError", "cudaErrorIllegalAddress: an illegal memory access was encountered", False),
        ("ValueError", "out of memory", False),
    ],
)
def test_errors_of_gpu_libraries_are_told_by_their_names(kind: str, text: str, expected: bool) -> None:
    assert _gpu_memory.ran_out(type(kind, (Exception,), {})(text)) is expected


def test_running_out_of_host_memory_is_no_reason_to_try_again(run_steps: Run, one_gpu: Any) -> None:
    ran = run_steps([FunctionStep(greedy, name="greedy")], gpu="auto", **PLATE)
    assert Calls.seen == [("cupy", 4)] * 3
    failure = read_json(ran.results.failure(ran.plan.stages[0].name, "A01"))
    assert failure is not None
    assert (failure["kind"], failure["shortages"]) == ("out of memory", 1)
    assert "more memory than a process may have here" in failure["error"]


@step_function(devices=("cpu", "gpu"), planewise=True)
def greedy(stack: Any) -> Any:
    noted(stack)
    raise MemoryError("the host's")


def _call() -> CallPlan:
    """A call of a function that nothing is declared of, but that it can use a GPU."""
    return CallPlan("f", {}, "", (), {}, 0, (), False, True, "same", False, False, ("cpu", "gpu"))


def _name(ran: Any) -> str:
    return ran.plan.steps[0].calls[0].function
