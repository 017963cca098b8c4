"""Every well of a plate: its state, what the plate map says of it, and its value of every feature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.compile.plan import Plan
from hcs_steps.plate.wells import parse_well, sort_wells
from hcs_steps.report._disk import PLATE_COLUMNS, Columns, Records, as_text, is_number
from hcs_steps.report._run_facts import FailureFacts, unit_seconds

Floats = NDArray[np.float64]

COUNTS, PROFILES, QUALITY, COST = "Counts", "Profiles", "Image quality", "Time and memory"
_UNITS = (("_um2", "µm²"), ("_um", "µm"), ("_px", "px"), ("_seconds", "s"))


@dataclass(frozen=True)
class WellState:
    """One well: ``status`` is ``done``, ``failed`` or ``incomplete``, ``objects`` None where nothing was
    counted; ``plate_map`` has a text for each of the plate-map columns.
    """

    name: str
    row: int
    column: int
    status: str
    error: str
    role: str
    objects: int | None
    flags: str
    plate_map: tuple[str, ...]


@dataclass(frozen=True)
class Feature:
    """Values of all wells, in the order of the wells, NaN where there is none; ``normalized`` are robust
    z-scores, if there are any.
    """

    group: str
    name: str
    unit: str
    values: Floats
    normalized: Floats | None = None


@dataclass(frozen=True)
class FlagFacts:
    """The flagged fields of one well: flag -> sites."""

    well: str
    sites: Mapping[str, tuple[str, ...]]


def plate_wells(plan: Plan) -> tuple[str, ...]:
    """The plate's wells that the plan has, row by row."""
    return sort_wells(unit.well for unit in plan.units.values())


def map_columns(tables: Iterable[Columns]) -> tuple[str, ...]:
    """The plate-map columns of the first table that has any."""
    for table in tables:
        found = tuple(n for n in table if n.startswith("Metadata_") and n not in PLATE_COLUMNS)
        if found:
            return found
    return ()


def map_values(tables: Iterable[Columns], column: str) -> dict[str, Any]:
    """Well -> what the plate map says in a column; the first table that has it counts."""
    for table in tables:
        if column in table:
            return dict(zip(table["Metadata_Well"].tolist(), table[column].tolist(), strict=True))
    return {}


def well_states(
    plan: Plan,
    summary: Columns,
    profiles: Columns,
    records: Records,
    failures: Sequence[FailureFacts],
    roles: Mapping[str, str],
) -> tuple[WellState, ...]:
    """The state of every well: from the table of wells where there is one, else from records and failures."""
    tables = (summary, profiles)
    maps = [map_values(tables, column) for column in map_columns(tables)]
    status, error = _status(plan, summary, records, failures)
    objects = _objects(plan, summary, profiles)
    flags = map_values([summary], "QC_Flags")
    return tuple(
        WellState(
            well,
            *parse_well(well),
            status=status[well],
            error=error.get(well, ""),
            role=roles.get(well, ""),
            objects=objects.get(well),
            flags=as_text(flags.get(well)),
            plate_map=tuple(as_text(values.get(well)) for values in maps),
        )
        for well in plate_wells(plan)
    )


def _status(
    plan: Plan, summary: Columns, records: Records, failures: Sequence[FailureFacts]
) -> tuple[dict[str, str], dict[str, str]]:
    """Well -> status and well -> error; the worst of a well's units counts."""
    errors = {failure.unit: failure.error for failure in reversed(failures)}
    units = dict(zip(summary["unit"].tolist(), summary["status"].tolist(), strict=True)) if summary else {}
    order = ("done", "incomplete", "failed")
    status: dict[str, str] = {}
    for unit, found in plan.units.items():
        stages = plan.stages_of(unit)
        done = all((stage, unit) in records for stage in stages)
        own = units.get(unit) or ("failed" if unit in errors else "done" if done else "incomplete")
        own = own if own in order else "incomplete"
        status[found.well] = max(status.get(found.well, "done"), own, key=order.index)
    return status, {plan.units[unit].well: text for unit, text in errors.items() if unit in plan.units}


def _objects(plan: Plan, summary: Columns, profiles: Columns) -> dict[str, int]:
    """Well -> number of objects: that of its profile, else the only count of the table of wells."""
    counts = [name for name in summary if name.startswith("Count_")]
    if "Metadata_Object_Count" in profiles:
        values = by_well(profiles, "Metadata_Object_Count")
    elif len(counts) == 1:
        values = by_well(summary, counts[0])
    else:
        return {}
    return {well: int(value) for well, value in values.items() if np.isfinite(value)}


def by_well(table: Columns, column: str, middle: bool = False) -> dict[str, float]:
    """Well -> the sum (or the median) of a column of numbers over the well's rows; NaN where none is
    finite.
    """
    wells, where = np.unique(table["Metadata_Well"].astype(str), return_inverse=True)
    values = table[column].astype(np.float64)
    there = np.isfinite(values)
    if middle:
        order = np.lexsort((values, where))
        order = order[there[order]]
        counts = np.bincount(where[order], minlength=len(wells))
        starts = np.cumsum(counts) - counts
        low, high = (counts - 1) // 2, counts // 2
        kept = counts > 0
        result = np.full(len(wells), np.nan)
        ranked = values[order]
        result[kept] = (ranked[(starts + low)[kept]] + ranked[(starts + high)[kept]]) / 2
    else:
        # NumPy counts in integers where there is nothing to count.
        result = np.bincount(where[there], values[there], len(wells)).astype(np.float64)
        result[np.bincount(where[there], minlength=len(wells)) == 0] = np.nan
    return dict(zip(wells.tolist(), result.tolist(), strict=True))


