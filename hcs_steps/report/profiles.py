"""Well profiles: what the objects of a well have in common, and how far that is from the controls.

Profiles are what image-based profiling works on (Caicedo et al., Nature Methods 2017, 14:849); tables and names are
those of pycytominer (Serrano et al., Nature Methods 2025, 22:677), which reads them without change.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.errors import ConfigError, PlateError, nearest
from hcs_steps.report._well_objects import Columns, Floats, objects_by_channel
from hcs_steps.statistics._robust import MAD_SCALE

AGGREGATES = ("median", "mean", "mad", "sd")
"""``mad`` is the median absolute deviation from the median, not scaled; ``sd`` the standard deviation of a sample
(n - 1). All skip NaN."""

CELLS = "Cells_"
"""Goes before the features of objects that name no compartment, so that pycytominer takes them for features."""

ROUNDING = 1e-12
"""A MAD below this part of the median is what rounding leaves of a constant."""

_COMPARTMENT = re.compile(r"[A-Z][A-Za-z0-9]*_.+")


def feature_name(table: str, column: str, channel: str = "", compartment: str = "") -> str:
    """The name of a table's column in a profile, or in the table of images.

    A column with its compartment or group before it, as CellProfiler writes them (``Nuclei_AreaShape_Area``), keeps its
    name; others get the table's (``cell_counts_area_px``), with ``compartment`` before it. ``channel`` goes behind it
    where a table has rows of several.
    """
    name = column if _COMPARTMENT.fullmatch(column) else f"{compartment}{table}_{column}"
    return f"{name}_{channel}" if channel else name


def count_name(table: str, channel: str = "") -> str:
    """The column with the number of a table's rows; ``channel`` goes behind it where a table has rows of several."""
    return f"Count_{table}_{channel}" if channel else f"Count_{table}"


def well_profiles(
    parts: Mapping[str, Mapping[str, Sequence[Path]]],
    wells: Sequence[str],
    *,
    plate: str,
    aggregates: Iterable[str] = ("median",),
    channels: Mapping[str, Sequence[str]] | None = None,
    uncounted: Collection[str] = (),
) -> dict[str, Columns]:
    """One row per well and aggregate from the units' tables of objects. The rows of one well are in memory at a time.

    Parameters
    ----------
    parts
        Object table -> well -> its Parquet files (several where units are sites). The objects that
        ``Metadata_Object_Count`` counts are those of the first table.
    wells
        The wells, in the order of the rows; a well without files was not measured.
    plate
        The plate's id.
    aggregates
        Some of `AGGREGATES`.
    channels
        Table -> names of its channels in order, where they are known from the records; else those of its rows.
    uncounted
        Tables whose rows are not objects: their number is no feature.

    Returns
    -------
    Aggregate -> columns: ``Metadata_Plate``, ``Metadata_Well``, ``Metadata_Object_Count`` (float64; rows of the first
    table, of its first channel if it has several), then the features, all float64, sorted by name:
    ``Count_<table>`` (``Count_<table>_<channel>`` of a table with several channels) and every numeric column
    that `is_feature` (`hcs_steps.report._well_objects`), named by `feature_name`. Where two tables have a feature of
    one name, that of the later table gets the table's name before it. The median and the mean of a boolean column
    are the fraction that is true; ``mad`` leaves it out. A well without objects has counts of 0 and features of
    NaN, a well that was not measured NaN throughout.

    Raises
    ------
    ConfigError
        For an unknown aggregate.
    """
    asked = tuple(aggregates)
    for aggregate in asked:
        if aggregate not in AGGREGATES:
            raise ConfigError(f"{aggregate!r} is not an aggregate.", hint=nearest(aggregate, AGGREGATES))
    found: dict[str, dict[tuple[str, str, str], Floats]] = {aggregate: {} for aggregate in asked}
    counts: dict[tuple[str, str], Floats] = {}
    measured = {table: np.array([bool(files.get(well)) for well in wells]) for table, files in parts.items()}
    for row, well in enumerate(wells):
        for table, files in parts.items():
            for objects in objects_by_channel(files.get(well, ())):
                counts.setdefault((table, objects.channel), np.zeros(len(wells)))[row] = objects.count
                for aggregate in asked:
                    for column, value in objects.aggregated(aggregate):
                        key = (table, column, objects.channel)
                        if key not in found[aggregate]:
                            found[aggregate][key] = np.full(len(wells), np.nan)
                        found[aggregate][key][row] = value
    order = {table: _channels(table, counts, channels or {}) for table in parts}
    counted = {table: names for table, names in order.items() if table not in uncounted}
    head = _counts(counted, counts, measured, len(wells))
    names = {aggregate: _names(order, found[aggregate], uncounted) for aggregate in asked}
    return {
        aggregate: {
            "Metadata_Plate": np.full(len(wells), plate, object),
            "Metadata_Well": np.array(wells, object),
            "Metadata_Object_Count": next(iter(head.values()), np.full(len(wells), np.nan)),
            **dict(
                sorted((head | {names[aggregate][key]: v for key, v in found[aggregate].items()}).items())
            ),
        }
        for aggregate in asked
    }


