"""What the process that computes the units of jobs is told by the one that watches it, and tells it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from hcs_steps.results import Results
from hcs_steps.run.outcome import Death, Outcome
from hcs_steps.run.running import progress

if TYPE_CHECKING:
    from hcs_steps.compile.plan import StagePlan

_LONGEST_TEXT = 1000


@dataclass(frozen=True)
class Order:
    """What a worker is asked for: a job, in the words of whoever has it done, and what is there of it already.

    For ``outcome``, ``death`` and ``withdraw`` see `Link`.
    """

    request: dict[str, Any]
    outcome: Outcome = field(default_factory=Outcome)
    death: Death | None = None
    withdraw: str = ""

    def line(self) -> bytes:
        """For the pipe."""
        death = self.death and asdict(self.death)
        told = {
            "request": self.request,
            "outcome": vars(self.outcome),
            "death": death,
            "withdraw": self.withdraw,
        }
        return json.dumps(told).encode() + b"\n"

    @classmethod
    def of_line(cls, line: bytes) -> Order:
        """From the pipe."""
        told = json.loads(line)
        death = told["death"] and Death(**told["death"])
        return cls(told["request"], Outcome(**told["outcome"]), death, told["withdraw"])


class AnotherProcessError(Exception):
    """This worker cannot do the job, for it cannot undo what an earlier one has made of its process; a new one can."""


@dataclass
class Link:
    """The worker's end, for one job. ``outcome`` are the units that have ended, by it and by workers before it.

    ``death`` is how the last of them died, and ``withdraw`` the unit to clean up after, where that is all there is left
    to do; both are for the worker to deal with. ``has_log`` says that it writes a log beside the terminal.
    """

    pipe: int
    outcome: Outcome = field(default_factory=Outcome)
    death: Death | None = None
    withdraw: str = ""
    has_log: bool = False

    def runs(self, stage: StagePlan, results: Results, log: str) -> None:
        """What the worker is going to run, where its results go, and its log, if it writes one."""
        told = {"results": results.root.as_posix(), "log": log}
        self._tell(stage=stage.name, limit_s=stage.timeout_s, predicted_mb=stage.mem_mb, **told)

    def started(self, unit: str) -> None:
        """A unit starts."""
        progress("")
        self._tell(unit=unit, state="started")

    def ended(self, unit: str, state: str, text: str = "") -> None:
        """A unit has ended; see `Outcome.note`. It goes into ``outcome``, too."""
        self.outcome.note(unit, state, text)
        self._tell(unit=unit, state=state, text=text)

    def finished(self, code: int, text: str = "", *, fresh: bool = False) -> None:
        """All units have ended, and so has what follows them, or nothing could start; ``text`` is for the terminal.

        ``fresh`` says that the process is as it was before the job, and may take another.
        """
        self._tell(code=code, text=text, fresh=fresh)

    def refused(self) -> None:
        """The job is one for a new process; nothing of it has been done."""
        self._tell(refused=True)

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
