"""The process that watches the one that computes units, so that nothing a unit does ends a job.

A `Watcher` forks a worker, gives it jobs and reads what it tells: which unit has started, which has ended and how. A
unit that takes too long is killed with everything it started; one that ends its process (a crash of native code, the
system when memory runs out, ``os._exit``) comes to the same. The next worker writes the unit's failure and goes on with
the units that are left. Whoever ends the watching process, however, ends everything below it.

`supervise` has one job done so, `serve` one after the other, by a worker that stays as long as it is good for it.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hcs_steps.results import Results
from hcs_steps.run import _processes as processes
from hcs_steps.run._asked import ENDING, Asked, asked_by_signals
from hcs_steps.run._deaths import how_it_died, overdue
from hcs_steps.run._hired import Job, Worker
from hcs_steps.run._link import Messages
from hcs_steps.run._memory import oom_kills
from hcs_steps.run._worker import TELL_WHERE, Work, be_worker
from hcs_steps.run.outcome import Death
from hcs_steps.run.running import Board, RunningFile, remove_running, resident_mb

if TYPE_CHECKING:
    import socket

MAIN_PROCESS = "HCS_STEPS_MAIN"
"""Environment variable in which the main Snakemake process names itself: ``<pid>:<start>``, in seconds since 1970."""

INTERRUPTED = 130
"""Exit code of a job that was stopped."""

GRACE_S = 3.0
"""So long a worker that is asked to end may clean up."""
CLEAN_UP_S = 5.0
"""So long it may take to clean up after a worker that did not end in time."""
EXIT_S = 5.0
"""So long a worker may take to end when its work is done."""


def supervise(work: Work, request: dict[str, Any]) -> int:
    """Have one job done by a forked process, or by several where units end it; returns the exit code.

    To be called in the main thread, before other threads are started.
    """
    with Watcher(work) as watcher:
        return watcher.run(request)


def serve(work: Work, channel: socket.socket) -> None:
    """Do one job after the other until ``channel`` is closed at its other end, or a signal asks for the end.

    A request is one line of JSON, with the environment and working folder of the job; the answer is a line with its
    exit code. What is at work when the channel is closed is stopped.
    """
    with Watcher(work, channel) as watcher:
        while (request := watcher.next_request()) is not None:
            os.chdir(request["folder"])  # paths of results are relative to it
            code = watcher.run(request)
            with suppress(OSError):  # nobody is left to hear it
                channel.sendall(b"%d\n" % code)


class Watcher:
    """Has jobs done by a worker, and replaces it where it has to; for one job only where there is no ``channel``.

    A context, in the main thread. The work stops when a signal, the end of the main process or of the channel asks.
    """

    def __init__(self, work: Work, channel: socket.socket | None = None) -> None:
        self._work = work
        self._channel = channel
        self._closing = ExitStack()
        self._board = Board()
        self._idle: Worker | None = None

    def __enter__(self) -> Watcher:
        self._asked: Asked = self._closing.enter_context(asked_by_signals())
        self._main = _main_process()
        self._seen_main = time.monotonic()
        processes.adopt_orphans()
        self._guard = processes.Guard()
        self._closing.callback(self._guard.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        try:
            if self._idle is not None:
                self._dismiss(self._idle)
        finally:
            self._closing.close()

    def next_request(self) -> dict[str, Any] | None:
        """Wait for what comes from the channel; None if it has been closed, or this process is to end."""
        assert self._channel is not None
        line = b""
        while not line.endswith(b"\n"):
            if self._asked.stop:  # now, or in the midst of the last job
                return None
            heard: list[Any] = [self._asked.wake, self._channel]
            ready, _, _ = select.select(heard, [], [])
            if self._asked.wake in ready:
                self._asked.heard()
                self._look_after_idle()
            elif self._channel in ready:
                part = self._channel.recv(1 << 16)
                if not part:
                    return None
                line += part
        request: dict[str, Any] = json.loads(line)
        return request

    def run(self, request: dict[str, Any]) -> int:
        """Have a job done; returns its exit code."""
        job = Job(request)
        end: int | Death | None = None
        while not isinstance(end, int):
            self._look_after_idle()
            worker, self._idle = self._idle or self._fork(), None
            worker.ask(job, death=end, last=self._channel is None)
            end = self._watch(worker)
        if job.begun:  # the job ended without a word on it: nobody is to wait for that unit
            remove_running(job.results.running(job.stage, job.begun))
        return end

    def _look_after_idle(self) -> None:
        """Forget a worker that has ended while it had nothing to do, and what workers before it have left."""
        if self._idle is not None:
            self._reap(self._idle)
            if self._idle.status is not None:
                self._end(self._idle)
                self._idle = None
        processes.reap_orphans({self._guard.pid, *([self._idle.pid] if self._idle else [])})

    def _fork(self) -> Worker:
        reading, writing = os.pipe()
        orders, ordering = os.pipe()
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(reading)
                os.close(ordering)
                self._guard.forget()
                if self._channel is not None:
                    self._channel.close()
                be_worker(orders, writing, self._board, parent, self._work, reuse=self._channel is not None)
            finally:
                os._exit(1)
        with suppress(OSError):  # it has done so itself
            os.setpgid(pid, pid)
        self._guard.watch(pid)
        os.close(writing)
        os.close(orders)
        os.set_blocking(reading, False)
        return Worker(pid, ordering, Messages(reading), processes.process_start(pid) or time.time())

    def _watch(self, worker: Worker) -> int | Death | None:
        """Until the job has ended or the worker has: the job's exit code, or how the unit at hand died; None if the job
        needs another worker.
        """
        while worker.status is None:
            self._listen(worker, worker.next_look())
            if self._is_to_stop() and worker.code is None:
                return self._stop(worker)
            if worker.unit and worker.job.limit_s and time.monotonic() - worker.since > worker.job.limit_s:
                return self._end_overdue(worker)
            if worker.code is not None:
                if self._channel is not None and worker.is_good():
                    self._idle = worker
                else:
                    self._dismiss(worker)
                return worker.code
            if worker.refused:
                self._dismiss(worker)
                return None
            if worker.running is not None:
                worker.running.update(self._board.read(), resident_mb(worker.pid))
            self._reap(worker)
        if self._is_to_stop() and worker.code is None:  # whoever asks this process asks the worker, too
            return self._stop(worker)
        self._end(worker)
        if worker.code is not None:
            return worker.code
        assert worker.status is not None
        if not worker.unit:
            if worker.jobs > 1 and not worker.spoke:
                return None  # it died of what was before this job
            how = os.waitstatus_to_exitcode(worker.status)
            print(f"hcs: the job's process ended ({how}) while it was at no unit.", file=sys.stderr)
            return 1
        killed, at = oom_kills() > worker.kills_before, self._board.read()
        sizes, stack = (worker.job.predicted_mb, worker.peak_mb), worker.messages.stack
        return how_it_died(worker.unit, at, worker.status, killed, *sizes, stack)

    def _listen(self, worker: Worker, seconds: float) -> None:
        """Wait for the worker or a signal, and take in what the worker tells."""
        heard: list[Any] = [self._asked.wake] + [worker.messages.pipe] * (not worker.messages.closed)
        if self._channel is not None and not self._asked.stop:
            heard.append(self._channel)
        ready, _, _ = select.select(heard, [], [], seconds)
        if self._asked.wake in ready:
            self._asked.heard()
        if (
            self._channel in ready
        ):  # whoever asked for this job says nothing more before it is done, but leaves
            self._asked.stop = self._asked.stop or signal.SIGTERM
        for message in worker.messages.read():
            self._take(worker, message)

    def _take(self, worker: Worker, message: dict[str, Any]) -> None:
        job, worker.spoke = worker.job, True
        if "stage" in message:
            job.stage, job.limit_s = message["stage"], message["limit_s"]
            job.predicted_mb, job.log = message["predicted_mb"], message["log"]
            job.results = Results(Path(message["results"]))
        elif "code" in message:
            worker.code, worker.fresh = message["code"], message["fresh"]
            if message["text"]:
                print(message["text"], file=sys.stderr)
        elif "refused" in message:
            worker.refused = True
        elif message["state"] == "started":
            worker.unit = job.begun = message["unit"]
            worker.since = time.monotonic()
            worker.messages.stack = ""  # that of a unit before, which ended just in time
            worker.running = RunningFile(job.results, job.stage, worker.unit, job.predicted_mb, job.log)
        else:
            job.outcome.note(message["unit"], message["state"], message["text"])
            remove_running(job.results.running(job.stage, message["unit"]))
            worker.unit, job.begun, worker.running = "", "", None

    def _is_to_stop(self) -> bool:
        """Whether somebody asked for it, or the main process is there no more."""
        if self._main is not None and time.monotonic() - self._seen_main > 1.0:
            self._seen_main = time.monotonic()
            if not processes.is_process(*self._main):
                self._asked.stop = self._asked.stop or signal.SIGTERM
        return bool(self._asked.stop)

    def _stop(self, worker: Worker) -> int:
        """End everything, and leave nothing of the unit at hand."""
        job = worker.job
        if worker.status is None:
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGTERM)
        times = self._asked.times
        self._await(worker, GRACE_S, lambda: self._asked.times > times)
        # One that ends by such a signal has cleaned up before.
        is_tidy = worker.status is not None and -os.waitstatus_to_exitcode(worker.status) in ENDING
        self._end(worker)
        if worker.unit and not is_tidy:
            cleaner = self._fork()
            cleaner.ask(job, withdraw=worker.unit, last=True)
            self._await(cleaner, CLEAN_UP_S)
            self._end(cleaner)
        return INTERRUPTED if worker.code is None else worker.code

    def _end_overdue(self, worker: Worker) -> int | Death | None:
        job, unit, at = worker.job, worker.unit, self._board.read()
        with suppress(ProcessLookupError):
            os.kill(worker.pid, TELL_WHERE)
        self._await(worker, 0.3, lambda: bool(worker.messages.stack) or worker.unit != unit)
        if worker.unit != unit:  # it was done at the last moment
            return self._watch(worker)
        self._end(worker)
        return overdue(unit, job.stage, at, job.limit_s, worker.messages.stack)

    def _dismiss(self, worker: Worker) -> None:
        """Let a worker go that has nothing to do."""
        worker.no_more()
        self._await(worker, EXIT_S)
        self._end(worker)

    def _await(self, worker: Worker, seconds: float, enough: Callable[[], bool] = lambda: False) -> bool:
        """Wait for the worker to end by itself; whether it did."""
        deadline = time.monotonic() + seconds
        self._reap(worker)
        while worker.status is None and time.monotonic() < deadline and not enough():
            self._listen(worker, 0.05)
            self._reap(worker)
        return worker.status is not None

    def _end(self, worker: Worker) -> None:
        """See to it that nothing is left of the worker and of what it started."""
        worker.no_more()
        if worker.status is not None and (worker.code is not None or worker.refused):
            processes.end_group(worker.pid, 1.0)
        else:
            processes.kill_family(worker.pid, worker.started, {self._guard.pid, os.getpid()})
            # One that waits for a dead file server cannot even be killed; nothing goes on beside it.
            self._await(worker, CLEAN_UP_S if self._asked.stop else math.inf)
        self._listen(worker, 0)
        self._guard.watch(0)
        os.close(worker.messages.pipe)

    def _reap(self, worker: Worker) -> None:
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
