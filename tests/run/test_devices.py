"""Which GPU a job gets, and who waits for whom. No GPU is needed: the processes here only hold locks."""

import fcntl
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hcs_steps.errors import ConfigError
from hcs_steps.run import devices
from hcs_steps.run._gpu_slots import Ticket, lock_folder, slots_per_device, take
from hcs_steps.run.devices import DeviceTaken, leased_device

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HCS_STEPS_GPU_LOCKS", str(tmp_path / "locks"))
    monkeypatch.delenv("HCS_STEPS_GPU_SLOTS", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.setattr(devices, "_own", None)
    return tmp_path / "locks"


@pytest.fixture
def working_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cupy_installed", lambda: True)
    monkeypatch.setattr(devices, "gpu_ready", lambda: True)


HOLDER = """
    import sys
    from hcs_steps.run import devices
    devices.gpu_ready = devices.cupy_installed = lambda: True
    for line in sys.stdin:  # each is a job
        try:
            with devices.leased_device(True, may_move="move" in line) as lease:
                print(lease.device, lease.slot, flush=True)
                sys.stdin.readline()
                print("done", flush=True)
        except devices.DeviceTaken:
            print("taken", flush=True)
"""


@pytest.fixture
def start() -> Iterator[Start]:
    """``start(devices)``: a process that leases a device for every line it gets, until the next one."""
    running: list[subprocess.Popen[str]] = []

    def new(visible: str, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HOLDER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": visible, **environment},
        )
        running.append(process)
        return process

    yield new
    for process in running:
        process.kill()
        process.communicate()


def say(process: "subprocess.Popen[str]", text: str = "lease") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{text}\n")
    process.stdin.flush()


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def asked(process: "subprocess.Popen[str]", text: str = "lease") -> str:
    say(process, text)
    return said(process)


def waiting(folder: Path, number: int) -> None:
    """Wait until so many processes are in the queue."""
    deadline = time.monotonic() + 30
    while len(list(folder.glob("ticket-*"))) != number:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_no_gpu_wanted_or_there_is_the_cpu_without_a_lock(
    monkeypatch: pytest.MonkeyPatch, locks: Path, working_cupy: None
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with leased_device(False) as lease:
        assert lease.device == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with leased_device(True) as lease:
        assert lease.device == "cpu"
        assert not lease.on_gpu
    assert not locks.exists()


def test_without_cupy_nobody_waits_for_a_device(monkeypatch: pytest.MonkeyPatch, locks: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setitem(sys.modules, "cupy", None)  # as if it were not installed
    with leased_device(True) as lease:
        assert lease.device == "cpu"
    assert not locks.exists()


def test_where_cupy_finds_no_device_the_cpu_works_and_holds_none(
    monkeypatch: pytest.MonkeyPatch, locks: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(devices, "cupy_installed", lambda: True)
    monkeypatch.setattr(devices, "gpu_ready", lambda: False)
    with leased_device(True) as lease:
        assert lease.device == "cpu"
        (lock,) = locks.glob("*.lock")
        slot = take(locks, lock.name.removesuffix(".0.lock"), 0)
        assert slot is not None
        slot.release()


def test_a_lease_narrows_what_cuda_sees_and_restores_it(
    monkeypatch: pytest.MonkeyPatch, working_cupy: None
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with leased_device(True) as lease:
        assert lease.device == "cuda:3"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
        assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"
    assert "CUDA_DEVICE_ORDER" not in os.environ
    with pytest.raises(ZeroDivisionError), leased_device(True):
        1 / 0  # noqa: B018
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


def test_two_processes_never_hold_the_same_slot_and_a_killed_holder_frees_its(start: Start) -> None:
    first, second, third = start("0,1"), start("0,1"), start("0,1")
    assert {asked(first), asked(second)} == {"cuda:0 0", "cuda:1 0"}
    say(third)
    first.kill()
    first.wait()
    assert said(third) in {"cuda:0 0", "cuda:1 0"}


def test_slots_share_devices_and_fill_them_evenly(start: Start) -> None:
    holders = [start("0,1", HCS_STEPS_GPU_SLOTS="2") for _ in range(4)]
    given = [asked(holder) for holder in holders]
    assert {device.split()[0] for device in given[:2]} == {"cuda:0", "cuda:1"}
    assert sorted(given) == ["cuda:0 0", "cuda:0 1", "cuda:1 0", "cuda:1 1"]


def test_who_came_first_is_served_first(start: Start, locks: Path) -> None:
    holder, *others = [start("0") for _ in range(5)]
    asked(holder)
    for number, other in enumerate(others, 1):
        say(other)
        waiting(locks, number)
    before = holder
    for other in others:
        assert asked(before, "done") == "done"
        say(before)  # it wants the device again, and is the last now
        assert said(other) == "cuda:0 0"
        before = other


def test_nobody_waits_behind_those_who_want_other_devices(start: Start, locks: Path) -> None:
    holder, behind, beside = start("0"), start("0"), start("0,1")
    asked(holder)
    say(behind)
    waiting(locks, 1)
    assert asked(beside) == "cuda:1 0"


def test_a_waiter_that_was_killed_holds_nobody_up(start: Start, locks: Path) -> None:
    holder, killed, last = start("0"), start("0"), start("0")
    asked(holder)
    say(killed)
    waiting(locks, 1)
    killed.kill()
    killed.wait()
    say(last)
    asked(holder, "done")
    assert said(last) == "cuda:0 0"
    assert not list(locks.glob("ticket-*"))


def test_a_process_gets_the_same_device_again(start: Start) -> None:
    first, second = start("0,1"), start("0,1")
    assert asked(first) == "cuda:0 0"
    assert asked(second) == "cuda:1 0"
    for _ in range(3):
        assert asked(first, "done") == asked(second, "done") == "done"
        assert asked(second) == "cuda:1 0", "although device 0 is free, too"
        assert asked(first) == "cuda:0 0"


def test_a_process_whose_device_is_taken_says_so_where_another_is_free(start: Start) -> None:
    first, second = start("0,1"), start("0")
    assert asked(first) == "cuda:0 0"
    asked(first, "done")
    assert asked(second) == "cuda:0 0"
    assert asked(first, "move") == "taken"
    say(first)  # without leave to move it waits for its own
    asked(second, "done")
    assert said(first) == "cuda:0 0"


def test_a_process_whose_device_is_not_for_the_job_says_so(
    monkeypatch: pytest.MonkeyPatch, working_cupy: None
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with leased_device(True):
        pass
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(DeviceTaken), leased_device(True):
        pass


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "1000", "²"])
def test_odd_numbers_of_slots_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HCS_STEPS_GPU_SLOTS", value)
    with pytest.raises(ConfigError, match="HCS_STEPS_GPU_SLOTS"):
        slots_per_device()


def test_a_shared_folder_and_its_files_are_open_to_all_users(locks: Path) -> None:
    before = os.umask(0o077)
    try:
        folder = lock_folder()
        ticket = Ticket(folder, ["a"])
        slot = take(folder, "a", 0)
    finally:
        os.umask(before)
    assert slot is not None
    assert folder.stat().st_mode & 0o7777 == 0o1777
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o666}
    assert len(list(folder.iterdir())) == 2
    slot.release()
    ticket.withdraw()


def test_a_folder_of_ones_own_is_closed_and_does_not_follow_tmpdir(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HCS_STEPS_GPU_LOCKS")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = lock_folder()
    assert tmp_path not in folder.parents
    assert folder.stat().st_mode & 0o7777 == 0o700


def test_a_lock_file_that_is_removed_before_it_is_locked_gives_nobody_a_slot_twice(
    monkeypatch: pytest.MonkeyPatch, locks: Path
) -> None:
    folder = lock_folder()
    real = fcntl.flock
    removed: list[Path] = []

    def removed_first(handle: int, how: int) -> None:
        if not removed:
            (path,) = folder.glob("*.lock")
            path.unlink()
            removed.append(path)
        real(handle, how)

    monkeypatch.setattr("hcs_steps.run._gpu_slots.fcntl.flock", removed_first)
    slot = take(folder, "a", 0)
    assert slot is not None
    assert removed[0].exists()
    assert take(folder, "a", 0) is None, "who comes later meets the same file"
    slot.release()


def test_a_lock_file_that_is_replaced_before_it_is_locked_leaves_the_slot_to_its_holder(
    monkeypatch: pytest.MonkeyPatch, locks: Path
) -> None:
    folder = lock_folder()
    real = fcntl.flock
    others: list[Any] = []

    def taken_first(handle: int, how: int) -> None:
        monkeypatch.setattr("hcs_steps.run._gpu_slots.fcntl.flock", real)
        (path,) = folder.glob("*.lock")
        path.unlink()
        others.append(take(folder, "a", 0))
        real(handle, how)

    monkeypatch.setattr("hcs_steps.run._gpu_slots.fcntl.flock", taken_first)
    assert take(folder, "a", 0) is None
    assert others[0] is not None
    others[0].release()


def test_a_lock_file_that_is_in_use_does_not_look_old(locks: Path) -> None:
    """Cleaners of /tmp remove what was not touched for days."""
    folder = lock_folder()
    for _ in range(2):
        slot = take(folder, "a", 0)
        assert slot is not None
        (path,) = folder.glob("*.lock")
        found = path.stat()
        assert min(found.st_mtime, found.st_atime) > time.time() - 60
        slot.release()
        os.utime(path, (1.0, 1.0))


def test_a_lock_file_that_may_not_be_opened_is_told(
    monkeypatch: pytest.MonkeyPatch, locks: Path, working_cupy: None
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a")
    real = os.open

    def refuse(path: Any, *rest: Any) -> int:
        if str(path).endswith(".lock"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest)

    monkeypatch.setattr("hcs_steps.run._gpu_slots.os.open", refuse)
    with pytest.raises(ConfigError, match=r"GPU-a\.0\.lock") as caught, leased_device(True):
        pass
    assert "HCS_STEPS_GPU_LOCKS" in str(caught.value.hint)
    assert not list(locks.glob("ticket-*")), "and the place in the queue is given up"


def test_a_lock_folder_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HCS_STEPS_GPU_LOCKS", str(tmp_path / "file" / "locks"))
    with pytest.raises(ConfigError, match="locks of GPUs"):
        lock_folder()


OTHER_USER = """
    import os, sys
    from pathlib import Path
    from hcs_steps.run._gpu_slots import Ticket, take
    os.setuid(int(sys.argv[2]))
    folder = Path(sys.argv[1])
    ticket = Ticket(folder, ["a", "b"])
    print(sorted(ticket.claimed()), [take(folder, key, 0) is not None for key in "ab"], flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be several users")
def test_users_take_turns_in_a_shared_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        monkeypatch.setenv("HCS_STEPS_GPU_LOCKS", f"{home}/locks")
        folder = lock_folder()
        before = os.umask(0o077)
        first = subprocess.Popen(  # user 4001 makes the files, which then are not root's, nor 4002's
            [sys.executable, "-c", textwrap.dedent(OTHER_USER), str(folder), "4001"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert said(first) == "[] [True, True]"
        second = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(OTHER_USER), str(folder), "4002"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        os.umask(before)
        assert said(second) == "['a', 'b'] [False, False]"
        first.kill()
        first.communicate()
        slot = take(folder, "a", 0)
        assert slot is not None
        slot.release()
        second.kill()
        second.communicate()
