"""Arrays stay on the device between steps that use it; what crosses is counted, and no byte of a result differs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hcs_steps.compile.memory import GPU_BASE_MB
from hcs_steps.functions import (
    count_cells_single_channel,
    gaussian,
    measure_objects,
    segment_log_std,
    stack_percentile_normalize,
    tophat,
)
from hcs_steps.functions.declare import step_function
from hcs_steps.pipeline import FunctionStep
from hcs_steps.run import workplace
from hcs_steps.run._attempt import Attempt
from hcs_steps.run.held import Held, Transfers, as_array, planes_of, stacked
from hcs_steps.run.records import read_record

Run = Callable[..., Any]


def record(ran: Any, unit: str = "A01") -> dict[str, Any]:
    found = read_record(ran.results, ran.plan.stages[0].name, unit)
    assert found is not None
    return found


def published(ran: Any) -> dict[str, str]:
    """The checksum of everything that all units have published."""
    items = [item for unit in ran.plan.units for item in record(ran, unit)["published"]]
    assert items
    return {item["path"]: item["checksum"] for item in items}


@step_function(devices=("cpu", "gpu"))
def brighter(stack: Any) -> Any:
    return (stack + 1).astype(stack.dtype)


@step_function()
def brighter_on_the_host(stack: Any) -> Any:
    return np.add(stack, 1, dtype=stack.dtype)


def normalized() -> FunctionStep:
    return FunctionStep((stack_percentile_normalize, {"low_percentile": 1.0}), name="normalize")


def opened() -> FunctionStep:
    return FunctionStep((tophat, {"selem_radius": 9}), name="tophat")


def segmented() -> FunctionStep:
    return FunctionStep({"DAPI": segment_log_std}, name="segment")


def measured() -> FunctionStep:
    return FunctionStep(measure_objects, name="measure")


PIPELINES: dict[str, Callable[[], list[FunctionStep]]] = {
    "images": lambda: [normalized(), opened(), FunctionStep((gaussian, {"sigma": 1.5}), name="gaussian")],
    "chain": lambda: [FunctionStep([stack_percentile_normalize, (tophat, {"selem_radius": 9})], name="both")],
    "labels": lambda: [normalized(), segmented(), measured()],
    "host between": lambda: [normalized(), FunctionStep(brighter_on_the_host, name="host"), opened()],
    "host at last": lambda: [normalized(), opened(), FunctionStep(count_cells_single_channel, name="count")],
    "channels": lambda: [
        FunctionStep({"DAPI": stack_percentile_normalize}, name="dapi", unlisted="pass"),
        opened(),
    ],
}


def all_through_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bring everything that a call leaves to the host."""
    made = Attempt.made

    def brought(*arguments: Any) -> Any:
        left, outputs = made(*arguments)
        for array in (left, *(output for output in outputs if isinstance(output, Held))):
            array.leave_gpu()
        return left, outputs

    monkeypatch.setattr(Attempt, "made", brought)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_results_have_the_bytes_that_they_have_by_way_of_the_host(
    run_steps: Run, one_gpu: Any, monkeypatch: pytest.MonkeyPatch, pipeline: str
) -> None:
    staying = run_steps(PIPELINES[pipeline](), place="staying", gpu="always")
    all_through_the_host(monkeypatch)
    through = run_steps(PIPELINES[pipeline](), place="through", gpu="always")
    assert published(staying) == published(through)
    moved = [record(ran)["gpu"]["transfers"]["to_device"] for ran in (staying, through)]
    assert moved[0] <= moved[1]
    assert record(staying)["device"] == "cuda:0"


def test_a_stack_goes_to_the_device_once_and_comes_back_once(run_steps: Run, one_gpu: Any) -> None:
    """A stack of 2 sites for each of 2 channels."""
    ran = run_steps(PIPELINES["images"](), gpu="always")
    megabytes = 4 * 96 * 112 * 2 / (1 << 20)
    gpu = record(ran)["gpu"]
    assert gpu["transfers"] == {
        "to_device": 2,
        "to_device_mb": pytest.approx(megabytes, abs=1e-3),
        "to_host": 2,
        "to_host_mb": pytest.approx(megabytes, abs=1e-3),
    }
    assert gpu["fallbacks"] == []
    assert gpu["slot"] == 0
    assert gpu["id"].endswith("-0")


