"""Tables between functions and files: plane tables in, rows with plate, well and plane out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hcs_steps.errors import StepError
from hcs_steps.functions.declare import Table
from hcs_steps.plate.findings import Cell
from hcs_steps.plate.inventory import NAN, Plane
from hcs_steps.plate.sites import extent
from hcs_steps.run.calls import CallResult
from hcs_steps.storage.protocol import PlaneKey
from hcs_steps.storage.tables import as_columns

METADATA = {
    "Metadata_Site": "site",
    "Metadata_Z": "z_index",
    "Metadata_Timepoint": "timepoint",
}
"""Columns that say which plane a row belongs to, besides plate, well and channel."""


LENGTHS = ("x_um", "y_um", "z_um", "pixel_size_um")
CELL = ("grid_row", "grid_column")
"""What a function's geometry may change of a plane."""


def plane_table(
    well: str, keys: Iterable[PlaneKey], planes: Mapping[PlaneKey, Plane], channels: Mapping[int, str]
) -> Table:
    """The plane table of a stack: see `hcs_steps.functions.declare.PLANE_COLUMNS`."""
    keys = tuple(keys)
    at_site = _by_site(planes)
    # A plane that is missing and reads as blank lies where the others of its site do.
    found = [planes.get(key) or at_site.get(key.site) for key in keys]
    lengths = ("x_um", "y_um", "z_um", "time_s", "pixel_size_um")
    return {
        "well": np.array([well] * len(keys)),
        "site": np.array([key.site for key in keys], np.int64),
        "channel": np.array([key.channel for key in keys], np.int64),
        "channel_name": np.array([channels.get(key.channel, str(key.channel)) for key in keys]),
        "z_index": np.array([key.z_index for key in keys], np.int64),
        "timepoint": np.array([key.timepoint for key in keys], np.int64),
        **{
            name: np.array([NAN if p is None else getattr(p, name) for p in found], np.float64)
            for name in lengths
        },
        **{name: np.array([-1 if p is None else getattr(p, name) for p in found], np.int64) for name in CELL},
    }


def moved_planes(
    table: Table, keys: Sequence[PlaneKey], planes: Mapping[PlaneKey, Plane]
) -> dict[PlaneKey, Plane]:
    """``planes`` as a changed plane table of the planes ``keys`` describes them: other places or pixel size."""
    at_site = _by_site(planes)
    moved = {}
    for row, key in enumerate(keys):
        plane = planes.get(key) or at_site.get(key.site)
        if plane is not None:
            lengths: Any = {name: float(table[name][row]) for name in LENGTHS}
            cells: Any = {name: int(table[name][row]) for name in CELL}
            moved[key] = plane._replace(**lengths, **cells)
    return moved


def grid_of_sites(keys: Iterable[PlaneKey], planes: Mapping[PlaneKey, Plane]) -> Cell | None:
    """(rows, columns) of the grid that the sites of a stack lie in; None if one of them has no cell."""
    at_site = _by_site(planes)
    cells = {(p.grid_row, p.grid_column) for p in (at_site.get(key.site) for key in keys) if p is not None}
    return None if not cells or min(min(cell) for cell in cells) < 0 else extent(cells)


def _by_site(planes: Mapping[PlaneKey, Plane]) -> dict[int, Plane]:
    return {key.site: planes[key]._replace(z_um=NAN, time_s=NAN) for key in sorted(planes, reverse=True)}


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
    plane = np.asarray(columns.pop("plane", np.zeros(rows, np.int64)))
    if rows and not (plane.dtype.kind in "ui" and plane.min() >= 0 and plane.max() < len(keys)):
        raise StepError(
            f"The column 'plane' of a table must hold integers from 0 to {len(keys) - 1}, one plane of the stack each."
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
