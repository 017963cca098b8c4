"""Tables that functions return: rows with plate, well and plane."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from hcs_steps.errors import StepError
from hcs_steps.plate.inventory import NAN
from hcs_steps.run.calls import CallResult
from hcs_steps.storage.protocol import PlaneKey
from hcs_steps.storage.tables import as_columns

METADATA = {
    "Metadata_Site": "site",
    "Metadata_Z": "z_index",
    "Metadata_Timepoint": "timepoint",
}
"""Columns that say which plane a row belongs to, besides plate, well and channel."""


def unit_table(
    plate: str, well: str, calls: Iterable[CallResult], channels: Mapping[int, str]
) -> dict[str, dict[str, Any]]:
    """The tables of one step over one unit, by output name: all calls' rows, each with its plane's
    components.

    A row's plane is the ``plane`` column of the function's table; without that column, the first of the
    stack.
    """
    parts: dict[str, list[dict[str, Any]]] = {}
    for call in calls:
        for name, output in call.outputs.items():
            if output.kind == "table":
                parts.setdefault(name, []).append(_rows(plate, well, output.value, output.keys, channels))
    return {name: _joined(pieces) for name, pieces in parts.items()}


def _rows(
    plate: str, well: str, value: Any, keys: tuple[PlaneKey, ...], channels: Mapping[int, str]
) -> dict[str, Any]:
    columns = as_columns(value)
    rows = len(next(iter(columns.values()), ()))
    for name, own in (("Metadata_Plate", plate), ("Metadata_Well", well)):
        if name in columns and not (np.asarray(columns[name]) == own).all():
            raise StepError(
                f"The column {name!r} of a table names something else than {own}, of which it is.",
                hint="Leave the column out: plate, well and plane are added to every table.",
            )
    plane = np.asarray(columns.pop("plane", np.zeros(rows, np.int64)))
    if rows and not (plane.dtype.kind in "ui" and plane.min() >= 0 and plane.max() < len(keys)):
        raise StepError(
            f"The column 'plane' of a table must hold integers from 0 to {len(keys) - 1}, one plane of the stack each.",
            hint="Number the planes as in the stack that came in; leave the column out where the rows are of plane 0.",
        )
    plane = plane.astype(np.int64, copy=False)
    # Column by column through NumPy: a table may have a million rows.
    values = {name: np.array([getattr(key, part) for key in keys])[plane] for name, part in METADATA.items()}
    names = np.array([channels.get(key.channel, str(key.channel)) for key in keys])[plane]
    return {
        "Metadata_Plate": np.full(rows, plate),
        "Metadata_Well": np.full(rows, well),
        "Metadata_Site": values["Metadata_Site"],
        "Metadata_Channel": names,
        "Metadata_Z": values["Metadata_Z"],
        "Metadata_Timepoint": values["Metadata_Timepoint"],
        **columns,
    }


def _joined(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows of several calls below each other, ordered by plane; a column that a call lacks is NaN there."""
    names = list(dict.fromkeys(name for piece in pieces for name in piece))
    joined: dict[str, Any] = {}
    for name in names:
        filled = [
            piece[name] if name in piece else np.full(len(piece["Metadata_Well"]), NAN) for piece in pieces
        ]
        joined[name] = np.concatenate(filled)
    order = np.lexsort(
        [joined[name] for name in ("Metadata_Timepoint", "Metadata_Z", "Metadata_Channel", "Metadata_Site")]
    )
    return {name: column[order] for name, column in joined.items()}
