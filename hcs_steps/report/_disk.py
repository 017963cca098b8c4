"""Reading what a plate left on disk, whatever state it is in: missing is empty, damaged is empty and named."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.compile.plan import Plan, StagePlan
from hcs_steps.compile.stages import REPORT
from hcs_steps.errors import StorageError
from hcs_steps.results import Results
from hcs_steps.run.records import read_json
from hcs_steps.storage.tables import read_table

Columns = Mapping[str, NDArray[Any]]
Records = Mapping[tuple[str, str], Mapping[str, Any]]

PLATE_COLUMNS = frozenset(
    f"Metadata_{name}" for name in ("Plate", "Well", "Site", "Channel", "Z", "Timepoint", "Object_Count")
)
"""Columns of tables that say where a row is from; other ``Metadata_`` columns come from the plate map."""


@dataclass
class Disk:
    """The tables and records of one plate. ``damaged`` collects a sentence for every file that cannot be
    read.
    """

    plan: Plan
    results: Results
    damaged: list[str] = field(default_factory=list)

    def table(self, name: str, *needed: str) -> Columns:
        """The columns of ``<name>.parquet``; empty where it is missing, damaged or lacks a ``needed`` column."""
        path = self.results.table(self.plan.tables_folder, name)
        if not path.is_file():
            return {}
        try:
            columns = read_table(path)
        except StorageError as error:
            self.damaged.append(error.message)
            return {}
        lacking = [column for column in needed if column not in columns]
        if lacking:
            self.damaged.append(f"{path} lacks the columns {', '.join(lacking)}.")
            return {}
        return columns

    def listing(self, name: str) -> tuple[Mapping[str, str], ...]:
        """The rows of ``<name>.csv``, as text."""
        path = self.results.table(self.plan.tables_folder, name, ".csv")
        if not path.is_file():
            return ()
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            self.damaged.append(f"{path} cannot be read: {error}.")
            return ()
        return tuple({str(key): str(value or "") for key, value in row.items() if key} for row in rows)

    def records(self) -> dict[tuple[str, str], dict[str, Any]]:
        """(stage, unit) -> record, of every unit of the told stages that has one."""
        found = {}
        for stage in told_stages(self.plan):
            for unit in self.plan.units_of(stage):
                path = self.results.record(stage.name, unit)
                record = read_json(path)
                if record is not None:
                    found[stage.name, unit] = record
                elif path.exists():
                    self.damaged.append(f"{path} is not a record.")
        return found

    def profiles(self) -> tuple[str, Columns, Columns]:
        """The first aggregate of the plan, its per-well profiles and their normalised twin."""
        name = self.plan.table_settings.aggregate[0]
        raw = self.table(f"profiles_{name}", "Metadata_Well")
        return name, raw, self.table(f"profiles_{name}_normalized", "Metadata_Well") if raw else {}


def told_stages(plan: Plan) -> tuple[StagePlan, ...]:
    """The stages that the page tells of: all but the one that makes it, which has not ended yet."""
    return tuple(stage for stage in plan.stages if stage.name != REPORT)


def rows_of(columns: Columns) -> Iterator[dict[str, Any]]:
    """The rows of a table as mappings of Python values."""
    names = list(columns)
    for values in zip(*(columns[name].tolist() for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def is_number(column: NDArray[Any]) -> bool:
    """Whether a column holds numbers, booleans not counted."""
    return column.dtype.kind in "iuf"


def as_number(value: Any) -> float:
    """A value of a table, a plate map or a record as a number, NaN if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def as_text(value: Any) -> str:
    """A value of a plate map as people write it: no ``.0`` behind whole numbers, nothing for none."""
    if value is None or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