def test_the_record_counts_what_crossed(run_steps: Run, one_gpu: Any) -> None:
    steps = [FunctionStep(brighter, name="one"), FunctionStep(brighter, name="two")]
    transfers = record(run_steps(steps, gpu="always", wells=["A01"]))["gpu"]["transfers"]
    for way in ("to_device", "to_host"):
        assert transfers[way] == one_gpu.crossed[way] == 2
        assert transfers[f"{way}_mb"] == pytest.approx(one_gpu.crossed[f"{way}_bytes"] / (1 << 20), abs=1e-3)


def test_what_the_host_reads_between_comes_down_and_goes_up_again(run_steps: Run, one_gpu: Any) -> None:
    transfers = record(run_steps(PIPELINES["host between"](), gpu="always"))["gpu"]["transfers"]
    assert (transfers["to_device"], transfers["to_host"]) == (4, 4)


def test_labels_made_on_the_device_are_measured_there(run_steps: Run, one_gpu: Any) -> None:
    """Up: 2 raw stacks. Down: the labels of one, and the images that they are of, which are the results."""
    transfers = record(run_steps(PIPELINES["labels"](), gpu="always"))["gpu"]["transfers"]
    assert (transfers["to_device"], transfers["to_host"]) == (2, 1 + 1)


def test_without_room_on_the_device_stacks_wait_on_the_host(
    run_steps: Run, one_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = run_steps(PIPELINES["images"](), place="host")
    monkeypatch.setattr(workplace, "GPU_KEPT_MB", 0)
    device = run_steps(PIPELINES["images"](), place="device", gpu="always")
    assert record(device)["gpu"]["transfers"]["to_device"] == 6
    assert published(device) == published(host)


def test_nothing_of_a_unit_stays_on_the_device(run_steps: Run, one_gpu: Any) -> None:
    ran = run_steps(PIPELINES["labels"](), gpu="always")
    assert record(ran)["success"]
    assert one_gpu.get_default_memory_pool().used_bytes() == 0
    assert one_gpu.get_default_memory_pool().total_bytes() == 0


@pytest.mark.parametrize("pipeline", ["images", "labels"])
def test_the_peak_of_every_unit_is_below_the_prediction(run_steps: Run, one_gpu: Any, pipeline: str) -> None:
    """What CuPy itself takes besides arrays, the stand-in does not show."""
    plate = {"shape": (600, 700), "sites": (2, 2), "cells_per_well": 4}
    ran = run_steps(PIPELINES[pipeline](), gpu="always", **plate)
    peaks = [record(ran, unit)["peak_gpu_mb"] for unit in ran.plan.units]
    assert min(peaks) >= 4 * 600 * 700 * 2 >> 20
    assert max(peaks) <= ran.plan.stages[0].gpu_mem_mb - GPU_BASE_MB


def test_without_a_gpu_where_it_runs_a_job_is_done_by_the_cpu(
    run_steps: Run, one_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = record(run_steps([normalized()], gpu="always"))
    assert (found["device"], found["gpu"], found["peak_gpu_mb"]) == ("cpu", {}, 0)


def test_a_torch_tensor_on_the_device_becomes_a_cupy_array_without_the_host(one_gpu: Any) -> None:
    """A tensor in host memory that says it is on the device: the way it takes is what counts."""
    torch = pytest.importorskip("torch")

    class OnDevice(torch.Tensor):
        __module__ = "torch"
        is_cuda = True

    tensor = torch.arange(6, dtype=torch.int32).reshape(1, 2, 3).as_subclass(OnDevice)
    array = as_array(tensor, on_gpu=True)
    assert type(array) is one_gpu.ndarray
    assert one_gpu.crossed["to_host"] == one_gpu.crossed["to_device"] == 0
    np.testing.assert_array_equal(array.get(), np.arange(6).reshape(1, 2, 3))
    assert isinstance(as_array(torch.ones(2, requires_grad=True), on_gpu=True), np.ndarray)


def test_an_array_is_moved_once_each_way(one_gpu: Any) -> None:
    transfers = Transfers()
    held = Held(np.ones((2, 3, 4)), transfers)
    for _ in range(3):
        held.on_gpu()
        held.on_host()
    held.leave_gpu()
    assert (transfers.to_device, transfers.to_host) == (1, 0)
    made = Held(held.on_gpu() + 1, transfers)
    again = stacked(planes_of(made)[::-1], transfers, gpu=True)
    made.leave_gpu()
    np.testing.assert_array_equal(again.on_host(), np.full((2, 3, 4), 2.0))
    assert (transfers.to_device, transfers.to_host) == (2, 2)
    assert transfers.summary()["to_host_mb"] == round(2 * 192 / (1 << 20), 3)
