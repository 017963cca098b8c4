"""Processes that live and die together. Imports nothing that takes time before something has to be killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path

START_ROUNDING_S = 2.0
"""Start times of one process may differ so much: the system's idea of when it started itself is corrected."""

_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36


def process_start(pid: int) -> float | None:
    """When a live process started, in seconds since 1970 as psutil gives it; None if there is none of that id."""
    if _has_proc():
        found = _stat(pid)
        return None if found is None else found[1]
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return float(process.create_time())
    return None


def is_process(pid: int, started: float) -> bool:
    """Whether the process of that id that started then still lives. An id is given again, the two together are not."""
    found = process_start(pid)
    return found is not None and abs(found - started) < START_ROUNDING_S


def is_ancestor(pid: int) -> bool:
    """Whether a process is the parent of this one, or of its parent, and so on."""
    seen = os.getppid()
    while seen > 1 and seen != pid:
        seen = _parent(seen)
    return seen == pid


def die_with_parent(parent: int) -> None:
    """Let the system kill this process as soon as its ``parent`` is gone, where it can (Linux)."""
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # gone before it was asked for
        os._exit(1)


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent dies, where the system can (Linux)."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def kill_group(leader: int) -> None:
    """SIGKILL for all that is left of a process group."""
    with suppress(ProcessLookupError, PermissionError):  # macOS says so of a group of nothing but zombies
        os.killpg(leader, signal.SIGKILL)


def end_group(leader: int, patience_s: float) -> None:
    """Let what is left of a process group end by itself, for a moment; then kill it."""
    deadline = time.monotonic() + patience_s
    with suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            with suppress(ChildProcessError):  # those that `adopt_orphans` brought here, when they have ended
                while os.waitpid(-leader, os.WNOHANG)[0]:
                    pass
            os.killpg(leader, 0)
            time.sleep(0.02)
        os.killpg(leader, signal.SIGKILL)


def kill_family(leader: int, since: float, spare: Collection[int]) -> None:
    """SIGKILL for a process, its group, and what they started, also where that has left the group or lost its parent.

    All that descends from this process and started after ``since`` counts, but for ``spare``.
    """
    import psutil

    me = psutil.Process()
    for _ in range(50):
        kill_group(leader)
        left = False
        for process in me.children(recursive=True):
            with suppress(psutil.Error):
                started = process.create_time() >= since - 0.02 and process.pid not in spare
                if started and process.status() != psutil.STATUS_ZOMBIE:
                    process.kill()
                    left = True
        if not left:
            return
        time.sleep(0.01)


def reap_orphans(spare: Collection[int]) -> None:
    """Let go of processes that `adopt_orphans` has brought here and that have ended; ``spare`` are other children."""
    if not hasattr(os, "waitid"):  # and no orphans come here, on macOS
        return
    with suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid in spare:
                return
            os.waitpid(found.si_pid, 0)


class Guard:
    """A tiny process that kills a group of processes when the one that made it dies, however that dies."""

    def __init__(self) -> None:
        reading, self._pipe = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()  # what kills a whole run at once is not to kill this
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                os.close(self._pipe)
                _keep_guard(reading)
            finally:
                os._exit(0)
        os.close(reading)

    def watch(self, leader: int) -> None:
        """From now on it is this group that is killed; 0 is none."""
        with suppress(OSError):  # somebody killed the guard
            os.write(self._pipe, b"%d\n" % leader)

    def forget(self) -> None:
        """To be called by a process that was forked from the one that made it."""
        os.close(self._pipe)

    def close(self) -> None:
        """Let it go."""
        self.watch(0)
        os.close(self._pipe)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _keep_guard(pipe: int) -> None:
    text = b"0\n"
    while part := os.read(pipe, 4096):
        text = (text + part)[-64:]
    leader = int(text.split()[-1])
    if leader:
        kill_group(leader)


def _parent(pid: int) -> int:
    if _has_proc():
        found = _stat(pid)
        return 0 if found is None else found[0]
    import psutil

    with suppress(psutil.Error):
        return psutil.Process(pid).ppid()
    return 0


def _stat(pid: int) -> tuple[int, float] | None:
    """(parent, start) of a live process from /proc: as psutil has it, without the time that importing psutil takes."""
    try:
        state, parent, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    if state in "ZX":
        return None
    return int(parent), _boot_time() + int(rest[17]) / os.sysconf("SC_CLK_TCK")


@cache
def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


@cache
def _boot_time() -> float:
    lines = Path("/proc/stat").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("btime ")))


def _prctl(option: int, value: int) -> None:
    import ctypes

    with suppress(OSError, AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
