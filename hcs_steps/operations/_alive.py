"""Whether the process that a file names still works."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hcs_steps.results import Results
from hcs_steps.run._processes import is_process, process_start
from hcs_steps.run.records import read_json

SILENCE_S = 60.0
"""A process of another machine that has not written for so long counts as dead: it writes every 5 s."""


def is_alive(process: Mapping[str, Any], written: float, now: float, silence_s: float = SILENCE_S) -> bool:
    """Whether the process lives that wrote a file with ``machine``, ``pid`` and ``process_start`` in it.

    On the same machine the process is looked up; of one on another machine the time at which the file was ``written``
    tells (both times in seconds since 1970).
    """
    if not is_here(process):
        return now - written < silence_s
    pid, started = process.get("pid"), process.get("process_start")
    if not isinstance(pid, int) or isinstance(pid, bool) or not 0 < pid < 2**31:
        return False
    if isinstance(started, int | float):
        return is_process(pid, started)
    return process_start(pid) is not None


def is_here(process: Mapping[str, Any]) -> bool:
    """Whether a file tells of this machine; some name it with what it is: ``node (Linux x86_64, 8 CPUs)``."""
    return str(process.get("machine", "")).split(" (")[0] == platform.node()


def living_units(results: Results) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The running files of units that are being computed, and what they hold."""
    now = time.time()
    for path in sorted(results.running("x", "x").parent.parent.glob("*/*.json")):
        content = read_json(path)
        try:
            written = os.stat(path).st_mtime
        except FileNotFoundError:
            continue
        if content is not None and is_alive(content, written, now):
            yield path, content
