"""The state of a plate, well by well, from its records and failures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.report.profiles import count_name
from hcs_steps.storage.tables import table_csv

Records = Mapping[tuple[str, str], Mapping[str, Any]]
FAILURE_COLUMNS = ("stage", "unit", "step", "kind", "error", "file", "time", "attempt", "log")
Entry = tuple[str, str, Mapping[str, Any]]
"""(table, unit, what the unit's record says of its part of the table)."""


def table_entries(plan: Plan, records: Records) -> Iterator[Entry]:
    """The parts of all tables that records list, in the order of stages and units."""
    names = {source: name for name, table in plan.tables.items() for source in table.sources}
    for (_, unit), record in records.items():
        for step, outputs in record.get("outputs", {}).items():
            for output, entry in outputs.get("tables", {}).items():
                if (step, output) in names:
                    yield names[step, output], unit, entry


def table_channels(entries: Iterable[Entry]) -> dict[str, list[str]]:
    """Names of the channels that the rows of each table are of, by number, channels without any rows included."""
    found: dict[str, dict[int, str]] = {}
    for table, _, entry in entries:
        for _, channel, _, _, _ in entry["planes"]:
            found.setdefault(table, {})[channel] = entry["channels"].get(str(channel), str(channel))
    return {table: [names[number] for number in sorted(names)] for table, names in found.items()}


def well_rows(plan: Plan, records: Records, failures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per unit: plate, well, unit, status, failed stage and error, and the rows of every table of objects.

    ``status`` is ``done`` (every stage of the unit has its record), ``failed`` or ``incomplete``. A count
    column is called ``Count_<table>``, and ``Count_<table>_<channel>`` for a table with rows of several channels; one
    without objects counts 0, a unit without results has none.
    """
    failed = {item["unit"]: item for item in reversed(failures)}
    counts = _counts(plan, records)
    columns = sorted({name for row in counts.values() for name in row})
    rows = []
    for unit, found in plan.units.items():
        stages = plan.stages_of(unit)
        complete = all((name, unit) in records for name in stages)
        failure = failed.get(unit, {})
        rows.append(
            {
                "Metadata_Plate": plan.plate.id,
                "Metadata_Well": found.well,
                "unit": unit,
                "status": "failed" if failure else "done" if complete else "incomplete",
                "failed_stage": failure.get("stage", ""),
                "error": failure.get("error", ""),
                **{name: counts.get(unit, {}).get(name) for name in columns},
            }
        )
    return rows


def _counts(plan: Plan, records: Records) -> dict[str, dict[str, int]]:
    """Unit -> rows of every table of objects, by channel, summed over sites, z and time."""
    entries = [e for e in table_entries(plan, records) if plan.tables[e[0]].rows == "objects"]
    channels = table_channels(entries)
    counts: dict[str, dict[str, int]] = {}
    for table, unit, entry in entries:
        if unit == PLATE_UNIT:
            continue
        own = counts.setdefault(unit, {})
        for _, channel, _, _, rows in entry["planes"]:
            label = entry["channels"].get(str(channel), str(channel))
            column = count_name(table, label if len(channels[table]) > 1 else "")
            own[column] = own.get(column, 0) + rows
    return counts


def failures_csv(failures: list[dict[str, Any]]) -> str:
    """Open failures as CSV, one row each."""
    rows = [{name: item.get(name, "") for name in FAILURE_COLUMNS} for item in failures]
    return table_csv({name: [row[name] for row in rows] for name in FAILURE_COLUMNS})
