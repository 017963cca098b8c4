"""``hcs verify``: whether everything that records list is there, as it was published."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock

from hcs_steps.compile.plan import Plan
from hcs_steps.errors import HcsError
from hcs_steps.operations._chosen import choose_plates
from hcs_steps.operations.mending._exclusive import exclusive
from hcs_steps.operations.mending._survey import FOREIGN, FORMER, TEMPORARY, Leftover, counted, size_text
from hcs_steps.operations.mending.leftovers import find_leftovers
from hcs_steps.operations.mending.verify import Damage, Extent, extent, fix, lost_plans, verify
from hcs_steps.operations.watching._run_state import run_state
from hcs_steps.results import Results
from hcs_steps.run.records import read_json

SHOWN = 50
"""So many damaged files of a plate are listed; counts are of all."""


def run(arguments: argparse.Namespace) -> int:
    """Verify the chosen plates. 0 if nothing is damaged, 1 if something is, also after ``--fix``; 2 if a plate cannot
    be verified.
    """
    codes = []
    for plate in choose_plates(arguments.plates, Path(arguments.config)):
        try:
            with exclusive(plate.results) if arguments.fix else nullcontext():
                codes.append(_verify(plate.name, plate.results, arguments))
        except HcsError as error:  # of this plate; the others are verified
            print(f"hcs: {error}", file=sys.stderr)
            codes.append(2)
    return max(codes)


def _verify(name: str, results: Results, arguments: argparse.Namespace) -> int:
    plan = Plan.load(results.plan)
    known = extent(plan, results)
    started = time.perf_counter()
    with _progress(name, known) as told:
        found = verify(plan, results, quick=arguments.quick, threads=arguments.jobs, told=told)
    for damage in found[:SHOWN]:
        print(_line(damage))
    if len(found) > SHOWN:
        print(f"  and {len(found) - SHOWN} more")
    print(_summary(name, known, found, arguments.quick, time.perf_counter() - started))
    _tell_besides(plan, results)
    if found:
        _mend(plan, results, found, arguments.fix)
    return 1 if found else 0


def _line(damage: Damage) -> str:
    return f"  {damage.unit:<6} {damage.stage:<14} {damage.path}: {damage.problem}"


def _summary(name: str, known: Extent, found: Sequence[Damage], quick: bool, seconds: float) -> str:
    how = "sizes compared" if quick else f"read and compared in {seconds:.1f} s"
    cleaned = f", {known.cleaned:,} were cleaned away" if known.cleaned else ""
    what = f"{known.entries:,} files and image groups ({size_text(known.size)}) of {known.records:,} results"
    units = len({(damage.stage, damage.unit) for damage in found})
    verdict = f"{len(found):,} damaged, in {counted(units, 'result')}" if found else "nothing is damaged"
    undone = f" {counted(known.undone, 'result')} not there yet." if known.undone else ""
    return f"{name}: {what}{cleaned}, {how}: {verdict}.{undone}"


def _tell_besides(plan: Plan, results: Results) -> None:
    """What is no damage, but good to know."""
    besides = find_leftovers(plan, results)
    running = run_state(read_json(results.run), results.run, time.time())[0] == "running"
    if running:
        print("  A run is going on; what it computes just now was not looked at.")
    for kind, text in (
        (FORMER, "left of former plans, not needed any more (hcs clean --leftovers)"),
        (TEMPORARY, "left of processes that were stopped (hcs clean --leftovers)"),
        (FOREIGN, "not of hcs-steps"),
    ):
        own = [item for item in besides if item.kind == kind]
        if own and not (running and kind == TEMPORARY):
            print(
                f"  {counted(len(own), 'file or folder', 'files or folders')} {text}: {_named(own, results)}"
            )
    lost = lost_plans(plan, results)
    if lost:
        print(
            f"  {counted(len(lost), 'plan')} that results were made by not kept: what they said cannot be told."
        )


def _named(items: Sequence[Leftover], results: Results) -> str:
    names = [results.relative(item.path) for item in items]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _mend(plan: Plan, results: Results, found: Sequence[Damage], wanted: bool) -> None:
    if not wanted:
        command = shlex.join(["hcs", "verify", "--fix", str(results.root)])
        print(f"  {command} gives the damaged results up; the next run computes them again.")
        return
    dropped = fix(plan, results, found)
    for item in dropped:
        if not item.damaged:
            print(f"  {item.unit:<6} {item.stage:<14} given up, too: {item.why}")
    given_up = counted(len(dropped), "result")
    print(
        f"  {given_up} given up. Run snakemake, or hcs run: it computes that again, and checks what follows from it."
    )


@contextmanager
def _progress(name: str, known: Extent) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    lock = Lock()
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(f"verifying {name}", total=known.size)

        def told(size: int) -> None:
            with lock:
                shown.advance(task, size)

        yield told