def _channels(
    table: str, counts: Mapping[tuple[str, str], Floats], known: Mapping[str, Sequence[str]]
) -> list[str]:
    """The channels of a table's rows, the known ones first."""
    seen = sorted(channel for name, channel in counts if name == table)
    return list(dict.fromkeys([*known.get(table, ()), *seen])) or [""]


def _counts(
    order: Mapping[str, Sequence[str]],
    counts: Mapping[tuple[str, str], Floats],
    measured: Mapping[str, NDArray[np.bool_]],
    rows: int,
) -> dict[str, Floats]:
    columns: dict[str, Floats] = {}
    for table, channels in order.items():
        for channel in channels:
            name = count_name(table, channel if len(channels) > 1 else "")
            number = counts.get((table, channel), np.zeros(rows))
            columns[name] = np.where(measured[table], number, np.nan)
    return columns


def _names(
    order: Mapping[str, Sequence[str]], keys: Iterable[tuple[str, str, str]], uncounted: Collection[str]
) -> dict[tuple[str, str, str], str]:
    """What each (table, column, channel) is called; tables of objects are those that are counted."""
    tables = list(order)
    names: dict[tuple[str, str, str], str] = {}
    taken: set[str] = set()
    for key in sorted(keys, key=lambda key: (tables.index(key[0]), key[1:])):
        table, column, channel = key
        behind = channel if len(order[table]) > 1 else ""
        name = feature_name(table, column, behind, "" if table in uncounted else CELLS)
        names[key] = f"{table}_{name}" if name in taken else name
        taken.add(names[key])
    return names


def features_of(columns: Iterable[str]) -> list[str]:
    """The features among the columns of profiles: all that are not ``Metadata_...``."""
    return [name for name in columns if not name.startswith("Metadata_")]


@dataclass(frozen=True)
class Normalized:
    """Profiles in robust standard deviations from the reference wells.

    ``references`` is the number of reference wells. ``constant`` names the features whose reference wells are all alike
    (a MAD of 0) or not measured: they are NaN throughout.
    """

    columns: Columns
    references: int
    constant: tuple[str, ...]


def normalize(columns: Mapping[str, NDArray[Any]], reference: NDArray[np.bool_]) -> Normalized:
    """MAD-robust z-scores: (x - median) / (1.4826 MAD) of the reference wells, feature by feature.

    As pycytominer's ``mad_robustize`` with ``samples``, which adds 1e-18 to the MAD: there, a feature whose reference
    wells are all alike becomes 0 or about 1e18; here it is NaN, and named. An infinite value of a reference well counts
    as not measured; in the result it stays infinite.

    Parameters
    ----------
    columns
        Profiles, one value per well; ``Metadata_`` columns are passed on.
    reference
        Whether each well is a reference: the negative controls, or all wells.

    Raises
    ------
    PlateError
        If there is no reference well.
    """
    if not reference.any():
        raise PlateError(
            "There are no wells to normalise to.",
            hint="Name the negative controls in the plate map, or set analysis.normalize_to: plate.",
        )
    result: Columns = {}
    constant = []
    for name, values in columns.items():
        if name.startswith("Metadata_"):
            result[name] = values
            continue
        known = values[reference & np.isfinite(values)]
        median = np.median(known) if len(known) else np.nan
        deviation = np.median(np.abs(known - median)) if len(known) else np.nan
        if not deviation > ROUNDING * abs(median):
            constant.append(name)
            result[name] = np.full(len(values), np.nan)
        else:
            result[name] = (values - median) / (MAD_SCALE * deviation)
    return Normalized(result, int(reference.sum()), tuple(constant))
