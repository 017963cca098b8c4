"""How far plates are while they run: in place on a terminal, as lines elsewhere.

It looks at the results only, so jobs may run anywhere. It never ends or slows what it shows: what goes wrong here is
told once and then left alone, and looking takes a small part of the time. The thread that looks dies with the process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TextIO

from hcs_steps.compile.plan import Plan
from hcs_steps.operations.watching.status import PlateStatus, StatusReader
from hcs_steps.results import Results

INTERVAL_S = 2.0
SOONEST_S = 0.5
"""Events come by the hundred; between two looks there is always so much time."""
SHARE = 0.05
"""Part of the time that looking may take."""


class View(Protocol):
    """What a display draws on; only one thread at a time calls it."""

    def show(self, statuses: Sequence[PlateStatus]) -> None:
        """Show how far the plates are."""

    def failed(self, status: PlateStatus, failure: Mapping[str, Any]) -> None:
        """A failure has come."""

    def say(self, text: str, style: str = "") -> None:
        """Show a message, apart from the state of the plates."""

    def end(self, statuses: Sequence[PlateStatus], plans: Sequence[Plan]) -> None:
        """Give the terminal back, with the last state on it."""


def view_for(stream: TextIO, *, plain: bool = False, colours: bool = True) -> View:
    """In place on a terminal that can, else lines; ``plain`` is always lines."""
    if plain or not stream.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        from hcs_steps.operations.watching._ticker import LineView

        return LineView(stream)
    from hcs_steps.operations.watching._screen import ScreenView

    return ScreenView(stream, colours=colours)


class Display:
    """Shows the plates of a run from `begin` to `stop`.

    ``quiet`` leaves out everything but failures, messages and the end.
    """

    def __init__(self, view: View, *, interval_s: float = INTERVAL_S, quiet: bool = False) -> None:
        self.view = view
        self.interval_s = max(interval_s, SOONEST_S)
        self.quiet = quiet
        self._readers: list[StatusReader] = []
        self._known: set[tuple[str, ...]] = set()
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._told_trouble = False
        self._thread = threading.Thread(target=self._keep, name="display", daemon=True)

    def begin(self, plans: Mapping[str, Plan]) -> None:
        """Show these plates, plans by results folder, from now on; plates that are shown already stay."""
        shown = {reader.results.root for reader in self._readers}
        new = [StatusReader(p, Results(Path(f))) for f, p in plans.items() if Path(f) not in shown]
        with self._lock:
            for reader in new:
                self._known |= {_identity(failure) for failure in reader.read().failures}
            self._readers = [*self._readers, *new]
        if not self._thread.is_alive() and not self._ended.is_set():
            self._thread.start()

    @property
    def begun(self) -> bool:
        """Whether there is a plate to show."""
        return bool(self._readers)

    def poke(self) -> None:
        """Something has happened: look soon."""
        self._wake.set()

    def say(self, text: str, style: str = "") -> None:
        """Show a message."""
        with self._lock:
            self._guarded(lambda: self.view.say(text, style))

    def stop(self) -> None:
        """Look once more, leave the last state on the terminal, and give it back. Does nothing the second time."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        with self._lock:
            statuses: list[PlateStatus] = []
            self._guarded(lambda: statuses.extend(self._read()))
            # A run that is still said to go on, though this is its end, was ended from outside.
            told = [replace(s, state="stopped") if s.state == "running" else s for s in statuses]
            self._guarded(lambda: self.view.end(told, [reader.plan for reader in self._readers]))

    def _keep(self) -> None:
        wait = 0.0
        while not self._ended.is_set():
            self._wake.wait(wait)
            self._wake.clear()
            if self._ended.is_set():
                return
            started = time.perf_counter()
            with self._lock:
                self._guarded(self._look)
            cost = (time.perf_counter() - started) / SHARE
            self._ended.wait(max(SOONEST_S, cost))
            wait = max(0.0, self.interval_s - max(SOONEST_S, cost))

    def _look(self) -> None:
        statuses = self._read()
        if not self.quiet:
            self.view.show(statuses)

    def _read(self) -> list[PlateStatus]:
        statuses = [reader.read() for reader in self._readers]
        for status in statuses:
            for failure in status.failures:
                if _identity(failure) not in self._known:
                    self._known.add(_identity(failure))
                    self.view.failed(status, failure)
        return statuses

    def _guarded(self, action: Any) -> None:
        """Do it; what goes wrong is told the first time, and never goes on from here."""
        try:
            action()
        except Exception as error:
            if self._told_trouble:
                return
            self._told_trouble = True
            try:
                what = f"{type(error).__name__}: {error}"
                self.view.say(f"The display has trouble ({what}); the run goes on without it.", "yellow")
            except Exception:
                pass  # a terminal that is gone


def _identity(failure: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(failure.get(key, "")) for key in ("stage", "unit", "time", "attempt"))
