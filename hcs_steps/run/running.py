"""How far a unit is: told by who computes it, kept in its running file by who watches that.

The process that computes leaves what it is at in memory that it shares with the one that watches it. That costs next
to nothing, holds to the last instant, and needs no thread: the file is kept up also while a native library works for
minutes without letting Python in.
"""

from __future__ import annotations

import json
import mmap
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from hcs_steps.errors import StorageError
from hcs_steps.results import Results
from hcs_steps.run._processes import process_start
from hcs_steps.storage._leftovers import own_machine, sweep_leftovers

HEARTBEAT_S = 5.0
"""A running file is written anew at least so often."""

_Stack = TypeVar("_Stack")
_BOARD_BYTES = 4096


@dataclass(frozen=True)
class Progress:
    """Where a unit is: the step, and which of its items (a stack of images, a unit of the plate), counted from 1."""

    step: str = ""
    item: int = 0
    items: int = 0
    what: str = ""

    def __str__(self) -> str:
        """For example ``step segment, item 3 of 16 (site 3, channel DAPI)``; empty before the first step."""
        if not self.step:
            return ""
        item = f", item {self.item} of {self.items}" if self.items else ""
        return f"step {self.step}{item}{f' ({self.what})' if self.what else ''}"


class Board:
    """Progress in memory that a process shares with those that it forks."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _BOARD_BYTES)
        self._last = Progress()

    def write(self, progress: Progress) -> None:
        """Show this, and nothing of before."""
        values = [progress.step, progress.item, progress.items, progress.what[:400]]
        data = json.dumps(values).encode() + b"\0"
        if len(data) <= _BOARD_BYTES:
            self._memory[: len(data)] = data

    def read(self) -> Progress:
        """What is shown; in the middle of a change, what was shown when it was last read."""
        with suppress(ValueError, TypeError):
            self._last = Progress(*json.loads(self._memory[:].partition(b"\0")[0]))
        return self._last


_board: Board | None = None
_told = Progress()


def use_board(board: Board | None) -> None:
    """Where `progress` shows how far this process is; None for nowhere."""
    global _board, _told
    _board, _told = board, Progress()


def progress(step: str, item: int = 0, items: int = 0, what: str = "") -> None:
    """Tell which item (from 1) of how many a step is at, e.g. ``progress("segment", 3, 16, "site 3")``."""
    global _told
    _told = Progress(step, item, items, what)
    if _board is not None:
        _board.write(_told)


def detail(text: str) -> None:
    """For step functions that take long: tell how far this call is, e.g. ``detail("frame 5 of 90")``.

    Costs some microseconds; does nothing where nobody watches.
    """
    if _board is not None:
        _board.write(replace(_told, what=", ".join(filter(None, [_told.what, text]))))


def announced(
    step: str, stacks: Sequence[tuple[Mapping[str, int], _Stack]], channels: Mapping[int, str]
) -> Iterator[tuple[Mapping[str, int], _Stack]]:
    """The stacks of a step, (fixed components, planes), each told as it is taken; channels are told by name."""
    groups = [group for group, _ in stacks]
    # What all stacks have in common tells them apart as little as the step's name does.
    differing = {n for group in groups[1:] for n, value in group.items() if groups[0].get(n) != value}
    for number, (group, stack) in enumerate(stacks, 1):
        if _board is not None:
            shown = {n: v for n, v in group.items() if n in differing or n == "channel"}
            named = {n: channels.get(v, v) if n == "channel" else v for n, v in shown.items()}
            progress(step, number, len(stacks), ", ".join(f"{n} {value}" for n, value in named.items()))
        yield group, stack


class RunningFile:
    """The running file of one unit, kept by the process that watches the one that computes it.

    It is the unit's lease, too (`hcs_steps.run.lease`): made by the process that computes, and from here on this one's.
    """

    def __init__(self, results: Results, stage: str, unit: str, predicted_mb: int, log: str) -> None:
        self._path = results.running(stage, unit)
        with suppress(StorageError):
            sweep_leftovers(self._path)
        self._shown: Progress | None = None
        self._written = 0.0
        self._fixed = {**new_content(stage, unit), "predicted_mb": predicted_mb, "log": log}
        self.update(Progress(), 0)

    def update(self, at: Progress, rss_mb: int) -> None:
        """Write the file if the unit has moved on, or if it was written some time ago.

        Not if it is another process's by now, which took this one for dead.
        """
        if at == self._shown and time.monotonic() - self._written < HEARTBEAT_S:
            return
        if self._written and self._is_lost():
            return
        self._shown, self._written = at, time.monotonic()
        where = {"step": at.step, "item": at.item, "items": at.items, "what": at.what}
        content = {**self._fixed, **where, "updated": _now(), "rss_mb": rss_mb}
        with suppress(OSError):  # a full disk is found out by what matters
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _replace(self._path, json.dumps(content, sort_keys=True, indent=1) + "\n")

    def _is_lost(self) -> bool:
        try:
            return not is_own(self._path.read_bytes())
        except OSError:
            return False


def new_content(stage: str, unit: str) -> dict[str, Any]:
    """What the running file says of a unit that this process begins."""
    return {
        "stage": stage,
        "unit": unit,
        "machine": platform.node(),
        "host": own_machine(),
        "pid": os.getpid(),
        "process_start": process_start(os.getpid()),
        "started": _now(),
    }


def is_own(content: bytes) -> bool:
    """Whether what a running file holds was written by this process."""
    with suppress(ValueError, AttributeError):
        told = json.loads(content)
        return bool(told.get("pid") == os.getpid() and told.get("host") == own_machine())
    return False


def remove_running(path: Path) -> None:
    """Take a running file away, if there is one, and it is this process's."""
    with suppress(OSError):
        if is_own(path.read_bytes()):
            path.unlink(missing_ok=True)


def resident_mb(pid: int) -> int:
    """Memory that a process has now, in MB; 0 if it cannot be told."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") >> 20
    except (OSError, IndexError, ValueError):
        pass
    if Path("/proc/self/statm").exists():
        return 0
    import psutil

    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss) >> 20
    return 0


def _replace(path: Path, text: str) -> None:
    """Replace a file as a whole. It is worth nothing after a crash, so nothing waits for the disk."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-0")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
