"""The status of a plate as lines for people."""

from __future__ import annotations

import shlex
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.operations.watching._failure_groups import group_failures
from hcs_steps.operations.watching._lines import STYLES, Line, clock, number, short, span, table_lines
from hcs_steps.operations.watching._plate_map import plate_map
from hcs_steps.operations.watching._stage_reader import seconds_of
from hcs_steps.operations.watching.status import PlateStatus, StageStatus

WIDTH = 100
SHOWN_RUNNING = 16
SHOWN_GROUPS = 8
SHOWN_LINES = 3
MANY = 6
STATE_TEXT = {
    "never": "has never run",
    "running": "going on",
    "done": "done",
    "failed": "ended incomplete",
    "stopped": "stopped",
    "died": "died",
}
_STATE_STYLES = {"running": "bold cyan", "done": "bold green", "failed": "bold red", "died": "bold red"}


def status_lines(status: PlateStatus, plan: Plan, name: str) -> list[Line]:
    """All that there is to say of a plate; ``name`` is what a command takes for it."""
    blocks = [
        header_lines(status),
        [*stage_lines(status)],
        plate_map(plan, status.units),
        failure_lines(status, plan),
        running_lines(status),
        help_lines(status, plan, name),
    ]
    lines: list[Line] = []
    for block in blocks:
        lines += [*([[]] if lines and block else []), *block]
    return lines


def header_lines(status: PlateStatus) -> list[Line]:
    """Which run, in which state, since when, how fast, how long still."""
    run: Mapping[str, Any] = status.run or {}
    lines: list[Line] = [[(status.plate, "bold"), (f"   {status.results.root}   mode {status.mode}", "")]]
    line: Line = [(f"run {run.get('run_id') or '-'}: ", "")]
    line.append(_state_of(status))
    if status.state == "never":
        return [*lines, line]
    start, end = str(run.get("start_time") or ""), str(run.get("end_time") or run.get("finished") or "")
    if status.state == "running":
        line.append((f" since {clock(start)} ({span(_since(start))}){_where(run)}", ""))
    elif status.state == "died":
        line.append(
            (f" at {clock(end or str(run.get('updated') or ''))}, since {clock(start)}{_where(run)}", "")
        )
    else:
        took = f" ({span(seconds_of(end) - seconds_of(start))})" if start and end else ""
        line.append((f" at {clock(end)}{took}", ""))
    lines.append(line)
    if status.reason:
        lines.append([(f"    because {status.reason}", "")])
    done, total = sum(1 for state in status.units.values() if state == "done"), len(status.units)
    asked = f" (this run is for {len(run['units'])} of them)" if run.get("units") else ""
    progress = f"{done} of {total} units done{asked}"
    if status.state == "running":
        without = f" (without {', '.join(status.unestimated)})" if status.unestimated else ""
        left = "-" if status.eta_seconds is None else f"about {span(status.eta_seconds)}{without}"
        progress += f"   {number(status.rate)} stage results a minute   left {left}"
    lines.append([(progress, "")])
    if status.plan_hash != run.get("plan", status.plan_hash):
        lines.append(
            [("The plan has changed since this run; what follows is about the plan that is there.", "")]
        )
    return lines


def summary_line(status: PlateStatus) -> Line:
    """How far a plate is, in one line."""
    line: Line = [(status.plate, "bold"), (": ", ""), _state_of(status), (": ", "")]
    counted = []
    for stage in status.stages:
        if not stage.skipped:
            failed = stage.count("failed") + stage.count("died")
            bad = f" ({failed} failed)" if failed else ""
            counted.append(f"{stage.name} {stage.count('done')}/{stage.total}{bad}")
    line.append((", ".join(counted), ""))
    if status.state == "running":
        pace = f"; {len(status.running)} running, {number(status.rate)} a minute, left {span(status.eta_seconds)}"
        return [*line, (pace, "")]
    return [*line, (f" ({status.reason})" if status.reason else "", "")]


def _state_of(status: PlateStatus) -> tuple[str, str]:
    return STATE_TEXT[status.state], _STATE_STYLES.get(status.state, "bold yellow")


def stage_lines(status: PlateStatus) -> list[Line]:
    """One line per stage."""
    died = any(stage.count("died") for stage in status.stages)
    header = ["stage", "done", "running", "failed", *(["died"] if died else []), "blocked", "waiting"]
    header += ["median s", "per min", "left"]
    shown = [stage for stage in status.stages if not stage.skipped]
    lines = table_lines(header, [_stage_row(stage, died) for stage in shown])
    width = max([len("stage"), *(len(stage.name) for stage in shown)])
    for stage in status.stages:
        if stage.skipped:
            lines.append([(f"{stage.name.ljust(width)}  skipped: {stage.skipped}", "dim")])
    return lines


def _stage_row(stage: StageStatus, died: bool) -> list[tuple[str, str]]:
    states = ["done", "running", "failed", *(["died"] if died else []), "blocked", "waiting"]
    row = [(stage.name, "")]
    for state in states:
        count = stage.counts.get(state, 0)
        row.append((str(count) if count else ".", STYLES[state] if count else "dim"))
    left = (
        "" if stage.left == 0 else span(stage.left) if stage.count("waiting") + stage.count("running") else ""
    )
    return [*row, (number(stage.seconds), ""), (number(stage.rate), ""), (left, "")]


