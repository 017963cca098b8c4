"""Which GPUs a process may use, and by which names all processes know them."""

import os
import platform
import sys
import types

import pytest

from hcs_steps.run import _gpu_names
from hcs_steps.run._gpu_names import Gpu, found_gpus, visible_gpus

NODE = platform.node()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No scheduler, and no library that knows UUIDs."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", None)


def install_library(monkeypatch: pytest.MonkeyPatch, *devices: str | list[str]) -> None:
    """A stand-in for nvidia-ml-py: a UUID for each device, or a list of those of its instances."""
    library = types.ModuleType("pynvml")

    class NVMLError(Exception):
        pass

    def instance(device: int, number: int) -> tuple[int, int]:
        if number >= len(devices[device]):
            raise NVMLError("Not Found")
        return device, number

    def uuid(handle: int | tuple[int, int]) -> str:
        return devices[handle[0]][handle[1]] if isinstance(handle, tuple) else str(devices[handle])

    def mig_mode(device: int) -> list[int]:
        if isinstance(devices[device], str):
            raise NVMLError("Not Supported")
        return [1, 1]

    library.NVMLError = NVMLError
    library.nvmlInit = library.nvmlShutdown = lambda: None
    library.nvmlDeviceGetCount = lambda: len(devices)
    library.nvmlDeviceGetHandleByIndex = int
    library.nvmlDeviceGetUUID = uuid
    library.nvmlDeviceGetMigMode = mig_mode
    library.nvmlDeviceGetMaxMigDeviceCount = lambda device: 7
    library.nvmlDeviceGetMigDeviceHandleByIndex = instance
    monkeypatch.setitem(sys.modules, "pynvml", library)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("0", ("0",)),
        ("0,1", ("0", "1")),
        (" 2 , 0 ", ("2", "0")),
        ("1,1", ("1",)),
        ("0,-1,1", ("0",)),
        ("GPU-abc,MIG-GPU-1/2/3", ("GPU-abc", "MIG-GPU-1/2/3")),
    ],
)
def test_the_schedulers_assignment_is_read_as_cuda_does(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpus() == expected


def test_without_an_assignment_device_files_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: "os.PathLike[str]"
) -> None:
    names = ["nvidia10", "nvidia2", "nvidia0"]
    monkeypatch.setattr(_gpu_names, "_device_files", lambda: [_gpu_names.Path("/dev") / n for n in names])
    assert visible_gpus() == ("0", "1", "2"), (
        "as CUDA numbers what it can open, whatever the files are called"
    )


def test_a_container_that_was_given_one_device_of_several_leases_it_by_its_uuid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install_library(monkeypatch, "GPU-ccc")
    monkeypatch.setattr(_gpu_names, "_device_files", lambda: [_gpu_names.Path("/dev/nvidia2")])
    assert found_gpus() == (Gpu("0", "GPU-ccc"),)


def test_number_and_uuid_of_a_device_have_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    install_library(monkeypatch, "GPU-aaa", "GPU-bbb")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    (by_number,) = found_gpus()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b")
    (by_uuid,) = found_gpus()
    assert by_number.key == by_uuid.key == "GPU-bbb"
    assert (by_number.name, by_uuid.name) == ("1", "GPU-b")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,GPU-bbb,0")
    assert [gpu.key for gpu in found_gpus()] == ["GPU-bbb", "GPU-aaa"], "each device once"


def test_a_device_that_is_cut_into_instances_is_several(monkeypatch: pytest.MonkeyPatch) -> None:
    install_library(monkeypatch, ["MIG-1", "MIG-2"], "GPU-b")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert found_gpus() == (Gpu("MIG-1", "MIG-1"), Gpu("MIG-2", "MIG-2"), Gpu("1", "GPU-b"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-2")
    assert found_gpus() == (Gpu("MIG-2", "MIG-2"),)


def test_numbers_in_another_order_than_the_librarys_are_not_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    install_library(monkeypatch, "GPU-aaa")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert found_gpus() == (Gpu("0", f"{NODE}-0"),)


@pytest.mark.parametrize(
    ("slurm", "keys"),
    [
        ({"SLURM_JOB_GPUS": "2,3"}, ["2", "3"]),
        ({"SLURM_JOB_GPUS": "4-5"}, ["4", "5"]),
        ({"SLURM_JOB_GPUS": "0,1,2,3", "SLURM_STEP_GPUS": "1,3"}, ["1", "3"]),
        ({"SLURM_JOB_GPUS": "0,1,2,3"}, ["0", "1"]),
        ({"SLURM_JOB_GPUS": "gpu:2"}, ["0", "1"]),
    ],
)
def test_jobs_of_slurm_that_all_see_device_0_have_devices_of_their_own(
    monkeypatch: pytest.MonkeyPatch, slurm: dict[str, str], keys: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    assert [gpu.key for gpu in found_gpus()] == [f"{NODE}-{key}" for key in keys]
    assert [gpu.name for gpu in found_gpus()] == ["0", "1"]
