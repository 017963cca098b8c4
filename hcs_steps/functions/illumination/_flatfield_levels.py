"""Planes reduced to a coarse grid, and what each of its tiles shows: background, and foreground above it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TILES = 16
"""Tiles along the longer side of a plane."""

SUBTILE = 8
"""Pixels of the reduced plane along a tile."""

_LEAST_SHARE = 0.1  # of a tile's pixels that must be background for its level to count
_WINDOW = 2.5  # half the width of the background's peak, in standard deviations: wider, and the haze of cells counts
_FOREGROUND = 6.0  # standard deviations above the background


@dataclass(frozen=True)
class Grid:
    """How planes of ``shape`` are reduced: to ``tiles`` of ``inner`` pixels each, (rows, columns)."""

    shape: tuple[int, int]
    tiles: tuple[int, int]
    inner: tuple[int, int]

    @property
    def reduced(self) -> tuple[int, int]:
        """(Y, X) of the reduced plane."""
        return self.tiles[0] * self.inner[0], self.tiles[1] * self.inner[1]


def grid_of(shape: tuple[int, int]) -> Grid:
    """The grid for planes of a shape: tiles are nearly square, and no smaller than a pixel."""
    tiles = [min(size, max(1, round(TILES * size / max(shape)))) for size in shape]
    inner = [min(SUBTILE, size // count) for size, count in zip(shape, tiles, strict=True)]
    return Grid(shape, (tiles[0], tiles[1]), (inner[0], inner[1]))


def edges(size: int, count: int) -> NDArray[np.int64]:
    """First pixels of ``count`` blocks that share an axis evenly, and the end."""
    return np.rint(np.linspace(0, size, count + 1)).astype(np.int64)


def reduce_plane(plane: NDArray[Any], grid: Grid) -> NDArray[np.float32]:
    """Block means of a plane on the grid's reduced plane."""
    rows, columns = (edges(size, count) for size, count in zip(plane.shape, grid.reduced, strict=True))
    total = np.add.reduceat(plane, columns[:-1], axis=1, dtype=np.float64)
    total = np.add.reduceat(total, rows[:-1], axis=0)
    means: NDArray[np.float32] = (total / (np.diff(rows)[:, None] * np.diff(columns))).astype(np.float32)
    return means


def tile_view(image: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """(tiles, pixels of a tile) of a reduced plane."""
    (rows, columns), (height, width) = grid.tiles, grid.inner
    split = image.reshape(rows, height, columns, width).transpose(0, 2, 1, 3)
    return split.reshape(rows * columns, height * width)


@dataclass
class TileLevels:
    """What each tile (column) of each plane (row) shows.

    ``level`` is the background in grey values, seen in the share ``known`` of the tile's pixels; ``bright`` is how far
    the foreground lies above it on average, over ``area`` pixels.
    """

    level: Array
    known: Array
    bright: Array
    area: Array

    def of(self, kept: NDArray[np.bool_]) -> TileLevels:
        """The rows of some of the planes."""
        return TileLevels(self.level[kept], self.known[kept], self.bright[kept], self.area[kept])


def first_levels(images: NDArray[np.float32], grid: Grid) -> TileLevels:
    """A low quantile of each tile, which cells hardly touch, as its background; no foreground yet."""
    level = np.stack([np.quantile(tile_view(image, grid), 0.3, axis=1) for image in images]).astype(
        np.float64
    )
    nothing = np.zeros_like(level)
    return TileLevels(level, np.ones_like(level), nothing, nothing)


def _peak(values: NDArray[Any]) -> tuple[float, float]:
    """Centre of the narrowest quarter of ``values``, and the standard deviation of what lies below it."""
    ordered = np.sort(values, axis=None)
    width = ordered.size // 4
    start = int(np.argmin(ordered[width:] - ordered[: ordered.size - width]))
    centre = float(ordered[start + width // 2])
    below = ordered[: max(1, int(np.searchsorted(ordered, centre)))]
    return centre, 1.4826 * float(centre - below[below.size // 2])


def tile_levels(
    images: NDArray[np.float32], grid: Grid, field: NDArray[np.float32], light: Array, dark: float
) -> TileLevels:
    """Tell background from foreground by how each corrected plane differs from its ``light``.

    Background is the peak of the differences, whose width is that of its lower side, where there are no cells;
    foreground is what lies well above it. ``field`` is a reduced plane, ``light`` has a value per plane.
    """
    shape = (len(images), grid.tiles[0] * grid.tiles[1])
    found = TileLevels(*(np.zeros(shape) for _ in range(4)))
    field_tiles = tile_view(field, grid)
    for number, image in enumerate(images):
        # Corrected intensities: what belongs to the background then does not depend on the place.
        rest = (tile_view(image, grid) - np.float32(dark)) / field_tiles - np.float32(light[number])
        centre, sigma = _peak(rest)
        sigma = max(sigma, 1e-3 * float(light[number]), 1e-6)
        rest -= np.float32(centre)
        weights = np.clip(1 - (rest / np.float32(_WINDOW * sigma)) ** 2, 0, None) ** 2
        total = weights.sum(axis=1)
        offset = (weights * rest).sum(axis=1) / np.maximum(total, 1e-12)
        gain = field_tiles.mean(axis=1)
        found.level[number] = (light[number] + centre + offset) * gain + dark
        found.known[number] = total / rest.shape[1]
        bright = rest > np.float32(_FOREGROUND * sigma)
        found.area[number] = bright.sum(axis=1)
        found.bright[number] = gain * (rest * bright).sum(axis=1) / np.maximum(found.area[number], 1)
    found.known[found.known < _LEAST_SHARE] = 0
    return found
