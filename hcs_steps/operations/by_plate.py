"""``hcs run --by-plate``: one Snakemake for each plate, so that a screen of any size is planned in parts.

Each plate has its own run.json, as it has when all are run together; what plates took is learned from by the next ones.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from hcs_steps.emit.configured import configured_plates
from hcs_steps.errors import HcsError
from hcs_steps.operations import launch
from hcs_steps.operations.calls import Calls
from hcs_steps.operations.launch import Request, configured
from hcs_steps.operations.stopping import INTERRUPTED, TIME_LIMIT
from hcs_steps.pipeline.files import load_yaml

DONE, INCOMPLETE, REFUSED = 0, 1, 2
NOT_STARTED = -1
"""Stands for the exit code of a plate that was not begun any more."""
WORDS = {
    DONE: "done",
    INCOMPLETE: "not all is done",
    REFUSED: "could not start",
    TIME_LIMIT: "stopped by the time limit",
    INTERRUPTED: "interrupted",
    NOT_STARTED: "not started",
}


def run_by_plate(request: Request, at_once: int) -> int:
    """Run the plates of a request, ``at_once`` of them side by side; returns the exit code for all.

    A plate that fails or cannot start does not keep the others from running, unless ``continue_on_error`` is off. The
    time limit is that of all plates together.
    """
    settings = configured(request)
    names = list(configured_plates(settings))
    at_once = min(at_once, len(names))
    limit = settings.orchestration.total_timeout
    end = None if limit is None else time.monotonic() + limit
    request = _shared(request, at_once)
    calls = Calls()
    codes = dict.fromkeys(names, NOT_STARTED)

    def one(name: str) -> None:
        left = None if end is None else end - time.monotonic()
        bad = any(code not in (DONE, NOT_STARTED) for code in codes.values())
        if calls.is_stopped() or (bad and not settings.orchestration.continue_on_error):
            return
        if left is not None and left <= 0:
            codes[name] = TIME_LIMIT
            return
        if at_once == 1:
            print(f"hcs run: {name} ({names.index(name) + 1} of {len(names)})", file=sys.stderr, flush=True)
        try:
            codes[name] = launch.run(_of_plate(request, name, left), calls, name if at_once > 1 else "")
        except HcsError as error:
            codes[name] = REFUSED
            print(f"hcs run: {name}: {error}", file=sys.stderr)

    with calls.signals():
        if at_once == 1:
            for name in names:
                one(name)
        else:
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(one, names))
    print("\n".join(_told(codes)), file=sys.stderr)
    return exit_code(codes)


def exit_code(codes: Mapping[str, int]) -> int:
    """The exit code of all plates by those of each."""
    found = set(codes.values())
    for code in (INTERRUPTED, TIME_LIMIT):
        if code in found:
            return code
    if found <= {REFUSED, NOT_STARTED}:
        return REFUSED
    return DONE if found == {DONE} else INCOMPLETE


def _shared(request: Request, at_once: int) -> Request:
    """The request of each of several calls that share what there is: processors, or jobs on a cluster."""
    if at_once == 1:
        return request
    total = request.jobs or (None if request.profile else _cores())
    return replace(request, jobs=max(1, total // at_once) if total else None)


def _cores() -> int:
    """What one call would use: the number in the lab's profile, else all processors that this process may use."""
    profile = Path("profiles/default/config.yaml")
    asked = load_yaml(profile).get("cores") if profile.is_file() else None
    if isinstance(asked, int):
        return asked
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _of_plate(request: Request, name: str, left: float | None) -> Request:
    request = replace(request, plates=(name,))
    return request if left is None else launch.with_time_left(request, left)


def _told(codes: Mapping[str, int]) -> list[str]:
    """How the plates have ended: how many in which way, and the names of those that are not done."""
    lines = []
    for code, words in WORDS.items():
        names = [name for name, found in codes.items() if found == code]
        if names:
            which = "" if code == DONE else f": {', '.join(names)}"
            lines.append(f"hcs run: {len(names)} of {len(codes)} plates {words}{which}")
    return lines
