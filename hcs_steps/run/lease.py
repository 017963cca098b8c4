"""One process at a time computes a unit: its running file is a lease.

Jobs of a cluster outlive the main Snakemake process that submitted them, and the next one submits the same jobs again.
Who is about to compute a unit makes its running file, which only one can (O_EXCL, also on NFS; no locks are needed).
The process that watches the unit writes it anew every few seconds (`hcs_steps.run.running`) and removes it. Who finds
the file of another waits until it is gone, and then takes the unit's record as it is.

A file is nobody's when its process is gone, which is known at once where that process could be seen; of any other
machine or container, when it has not changed for `SILENCE_S` by the clock of the one that waits, so that clocks of
machines are never compared. Whoever then takes it over first makes a file named after what it found, which again only
one can, and looks once more before it puts its own in the place. What may still go wrong is that a machine stops
everything for longer than that, say because it is suspended, and goes on later: then a unit is computed twice, to the
same result, which is published whole as ever.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from hcs_steps.results import Results
from hcs_steps.run._processes import is_process
from hcs_steps.run.running import HEARTBEAT_S, is_own, new_content, remove_running
from hcs_steps.storage._leftovers import own_machine, sibling_of

SILENCE_S = 18 * HEARTBEAT_S
"""A process of another machine whose file has not changed for so long is dead. NFS may show a file of a minute ago."""

FIRST_LOOK_S, LAST_LOOK_S = 0.1, 2.0
"""Time between two looks at the file of another process: at first, and after a while."""

logger = logging.getLogger("hcs_steps")


class UnitLease:
    """The right of this process to compute a unit of a stage. `take` it, then compute; or `release` it.

    Once the watching process has been told that the unit starts, the running file is that one's, and so is its end.
    ``waited`` says that another process had the unit first.
    """

    def __init__(self, results: Results, stage: str, unit: str) -> None:
        self.path = results.running(stage, unit)
        self.waited = False
        self._content = json.dumps(new_content(stage, unit)).encode()
        self._names = f"{stage}: {unit}"
        self._marks: dict[str, float] = {}  # of others who take over: when they were first seen

    def take(self) -> None:
        """Wait until no other live process computes the unit, and keep all others from it."""
        seen: bytes | None = None
        since, pause = time.monotonic(), FIRST_LOOK_S
        while not _create(self.path, self._content):
            found = _read(self.path)
            if found is None:  # gone just now
                continue
            if is_own(found):  # of a unit that this process has begun before
                return
            if found != seen:
                seen, since = found, time.monotonic()
            lives = _lives(found)
            if lives is False or (lives is None and time.monotonic() - since > SILENCE_S):
                if self._take_over(found):
                    return
            elif not self.waited:
                self.waited = True
                told = _parsed(found)
                where = f"process {told.get('pid')} on {told.get('machine')}" if told else "another process"
                logger.info("%s is being computed by %s: waiting for that", self._names, where)
            time.sleep(pause)
            pause = min(1.5 * pause, LAST_LOOK_S)

    def release(self) -> None:
        """Let others have the unit, if it is still this process that has it."""
        remove_running(self.path)

    def _take_over(self, found: bytes) -> bool:
        """Put this lease in the place of a dead one; False if another process was first."""
        mark = hashlib.blake2b(found, digest_size=8).hexdigest()
        only = self.path.with_name(f".{self.path.name}.old-0-{mark}")  # swept with other leftovers
        if not _create(only, b""):
            # Its process needs a few instants, unless it has died in them.
            since = self._marks.setdefault(only.name, time.monotonic())
            if time.monotonic() - since > SILENCE_S:
                only.unlink(missing_ok=True)
            return False
        try:
            if _read(self.path) != found:
                return False
            mine = sibling_of(self.path, "tmp")
            with suppress(OSError):  # as in _create
                mine.write_bytes(self._content)
                os.replace(mine, self.path)
        finally:
            only.unlink(missing_ok=True)
        logger.info("%s was left by a process that is gone", self._names)
        return True


def _create(path: Path, content: bytes) -> bool:
    """Make a file that only one process can make; False if it is there.

    True also where nothing can be written: what matters finds that out.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    try:
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, flags, 0o666)
    except FileExistsError:
        return False
    except OSError:
        return True
    try:
        with suppress(OSError):
            os.write(descriptor, content)
    finally:
        with suppress(OSError):
            os.close(descriptor)
    return True


def _read(path: Path) -> bytes | None:
    """What a file holds, None if it is gone; nothing if it cannot be read, which ends as silence does."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError:
        return b""


def _lives(found: bytes) -> bool | None:
    """Whether the process lives that wrote a running file; None if that cannot be seen from here."""
    told = _parsed(found)
    pid, started = told.get("pid"), told.get("process_start")
    if not own_machine() or told.get("host") != own_machine():
        return None
    return isinstance(pid, int) and isinstance(started, int | float) and is_process(pid, started)


def _parsed(found: bytes) -> dict[str, object]:
    """What a running file says; nothing while it is being made."""
    with suppress(ValueError):
        told = json.loads(found)
        return told if isinstance(told, dict) else {}
    return {}
