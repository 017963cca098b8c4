"""The stage of every plate that makes its tables: joined ones, what follows from them, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan
from hcs_steps.report.fields import Field, FieldCount, counts_in, field_rows
from hcs_steps.report.numbers import PlateNumbers, in_role, plate_numbers
from hcs_steps.report.profiles import well_profiles
from hcs_steps.report.summary import Entry, Records, failures_csv, table_channels, table_entries, well_rows
from hcs_steps.results import Results
from hcs_steps.run.made import Made
from hcs_steps.run.records import open_failures
from hcs_steps.statistics.quality import field_flags, unchecked_flags, well_flags
from hcs_steps.storage import as_columns, concat_tables, read_table, table_csv, write_table, write_text

OFTEN = 0.49
"""A well has a flag if more than this share of its fields has it: half of them, or its only one."""

Columns = dict[str, NDArray[Any]]


def consolidate(plan: Plan, stage: StagePlan, results: Results, records: Records, made: Made) -> None:
    """Write all tables of the plate; see the guide, chapter Outputs.

    Tables of objects are joined file by file and profiles made well by well, so memory does not grow with the plate.
    Units without a valid record are left out, and named in ``wells`` and ``failures.csv``.
    """
    tables = _Tables(plan, results, made)
    well_map = read_table(results.plate_map) if plan.analysis.plate_map else {}
    entries = list(table_entries(plan, records))
    for name in plan.tables:
        own = [(unit, results.root / entry["path"]) for table, unit, entry in entries if table == name]
        tables.join(name, own, well_map)
    failures = [f for f in open_failures(plan, results) if f["stage"] in stage.upstream]
    write_text(results.failures_table, failures_csv(failures))
    made.add_file(results, results.failures_table)
    images = with_well_map(_images(plan, results, entries), well_map)
    flags = field_flags(images, in_role(images, plan.analysis, plan.analysis.negative))
    made.notes += [f"{name} was not looked for: {why}" for name, why in unchecked_flags(images).items()]
    tables.write("images", images | flags, listed=plan.table_settings.csv)
    rows = well_rows(plan, records, failures)
    flagged = well_flags(images["Metadata_Well"], flags, above=OFTEN)
    names = np.array([flagged.get(row["Metadata_Well"], "") for row in rows], object)
    tables.write("wells", with_well_map(as_columns(rows), well_map) | {"QC_Flags": names}, listed=True)
    _profile(plan, results, entries, well_map, tables)
    made.items = sum(row["status"] == "done" for row in rows)


class _Tables:
    """Writes tables of the plate and remembers them; one without anything in it takes the old one away."""

    def __init__(self, plan: Plan, results: Results, made: Made) -> None:
        self.plan = plan
        self.results = results
        self.made = made

    def join(self, name: str, parts: Iterable[tuple[str, Path]], well_map: Columns) -> None:
        """Join the parts that units wrote of a table, in plate order."""
        order = {unit: number for number, unit in enumerate((*self.plan.units, PLATE_UNIT))}
        found = sorted((order[unit], path) for unit, path in parts)
        listed = self.plan.table_settings.csv
        path, listing = self._files(name, listed and bool(found))
        if not found:
            path.unlink(missing_ok=True)
            return
        # What a plate-scope step returns has rows of its own kind.
        by_well = well_map if order[PLATE_UNIT] not in dict(found) else None
        concat_tables([part for _, part in found], path, listing if listed else None, wells=by_well or None)
        self._remember(path, *([listing] if listed else []))

    def write(self, name: str, columns: Columns, *, listed: bool) -> None:
        """Write a table, also as CSV if it is ``listed``; no columns mean that there is none."""
        path, listing = self._files(name, listed and bool(columns))
        if not columns:
            path.unlink(missing_ok=True)
            return
        write_table(path, columns)
        self._remember(path)
        if listed:
            write_text(listing, table_csv(columns))
            self._remember(listing)

    def _files(self, name: str, listed: bool) -> tuple[Path, Path]:
        path, listing = (self.results.table(self.plan.tables_folder, name, s) for s in (".parquet", ".csv"))
        if not listed:  # an old one must not look like this run's
            listing.unlink(missing_ok=True)
        return path, listing

    def _remember(self, *paths: Path) -> None:
        for path in paths:
            self.made.add_file(self.results, path)


def with_well_map(columns: Columns, well_map: Columns) -> Columns:
    """Columns with those of the plate map for each row's well, behind the first that are called ``Metadata_...``."""
    if not columns or not well_map:
        return columns
    places = {well: row for row, well in enumerate(well_map["Metadata_Well"].tolist())}
    rows = np.array([places[well] for well in columns["Metadata_Well"].tolist()], np.int64)
    names = list(columns)
    first = next((i for i, name in enumerate(names) if not name.startswith("Metadata_")), len(names))
    added = {name: values[rows] for name, values in well_map.items() if name != "Metadata_Well"}
    return {name: columns[name] for name in names[:first]} | added | {n: columns[n] for n in names[first:]}


