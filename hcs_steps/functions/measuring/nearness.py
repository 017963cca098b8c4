"""Which objects, and which of their outline pixels, lie within a distance of another object (host)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import to_numpy
from hcs_steps.functions.measuring.outline import Outline
from hcs_steps.functions.measuring.regions import Integers

Indices = NDArray[np.int32]

_PAIRS = 1 << 14


@dataclass(frozen=True)
class _Level:
    """Groups of outline pixels: those of one object in one square of a grid, as one level of a quadtree.

    ``low``, ``high``: first and last row (0) and column (1) of each group. ``first``: its first part, a group of the
    next finer level, and at the end the number of those parts. ``near``: all its pixels are near another object.
    """

    owner: Indices
    low: Indices
    high: Indices
    first: Indices
    near: NDArray[np.bool_]

    def bounds(self, a: Integers, b: Integers) -> tuple[Integers, Integers]:
        """Squares of the least and the greatest distance that a pixel of one group can have from one of the other."""
        least, most = np.zeros((2, len(a)), dtype=np.int64)
        for low, high in zip(self.low, self.high, strict=True):
            ahead, behind = low[b] - high[a], low[a] - high[b]
            least += np.square(np.maximum(np.maximum(ahead, behind), 0), dtype=np.int64)
            most += np.square(np.minimum(ahead, behind), dtype=np.int64)
        return least, most

    def parts(self, groups: Integers) -> tuple[Integers, Integers]:
        """The parts of the groups, and of each part the place in ``groups``."""
        return _members(self.first[groups], self.first[groups + 1] - self.first[groups])


def near_others(outline: Outline, count: int, distance: float) -> tuple[Integers, NDArray[np.bool_]]:
    """How many other objects each of ``count`` has within ``distance``, and which outline pixels are so near to one.

    The shortest way between two objects joins two outline pixels, so it is enough to look at outlines. Groups of
    pixels that are near or far as a whole are not looked into (as the dual trees of A. Gray and A. Moore, Advances in
    Neural Information Processing Systems 13, 2000), so that a large distance costs little more than a small one.
    """
    owner, y, x = (to_numpy(values) for values in (outline.owner, outline.y, outline.x))
    number = np.zeros(count, dtype=np.int64)
    if not count:
        return number, np.zeros(0, dtype=bool)
    plane_bits = int(max(y.max(), x.max())).bit_length()
    code = np.zeros(len(y), dtype=np.int64)
    for bit in range(plane_bits):
        code |= ((y >> bit & 1) << 2 * bit + 1) | ((x >> bit & 1) << 2 * bit)
    order = np.lexsort((code, owner))
    top = min(plane_bits, max(0, math.ceil(math.log2(distance))))
    places = np.stack([y[order], x[order]]).astype(np.int32)
    levels = _levels(owner[order].astype(np.int32), places, code[order], top)
    del code, places
    for a, b in _beginnings(levels[top], top):
        close = np.unique(np.concatenate(list(_refined(levels, a, b, count, distance))))
        number += np.bincount(close // count, minlength=count) + np.bincount(close % count, minlength=count)
    for coarse, fine in zip(levels[:0:-1], levels[-2::-1], strict=True):
        fine.near[:] |= np.repeat(coarse.near, np.diff(coarse.first))
    near = np.empty(len(y), dtype=bool)
    near[order] = levels[0].near
    return number, near


def _levels(owner: Indices, places: Indices, code: Integers, top: int) -> list[_Level]:
    """The groups in squares of 1, 2, 4, ..., 2^top px, of pixels sorted by owner and quadtree code."""
    levels: list[_Level] = []
    finer = np.arange(len(owner))
    for depth in range(top + 1):
        square = code >> 2 * depth
        new = np.ones(len(owner), dtype=bool)
        new[1:] = (owner[1:] != owner[:-1]) | (square[1:] != square[:-1])
        start = np.flatnonzero(new)
        levels.append(
            _Level(
                owner=owner[start],
                low=np.minimum.reduceat(places, start, axis=1),
                high=np.maximum.reduceat(places, start, axis=1),
                first=np.append(np.searchsorted(finer, start), len(finer)).astype(np.int32),
                near=np.zeros(len(start), dtype=bool),
            )
        )
        finer = start
    return levels


def _members(first: Any, size: Any) -> tuple[Integers, Integers]:
    """The members of ranges, one range after the other, and of each member the number of its range."""
    which = np.repeat(np.arange(len(size)), size)
    return np.arange(len(which)) + np.repeat(first - (np.cumsum(size) - size), size), which


def _beginnings(level: _Level, depth: int) -> Iterator[tuple[Integers, Integers]]:
    """Pairs of groups in the same or touching squares of 2^depth px: of some objects at a time, all pairs with later
    ones.
    """
    row, column = level.low.astype(np.int64) >> depth
    stride = int(column.max()) + 3
    cell = (row + 1) * stride + column + 1
    order = np.argsort(cell, kind="stable")
    ordered = cell[order]
    # Squares beside each other in a row have consecutive numbers.
    middle = cell[:, None] + stride * np.arange(-1, 2)
    begin = np.searchsorted(ordered, middle - 1, side="left")
    size = np.searchsorted(ordered, middle + 1, side="right") - begin
    portion = (np.cumsum(np.bincount(level.owner, weights=size.sum(axis=1))) // _PAIRS)[level.owner]
    for groups in np.split(np.arange(len(cell)), np.flatnonzero(np.diff(portion)) + 1):
        others, which = _members(begin[groups].ravel(), size[groups].ravel())
        a, b = groups[which // 3], order[others]
        later = level.owner[a] < level.owner[b]
        yield a[later], b[later]


def _refined(
    levels: list[_Level], a: Integers, b: Integers, count: int, distance: float
) -> Iterator[Integers]:
    """Of pairs of groups of the last level, those of objects within the distance, as ``a * count + b``, possibly
    repeated; marks the groups near another object.
    """
    limit = distance * distance
    waiting = [(len(levels) - 1, a, b)]
    while waiting:
        depth, a, b = waiting.pop()
        if len(a) > _PAIRS:
            half = len(a) // 2
            waiting += [(depth, a[:half], b[:half]), (depth, a[half:], b[half:])]
            continue
        level = levels[depth]
        least, most = level.bounds(a, b)
        whole = most <= limit
        level.near[a[whole]] = True
        level.near[b[whole]] = True
        pair = level.owner[a].astype(np.int64) * count + level.owner[b]
        close = np.unique(pair[whole])
        yield close
        split = (least <= limit) & ~whole
        split[split] = ~(level.near[a[split]] & level.near[b[split]] & np.isin(pair[split], close))
        if not split.any():
            continue
        finer = levels[depth - 1].near
        halves = []
        for groups in (a[split], b[split]):
            parts, which = level.parts(groups)
            finer[parts] |= level.near[groups[which]]
            halves.append((parts, np.bincount(which, minlength=len(groups))))
        (a, size_a), (b, size_b) = halves
        a_of, which = _members(np.cumsum(size_a) - size_a, size_a)
        b_of, each = _members((np.cumsum(size_b) - size_b)[which], size_b[which])
        waiting.append((depth - 1, a[a_of[each]], b[b_of]))
