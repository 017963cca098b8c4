"""The state of a plate, well by well, from its records and failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hcs_steps.compile.plan import Plan


def well_rows(
    plan: Plan, records: Mapping[tuple[str, str], Mapping[str, Any]], failures: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One row per unit: plate, well, unit, status, failed stage and error, and the rows of every table by
    channel.

    ``status`` is ``done`` (every stage of the unit has its record), ``failed`` or ``incomplete``. A count
    column is called ``Count_<table>_<channel>``; a channel without objects counts 0, a unit without results
    has none.
    """
    failed = {item["unit"]: item for item in reversed(failures)}
    counts = {unit: unit_counts(plan, unit, records) for unit in plan.units}
    columns = sorted({name for row in counts.values() for name in row})
    rows = []
    for unit, found in plan.units.items():
        stages = [s.name for s in plan.stages if s.scope == "unit" and plan.in_stage(s, unit)]
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
                **{name: counts[unit].get(name) for name in columns},
            }
        )
    return rows


def unit_counts(
    plan: Plan, unit: str, records: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[str, int]:
    """Rows of every per-object table of a unit, summed by channel over sites, z and time."""
    counts: dict[str, int] = {}
    names = {source: name for name, table in plan.tables.items() for source in table.sources}
    for stage in plan.stages:
        record = records.get((stage.name, unit), {})
        for step, outputs in record.get("outputs", {}).items():
            for output, entry in outputs["tables"].items():
                for _, channel, _, _, rows in entry["planes"]:
                    label = entry["channels"].get(str(channel), str(channel))
                    column = f"Count_{names[step, output]}_{label}"
                    counts[column] = counts.get(column, 0) + rows
    return counts