def failure_lines(status: PlateStatus, plan: Plan) -> list[Line]:
    """The open failures, those with the same cause as one."""
    groups = group_failures(status.failures, plan)
    if not groups:
        return []
    lines: list[Line] = [[("failures", "bold red")]]
    for group in groups[:SHOWN_GROUPS]:
        where = group.stage if group.step in ("", group.stage) else f"{group.stage}, step {group.step}"
        lines.append([(f"{group.count:>5} x ", "bold"), (f"{where}: ", ""), (group.kind, "red")])
        lines += [[(f"        {line}", "")] for line in _wrapped(group.error)]
        lines.append([(f"        {short(group.wells, WIDTH - 8)}", "dim")])
    if len(groups) > SHOWN_GROUPS:
        lines.append([(f"    and {len(groups) - SHOWN_GROUPS} other errors", "")])
    return lines


def _wrapped(text: str) -> list[str]:
    """The beginning of an error, in as many lines as it may have."""
    return textwrap.wrap(short(text, SHOWN_LINES * (WIDTH - 10)), WIDTH - 8)


def running_lines(status: PlateStatus) -> list[Line]:
    """What is being computed now, and what died while it was."""
    rows = [_running_row(told, "running") for told in status.running[:SHOWN_RUNNING]]
    rows += [_running_row(told, "died") for told in status.died[:SHOWN_RUNNING]]
    if not rows:
        return []
    header = ["now", "stage", "at", "for", "memory (MB)", "machine"]
    lines = table_lines(header, rows, left=3)
    more = max(0, len(status.running) - SHOWN_RUNNING) + max(0, len(status.died) - SHOWN_RUNNING)
    return [*lines, [(f"and {more} more", "")]] if more else lines


def _running_row(told: Mapping[str, Any], state: str) -> list[tuple[str, str]]:
    memory = " of ".join(str(told[key]) for key in ("rss_mb", "predicted_mb") if told.get(key))
    at = progress_text(told)
    return [
        (str(told.get("unit", "")), STYLES[state]),
        (str(told.get("stage", "")), ""),
        (short(f"died at {at}" if state == "died" else at, 46), ""),
        (span(_since(str(told.get("started", "")))), ""),
        (memory or "-", ""),
        (short(str(told.get("machine", "")), 20), ""),
    ]


def progress_text(told: Mapping[str, Any]) -> str:
    """Where a running unit is: ``segment 3/16 site 3, channel DAPI``."""
    item = f"{told['item']}/{told['items']}" if told.get("items") else ""
    return " ".join(filter(None, [str(told.get("step", "")), item, str(told.get("what", ""))])) or "starting"


def final_lines(statuses: Sequence[PlateStatus], plans: Sequence[Plan]) -> list[Line]:
    """How a run has ended: of a few plates with their stages, of many a line each; all failures; the reports."""
    lines: list[Line] = []
    for status, plan in zip(statuses, plans, strict=True):
        failures = failure_lines(status, plan)
        if len(statuses) > MANY:
            lines += [summary_line(status), *failures]
        else:
            lines += [
                [],
                *header_lines(status),
                [],
                *stage_lines(status),
                *([[], *failures] if failures else []),
            ]
        if status.results.report.is_file():
            lines.append([("report  ", "bold"), (str(status.results.report), "")])
    if any(status.failures for status in statuses):
        lines.append([("hcs failures", "bold"), (" tells more of what failed, ", ""), ("hcs retry", "bold")])
        lines[-1].append((" runs it again.", ""))
    return lines


def help_lines(status: PlateStatus, plan: Plan, name: str) -> list[Line]:
    """The commands that help in this state."""
    plate = shlex.quote(name)
    helpful = []
    if status.failures:
        unit = next((str(f["unit"]) for f in status.failures if f["unit"] != PLATE_UNIT), "")
        well = plan.units[unit].well if unit in plan.units else ""
        helpful.append((f"hcs failures {plate}", "all failures, with their logs"))
        if well:
            helpful.append((f"hcs logs {well} --plate {plate}", "what its jobs said"))
    if status.state == "failed" and status.failures:
        helpful.append(("hcs retry", "run again what failed, and what depends on it"))
    elif status.state != "running" and not status.complete:
        helpful.append(("hcs run", "go on with what is left and what failed; what is done stays"))
    if status.state == "running":
        helpful.append((f"hcs status {plate} --watch", "this, kept up to date"))
    if status.results.report.is_file():
        helpful.append((str(status.results.report), "the report"))
    width = max((len(command) for command, _ in helpful), default=0)
    return [[(f"{command.ljust(width)}  ", "bold"), (what, "dim")] for command, what in helpful]


def _where(run: Mapping[str, Any]) -> str:
    machine = str(run.get("machine") or "").split(" (")[0]
    return f" on {machine}" if machine else ""


def _since(text: str) -> float | None:
    started = seconds_of(text)
    return time.time() - started if started else None
