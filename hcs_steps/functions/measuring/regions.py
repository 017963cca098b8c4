"""The objects of one label plane as runs of pixels, and walks over their pixels in blocks of whole objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace, to_numpy

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_BLOCK_PIXELS = 1 << 17


@dataclass(frozen=True)
class Block:
    """All pixels of some neighbouring objects, object by object and in raster order within an object.

    ``objects`` says which objects of the `Regions`, ``starts`` and ``areas`` where each one's pixels are (host);
    ``index`` (flat pixel index in the plane) and ``owner`` (0-based object of the block) are per pixel, in the
    memory of the label plane.
    """

    objects: slice
    starts: Integers
    areas: Integers
    index: Any
    owner: Any
    width: int

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.areas)

    @cached_property
    def y(self) -> Any:
        """Row of each pixel."""
        return self.index // self.width

    @cached_property
    def x(self) -> Any:
        """Column of each pixel."""
        return self.index % self.width

    @cached_property
    def pixels(self) -> Any:
        """The areas in the memory of the plane."""
        return namespace(self.index).asarray(self.areas)

    @cached_property
    def first(self) -> Any:
        """The place of each object's first pixel in the memory of the plane."""
        return namespace(self.index).asarray(self.starts)

    def sums(self, values: Any) -> Any:
        """Sum over each object of a value per pixel, in float64."""
        xp = namespace(values)
        if xp is np:
            return np.add.reduceat(values, self.starts, dtype=np.float64)
        return xp.bincount(self.owner, weights=values, minlength=self.count)

    def maxima(self, values: Any) -> Any:
        """Greatest value per pixel, which is not negative, of each object."""
        xp = namespace(values)
        if xp is np:
            return np.maximum.reduceat(values, self.starts)
        result = xp.zeros(self.count, dtype=values.dtype)
        xp.maximum.at(result, self.owner, values)
        return result


@dataclass(frozen=True)
class Regions:
    """The objects of a label plane, as runs of pixels along rows (host), sorted by object, then in raster order.

    ``numbers``: the labels there are, ascending. ``owner``, ``y``, ``x``, ``length``: of each run, its object as
    an index into ``numbers``, its row, first column and number of pixels. ``plane``: the label plane.
    """

    plane: Any
    numbers: Integers
    owner: Integers
    y: Integers
    x: Integers
    length: Integers

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.numbers)

    @cached_property
    def first(self) -> Integers:
        """The first run of each object."""
        return np.searchsorted(self.owner, np.arange(self.count))

    @cached_property
    def areas(self) -> Integers:
        """Pixels of each object."""
        return self.sums(self.length)

    def sums(self, per_run: Integers) -> Integers:
        """Sum over each object of a whole number per run, exact."""
        totals: Integers = np.add.reduceat(per_run, self.first) if self.count else np.zeros(0, dtype=np.int64)
        return totals

    @property
    def block_pixels(self) -> int:
        """Pixels per block: few enough for the processor's cache and a small plane, more on a GPU."""
        size = int(self.plane.size)
        if namespace(self.plane) is np:
            return min(max(size // 32, _BLOCK_PIXELS >> 4), _BLOCK_PIXELS)
        return max(size // 8, _BLOCK_PIXELS)

    def blocks(self, max_objects: int = 1 << 11) -> Iterator[Block]:
        """The pixels of all objects, in blocks of about `block_pixels`, with at least one object each."""
        xp, width, max_pixels = namespace(self.plane), self.plane.shape[1], self.block_pixels
        ends = np.cumsum(self.areas)
        runs = np.append(self.first, len(self.owner))
        begin = 0
        while begin < self.count:
            done = ends[begin - 1] if begin else 0
            end = int(np.searchsorted(ends, done + max_pixels, side="right"))
            end = min(max(end, begin + 1), begin + max_objects)
            part = slice(runs[begin], runs[end])
            length = self.length[part]
            skipped = self.y[part] * width + self.x[part] - (np.cumsum(length) - length)
            index = np.repeat(skipped, length)
            index += np.arange(len(index))
            areas = self.areas[begin:end]
            yield Block(
                objects=slice(begin, end),
                starts=np.cumsum(areas) - areas,
                areas=areas,
                index=xp.asarray(index),
                owner=xp.asarray(np.repeat(np.arange(end - begin), areas)),
                width=width,
            )
            begin = end


def find_regions(plane: Any) -> Regions:
    """The objects of a label plane (Y, X); 0 is background, labels need not be consecutive."""
    xp = namespace(plane)
    height, width = plane.shape
    change = xp.ones(plane.shape, dtype=bool)
    xp.not_equal(plane[:, 1:], plane[:, :-1], out=change[:, 1:])
    begin = xp.flatnonzero(change)
    labels = plane.ravel()[begin]
    begin, labels = to_numpy(begin), to_numpy(labels)
    length = np.diff(begin, append=height * width)
    inside = labels != 0
    begin, length = begin[inside], length[inside]
    numbers, owner = np.unique(labels[inside], return_inverse=True)
    order = np.argsort(owner, kind="stable")
    return Regions(
        plane=plane,
        numbers=numbers.astype(np.int64),
        owner=owner[order].astype(np.int64),
        y=begin[order] // width,
        x=begin[order] % width,
        length=length[order],
    )


def unmeasured(names: Iterable[str], count: int) -> dict[str, Floats]:
    """A column of ``count`` NaN for each name, to be filled block by block."""
    return {name: np.full(count, np.nan) for name in names}


def ratio(above: Any, below: Any) -> Any:
    """``above / below``, NaN where ``below`` is 0; no warnings."""
    xp = namespace(below)
    empty = below == 0
    return xp.where(empty, xp.nan, above / xp.where(empty, 1, below))
