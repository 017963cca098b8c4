"""What the process that computes the units of a job is told by the one that watches it, and tells it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hcs_steps.run.outcome import Death, Outcome
from hcs_steps.run.running import progress

if TYPE_CHECKING:
    from hcs_steps.compile.plan import StagePlan

_LONGEST_TEXT = 1000


@dataclass
class Link:
    """The worker's end. ``outcome`` are the units that have ended, by it and by workers before it.

    ``death`` is how the last of them died, and ``withdraw`` the unit to clean up after, where that is all there is left
    to do; both are for the worker to deal with. ``has_log`` says that it writes a log beside the terminal.
    """

    pipe: int
    outcome: Outcome = field(default_factory=Outcome)
    death: Death | None = None
    withdraw: str = ""
    has_log: bool = False

    def runs(self, stage: StagePlan) -> None:
        """What the worker is going to run."""
        self._tell(stage=stage.name, limit_s=stage.timeout_s, predicted_mb=stage.mem_mb)

    def started(self, unit: str) -> None:
        """A unit starts."""
        progress("")
        self._tell(unit=unit, state="started")

    def ended(self, unit: str, state: str, text: str = "") -> None:
        """A unit has ended; see `Outcome.note`. It goes into ``outcome``, too."""
        self.outcome.note(unit, state, text)
        self._tell(unit=unit, state=state, text=text)

    def finished(self, code: int, text: str = "") -> None:
        """All units have ended, and so has what follows them, or nothing could start; ``text`` is for the terminal."""
        self._tell(code=code, text=text)

    def _tell(self, **message: Any) -> None:
        with suppress(BrokenPipeError):  # nobody is left to tell; the system ends this process in a moment
            text = str(message.pop("text", ""))[:_LONGEST_TEXT]
            os.write(self.pipe, json.dumps({**message, "text": text}).encode() + b"\n")


@dataclass
class Messages:
    """The other end: what was told, and the Python stack that a crash or a signal made the worker leave."""

    pipe: int
    closed: bool = False
    stack: str = ""
    _rest: bytes = b""

    def read(self) -> Iterator[dict[str, Any]]:
        """What has been told since; does not wait."""
        while not self.closed:
            try:
                part = os.read(self.pipe, 1 << 16)
            except BlockingIOError:
                break
            self.closed = not part
            self._rest += part or b"\n"
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            # What is told is one write each, and so never mixed with a stack.
            if line.startswith(b"{"):
                yield json.loads(line)
            elif line:
                self.stack += line.decode(errors="replace") + "\n"
