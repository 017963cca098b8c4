"""``hcs explain``: how the results of a well were made, and whether and why they would be made again."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hcs_steps.emit.prepare import Prepared, prepare_plates
from hcs_steps.errors import ConfigError
from hcs_steps.operations.mending._survey import size_text
from hcs_steps.operations.provenance._story import UnitStory, story
from hcs_steps.operations.watching._lines import Line, clock, print_lines, span
from hcs_steps.plate.wells import canonical_well
from hcs_steps.settings import WorkflowSettings, load_settings, plate_ids

COLOURS = {
    "up to date": "green", "out of date": "yellow", "failed": "bold red", "died": "bold red", "blocked": "magenta",
    "running": "bold cyan", "not run yet": "dim", "left out": "dim",
}  # fmt: skip
"""Styles of states."""

_LABEL, _INDENT = 10, 2


def run(arguments: argparse.Namespace) -> int:
    """Print what there is to tell; 0 if it could be told. Nothing is written.

    ``--json``: ``plate``, ``results``, ``plan`` (hash of the plan as it would be made now), ``mode``, ``well`` and
    ``stages``: the fields of `hcs_steps.operations.provenance._story.UnitStory`, a list.
    """
    settings = load_settings(Path(arguments.config))
    mode = getattr(arguments, "mode", None)
    settings = settings.model_copy(
        update={"only_plates": [_plate(settings, arguments.plate)], "mode": mode or settings.mode}
    )
    (prepared,) = prepare_plates(settings, root=Path.cwd())
    told = story(prepared, arguments.well, arguments.stage)
    if arguments.json:
        print(json.dumps(_document(prepared, arguments.well, told), indent=1, allow_nan=False))
        return 0
    print_lines(_wrapped(_lines(prepared, arguments.well, told)), sys.stdout)
    return 0


def _plate(settings: WorkflowSettings, name: str | None) -> str:
    """The plate that is meant: the named one, or the only one."""
    names = plate_ids(settings.plates)
    if name is None and len(names) > 1:
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        raise ConfigError(
            f"The configuration has {len(names)} plates.", hint=f"Say which with --plate: {shown}."
        )
    return name or names[0]


def _document(prepared: Prepared, well: str, told: Iterable[UnitStory]) -> dict[str, Any]:
    return {
        "plate": prepared.plan.plate.id,
        "results": prepared.results.root.as_posix(),
        "plan": prepared.plan.hash,
        "mode": prepared.plan.mode,
        "well": well,
        "stages": [vars(one) for one in told],
    }


def _lines(prepared: Prepared, well: str, told: Iterable[UnitStory]) -> Iterable[Line]:
    """The text, one paragraph per stage and unit."""
    plan = prepared.plan
    name = (
        "the whole plate" if well.lower() == "plate" else well if well in plan.units else canonical_well(well)
    )
    facts = f"   plan {plan.hash[:12]}, mode {plan.mode}, results {prepared.results.root}"
    yield [(f"{plan.plate.id}, {name}", "bold"), (facts, "dim")]
    for one in told:
        yield []
        unit = f" {one.unit}" if one.unit not in (name, "plate") else ""
        yield [(f"{one.stage}{unit}", "bold"), ("   ", ""), (one.state, COLOURS[one.state])]
        for label, texts in _facts(one):
            for number, text in enumerate(texts):
                yield [(" " * _INDENT + (label if not number else "").ljust(_LABEL), "dim"), (text, "")]


def _facts(one: UnitStory) -> Iterable[tuple[str, list[str]]]:
    """What is said of one unit: labels and their lines."""
    if one.left_out:
        yield "left out", [one.left_out]
    if one.running:
        yield "at work" if one.state == "running" else "died", [_at_work(one.running)]
    if one.failure:
        yield "failed", _failed(one.failure)
    if one.record:
        yield from _ran(one, one.record)
    elif one.parameters:
        yield "calls", [_call(*parameters) for parameters in one.parameters]
    if one.waits:
        yield "waits", list(one.waits)
    if not one.left_out:
        why = [f"  {text}" for text in one.would_run]
        yield "now", ["would run, because", *why] if why else [_at_rest(one)]
    if one.todo:
        yield "to do", [one.todo]
    if one.failure:
        yield "alone", [one.command]


def _at_rest(one: UnitStory) -> str:
    """What is said of a unit that has no reason to run."""
    if one.waits:
        return "up to date, and would run again if what it waits for comes out otherwise"
    return "up to date: it would not run"


def _ran(one: UnitStory, record: Mapping[str, Any]) -> Iterable[tuple[str, list[str]]]:
    where = f"on {record.get('machine', '?')}, {record.get('device', '?')}"
    memory = f"{record.get('peak_host_mb', 0):,} MB" + (
        f", GPU {record['peak_gpu_mb']:,} MB" if record.get("peak_gpu_mb") else ""
    )
    yield "ran", [f"{clock(str(record.get('end', '')))}, {_took(one.seconds)}, {memory}", where]
    yield "because", [str(text) for text in record.get("because") or ()] or ["not known (an older record)"]
    commit = str(record.get("git_commit") or "")
    shown = (
        f"commit {commit[:12]}{' (dirty)' if commit.endswith('-dirty') else ''}" if commit else "no commit"
    )
    plan = str(record.get("plan") or "")[:12] or "not known"
    yield "from", [f"plan {plan}, mode {record.get('mode') or 'not known'}, {shown}"]
    versions = [f"{name} {version}" for name, version in (record.get("versions") or {}).items()]
    yield "with", [", ".join(versions)]
    calls = [_call(*parameters) for parameters in one.parameters]
    if calls:
        yield "calls", calls
    made = [_made(item) for item in record.get("published") or ()]
    yield "made", [*made[:8], *([f"and {len(made) - 8} more"] if len(made) > 8 else [])] or ["nothing"]
    notes = [str(note) for note in record.get("notes") or ()]
    if notes:
        yield "notes", notes[:8]


def _took(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else span(seconds)


def _call(step: str, function: str, arguments: Mapping[str, Any]) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"{step}: {function}({given})"


def _made(item: Mapping[str, Any]) -> str:
    size = item.get("size")
    text = f" ({size_text(size)})" if isinstance(size, int | float) else ""
    return f"{item.get('path')}{text}{', cleaned since' if item.get('cleaned') else ''}"


def _failed(failure: Mapping[str, Any]) -> list[str]:
    when = clock(str(failure.get("time", "")))
    head = (
        f"{when}, attempt {failure.get('attempt', 1)}, in step {failure.get('step')}: {failure.get('kind')}"
    )
    error = str(failure.get("error", "")).splitlines()
    return [
        head,
        *error,
        *([f"file {failure['file']}"] if failure.get("file") else []),
        f"log {failure.get('log') or 'none'}",
    ]


def _at_work(running: Mapping[str, Any]) -> str:
    items = f" {running.get('item')} of {running.get('items')}" if running.get("items") else ""
    what = f" ({running.get('what')})" if running.get("what") else ""
    step = f", step {running.get('step')}{items}{what}" if running.get("step") else ""
    since = clock(str(running.get("started", "")))
    return f"since {since} on {running.get('machine')}, process {running.get('pid')}{step}"


def _wrapped(lines: Iterable[Line]) -> Iterable[Line]:
    """On a terminal, long lines broken below their text."""
    if not sys.stdout.isatty():
        yield from lines
        return
    width = max(40, shutil.get_terminal_size().columns)
    for line in lines:
        if not line or not line[0][0].startswith(" "):
            yield line
            continue
        label, (text, style) = line
        parts = textwrap.wrap(text, width - _LABEL - _INDENT) or [""]
        yield [label, (parts[0], style)]
        for part in parts[1:]:
            yield [(" " * (_LABEL + _INDENT), ""), (part, style)]
