"""Convex hulls of all objects of a plane at once: areas and Feret diameters (host)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.measuring.regions import Floats, Integers, Regions

_PAIRS = 1 << 20


@dataclass(frozen=True)
class _Chain:
    """Vertices of one side of each hull, from top to bottom, in half pixels: x is smallest on the left side."""

    owner: Integers
    y: Integers
    x: Integers

    def take(self, which: NDArray[np.bool_]) -> _Chain:
        return _Chain(self.owner[which], self.y[which], self.x[which])


@dataclass(frozen=True)
class Rows:
    """First and last pixel of each object in each row that it has pixels in, sorted by object, then row."""

    owner: Integers
    y: Integers
    left: Integers
    right: Integers


def rows_of(regions: Regions) -> Rows:
    """The extent of each object in each of its rows."""
    new = np.ones(len(regions.owner), dtype=bool)
    new[1:] = (np.diff(regions.owner) != 0) | (np.diff(regions.y) != 0)
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(new)) - 1 if len(first) else first
    return Rows(
        owner=regions.owner[first],
        y=regions.y[first],
        left=regions.x[first],
        right=regions.x[last] + regions.length[last] - 1,
    )


def _side(rows: Rows, x: Integers) -> _Chain:
    """Middles of the pixels' outer edges: above, to the left of and below the leftmost pixel of each row."""
    follows, followed = np.zeros(len(x), dtype=bool), np.zeros(len(x), dtype=bool)
    follows[1:] = (np.diff(rows.owner) == 0) & (np.diff(rows.y) == 1)
    followed[:-1] = follows[1:]
    under = 2 * x
    under[followed] = np.minimum(under[followed], 2 * x[follows])
    keep = np.stack([~follows, np.ones_like(follows), np.ones_like(follows)], axis=1).ravel()
    return _Chain(
        owner=np.repeat(rows.owner, 3)[keep],
        y=(2 * rows.y[:, None] + [-1, 0, 1]).ravel()[keep],
        x=np.stack([2 * x, 2 * x - 1, under], axis=1).ravel()[keep],
    )


def _reflex(chain: _Chain) -> NDArray[np.bool_]:
    """Points on or to the right of the line between the point before and the point after: no hull vertices."""
    y, x, owner = chain.y, chain.x, chain.owner
    found = np.zeros(len(y), dtype=bool)
    inner = owner[2:] == owner[:-2]
    above, below = y[1:-1] - y[:-2], y[2:] - y[1:-1]
    found[1:-1] = inner & ((x[1:-1] - x[:-2]) * below >= (x[2:] - x[1:-1]) * above)
    return found


def _convex(chain: _Chain) -> _Chain:
    """The convex side of each object's points.

    Every pass drops all reflex points at once. That is safe: the neighbours of a dropped point are points of the
    object, so a hull vertex is never between them. Objects without reflex points are set aside.
    """
    done = []
    while len(chain.owner):
        reflex = _reflex(chain)
        open_objects = np.zeros(int(chain.owner.max()) + 1, dtype=bool)
        open_objects[chain.owner[reflex]] = True
        unfinished = open_objects[chain.owner]
        done.append(chain.take(~unfinished))
        chain = chain.take(unfinished & ~reflex)
    owner, y, x = (
        np.concatenate([getattr(part, name) for part in done]) if done else np.zeros(0, dtype=np.int64)
        for name in ("owner", "y", "x")
    )
    order = np.argsort(owner, kind="stable")
    return _Chain(owner[order], y[order], x[order])


def _first_columns(chain: _Chain, owner: Integers, y: Integers) -> Integers:
    """The first pixel column on or right of a hull's left side in rows ``y`` of objects ``owner``, exactly."""
    scale = 2 * int(chain.y.max(initial=0)) + 8
    place = np.searchsorted(chain.owner * scale + chain.y, owner * scale + 2 * y, side="right") - 1
    y0, x0 = chain.y[place], chain.x[place]
    height, shift = chain.y[place + 1] - y0, chain.x[place + 1] - x0
    columns: Integers = -(-(x0 * height + shift * (2 * y - y0)) // (2 * height))
    return columns


@dataclass(frozen=True)
class Hulls:
    """The convex hulls of the objects of a plane, around the middles of their pixels' edges."""

    count: int
    left: _Chain
    mirrored_right: _Chain

    def areas(self, top: Integers, bottom: Integers) -> Integers:
        """Pixels with their centre in or on each hull, as ``area_convex`` of `skimage.measure.regionprops`."""
        heights = bottom - top + 1
        owner = np.repeat(np.arange(self.count), heights)
        y = np.arange(len(owner)) - np.repeat(np.cumsum(heights) - heights - top, heights)
        left = _first_columns(self.left, owner, y)
        right = -_first_columns(self.mirrored_right, owner, y)
        return np.bincount(owner, weights=right - left + 1, minlength=self.count).astype(np.int64)

    def feret_diameters(self) -> tuple[Floats, Floats]:
        """Greatest and least distance in px between two parallel lines that enclose the hull."""
        owner = np.concatenate([self.left.owner, self.mirrored_right.owner[::-1]])
        order = np.argsort(owner, kind="stable")
        owner = owner[order]
        y = np.concatenate([self.left.y, self.mirrored_right.y[::-1]])[order]
        x = np.concatenate([self.left.x, -self.mirrored_right.x[::-1]])[order]
        sizes = np.bincount(owner, minlength=self.count)
        starts = np.cumsum(sizes) - sizes
        after = np.arange(len(owner)) + 1
        after[starts + sizes - 1] = starts
        longest, shortest = np.zeros(self.count), np.zeros(self.count)
        for objects in _batches(sizes**2):
            points = np.arange(starts[objects.start], starts[objects.stop - 1] + sizes[objects.stop - 1])
            others = sizes[owner[points]]
            first = np.cumsum(others) - others
            one = np.repeat(points, others)
            other = np.arange(len(one)) - np.repeat(first - starts[owner[points]], others)
            dy, dx = y[other] - y[one], x[other] - x[one]
            edge_y, edge_x = y[after[one]] - y[one], x[after[one]] - x[one]
            squared = np.maximum.reduceat(dy * dy + dx * dx, first)
            across = np.maximum.reduceat(np.abs(edge_x * dy - edge_y * dx), first)
            edge = np.hypot(y[after[points]] - y[points], x[after[points]] - x[points])
            begin = starts[objects] - starts[objects.start]
            longest[objects] = np.sqrt(np.maximum.reduceat(squared, begin)) / 2
            # The two sides share a vertex at the tips of an object that is one pixel wide there.
            width = np.where(edge > 0, across / np.where(edge > 0, edge, 1), np.inf)
            shortest[objects] = np.minimum.reduceat(width, begin) / 2
        return longest, shortest


def _batches(costs: Integers) -> Iterator[slice]:
    """Cuts a list into parts of limited total cost, at least one item each."""
    ends = np.cumsum(costs)
    begin = 0
    while begin < len(costs):
        limit = (ends[begin - 1] if begin else 0) + _PAIRS
        end = max(int(np.searchsorted(ends, limit, side="right")), begin + 1)
        yield slice(begin, end)
        begin = end


def convex_hulls(rows: Rows, count: int) -> Hulls:
    """The convex hull of each object; holes and separate parts do not matter."""
    return Hulls(
        count=count,
        left=_convex(_side(rows, rows.left)),
        mirrored_right=_convex(_side(rows, -rows.right)),
    )
