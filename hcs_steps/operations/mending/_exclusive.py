"""Having the results of a plate to oneself: for what changes them besides a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from hcs_steps.errors import ConfigError
from hcs_steps.operations._alive import living_units
from hcs_steps.operations.watching._run_state import run_state
from hcs_steps.results import Results
from hcs_steps.run.claim import claim
from hcs_steps.run.records import read_json


@contextmanager
def exclusive(results: Results) -> Iterator[None]:
    """Keep runs away from the results of a plate inside the block. `ConfigError` if one is going on.

    Also the jobs of a run whose main process is gone are a run that is going on: those of a cluster outlive it.
    """
    lock = claim(results)
    try:
        _refuse_running(results)
        yield
    finally:
        if lock is not None:
            lock.release()


def _refuse_running(results: Results) -> None:
    for path, content in living_units(results):
        raise ConfigError(
            f"{path.stem} is being computed in {path.parent.name} "
            f"(process {content.get('pid')} on {content.get('machine')}).",
            hint="Wait until it has ended, or stop it.",
        )
    # Where the file system has no locks, what the run says of itself has to do.
    if run_state(read_json(results.run), results.run, time.time())[0] == "running":
        raise ConfigError(
            f"A run is going on in {results.root}.", hint="Wait until it has ended, or stop it."
        )
