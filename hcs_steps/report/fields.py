"""The table of images: one row per field, with the objects counted there and what was measured of its planes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hcs_steps.errors import StorageError
from hcs_steps.plate.wells import parse_well
from hcs_steps.report.profiles import count_name, feature_name
from hcs_steps.storage.tables import read_table

KEYS = ("Metadata_Well", "Metadata_Site", "Metadata_Z", "Metadata_Timepoint")
"""The columns that name a field, as those of `Field`."""


class Field(NamedTuple):
    """Where a plane is, but for its channel."""

    well: str
    site: int
    z_index: int
    timepoint: int


class FieldCount(NamedTuple):
    """The rows that a table of objects has for one plane; ``channel`` is a name, empty where there is only one."""

    table: str
    channel: str
    field: Field
    rows: int


def counts_in(table: str, well: str, entry: Mapping[str, Any]) -> Iterator[FieldCount]:
    """The counts in a record's entry of a table, ``record["outputs"][step]["tables"][output]``."""
    for site, channel, z_index, timepoint, rows in entry["planes"]:
        name = entry["channels"].get(str(channel), str(channel))
        yield FieldCount(table, name, Field(well, site, z_index, timepoint), rows)


def field_rows(
    plate: str,
    fields: Iterable[Field],
    counts: Iterable[FieldCount],
    plane_tables: Mapping[str, Sequence[Path]],
) -> dict[str, NDArray[Any]]:
    """The columns of ``images.parquet`` without those of the plate map.

    Parameters
    ----------
    plate
        The plate's id.
    fields
        All fields of the plate that are in use. Fields that only counts or tables know, as a projection (z 0) or a
        mosaic, have rows of their own.
    counts
        Of every table of objects, see `counts_in`; several of one plane add up.
    plane_tables
        Table -> its Parquet files, one row per plane. They are read one after the other.

    Returns
    -------
    ``Metadata_Plate``, ``Metadata_Well``, ``Metadata_Site``, ``Metadata_Z``, ``Metadata_Timepoint``, then
    ``Count_<table>`` or ``Count_<table>_<channel>`` (float64, NaN where no such plane was looked at), then the columns
    of the tables of planes with the channel behind, ``ImageQuality_PowerLogLogSlope_DAPI``; one that has no group
    before its name gets the table's. Numbers and booleans only: numbers are float64, booleans objects where one is
    missing. Rows are in plate order, columns sorted by name.

    Raises
    ------
    StorageError
        If a table has two rows for a plane.
    """
    found: dict[str, dict[Field, Any]] = {}
    order = set(fields)
    for count in counts:
        column = found.setdefault(count_name(count.table, count.channel), {})
        column[count.field] = column.get(count.field, 0.0) + count.rows
        order.add(count.field)
    measured: dict[str, dict[Field, Any]] = {}
    for table, paths in plane_tables.items():
        for path in paths:
            order.update(_add_planes(table, path, measured))
    rows = sorted(order, key=lambda field: (parse_well(field.well), field[1:]))
    return {
        "Metadata_Plate": np.full(len(rows), plate, object),
        **{name: _key_column([field[part] for field in rows]) for part, name in enumerate(KEYS)},
        **{name: _column(found[name], rows) for name in sorted(found)},
        **{name: _column(measured[name], rows) for name in sorted(measured)},
    }


def _add_planes(table: str, path: Path, measured: dict[str, dict[Field, Any]]) -> list[Field]:
    """Put the rows of one file under the fields they belong to; returns these."""
    columns = read_table(path)
    fields = [Field(*place) for place in zip(*(columns[name].tolist() for name in KEYS), strict=True)]
    channels = columns["Metadata_Channel"].tolist()
    places = list(zip(fields, channels, strict=True))
    if len(set(places)) < len(places):
        field, channel = next(place for number, place in enumerate(places) if place in places[:number])
        raise StorageError(
            f"{path} has several rows for {channel} of well {field.well}, site {field.site}, z {field.z_index}, "
            f"timepoint {field.timepoint}.",
            hint=f"{table} is a table of objects, not of planes.",
        )
    for name, values in columns.items():
        if name.startswith("Metadata_") or values.dtype.kind not in "biuf":
            continue
        for (field, channel), value in zip(places, values.tolist(), strict=True):
            column = measured.setdefault(feature_name(table, name, channel), {})
            if field in column:
                raise StorageError(
                    f"Two tables of planes have a column {name!r} for {channel} of well {field.well}, "
                    f"site {field.site}; the second is {path}.",
                    hint="Give the outputs of the steps different columns.",
                )
            column[field] = value
    return fields


def _key_column(values: list[Any]) -> NDArray[Any]:
    return np.array(values, object if values and isinstance(values[0], str) else np.int64)


def _column(values: Mapping[Field, Any], rows: Sequence[Field]) -> NDArray[Any]:
    column = [values.get(field) for field in rows]
    if all(isinstance(value, bool) or value is None for value in column):
        return np.array(column, object if None in column else bool)
    return np.array([np.nan if value is None else value for value in column], np.float64)
