"""The process that watches the one that computes the units of a job, so that nothing a unit does ends the job.

`supervise` forks a worker, before anything heavy is imported, and reads what it tells: which unit has started, which
has ended and how. A unit that takes too long is killed with everything it started; one that ends its process (a crash
of native code, the system when memory runs out, ``os._exit``) comes to the same. The next worker writes the unit's
failure and goes on with the units that are left. Whoever ends the watching process, however, ends everything below it.
"""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from hcs_steps.results import Results
from hcs_steps.run import _processes as processes
from hcs_steps.run._deaths import how_it_died, overdue
from hcs_steps.run._link import Link, Messages
from hcs_steps.run._memory import oom_kills
from hcs_steps.run._worker import TELL_WHERE, be_worker
from hcs_steps.run.outcome import Death, Outcome
from hcs_steps.run.running import Board, RunningFile, remove_running, resident_mb

MAIN_PROCESS = "HCS_STEPS_MAIN"
"""Environment variable in which the main Snakemake process names itself: ``<pid>:<start>``, in seconds since 1970."""

INTERRUPTED = 130
"""Exit code of a job that was stopped."""

TICK_S = 0.5
"""How often the watching process looks at what it is not woken up for."""
GRACE_S = 3.0
"""So long a worker that is asked to end may clean up."""
CLEAN_UP_S = 5.0
"""So long it may take to clean up after a worker that did not end in time."""
EXIT_S = 5.0
"""So long a worker may take to end when its work is done."""


def supervise(work: Callable[[Link], tuple[int, str]], results: Results, log: str = "") -> int:
    """Run ``work`` in a forked process, as often as it takes until all units have ended; returns the exit code.

    ``work`` deals with ``link.death`` and ``link.withdraw``, runs the units that ``link.outcome`` does not name yet,
    and returns the exit code and what is to be said on the terminal; all else that it leaves is on disk. To be called
    in the main thread, before other threads are started.
    """
    with _signals() as asked:
        job = _Job(work, results, log, asked)
        try:
            return job.run()
        finally:
            job.guard.close()


@dataclass
class _Asked:
    """What signals ask of this process, and how often; ``wake`` is readable after each."""

    wake: int
    stop: int = 0
    times: int = 0


