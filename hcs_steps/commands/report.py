"""``hcs report``: the page of one plate, of all plates, or of a screen."""

from __future__ import annotations

import argparse
import html
import sys
from pathlib import Path

from hcs_steps.commands.step import log_to
from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.compile.stages import CONSOLIDATE, REPORT
from hcs_steps.emit.prepare import configured_results
from hcs_steps.errors import ConfigError, HcsError
from hcs_steps.results import Results
from hcs_steps.run.claim import claim
from hcs_steps.run.outcome import Outcome
from hcs_steps.run.records import read_json, write_marker
from hcs_steps.run.runner import Runner
from hcs_steps.settings import load_settings
from hcs_steps.storage.atomic import write_text


def run(arguments: argparse.Namespace) -> int:
    """Make the pages that are asked for. With a marker, a page that fails is the marker's business."""
    if arguments.screen:
        return _screen(Path(arguments.config))
    if arguments.plan:
        return _one(Path(arguments.plan), arguments.marker, arguments.log)
    _, plates = _plates(Path(arguments.config))
    there = [results for results in plates if results.plan.is_file()]
    if not there:
        raise ConfigError(
            f"No plate of {arguments.config} has run yet.", hint="Run snakemake; it makes the pages, too."
        )
    codes = []
    for results in there:
        try:
            codes.append(_one(results.plan, None, None))
        except HcsError as error:  # of this plate; the others have their pages
            print(f"hcs: {error}", file=sys.stderr)
            codes.append(2)
    return max(codes)


def _one(plan_path: Path, marker: str | None, log: str | None) -> int:
    plan, results = Plan.load(plan_path), Results(plan_path.parent)
    log_to(log)
    stage = plan.stage(REPORT)
    failed = False if marker else _refresh_tables(plan, results)
    outcome = Runner(plan, results, log=log or "", force=not marker).run(stage, [PLATE_UNIT])
    if outcome.failed:
        write_text(results.report, _excuse(plan, results, outcome))
    if outcome.skipped:
        results.report.touch()  # or Snakemake takes it for older than what it was made of
    if marker:
        write_marker(Path(marker), stage.name, PLATE_UNIT, outcome.done, outcome.failed, outcome.blocked)
        return 0
    failed |= bool(outcome.failed)
    print(results.report, file=sys.stderr if failed else sys.stdout)
    return 1 if failed else 0


def _refresh_tables(plan: Plan, results: Results) -> bool:
    """Make the tables of a run that was stopped; whether that failed. A run that goes on makes its own."""
    try:
        lock = claim(results)
    except ConfigError:
        print(
            f"{plan.plate.id}: a run is going on; the page shows the tables that are there.", file=sys.stderr
        )
        return False
    try:
        return bool(Runner(plan, results).run(plan.stage(CONSOLIDATE), [PLATE_UNIT]).failed)
    finally:
        if lock is not None:
            lock.release()


def _excuse(plan: Plan, results: Results, outcome: Outcome) -> str:
    """A page that says why there is no page."""
    failure = read_json(results.failure(REPORT, PLATE_UNIT)) or {}
    lines = [
        f"The report of {plan.plate.id} could not be made: {outcome.failed[PLATE_UNIT]}",
        f"Everything else is in {results.root.name}: the tables, the records and failures.csv.",
        str(failure.get("stack", "")),
    ]
    paragraphs = "".join(f"<pre>{html.escape(line)}</pre>" for line in lines)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>No report</title>{paragraphs}</html>\n'
    )


def _screen(config: Path) -> int:
    from hcs_steps.report.screen import write_screen

    output, plates = _plates(config)
    screen = write_screen(plates, output)
    for line in (*screen.notes, *screen.problems):
        print(line, file=sys.stderr)
    print(screen.page)
    return 1 if screen.problems else 0


def _plates(config: Path) -> tuple[Path, list[Results]]:
    """The output folder and the results of all plates of a configuration."""
    settings = load_settings(config)
    return settings.output, list(configured_results(settings).values())
