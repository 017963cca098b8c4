"""Whether the process that a file names still works."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from hcs_steps.run._processes import is_process

SILENCE_S = 60.0
"""A process of another machine that has not written for so long counts as dead: it writes every 5 s."""


def is_alive(process: Mapping[str, Any], written: float, now: float, silence_s: float = SILENCE_S) -> bool:
    """Whether the process lives that wrote a file with ``machine``, ``pid`` and ``process_start`` in it.

    On the same machine the process is looked up; of one on another machine the time at which the file was ``written``
    tells (both times in seconds since 1970).
    """
    machine = str(process.get("machine", ""))
    # Some files name the machine with what it is: "node (Linux x86_64, 8 CPUs)".
    if machine.split(" (")[0] != platform.node():
        return now - written < silence_s
    pid, started = process.get("pid"), process.get("process_start")
    return isinstance(pid, int) and isinstance(started, int | float) and is_process(pid, started)
