"""Calls of Snakemake, one or several at a time: signals are passed on to all of them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from hcs_steps.operations.stopping import INTERRUPTED, TIME_LIMIT

PATIENCE_S = 8.0
"""Snakemake is given so long to end its jobs before everything is killed."""
KNOWN = (0, 1, 2, TIME_LIMIT, INTERRUPTED)
"""Exit codes that mean what they say; any other one is 1."""


class Calls:
    """The calls that go on. After a signal they are ended within 10 s, and no other one is begun."""

    def __init__(self) -> None:
        self._stopped = False
        self._live: set[subprocess.Popen[str]] = set()

    def is_stopped(self) -> bool:
        """Whether a signal has come."""
        return self._stopped

    def run(self, command: Sequence[str], name: str = "") -> int:
        """Call it in a process group of its own and wait for its end; returns the exit code. With a ``name``, all that
        it prints is printed line by line behind that. May be called in several threads.
        """
        if self.is_stopped():
            return INTERRUPTED
        process = subprocess.Popen(
            command,
            process_group=0,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE if name else None,
            stderr=subprocess.STDOUT if name else None,
        )
        self._live.add(process)
        if self.is_stopped():  # since it was begun
            self._end(process)
        for line in process.stdout or ():
            print(f"{name}: {line}", end="", flush=True)
        code = process.wait()
        self._live.discard(process)
        if self.is_stopped():
            return INTERRUPTED
        return code if code in KNOWN else 1

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Signals to this process are passed on to the calls as long as the block goes on; in the main thread only."""
        asked: dict[int, Any] = {
            signal.SIGINT: self._pass_on,
            signal.SIGTERM: self._pass_on,
            signal.SIGHUP: self._pass_on,
        }
        with _handlers({**asked, signal.SIGALRM: self._give_up}) as ours:
            try:
                yield
            finally:
                if ours:
                    signal.setitimer(signal.ITIMER_REAL, 0)

    def _pass_on(self, number: int, frame: Any) -> None:
        if not self._stopped:
            self._stopped = True
            signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
            for process in tuple(self._live):
                self._end(process)

    def _end(self, process: subprocess.Popen[str]) -> None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)

    def _give_up(self, number: int, frame: Any) -> None:
        for process in tuple(self._live):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _handlers(handlers: Mapping[int, Any]) -> Iterator[bool]:
    """Whether they could be installed: outside the main thread signals go where they went."""
    former = {}
    with suppress(ValueError):
        for number, handler in handlers.items():
            former[number] = signal.signal(number, handler)
    try:
        yield bool(former)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