def _images(plan: Plan, results: Results, entries: Sequence[Entry]) -> Columns:
    """One row per field, without the columns of the plate map."""
    several = {table for table, channels in table_channels(entries).items() if len(channels) > 1}
    return field_rows(
        plan.plate.id,
        _fields(plan),
        _counts(plan, entries, several),
        {
            name: [results.root / entry["path"] for other, _, entry in entries if other == name]
            for name, table in plan.tables.items()
            if table.rows == "planes"
        },
    )


def _fields(plan: Plan) -> Iterator[Field]:
    for unit in plan.units.values():
        for key in plan.layouts[unit.layout].planes:
            yield Field(unit.well, key.site, key.z_index, key.timepoint)


def _counts(plan: Plan, entries: Sequence[Entry], several: set[str]) -> Iterator[FieldCount]:
    for table, unit, entry in entries:
        if plan.tables[table].rows == "objects" and unit != PLATE_UNIT:
            for count in counts_in(table, plan.units[unit].well, entry):
                yield count if table in several else count._replace(channel="")


def _profile(
    plan: Plan,
    results: Results,
    entries: Sequence[Entry],
    well_map: Columns,
    tables: _Tables,
) -> None:
    """Write the wells' profiles and what follows from them."""
    parts: dict[str, dict[str, list[Path]]] = {}
    for name in _profiled(plan):
        parts[name] = {}
        for table, unit, entry in entries:
            if table == name and unit != PLATE_UNIT:
                parts[name].setdefault(plan.units[unit].well, []).append(results.root / entry["path"])
    tables.made.notes += _pooled(plan, entries)
    asked = plan.table_settings.aggregate
    extra = ("mean", "sd") if plan.table_settings.well_summary else ()
    wells = list(dict.fromkeys(unit.well for unit in plan.units.values()))
    made = well_profiles(
        parts,
        wells,
        plate=plan.plate.id,
        aggregates=dict.fromkeys((*asked, *extra)),
        channels=table_channels(entries),
        uncounted=[name for name, table in plan.tables.items() if table.rows != "objects"],
    )
    for number, aggregate in enumerate(asked):
        profiles = with_well_map(made[aggregate], well_map)
        numbers = plate_numbers(plan, profiles, first=number == 0)
        tables.write(f"profiles_{aggregate}", profiles, listed=False)
        tables.write(f"profiles_{aggregate}_normalized", dict(numbers.normalized), listed=False)
        if number == 0:
            _write_numbers(plan, numbers, tables)
    if plan.table_settings.well_summary:
        _summarise(plan, results, made, tables.made)


def _pooled(plan: Plan, entries: Sequence[Entry]) -> list[str]:
    """What to know of the counts and profiles of a plate with several time points or z planes."""
    planes = [
        plane
        for table, _, entry in entries
        if plan.tables[table].rows == "objects"
        for plane in entry["planes"]
    ]
    parts = [
        f"{len(values)} {name}"
        for name, values in (
            ("z planes", {plane[2] for plane in planes}),
            ("time points", {plane[3] for plane in planes}),
        )
        if len(values) > 1
    ]
    if not parts:
        return []
    return [
        f"Counts and profiles of a well are over all its {' and '.join(parts)}; the table images has them apart."
    ]


def _write_numbers(plan: Plan, numbers: PlateNumbers, tables: _Tables) -> None:
    for name, columns in numbers.tables.items():
        plate = {"Metadata_Plate": np.full(len(next(iter(columns.values()), ())), plan.plate.id, object)}
        tables.write(name, plate | dict(columns) if columns else {}, listed=True)
    tables.made.notes += numbers.notes


def _profiled(plan: Plan) -> list[str]:
    """The tables that become profiles, in the order of their steps: of objects, then of planes."""
    order = {step.name: number for number, step in enumerate(plan.steps)}
    chosen = [(table.rows, order[table.sources[0][0]], name) for name, table in plan.tables.items()]
    return [name for rows, _, name in sorted(chosen) if rows in ("objects", "planes")]


def _summarise(plan: Plan, results: Results, made: Mapping[str, Columns], own: Made) -> None:
    from hcs_steps.exports.well_summary import write_well_summary
    from hcs_steps.plate.wells import well_name

    header = {"Barcode": plan.plate.id, "Plate Name": plan.plate.id, "Description": plan.pipeline}
    size = (plan.plate.rows, plan.plate.columns)
    every = [well_name(row, column) for row in range(size[0]) for column in range(size[1])]
    write_well_summary(results.well_summary, wells=every, mean=made["mean"], sd=made["sd"], header=header)
    own.add_file(results, results.well_summary)
