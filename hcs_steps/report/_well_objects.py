"""The objects of one well, from the files of its units, and what they have in common."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.storage.tables import read_table

Columns = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]

NO_FEATURE = re.compile(
    r"Metadata_.*|(.+_)?(ImageNumber|ObjectNumber|Number_Object_Number|Parent_\w+|Location_\w+)"
    r"|(.+_)?AreaShape_(Center|BoundingBoxM(in|ax)imum)_\w+"
    r"|(.+_)?(plane|labels?|cell|branch|tree|site)|(.+_)?[xyz]_(px|um)|ImageQuality_.*"
)
"""Columns that identify something, say where it is, or how good its image is."""


def is_feature(name: str) -> bool:
    """Whether a column measures the biology: it neither names nor places an object, nor judges an image."""
    return NO_FEATURE.fullmatch(name) is None


@dataclass(frozen=True)
class Objects:
    """The objects of one well and channel: ``values`` has a row per feature; ``truth`` names the boolean ones."""

    channel: str
    count: int
    names: tuple[str, ...]
    values: Floats
    truth: frozenset[str]

    def aggregated(self, aggregate: str) -> Iterator[tuple[str, float]]:
        """(feature, value) of one aggregate."""
        result = np.full(len(self.names), np.nan)
        gaps = np.isnan(self.values).any(axis=1)
        result[~gaps] = _aggregate(self.values[~gaps], aggregate)
        for row in np.flatnonzero(gaps):
            known = self.values[row][~np.isnan(self.values[row])]
            result[row] = _aggregate(known[np.newaxis], aggregate)[0]
        for name, value, row in zip(self.names, result.tolist(), self.values, strict=True):
            if name not in self.truth:
                yield name, value
            elif aggregate != "mad":
                fraction = "mean" if aggregate == "median" else aggregate
                yield name, float(_aggregate(row[~np.isnan(row)][np.newaxis], fraction)[0])


def _aggregate(values: Floats, aggregate: str) -> Floats:
    """One value per row of ``values``, which holds no NaN."""
    if values.shape[1] < (2 if aggregate == "sd" else 1):
        return np.full(len(values), np.nan)
    with np.errstate(invalid="ignore"):  # infinite values have no mean
        if aggregate == "mean":
            result: Floats = values.mean(axis=1)
        elif aggregate == "sd":
            result = values.std(axis=1, ddof=1)
        else:
            result = np.median(values, axis=1)
            if aggregate == "mad":
                result = np.median(np.abs(values - result[:, np.newaxis]), axis=1)
    return result


def objects_by_channel(paths: Sequence[Path]) -> Iterator[Objects]:
    """The objects of one well, channel by channel, from all its files."""
    tables = [read_table(path) for path in paths]
    pieces: dict[str, list[tuple[Columns, NDArray[np.intp]]]] = defaultdict(list)
    for table in tables:
        rows = len(next(iter(table.values()), ()))
        channels = table.get("Metadata_Channel", np.full(rows, "", object))
        for channel in set(channels.tolist()):
            pieces[channel].append((table, np.flatnonzero(channels == channel)))
    for channel in sorted(pieces):
        yield _objects(channel, pieces[channel])


def _objects(channel: str, pieces: Sequence[tuple[Columns, NDArray[np.intp]]]) -> Objects:
    count = sum(len(rows) for _, rows in pieces)
    features: dict[str, Floats] = {}
    truth = set()
    for name in dict.fromkeys(name for table, _ in pieces for name in table if is_feature(name)):
        columns = [table[name][rows] if name in table else np.full(len(rows), None) for table, rows in pieces]
        kinds = {_kind(column) for column in columns} - {"nothing"}
        if kinds in ({"number"}, {"truth"}):
            features[name] = np.concatenate([column.astype(np.float64) for column in columns])
            truth |= {name} if kinds == {"truth"} else set()
    values = np.array(list(features.values())).reshape(len(features), count)
    return Objects(channel, count, tuple(features), values, frozenset(truth))


def _kind(column: NDArray[Any]) -> str:
    """``number``, ``truth`` (booleans, perhaps with gaps), ``nothing`` (only gaps) or ``other``."""
    if column.dtype.kind != "O":
        return {"b": "truth", "i": "number", "u": "number", "f": "number"}.get(column.dtype.kind, "other")
    present = {type(value) for value in column.tolist()} - {type(None)}
    return "nothing" if not present else "truth" if present == {bool} else "other"
