"""Which GPU a job gets."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hcs_steps.run import devices
from hcs_steps.run.devices import leased_device, visible_gpus


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HCS_STEPS_GPU_LOCKS", str(tmp_path / "locks"))
    return tmp_path / "locks"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ()),
        ("-1", ()),
        ("0", ("0",)),
        ("0,1", ("0", "1")),
        (" 2 , 0 ", ("2", "0")),
        ("GPU-abc,MIG-GPU-1/2/3", ("GPU-abc", "MIG-GPU-1/2/3")),
    ],
)
def test_the_schedulers_assignment_is_honoured(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpus() == expected


def test_no_gpu_wanted_or_there_is_the_cpu_without_a_lock(
    monkeypatch: pytest.MonkeyPatch, locks: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with leased_device(False) as device:
        assert device == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with leased_device(True) as device:
        assert device == "cpu"
    assert not locks.exists()


def test_without_a_working_cupy_a_leased_device_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setitem(sys.modules, "cupy", None)  # as if it were not installed
    with leased_device(True) as device:
        assert device == "cpu"


def test_a_lease_narrows_what_cuda_sees_and_restores_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setattr(devices, "gpu_ready", lambda: True)
    with leased_device(True) as device:
        assert device == "cuda:3"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"
    with pytest.raises(ZeroDivisionError), leased_device(True):
        1 / 0  # noqa: B018
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


HOLDER = """
    import sys
    from hcs_steps.run import devices
    devices.gpu_ready = lambda: True
    with devices.leased_device(True) as device:
        print(device, flush=True)
        sys.stdin.read()
"""


def holder() -> "subprocess.Popen[str]":
    """A process that leases a device, says which, and holds it until it is killed or its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_processes_never_hold_the_same_device_and_a_dead_holder_frees_its(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    first, second = holder(), holder()
    third = None
    try:
        assert {said(first), said(second)} == {"cuda:0", "cuda:1"}
        third = holder()
        first.kill()
        first.wait()
        assert said(third) in {"cuda:0", "cuda:1"}
    finally:
        for process in filter(None, (first, second, third)):
            process.kill()
            process.communicate()
