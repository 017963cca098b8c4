"""A forked worker, as the process that watches it sees it: its job, where it is, and how it ended."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hcs_steps.results import Results
from hcs_steps.run._link import Messages, Order
from hcs_steps.run._memory import oom_kills
from hcs_steps.run.outcome import Death, Outcome
from hcs_steps.run.running import RunningFile, resident_mb

TICK_S = 0.5
"""How often the watching process looks at what it is not woken up for."""
MOST_JOBS = 500
"""After so many jobs a worker is replaced: what leaks, leaks slowly."""
MOST_GROWTH_MB = 256
"""A worker that holds so much more than after its first job is replaced."""


@dataclass
class Job:
    """A job: its request, what has become of its units so far, and what its worker has told of it.

    ``begun`` is the unit that has been begun and has not ended, and so has a running file.
    """

    request: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)
    stage: str = ""
    limit_s: float = 0.0
    predicted_mb: int = 0
    log: str = ""
    results: Results = field(default_factory=lambda: Results(Path()))
    begun: str = ""


@dataclass
class Worker:
    """A forked worker: its job, the unit it is at and since when, how the job ended, and its wait status when gone.

    ``kills_before`` is what `oom_kills` said when it was ``counted``: not for every one of many short jobs.
    """

    pid: int
    orders: int
    messages: Messages
    started: float
    job: Job = field(default_factory=Job)
    jobs: int = 0
    first_mb: int = 0
    status: int | None = None
    peak_mb: int = 0
    kills_before: int = 0
    counted: float = -math.inf
    unit: str = ""
    since: float = 0.0
    running: RunningFile | None = None
    spoke: bool = False
    code: int | None = None
    fresh: bool = False
    refused: bool = False

    def ask(self, job: Job, death: Death | None = None, withdraw: str = "", *, last: bool) -> None:
        """Give it a job; after the last, it ends."""
        self.job, self.jobs = job, self.jobs + 1
        if time.monotonic() - self.counted > TICK_S:
            self.kills_before, self.counted = oom_kills(), time.monotonic()
        self.spoke, self.code, self.fresh, self.refused = False, None, False, False
        self.messages.stack = ""
        line = Order(job.request, job.outcome, death, withdraw).line()
        with suppress(BrokenPipeError):  # it has just died, which will be noticed
            while line:
                line = line[os.write(self.orders, line) :]
        if last:
            self.no_more()

    def no_more(self) -> None:
        """Let it end when it has done what it was asked for."""
        if self.orders >= 0:
            os.close(self.orders)
            self.orders = -1

    def is_good(self) -> bool:
        """Whether it can take another job as well as a new one could."""
        now = resident_mb(self.pid)
        self.first_mb = self.first_mb or now
        return (
            self.fresh and not self.unit and self.jobs < MOST_JOBS and now <= self.first_mb + MOST_GROWTH_MB
        )

    def next_look(self) -> float:
        """Seconds until something has to be done, if nothing happens."""
        if not (self.unit and self.job.limit_s):
            return TICK_S
        return min(TICK_S, max(0.0, self.since + self.job.limit_s - time.monotonic()) + 0.001)
