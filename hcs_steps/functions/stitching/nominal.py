"""Where the tiles of a stack should lie: from the stage, or from a grid and the nominal overlap."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions._checks import plane_column
from hcs_steps.functions._stacks import choice
from hcs_steps.functions.declare import Table

ORDERS = ("rows", "columns", "snake rows", "snake columns", "spiral")
Positions = NDArray[np.float64]
"""(tiles, 2): columns x and y of upper left corners in pixels."""


@dataclass(frozen=True)
class Tiles:
    """The tiles of a stack.

    Attributes
    ----------
    of_plane
        Per plane of the stack, the tile it shows.
    reference
        Per tile, the plane that stands for it in the registration.
    """

    of_plane: NDArray[np.int64]
    reference: NDArray[np.int64]


def tiles_of(planes: Table | None, count: int, reference_channel: int | str | None) -> Tiles:
    """Planes of one site are one tile; without a plane table every plane is a tile.

    The reference plane is of the first timepoint, of ``reference_channel`` (a number or a name; None: the
    lowest), and the middle one of its z planes.
    """
    if planes is None or "site" not in planes:
        return Tiles(np.arange(count), np.arange(count))
    sites, of_plane = np.unique(plane_column(planes, "site", count), return_inverse=True)
    usable = np.ones(count, dtype=bool)
    if reference_channel is not None:
        column = "channel_name" if isinstance(reference_channel, str) else "channel"
        if column not in planes:
            raise ValueError(
                f"reference_channel={reference_channel!r} needs the column {column!r} of the plane table, which is not "
                "there."
            )
        usable = np.asarray(planes[column]) == reference_channel
    keys = [np.nan_to_num(plane_column(planes, name, count)) for name in ("z_index", "channel", "timepoint")]
    order = np.lexsort(keys)
    reference = []
    for tile in range(len(sites)):
        own = [plane for plane in order if of_plane[plane] == tile and usable[plane]]
        if not own:
            raise ValueError(
                f"reference_channel={reference_channel!r} is not there at site {sites[tile]:g}; the stack has "
                f"the channels {', '.join(sorted({str(c) for c in planes[column]}))}."
            )
        alike = [plane for plane in own if all(key[plane] == key[own[0]] for key in keys[1:])]
        reference.append(alike[len(alike) // 2])
    return Tiles(of_plane.astype(np.int64), np.array(reference, dtype=np.int64))


def cells_in_order(dimensions: tuple[int, int], order: str | Enum) -> list[tuple[int, int]]:
    """(row, column) of all cells of a grid in the order in which they are acquired.

    ``rows``: along the first row, then the second; ``columns``: down the first column, then the second;
    ``snake rows`` and ``snake columns``: every second line backwards; ``spiral``: from the middle cell (the
    upper left of the middle ones) to the right, then down, and on outwards.
    """
    kind = choice(order, ORDERS, "order")
    rows, columns = (int(size) for size in dimensions)
    if rows < 1 or columns < 1:
        raise ValueError(f"grid_dimensions are (rows, columns) and at least 1, but are {tuple(dimensions)}.")
    if kind == "spiral":
        return _spiral(rows, columns)
    down = kind.endswith("columns")
    lines, length = (columns, rows) if down else (rows, columns)
    cells = []
    for line in range(lines):
        backwards = kind.startswith("snake") and line % 2
        for along in reversed(range(length)) if backwards else range(length):
            cells.append((along, line) if down else (line, along))
    return cells


def _spiral(rows: int, columns: int) -> list[tuple[int, int]]:
    row, column = (rows - 1) // 2, (columns - 1) // 2
    cells = [(row, column)]
    step = 0
    while len(cells) < rows * columns:
        down, right = ((0, 1), (1, 0), (0, -1), (-1, 0))[step % 4]
        for _ in range(step // 2 + 1):
            row, column = row + down, column + right
            if 0 <= row < rows and 0 <= column < columns:
                cells.append((row, column))
        step += 1
    return cells


def nominal_positions(
    tiles: Tiles,
    shape: tuple[int, int],
    planes: Table | None,
    grid_dimensions: tuple[int, int] | None,
    overlap_ratio: float,
    order: str | Enum,
    pixel_size_um: float | None,
) -> Positions:
    """Upper left corners of the tiles in pixels, by the best that is known.

    1. Stage positions, if every tile has one, they are not all the same, and the pixel size is known.
    2. ``grid_row`` and ``grid_column``, if every tile has them and no two share a cell.
    3. ``grid_dimensions`` filled in ``order`` by the tiles in turn.
    """
    count = len(tiles.reference)
    if count == 1:
        return np.zeros((1, 2))
    stage = _stage_positions(tiles, planes, pixel_size_um)
    if stage is not None:
        return _from_least(stage)
    cells = _stated_cells(tiles, planes)
    if cells is None:
        if grid_dimensions is None:
            raise ValueError(
                f"Nothing says where the {count} tiles lie: there are no stage positions with a pixel size and no "
                "grid. Give grid_dimensions=(rows, columns) and the order of acquisition."
            )
        rows, columns = grid_dimensions
        if rows * columns < count:
            raise ValueError(f"A grid of {rows} x {columns} cells is too small for {count} tiles.")
        cells = np.array(cells_in_order((rows, columns), order)[:count])
    pitch = np.array([shape[1], shape[0]]) * (1 - overlap_ratio)
    return _from_least(cells[:, ::-1] * pitch)


def _from_least(corners: Positions) -> Positions:
    least: Positions = corners.min(axis=0)
    return np.subtract(corners, least)


def pixel_size_of(planes: Table | None, count: int, pixel_size_um: float | None) -> float:
    """The pixel size in micrometres: as given, else the plane table's, NaN if unknown.

    Raises ValueError if it is not the same for all planes.
    """
    if pixel_size_um is not None:
        return float(pixel_size_um)
    sizes = plane_column(planes, "pixel_size_um", count)
    known = sizes[np.isfinite(sizes)]
    if known.size and np.ptp(known) > 1e-6 * known[0]:
        raise ValueError(
            f"Tiles of different pixel size ({known.min():g} to {known.max():g} micrometres) cannot be stitched. "
            "Bring them to one with rescale(pixel_size_um=...)."
        )
    return float(sizes[0]) if known.size == count else float("nan")


def _stage_positions(tiles: Tiles, planes: Table | None, pixel_size_um: float | None) -> Positions | None:
    count = len(tiles.of_plane)
    size = pixel_size_of(planes, count, pixel_size_um)
    centres = np.stack(
        [plane_column(planes, name, count)[tiles.reference] for name in ("x_um", "y_um")], axis=1
    )
    known = np.isfinite(size) and np.isfinite(centres).all() and np.ptp(centres, axis=0).any()
    stage: Positions = centres / size
    return stage if known else None


def _stated_cells(tiles: Tiles, planes: Table | None) -> NDArray[Any] | None:
    count = len(tiles.of_plane)
    cells = np.stack([plane_column(planes, name, count) for name in ("grid_row", "grid_column")], axis=1)
    cells = cells[tiles.reference]
    good = np.isfinite(cells).all() and cells.min() >= 0 and len(np.unique(cells, axis=0)) == len(cells)
    return cells if good else None
