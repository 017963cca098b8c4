"""How a run is stopped: its jobs end, Snakemake cancels what it has submitted, reason and exit code are kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

INTERRUPTED, TIME_LIMIT = 130, 3
"""Exit codes of a run that was stopped by hand or by a signal, and of one that took too long."""

PATIENCE_S = 6.0
"""Jobs that have not ended so long after they were asked to are killed."""


class Stopper:
    """Stops the Snakemake process that it is made in. Made in the main thread, before jobs start."""

    def __init__(self) -> None:
        self.reason = ""
        self.code = 0
        self._former: dict[int, Any] = {}

    def install(self) -> None:
        """Take over the signals that end a run. Where that cannot be done they keep their meaning."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            try:
                self._former[number] = signal.signal(number, self._on_signal)
            except ValueError:  # Snakemake does not run in the main thread
                return

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    @property
    def stopped(self) -> bool:
        """Whether the run has been asked to stop."""
        return bool(self.reason)

    def cancel(self, reason: str, code: int) -> None:
        """End the run now: jobs that are running are ended. May be called from any thread."""
        if self.stopped:
            return
        self.reason, self.code = reason, code
        os.kill(os.getpid(), signal.SIGTERM)

    def drain(self, reason: str, code: int) -> None:
        """Start no more jobs; the run ends with the last one that is running. May be called from any thread."""
        if self.stopped:
            return
        self.reason, self.code = reason, code
        # Snakemake's own answer to SIGTERM, which only sets a flag.
        finish: Callable[..., Any] | Any = self._former.get(signal.SIGTERM)
        if callable(finish):
            finish()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.stopped:
            self.reason, self.code = f"interrupted ({signal.Signals(number).name})", INTERRUPTED
        end_children()
        raise KeyboardInterrupt


def end_children() -> None:
    """Ask all processes that this one has started to end, and kill those that do not."""
    import psutil

    children = psutil.Process().children(recursive=True)
    _tell(children, "terminate")
    if children:
        timer = threading.Timer(PATIENCE_S, _tell, (children, "kill"))
        timer.daemon = True
        timer.start()


def _tell(processes: Sequence[Any], what: str) -> None:
    import psutil

    for process in processes:
        with suppress(psutil.Error):
            getattr(process, what)()
