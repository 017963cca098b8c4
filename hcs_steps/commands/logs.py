"""``hcs logs``: what the jobs of a well have said, stage by stage, and the tracebacks of its failures."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT
from hcs_steps.errors import ConfigError, PlateError, nearest
from hcs_steps.operations._chosen import PlateWatch, choose_plates
from hcs_steps.operations.watching._lines import Line, clock, print_lines
from hcs_steps.operations.watching._unit_logs import UnitLog, unit_logs
from hcs_steps.operations.watching.status import PlateStatus
from hcs_steps.plate.wells import canonical_well

INTERVAL_S = 0.5


def run(arguments: argparse.Namespace) -> int:
    """Print the logs; 0 if it could be told. With ``--follow``, what comes is printed until the well is not computed
    any more.
    """
    watch, status = _plate_of(arguments.well, arguments.plate, Path(arguments.config))
    well = _known_as(arguments.well)
    plan, results = watch.plan, watch.plate.results
    stage = arguments.stage
    if well == PLATE_UNIT:
        stages = [plan.stage(stage)] if stage else [s for s in plan.stages if s.scope == "plate"]
        logs = [log for found in stages for log in unit_logs(plan, results, well, found.name)]
    else:
        logs = unit_logs(plan, results, well, stage)
    printed = "".join([_print_new(log, status) for log in logs])
    if not printed and not arguments.follow:
        print(f"{well} has no log in {results.root}: none of its jobs has run.")
    if arguments.follow:
        with suppress(KeyboardInterrupt):  # that is how one stops to follow
            status = _follow(watch, logs) or status
    of_these = [f for f in status.failures if any((f["unit"], f["stage"]) == (g.unit, g.stage) for g in logs)]
    _print_failures(of_these, printed)
    return 0


def _known_as(well: str) -> str:
    """The canonical name of a well; ``plate`` is the plate's own jobs."""
    return PLATE_UNIT if well.lower() == PLATE_UNIT else canonical_well(well)


def _plate_of(well: str, plate: str | None, config: Path) -> tuple[PlateWatch, PlateStatus]:
    """The plate that is meant: the one that is named, or the only one that has the well."""
    known_as = _known_as(well)
    plates = choose_plates([plate] if plate else _here(config), config)
    watches = [PlateWatch(chosen) for chosen in plates]
    read = [(watch, status) for watch in watches if (status := watch.read()) is not None]
    if not read:
        raise ConfigError(" ".join(watch.trouble for watch in watches) or "There is no plate.")
    having = [pair for pair in read if known_as == PLATE_UNIT or known_as in _wells(pair[0])]
    if not having:
        wells = {name for watch, _ in read for name in _wells(watch)}
        raise PlateError(
            f"{', '.join(status.plate for _, status in read)}: there is no well {known_as} in the plan.",
            hint=nearest(known_as, wells) if len(wells) <= 96 else "",
        )
    if len(having) > 1:
        raise ConfigError(
            f"Well {known_as} is on several plates: {', '.join(watch.plate.name for watch, _ in having)}.",
            hint="Say which with --plate.",
        )
    return having[0]


def _here(config: Path) -> list[str]:
    """Inside of a results folder it is that plate."""
    return ["."] if not config.is_file() and Path("plan.json").is_file() else []


def _wells(watch: PlateWatch) -> set[str]:
    return {unit.well for unit in watch.plan.units.values()}


def _print_new(log: UnitLog, status: PlateStatus) -> str:
    """Print a log under its heading; returns its text."""
    text = "\n".join([*log.new_lines(), log.rest()]).strip("\n")
    if text:
        _heading(log, status)
        print(text, flush=True)
    return text


def _heading(log: UnitLog, status: PlateStatus) -> None:
    state = next((s.states.get(log.unit, "") for s in status.stages if s.name == log.stage), "")
    shared = " (a job of several units: its lines)" if log.shared else ""
    line: Line = [(f"== {log.stage}: {log.unit} {state}", "bold"), (f"   {log.path}{shared}", "dim")]
    print_lines([line], sys.stdout)


def _follow(watch: PlateWatch, logs: list[UnitLog]) -> PlateStatus | None:
    """Print what comes until no run goes on, or the well has nothing left to do in it."""
    last: UnitLog | None = None
    while True:
        status = watch.read()
        for log in logs:
            for line in log.new_lines():
                if log is not last and status is not None:
                    _heading(log, status)
                    last = log
                print(line, flush=True)
        if status is None or status.state != "running" or not _has_work(status, logs):
            return status
        time.sleep(INTERVAL_S)


def _has_work(status: PlateStatus, logs: list[UnitLog]) -> bool:
    states = {stage.name: stage.states for stage in status.stages}
    return any(states.get(log.stage, {}).get(log.unit) in ("running", "waiting") for log in logs)


def _print_failures(failures: Sequence[Mapping[str, Any]], printed: str) -> None:
    """Print failures with their tracebacks, those only that a log has not told already."""
    for failure in failures:
        when = clock(str(failure.get("time", "")))
        title = f"== failure in {failure['stage']}: {failure['unit']}, attempt {failure.get('attempt', 1)}"
        print_lines([[(title, "bold red"), (f"   {when}", "dim")]], sys.stdout)
        print(str(failure.get("error", "")))
        stack = str(failure.get("stack", "")).rstrip()
        # A log puts the time before the first line.
        _, _, rest = stack.partition("\n")
        if stack and (not rest or rest not in printed):
            print(stack)