@contextmanager
def _signals() -> Iterator[_Asked]:
    """Let the signals that end a process, and the end of a child, wake this one up instead."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    asked = _Asked(reading)

    def note(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            asked.stop, asked.times = number, asked.times + 1

    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # What nohup, or a shell that runs a job in the background, has switched off stays off.
    noted = [signal.SIGCHLD, *(n for n in ending if signal.getsignal(n) is not signal.SIG_IGN)]
    before = {number: signal.signal(number, note) for number in noted}
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield asked
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


@dataclass
class _Worker:
    """A forked worker: the unit it is at, and since when; its exit code as it told it; its wait status when gone."""

    pid: int
    messages: Messages
    started: float
    kills_before: int
    unit: str = ""
    since: float = 0.0
    running: RunningFile | None = None
    code: int | None = None
    status: int | None = None
    peak_mb: int = 0


@dataclass
class _Job:
    """The workers of a job, one after the other."""

    work: Callable[[Link], tuple[int, str]]
    results: Results
    log: str
    asked: _Asked
    outcome: Outcome = field(default_factory=Outcome)
    board: Board = field(default_factory=Board)
    stage: str = ""
    limit_s: float = 0.0
    predicted_mb: int = 0

    def __post_init__(self) -> None:
        self.main = _main_process()
        self.seen_main = time.monotonic()
        processes.adopt_orphans()
        self.guard = processes.Guard()

    def run(self) -> int:
        """The job's exit code."""
        end: int | Death | None = None
        while not isinstance(end, int):
            end = self._watch(self._fork(death=end))
        return end

    def _fork(self, death: Death | None = None, withdraw: str = "") -> _Worker:
        reading, writing = os.pipe()
        kills, parent = oom_kills(), os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(reading)
                self.guard.forget()
                be_worker(Link(writing, self.outcome, death, withdraw), self.board, parent, self.work)
            finally:
                os._exit(1)
        with suppress(OSError):  # it has done so itself
            os.setpgid(pid, pid)
        self.guard.watch(pid)
        os.close(writing)
        os.set_blocking(reading, False)
        return _Worker(pid, Messages(reading), processes.process_start(pid) or time.time(), kills)

    def _watch(self, worker: _Worker) -> int | Death:
        """Until the worker has ended: the job's exit code, or how the unit at hand died."""
        while worker.status is None:
            self._listen(worker, self._next_look(worker))
            if self._is_to_stop() and worker.code is None:
                return self._stop(worker)
            if worker.unit and self.limit_s and time.monotonic() - worker.since > self.limit_s:
                return self._end_overdue(worker)
            if worker.code is not None:
                self._await(worker, EXIT_S)
                break
            if worker.running is not None:
                worker.running.update(self.board.read(), resident_mb(worker.pid))
            self._reap(worker)
        self._end(worker)
        if worker.code is not None:
            return worker.code
        assert worker.status is not None
        if not worker.unit:
            how = os.waitstatus_to_exitcode(worker.status)
            print(f"hcs: the job's process ended ({how}) while it was at no unit.", file=sys.stderr)
            return 1
        killed, at = oom_kills() > worker.kills_before, self.board.read()
        sizes, stack = (self.predicted_mb, worker.peak_mb), worker.messages.stack
        return how_it_died(worker.unit, at, worker.status, killed, *sizes, stack)

    def _next_look(self, worker: _Worker) -> float:
        """Seconds until something has to be done, if nothing happens."""
        if not (worker.unit and self.limit_s):
            return TICK_S
        return min(TICK_S, max(0.0, worker.since + self.limit_s - time.monotonic()) + 0.001)

    def _listen(self, worker: _Worker, seconds: float) -> None:
        """Wait for the worker or a signal, and take in what the worker tells."""
        pipe = worker.messages.pipe
        ready, _, _ = select.select(
            [self.asked.wake] + [pipe] * (not worker.messages.closed), [], [], seconds
        )
        if self.asked.wake in ready:
            with suppress(BlockingIOError):
                os.read(self.asked.wake, 4096)
        for message in worker.messages.read():
            self._take(worker, message)

    def _take(self, worker: _Worker, message: dict[str, Any]) -> None:
        if "stage" in message:
            self.stage, self.limit_s = message["stage"], message["limit_s"]
            self.predicted_mb = message["predicted_mb"]
        elif "code" in message:
            worker.code = message["code"]
            if message["text"]:
                print(message["text"], file=sys.stderr)
        elif message["state"] == "started":
            worker.unit, worker.since = message["unit"], time.monotonic()
            worker.running = RunningFile(self.results, self.stage, worker.unit, self.predicted_mb, self.log)
        else:
            self.outcome.note(message["unit"], message["state"], message["text"])
            remove_running(self.results.running(self.stage, message["unit"]))
            worker.unit, worker.running = "", None

    def _is_to_stop(self) -> bool:
        """Whether somebody asked for it, or the main process is there no more."""
        if self.main is not None and time.monotonic() - self.seen_main > 1.0:
            self.seen_main = time.monotonic()
            if not processes.is_process(*self.main):
                self.asked.stop = self.asked.stop or signal.SIGTERM
        return bool(self.asked.stop)

    def _stop(self, worker: _Worker) -> int:
        """End everything, and leave nothing of the unit at hand."""
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGTERM)
        times = self.asked.times
        in_time = self._await(worker, GRACE_S, lambda: self.asked.times > times)
        self._end(worker)
        if worker.unit:
            if not in_time:
                cleaner = self._fork(withdraw=worker.unit)
                self._await(cleaner, CLEAN_UP_S)
                self._end(cleaner)
            remove_running(self.results.running(self.stage, worker.unit))
        return INTERRUPTED if worker.code is None else worker.code

    def _end_overdue(self, worker: _Worker) -> int | Death:
        unit, at = worker.unit, self.board.read()
        with suppress(ProcessLookupError):
            os.kill(worker.pid, TELL_WHERE)
        self._await(worker, 0.3, lambda: bool(worker.messages.stack) or worker.unit != unit)
        if worker.unit != unit:  # it was done at the last moment
            return self._watch(worker)
        self._end(worker)
        return overdue(unit, self.stage, at, self.limit_s, worker.messages.stack)

    def _await(self, worker: _Worker, seconds: float, enough: Callable[[], bool] = lambda: False) -> bool:
        """Wait for the worker to end by itself; whether it did."""
        deadline = time.monotonic() + seconds
        self._reap(worker)
        while worker.status is None and time.monotonic() < deadline and not enough():
            self._listen(worker, 0.05)
            self._reap(worker)
        return worker.status is not None

    def _end(self, worker: _Worker) -> None:
        """See to it that nothing is left of the worker and of what it started."""
        if worker.code is not None and worker.status is not None:
            processes.end_group(worker.pid, 1.0)
        else:
            processes.kill_family(worker.pid, worker.started, {self.guard.pid, os.getpid()})
            # One that waits for a dead file server cannot even be killed; nothing goes on beside it.
            self._await(worker, CLEAN_UP_S if self.asked.stop else math.inf)
        self._listen(worker, 0)
        self.guard.watch(0)
        os.close(worker.messages.pipe)

    def _reap(self, worker: _Worker) -> None:
        if worker.status is None:
            pid, status, usage = os.wait4(worker.pid, os.WNOHANG)
            if pid:
                unit = 1 if sys.platform == "darwin" else 1024
                worker.status, worker.peak_mb = status, usage.ru_maxrss * unit >> 20


def _main_process() -> tuple[int, float] | None:
    """The main Snakemake process, if this one descends from it; on a cluster it is on another machine."""
    pid, _, started = os.environ.get(MAIN_PROCESS, "").partition(":")
    try:
        main = int(pid), float(started)
    except ValueError:
        return None
    return main if processes.is_process(*main) and processes.is_ancestor(main[0]) else None
