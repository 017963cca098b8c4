"""Who works on the results of a plate: one process at a time, for as long as it lives."""

from __future__ import annotations

from typing import Any

from hcs_steps.errors import ConfigError
from hcs_steps.results import Results


def claim(results: Results) -> Any | None:
    """Keep every other run away from the results until the returned lock is released or the process ends.

    Snakemake's own lock (off in profiles/default) is a file that outlives a killed process; this one is the operating
    system's. None on a file system without locks. Raises `ConfigError` if another process works there.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(results.lock)
    try:
        results.root.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"Another Snakemake is working on {results.root}.", hint="Wait until it has ended, or stop it."
        ) from None
    except (OSError, NotImplementedError):
        return None
    return lock
