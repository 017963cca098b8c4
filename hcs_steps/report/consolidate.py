"""The last stage of every plate: join the units' tables and say what is there and what is not."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan
from hcs_steps.report.summary import well_rows
from hcs_steps.results import Results
from hcs_steps.run.made import Made
from hcs_steps.run.records import open_failures
from hcs_steps.storage import concat_tables, write_table, write_text

FAILURE_COLUMNS = ("stage", "unit", "step", "kind", "error", "file", "time", "attempt", "log")

Records = Mapping[tuple[str, str], Mapping[str, Any]]


def consolidate(plan: Plan, stage: StagePlan, results: Results, records: Records, made: Made) -> None:
    """Write ``tables/<name>.parquet`` and ``.csv``, ``tables/wells``, and ``failures.csv``.

    Tables are joined file by file, so memory does not grow with the plate. Units without a valid record are
    left out of the tables and named in ``wells`` and ``failures.csv``.
    """
    for name, parts in plan.tables.items():
        paths = _parts(plan, results, records, parts.sources)
        target = results.table(plan.tables_folder, name)
        listing = results.table(plan.tables_folder, name, ".csv")
        if paths:
            concat_tables(paths, target, listing)
            made.add_file(results, target)
            made.add_file(results, listing)
        else:
            # An old table must not look like this run's.
            target.unlink(missing_ok=True)
            listing.unlink(missing_ok=True)
    failures = [f for f in open_failures(plan, results) if f["stage"] != stage.name]
    write_text(results.failures_table, failures_csv(failures))
    made.add_file(results, results.failures_table)
    rows = well_rows(plan, records, failures)
    write_table(results.table(plan.tables_folder, "wells"), rows)
    write_text(results.table(plan.tables_folder, "wells", ".csv"), rows_csv(rows))
    made.add_file(results, results.table(plan.tables_folder, "wells"))
    made.add_file(results, results.table(plan.tables_folder, "wells", ".csv"))
    made.items = sum(row["status"] == "done" for row in rows)


def _parts(plan: Plan, results: Results, records: Records, sources: Any) -> list[Any]:
    """The units' files of one table, in plate order."""
    order = {unit: number for number, unit in enumerate((*plan.units, PLATE_UNIT))}
    found = []
    for (_, unit), record in records.items():
        for step, output in sources:
            entry = record.get("outputs", {}).get(step, {}).get("tables", {}).get(output)
            if entry is not None:
                found.append((order[unit], results.root / entry["path"]))
    return [path for _, path in sorted(found)]


def failures_csv(failures: list[dict[str, Any]]) -> str:
    """Open failures as CSV, one row each."""
    return rows_csv(
        [{name: item.get(name, "") for name in FAILURE_COLUMNS} for item in failures], FAILURE_COLUMNS
    )


def rows_csv(rows: list[dict[str, Any]], columns: tuple[str, ...] | None = None) -> str:
    """Rows as CSV text; the columns are those of the first row unless given."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
