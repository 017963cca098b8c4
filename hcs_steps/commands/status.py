"""``hcs status``: how far plates are, from what lies in their results; also while a run goes on elsewhere.

``--json`` prints one document per plate (a list of them if there are several)::

    schema              1; counts up when something here changes its meaning
    plate, results      the plate's name and its results folder
    plan, mode          hash and mode of the plan that is there
    state, reason       never | running | done | failed | stopped | died | unreadable, and why
    run_id, started, ended, machine    of the latest run (UTC, ISO 8601; empty if unknown or going on)
    complete, success   everything done; and no failure open
    eta_seconds         time left or null; not_in_eta names plate stages that are not counted
    results_per_minute  stage results of this run, lately, or null
    counts              units by state: done running failed died blocked waiting skipped
    units               unit -> state
    stages              stage, scope, skipped (why), total, counts, done_by_this_run, started, ended,
                        median_seconds, units_per_minute, left_seconds
    failures            open failures as the run wrote them, without tracebacks (hcs failures --json --full)
    failure_groups      stage, step, kind, error (of the first), count, wells, units
    running, died       running files: stage, unit, step, item, items, what, started, machine, rss_mb, ...

``--efficiency`` prints instead what the stages asked for and what was used; with ``--json`` it adds to the document::

    efficiency          by stage: stage, units (with a record), threads, remarks, and each as asked, median, largest,
                        share (largest of asked), or null: memory_mb and gpu_memory_mb of a unit, seconds of a job

A plate that has never run, or whose plan cannot be read, has only schema, plate, results, state and reason.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hcs_steps.operations._chosen import PlateWatch, choose_plates
from hcs_steps.operations.watching._document import SCHEMA, status_document
from hcs_steps.operations.watching._lines import Line, print_lines, rich_text, text_of
from hcs_steps.operations.watching._status_text import header_lines, status_lines, summary_line
from hcs_steps.operations.watching.efficiency import efficiency, efficiency_document, efficiency_lines

INTERVAL_S = 2.0


def run(arguments: argparse.Namespace) -> int:
    """Print the status of plates; 0 if it could be told."""
    watches = [PlateWatch(plate) for plate in choose_plates(arguments.plates, Path(arguments.config))]
    if arguments.json:
        documents = [_document(watch, arguments.efficiency) for watch in watches]
        print(json.dumps(documents[0] if len(documents) == 1 else documents, indent=1, allow_nan=False))
    elif arguments.watch:
        with suppress(KeyboardInterrupt):  # that is how one stops to watch
            (_watch_screen if sys.stdout.isatty() else _watch_lines)(watches)
    else:
        print_lines(_page(watches, _efficiency if arguments.efficiency else _status), sys.stdout)
    return 0


def _document(watch: PlateWatch, used: bool) -> dict[str, Any]:
    status = watch.read()
    if status is not None:
        more = {"efficiency": efficiency_document(efficiency(watch.reader))} if used else {}
        return status_document(status, watch.plan) | more
    state = "unreadable" if watch.plate.results.plan.exists() else "never"
    return {
        "schema": SCHEMA,
        "plate": watch.plate.name,
        "results": str(watch.plate.results.root),
        "state": state,
        "reason": watch.trouble,
    }


def _status(watch: PlateWatch) -> list[Line]:
    """How far a plate is."""
    status = watch.read()
    return status_lines(status, watch.plan, watch.plate.name) if status else [[(watch.trouble, "")]]


def _efficiency(watch: PlateWatch) -> list[Line]:
    """What a plate asked for, and what it used."""
    status = watch.read()
    if status is None:
        return [[(watch.trouble, "")]]
    return [*header_lines(status), [], *efficiency_lines(efficiency(watch.reader))]


def _page(watches: Sequence[PlateWatch], tell: Callable[[PlateWatch], list[Line]] = _status) -> list[Line]:
    lines: list[Line] = []
    for watch in watches:
        if lines:
            lines += [[], [("-" * 100, "dim")], []]
        lines += tell(watch)
    return lines


def _watch_screen(watches: Sequence[PlateWatch]) -> None:
    """Show the status in place until no run goes on, then leave all of it on the screen."""
    from rich.console import Group

    from hcs_steps.operations.watching._screen import in_place

    with in_place(sys.stdout) as live:
        while True:
            room = max(1, live.console.height - 1)
            live.update(Group(*(rich_text(line) for line in _page(watches)[:room])), refresh=True)
            if not _going_on(watches):
                break
            time.sleep(INTERVAL_S)
    print_lines(_page(watches), sys.stdout)


def _watch_lines(watches: Sequence[PlateWatch]) -> None:
    """A line per plate whenever something has changed, until no run goes on."""
    said: dict[str, str] = {}
    while True:
        for watch in watches:
            line = _line(watch)
            counted = line.partition(";")[0]
            if said.get(watch.plate.name) != counted:
                print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
                said[watch.plate.name] = counted
        if not _going_on(watches):
            return
        time.sleep(INTERVAL_S)


def _line(watch: PlateWatch) -> str:
    """The status of a plate in one line."""
    status = watch.read()
    return watch.trouble if status is None else text_of(summary_line(status))


def _going_on(watches: Sequence[PlateWatch]) -> bool:
    return any((status := watch.read()) is not None and status.state == "running" for watch in watches)
