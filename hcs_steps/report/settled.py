"""The page of a plate after its stage has run: as it was made, or one that says why there is none."""

from __future__ import annotations

import html

from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.compile.stages import REPORT
from hcs_steps.results import Results
from hcs_steps.run.outcome import Outcome
from hcs_steps.run.records import read_json
from hcs_steps.storage.atomic import write_text


def settle_page(plan: Plan, results: Results, outcome: Outcome) -> None:
    """See to it that there is a page, and that it is no older than what it was made of."""
    if outcome.failed:
        write_text(results.report, _excuse(plan, results, outcome))
    if outcome.skipped:
        results.report.touch()  # or Snakemake takes it for older than what it was made of


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
