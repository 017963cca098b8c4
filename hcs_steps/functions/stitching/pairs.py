"""Which tiles are neighbours, and what to cut out of two neighbours to compare them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHARED_SIDE = 0.5
"""Neighbours share at least this part of a side; tiles that meet at a corner only are no neighbours."""
MIN_OVERLAP = 3
"""Fewer rows or columns than this cannot be compared."""
MAX_STRIP = 0.2
"""Overlaps wider than this part of a tile are compared in their middle only, which bounds time and memory."""


@dataclass(frozen=True)
class Pair:
    """Two neighbouring tiles; lengths are (x, y) in pixels.

    Attributes
    ----------
    first, second
        Numbers of the tiles; the second lies to the right of the first or below it.
    offset
        Nominal corner of the second tile minus that of the first.
    overlap
        Nominal overlap, negative for a gap.
    """

    first: int
    second: int
    offset: tuple[float, float]
    overlap: tuple[float, float]

    @property
    def horizontal(self) -> bool:
        """Whether the tiles lie beside each other."""
        return abs(self.offset[0]) >= abs(self.offset[1])

    @property
    def comparable(self) -> bool:
        """Whether the tiles overlap nominally by enough to be compared."""
        return min(self.overlap) >= MIN_OVERLAP


@dataclass(frozen=True)
class Cut:
    """Rows and columns to cut from the two tiles of a pair.

    Pixel ``i + lag`` of the first cut and pixel ``i`` of the second show the same place if the offset between
    the tiles' corners is ``lag + origin``, all (x, y).
    """

    first: tuple[slice, slice]
    second: tuple[slice, slice]
    origin: tuple[int, int]


def neighbours(nominal: NDArray[np.float64], shape: tuple[int, int], reach: float) -> list[Pair]:
    """All pairs of tiles that nominally share a side or miss each other by no more than ``reach`` pixels."""
    sizes = np.array([shape[1], shape[0]], dtype=np.float64)
    order = np.lexsort((nominal[:, 1], nominal[:, 0]))
    pairs = []
    for place, one in enumerate(order):
        for other in order[place + 1 :]:
            if nominal[other, 0] - nominal[one, 0] > sizes[0] + reach:
                break
            overlap = sizes - abs(nominal[other] - nominal[one])
            shares = overlap / sizes
            if shares.max() < SHARED_SIDE or overlap.min() < -reach:
                continue
            offset = nominal[other] - nominal[one]
            ahead = offset[int(shares.argmin())] >= 0
            first, second = (one, other) if ahead else (other, one)
            x, y = nominal[second] - nominal[first]
            pairs.append(
                Pair(int(first), int(second), (float(x), float(y)), (float(overlap[0]), float(overlap[1])))
            )
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def cut(pair: Pair, shape: tuple[int, int], margin: int) -> Cut:
    """The nominal overlap of a pair, ``margin`` pixels wider to all sides as far as the tiles reach."""
    sizes = (shape[1], shape[0])
    thin = 0 if pair.overlap[0] * sizes[1] <= pair.overlap[1] * sizes[0] else 1
    first, second, origin = [], [], []
    for axis, size in enumerate(sizes):
        base = round(pair.offset[axis])
        low, high = max(0, base), min(size, size + base)
        if axis == thin and high - low > MAX_STRIP * size:
            spare = high - low - max(MIN_OVERLAP, int(MAX_STRIP * size))
            low, high = low + spare // 2, high - (spare - spare // 2)
        one = slice(max(0, low - margin), min(size, high + margin))
        other = slice(max(0, low - margin - base), min(size, high + margin - base))
        first.append(one)
        second.append(other)
        origin.append(one.start - other.start)
    return Cut((first[1], first[0]), (second[1], second[0]), (origin[0], origin[1]))
