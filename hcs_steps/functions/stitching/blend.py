"""Where tiles lie in a mosaic, how much each of them counts at every pixel, and its values there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace

BLEND_METHODS = ("none", "fixed", "dynamic")
_WHOLE_PX = 1e-3
"""Fractions below this count as whole pixels: they would blur and not move."""
_LEAST_WEIGHT = 1e-3

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """Where one tile lies along one axis of the mosaic.

    Attributes
    ----------
    start
        First pixel of the mosaic that the tile touches.
    fraction
        How far behind the start of that pixel the tile begins, 0 to below 1.
    length
        Pixels of the mosaic that it touches: its own length, one more if it lies between pixels.
    weights
        Of those pixels, all above 0.
    """

    start: int
    fraction: float
    length: int
    weights: Floats

    @property
    def stop(self) -> int:
        """First pixel behind the tile."""
        return self.start + self.length

    @property
    def whole(self) -> tuple[int, int]:
        """First of the pixels that the tile covers wholly, and the first behind them."""
        partly = int(self.fraction > 0)
        return self.start + partly, self.stop - partly


def place(position: float, size: int, before: float, behind: float) -> Place:
    """Place of a tile of ``size`` pixels at ``position``, whose weights rise over margins at its two ends.

    A weight is the part of the mosaic's pixel that the tile covers, times a linear ramp from its edge to
    ``before`` or ``behind`` pixels inside.
    """
    start = math.floor(position + _WHOLE_PX)
    fraction = position - start
    if fraction < _WHOLE_PX:
        fraction = 0.0
    length = size + (fraction > 0)
    edges = np.arange(length) - fraction
    middle = np.clip(edges + 0.5, 0.0, size)
    weights = np.minimum(edges + 1, size) - np.maximum(edges, 0)
    for distance, margin in ((middle, before), (size - middle, behind)):
        if margin > 0:
            weights = weights * np.minimum(distance / margin, 1.0)
    return Place(start, fraction, length, np.maximum(weights, _LEAST_WEIGHT))


def margins(
    positions: Floats, shape: tuple[int, int], method: str, fixed_ratio: float
) -> NDArray[np.float64]:
    """Widths of the ramps in pixels, (tiles, 2, 2): per axis (x, y) at the beginning and at the end.

    ``fixed``: ``fixed_ratio`` of the tile's size at every side. ``dynamic``: as wide as the overlap with the
    neighbour at that side, the widest if there are several. ``none``: 0.
    """
    sizes = np.array([shape[1], shape[0]], dtype=np.float64)
    widths = np.zeros((len(positions), 2, 2))
    if method == "fixed":
        widths += (fixed_ratio * sizes)[:, None]
    elif method == "dynamic":
        for tile, corner in enumerate(positions):
            overlaps = sizes - abs(positions - corner)
            for axis in (0, 1):
                # Beside each other means that they share more across the axis than along it.
                beside = (overlaps.min(axis=1) > 0) & (
                    overlaps[:, axis] * sizes[1 - axis] <= overlaps[:, 1 - axis] * sizes[axis]
                )
                for end, there in enumerate((positions < corner, positions > corner)):
                    widths[tile, axis, end] = overlaps[beside & there[:, axis], axis].max(initial=0.0)
    return widths


def sample(tile: Any, rows: slice, columns: slice, fractions: tuple[float, float], dtype: Any) -> Any:
    """Values of a tile at mosaic pixels, counted from the first that it touches, as float ``dtype``.

    Between pixels by cubic convolution (R. Keys, IEEE Trans. ASSP 29, 1981), with edge pixels repeated.
    ``fractions`` are (y, x).
    """
    xp = namespace(tile)
    block = tile[_reach(rows, fractions[0], tile.shape[0]), _reach(columns, fractions[1], tile.shape[1])]
    values = block.astype(dtype)
    for axis, (wanted, fraction) in enumerate(zip((rows, columns), fractions, strict=True)):
        if fraction:
            size = tile.shape[axis]
            missing = [(0, 0), (0, 0)]
            missing[axis] = (max(0, 2 - wanted.start), max(0, wanted.stop + 1 - size))
            if any(missing[axis]):
                values = xp.pad(values, missing, mode="edge")
            values = _interpolate(values, axis, wanted.stop - wanted.start, fraction)
    return values


def _reach(wanted: slice, fraction: float, size: int) -> slice:
    """The tile's pixels that are needed for ``wanted`` pixels of the mosaic."""
    if not fraction:
        return wanted
    start = min(max(wanted.start - 2, 0), size - 1)
    return slice(start, max(min(wanted.stop + 1, size), start + 1))


def _interpolate(values: Any, axis: int, length: int, fraction: float) -> Any:
    xp = namespace(values)
    parts = [values[k : k + length] if axis == 0 else values[:, k : k + length] for k in range(4)]
    weights = _keys(1 - fraction)
    total = parts[0] * weights[0]
    scaled = xp.empty_like(total)
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        xp.multiply(part, weight, out=scaled)
        total += scaled
    return total


def _keys(t: float) -> tuple[float, float, float, float]:
    """Weights of the pixels -1, 0, 1 and 2 for the place ``t`` between 0 and 1; they add up to 1."""
    return (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


def regions(
    places: list[tuple[Place, Place]], split_borders: bool = False
) -> Iterator[tuple[slice, slice, list[int]]]:
    """Rectangles (rows, columns) of the mosaic with the tiles that touch all of their pixels, in the tiles' order.

    ``places`` are (y, x) of each tile. Together the rectangles are all that any tile touches. With
    ``split_borders``, pixels that a tile covers in part and wholly are not in one rectangle.
    """
    rows = _edges([y for y, _ in places], split_borders)
    for top, bottom in pairwise(rows):
        active = [tile for tile, (y, _) in enumerate(places) if y.start <= top and y.stop >= bottom]
        columns = _edges([places[tile][1] for tile in active], split_borders)
        for left, right in pairwise(columns):
            here = [t for t in active if places[t][1].start <= left and places[t][1].stop >= right]
            if here:
                yield slice(top, bottom), slice(left, right), here


def topmost(tiles: list[int], places: list[tuple[Place, Place]], rows: slice, columns: slice) -> int:
    """The last of the tiles which cover a region wholly; if none does, the last that touches it."""
    whole = [t for t in tiles if _covers(places[t][0], rows) and _covers(places[t][1], columns)]
    return (whole or tiles)[-1]


def _covers(own: Place, wanted: slice) -> bool:
    first, behind = own.whole
    return bool(first <= wanted.start and wanted.stop <= behind)


def _edges(places: list[Place], split_borders: bool) -> list[int]:
    edges = {edge for own in places for edge in (own.start, own.stop)}
    if split_borders:
        edges |= {edge for own in places for edge in own.whole}
    return sorted(edges)
