"""``hcs failures``: what has failed on plates and is still open, those failures together that have the same cause."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hcs_steps.operations._chosen import PlateWatch, choose_plates
from hcs_steps.operations.watching._document import failure_document, failure_groups
from hcs_steps.operations.watching._failure_groups import FailureGroup, common_part, group_failures
from hcs_steps.operations.watching._lines import Line, clock, print_lines
from hcs_steps.operations.watching.status import PlateStatus


def run(arguments: argparse.Namespace) -> int:
    """Print the open failures; 0 if it could be told, whether there are any or not.

    ``--json``: per plate (a list of them if there are several) ``plate``, ``results``, ``failures`` with stage, unit,
    step, kind, error, file, time, log, attempt and shortages (how many of the attempts ran out of the host's memory;
    ``stack`` with ``--full``), and ``failure_groups``.
    """
    watches = [PlateWatch(plate) for plate in choose_plates(arguments.plates, Path(arguments.config))]
    if arguments.json:
        documents = [_document(watch, arguments.full) for watch in watches]
        print(json.dumps(documents[0] if len(documents) == 1 else documents, indent=1, allow_nan=False))
        return 0
    lines: list[Line] = []
    for watch in watches:
        lines += [[]] if lines else []
        lines += _lines(watch, arguments.full)
    print_lines(lines, sys.stdout)
    return 0


def _document(watch: PlateWatch, full: bool) -> dict[str, Any]:
    status = watch.read()
    told: dict[str, Any] = {"plate": watch.plate.name, "results": str(watch.plate.results.root)}
    if status is None:
        return {**told, "failures": [], "failure_groups": [], "reason": watch.trouble}
    return {
        **told,
        "failures": [failure_document(failure, full=full) for failure in status.failures],
        "failure_groups": failure_groups(status, watch.plan),
    }


def _lines(watch: PlateWatch, full: bool) -> list[Line]:
    status = watch.read()
    if status is None:
        return [[(watch.trouble, "")]]
    if not status.failures:
        return [[(f"{status.plate}: no failure is open.", "")]]
    groups = group_failures(status.failures, watch.plan)
    units = len({failure["unit"] for failure in status.failures})
    total = f"{_counted(len(status.failures), 'open failure')} of {_counted(units, 'unit')}"
    lines: list[Line] = [
        [(status.plate, "bold"), (f"   {total}, {_counted(len(groups), 'different error')}", "")]
    ]
    for group in groups:
        lines += [[], *_group_lines(group, status, full)]
    retry = "hcs retry" if status.state != "running" else "when this run has ended: hcs retry"
    return [*lines, [], [(retry, "bold"), ("   runs all of them again, and what depends on them", "dim")]]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _group_lines(group: FailureGroup, status: PlateStatus, full: bool) -> list[Line]:
    """The error once, then every unit with what it says otherwise."""
    where = group.stage if group.step in ("", group.stage) else f"{group.stage}, step {group.step}"
    lines: list[Line] = [[(f"{group.count} x ", "bold"), (f"{where}: ", ""), (group.kind, "red")]]
    lines += [[(f"    {line}", "")] for line in group.error.splitlines() or [""]]
    chosen = set(group.units)
    told = [f for f in status.failures if f["stage"] == group.stage and f["unit"] in chosen]
    for failure in told:
        lines += _unit_lines(failure, group)
    command = shlex.join(
        [
            "hcs",
            "step",
            "--plan",
            str(status.results.plan),
            "--stage",
            group.stage,
            "--unit",
            group.units[0],
            "--debug",
        ]
    )
    lines.append([("    alone  ", "dim"), (command, "")])
    return lines + (_stacks(told) if full else [])


def _unit_lines(failure: Mapping[str, Any], group: FailureGroup) -> list[Line]:
    again = f", attempt {failure['attempt']}" if int(failure.get("attempt") or 1) > 1 else ""
    parts = [f"{clock(str(failure.get('time', '')))}{again}", str(failure.get("log", ""))]
    lines: list[Line] = [[(f"    {failure['unit']}", "bold"), (f"  {'  '.join(filter(None, parts))}", "")]]
    if failure.get("error") != group.error:
        lines.append([(f"        {str(failure.get('error', '')).partition(chr(10))[0]}", "")])
    if failure.get("file") and str(failure["file"]) not in str(failure.get("error", "")):
        lines.append([(f"        {failure['file']}", "")])
    return lines


def _stacks(failures: list[Mapping[str, Any]]) -> list[Line]:
    """Every traceback that differs from the others in more than paths, wells and numbers."""
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for failure in failures:
        alike.setdefault(common_part(str(failure.get("stack", ""))), []).append(failure)
    lines: list[Line] = []
    for found in alike.values():
        others = f", and alike {len(found) - 1} others" if len(found) > 1 else ""
        lines.append([(f"    traceback of {found[0]['unit']}{others}", "dim")])
        lines += [[(f"        {line}", "")] for line in str(found[0].get("stack", "")).splitlines()]
    return lines
