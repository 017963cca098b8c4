"""``hcs report``: the page of one plate, of all plates, or of a screen."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.compile.stages import CONSOLIDATE, REPORT
from hcs_steps.emit.prepare import configured_results
from hcs_steps.errors import ConfigError, HcsError
from hcs_steps.report.settled import settle_page
from hcs_steps.results import Results
from hcs_steps.run.claim import claim
from hcs_steps.run.runner import Runner
from hcs_steps.settings import load_settings


def run(arguments: argparse.Namespace) -> int:
    """Make the pages that are asked for, of what there is; the job of a run is ``hcs step --stage report``."""
    if arguments.screen:
        return _screen(Path(arguments.config))
    if arguments.plan:
        return _one(Path(arguments.plan))
    _, plates = _plates(Path(arguments.config))
    there = [results for results in plates if results.plan.is_file()]
    if not there:
        raise ConfigError(
            f"No plate of {arguments.config} has run yet.", hint="Run snakemake; it makes the pages, too."
        )
    codes = []
    for results in there:
        try:
            codes.append(_one(results.plan))
        except HcsError as error:  # of this plate; the others have their pages
            print(f"hcs: {error}", file=sys.stderr)
            codes.append(2)
    return max(codes)


def _one(plan_path: Path) -> int:
    plan, results = Plan.load(plan_path), Results(plan_path.parent)
    failed = _refresh_tables(plan, results)
    outcome = Runner(plan, results, force=True).run(plan.stage(REPORT), [PLATE_UNIT])
    settle_page(plan, results, outcome)
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