def unit_of(name: str) -> str:
    """The unit that a column's name tells, '' if it tells none."""
    lower = name.lower()
    return next((unit for end, unit in _UNITS if lower.endswith(end) or f"{end}_" in lower), "")


def features(
    wells: Sequence[str],
    aggregate: str,
    summary: Columns,
    profiles: Columns,
    normalized: Columns,
    images: Columns,
    records: Records,
    plan: Plan,
) -> tuple[Feature, ...]:
    """All that can be drawn on the plate, group by group."""
    return (
        *_counts(wells, summary, profiles),
        *_profiles(wells, aggregate, profiles, normalized),
        *_quality(wells, images),
        *_costs(wells, records, plan),
    )


def _aligned(wells: Sequence[str], values: Mapping[str, float]) -> Floats:
    return np.array([values.get(well, np.nan) for well in wells], np.float64)


def _counts(wells: Sequence[str], summary: Columns, profiles: Columns) -> Iterable[Feature]:
    """The counts of the table of wells that are not in the profiles, where they may have scores as well."""
    for name, column in summary.items():
        if name.startswith("Count_") and is_number(column) and name not in profiles:
            yield Feature(COUNTS, name, "objects", _aligned(wells, by_well(summary, name)))


def _profiles(
    wells: Sequence[str], aggregate: str, profiles: Columns, normalized: Columns
) -> Iterable[Feature]:
    raw, scores = _Rows(wells, profiles), _Rows(wells, normalized)
    for name, column in profiles.items():
        if not name.startswith("Metadata_") and is_number(column):
            z = scores.column(name) if name in normalized and is_number(normalized[name]) else None
            counted = name.startswith("Count_")
            group = COUNTS if counted else f"{PROFILES} ({aggregate} of objects)"
            yield Feature(group, name, "objects" if counted else unit_of(name), raw.column(name), z)


class _Rows:
    """Columns of a table with one row per well, in the order of the plate's wells."""

    def __init__(self, wells: Sequence[str], table: Columns) -> None:
        rows = {well: row for row, well in enumerate(table["Metadata_Well"].tolist())} if table else {}
        self.table = table
        self.there = np.array([well in rows for well in wells], bool)
        self.rows = np.array([rows[well] for well in wells if well in rows], int)

    def column(self, name: str) -> Floats:
        values = np.full(len(self.there), np.nan)
        values[self.there] = self.table[name][self.rows]
        return values


def _quality(wells: Sequence[str], images: Columns) -> Iterable[Feature]:
    for name, column in images.items():
        if name.startswith("QC_") and column.dtype.kind in "bO":
            flagged = {"Metadata_Well": images["Metadata_Well"], name: truth(column)}
            yield Feature(QUALITY, name, "flagged fields", _aligned(wells, by_well(flagged, name)))
    for name, column in images.items():
        if is_number(column) and not name.startswith(("Metadata_", "Count_", "QC_")):
            values = _aligned(wells, by_well(images, name, middle=True))
            yield Feature(f"{QUALITY} (median of fields)", name, unit_of(name), values)


def truth(column: NDArray[Any]) -> NDArray[np.bool_]:
    """A column of flags; missing is False."""
    return np.array([value is True or (isinstance(value, np.bool_) and bool(value)) for value in column])


def _costs(wells: Sequence[str], records: Records, plan: Plan) -> Iterable[Feature]:
    for stage in plan.stages:
        if stage.scope == "plate":
            continue
        seconds: dict[str, float] = {}
        memory: dict[str, float] = {}
        for unit, found in plan.units.items():
            record = records.get((stage.name, unit))
            if record is not None:
                seconds[found.well] = seconds.get(found.well, 0.0) + unit_seconds(record)
                peak = record.get("peak_host_mb")
                if isinstance(peak, int | float):
                    memory[found.well] = max(memory.get(found.well, 0.0), float(peak))
        if seconds:
            yield Feature(COST, f"Time of {stage.name}", "s", _aligned(wells, seconds))
            yield Feature(COST, f"Peak memory of {stage.name}", "MB", _aligned(wells, memory))


def flagged_fields(images: Columns) -> tuple[FlagFacts, ...]:
    """The wells that have flagged fields, row by row, and the sites of each flag."""
    if "Metadata_Site" not in images:
        return ()
    found: dict[str, dict[str, set[str]]] = {}
    for name, column in images.items():
        if not name.startswith("QC_") or column.dtype.kind not in "bO":
            continue
        for row in np.flatnonzero(truth(column)).tolist():
            well = str(images["Metadata_Well"][row])
            sites = found.setdefault(well, {}).setdefault(name.removeprefix("QC_"), set())
            sites.add(as_text(images["Metadata_Site"][row]))
    return tuple(
        FlagFacts(well, {f: tuple(sorted(sites, key=_natural)) for f, sites in flags.items()})
        for well, flags in sorted(found.items(), key=lambda item: _plate_order(item[0]))
    )


def _natural(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdigit() else (1 << 30, text)


def _plate_order(well: str) -> tuple[int, int]:
    from hcs_steps.errors import PlateError

    try:
        return parse_well(well)
    except PlateError:
        return (1 << 10, 0)
