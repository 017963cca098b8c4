"""What signals ask of a process that watches others: noted, instead of ending it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a process."""


@dataclass
class Asked:
    """What signals ask of this process, and how often; ``wake`` is readable after each."""

    wake: int
    stop: int = 0
    times: int = 0

    def heard(self) -> None:
        """Make ``wake`` unreadable until the next signal."""
        with suppress(BlockingIOError):
            os.read(self.wake, 4096)


@contextmanager
def asked_by_signals() -> Iterator[Asked]:
    """Let the signals that end a process, and the end of a child, wake this one up instead. In the main thread."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    asked = Asked(reading)

    def note(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            asked.stop, asked.times = number, asked.times + 1

    # What nohup, or a shell that runs a job in the background, has switched off stays off.
    noted = [signal.SIGCHLD, *(n for n in ENDING if signal.getsignal(n) is not signal.SIG_IGN)]
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
