"""Where the planes of a step's images lie, how wide their pixels are, and what functions are told of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hcs_steps.functions.declare import Table
from hcs_steps.plate.findings import Cell
from hcs_steps.plate.inventory import NAN, Plane
from hcs_steps.plate.sites import extent
from hcs_steps.storage.protocol import PlaneKey


class Place(NamedTuple):
    """Where a plane lies, as in a plane table; NaN and -1 where unknown.

    ``scale`` is the width of a pixel in pixels of the plate's own images, known also where micrometres are not.
    """

    x_um: float
    y_um: float
    z_um: float
    pixel_size_um: float
    grid_row: int
    grid_column: int
    scale: float = 1.0
    time_s: float = NAN


Places = Mapping[PlaneKey, Place]
"""Where the images of a step lie: of exactly the planes that it leaves, as far as anything is known of them."""

_LENGTHS = ("x_um", "y_um", "z_um", "pixel_size_um")
_CELL = ("grid_row", "grid_column")
"""What a function's geometry may change of a plane."""
_KEPT = len(Place._fields) - 1
"""A record keeps all of a place but the last, its time: no function changes that."""


def raw_places(keys: Iterable[PlaneKey], planes: Mapping[PlaneKey, Plane]) -> Places:
    """Where the plate's own images ``keys`` lie.

    One that is missing and reads as blank lies where the others of its site do, at no height and time of its own.
    """
    found = {
        key: Place(p.x_um, p.y_um, p.z_um, p.pixel_size_um, p.grid_row, p.grid_column, time_s=p.time_s)
        for key, p in planes.items()
    }
    at_site = {key.site: found[key]._replace(z_um=NAN, time_s=NAN) for key in sorted(found, reverse=True)}
    return {key: found.get(key) or at_site[key.site] for key in keys if key.site in at_site}


def plane_table(well: str, keys: Iterable[PlaneKey], places: Places, channels: Mapping[int, str]) -> Table:
    """The plane table of a stack: see `hcs_steps.functions.declare.PLANE_COLUMNS`."""
    keys = tuple(keys)
    found = [places.get(key) for key in keys]
    return {
        "well": np.array([well] * len(keys)),
        "site": np.array([key.site for key in keys], np.int64),
        "channel": np.array([key.channel for key in keys], np.int64),
        "channel_name": np.array([channels.get(key.channel, str(key.channel)) for key in keys]),
        "z_index": np.array([key.z_index for key in keys], np.int64),
        "timepoint": np.array([key.timepoint for key in keys], np.int64),
        **{
            name: np.array([NAN if p is None else getattr(p, name) for p in found], np.float64)
            for name in ("x_um", "y_um", "z_um", "time_s", "pixel_size_um")
        },
        **{
            name: np.array([-1 if p is None else getattr(p, name) for p in found], np.int64) for name in _CELL
        },
    }


def moved_places(table: Table, scale: float, keys: Sequence[PlaneKey], places: Places) -> Places:
    """The places of ``keys`` after a function's geometry: as its plane table says, in pixels of that scale."""
    moved = {}
    for row, key in enumerate(keys):
        if key in places:
            known: Any = {name: float(table[name][row]) for name in _LENGTHS}
            known |= {name: int(table[name][row]) for name in _CELL}
            moved[key] = places[key]._replace(**known, scale=scale)
    return moved


def place_row(key: PlaneKey, place: Place) -> list[float | None]:
    """A place as JSON holds it, after the components of its plane; None for unknown."""
    return [*key, *(None if value != value else value for value in place[:_KEPT])]


def place_of(row: Sequence[Any], raw: Places) -> tuple[PlaneKey, Place]:
    """The plane and the place that `place_row` wrote; ``raw`` is where the plate's own images lie."""
    key = PlaneKey(*row[:4])
    kept: list[Any] = [NAN if value is None else value for value in row[4:]]
    return key, Place(*kept)._replace(time_s=raw[key].time_s)


def grid_of_sites(keys: Iterable[PlaneKey], places: Places) -> Cell | None:
    """(rows, columns) of the grid that the sites of a stack lie in; None if one of them has no cell."""
    cells = {(places[key].grid_row, places[key].grid_column) for key in keys if key in places}
    return None if not cells or min(min(cell) for cell in cells) < 0 else extent(cells)
