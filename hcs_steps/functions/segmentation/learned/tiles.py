"""Planes in overlapping tiles: where they lie, and one plane of labels from those of the tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SHARED = 0.5
"""An object of which more than this part belongs to another one already is the same object, seen in two tiles."""


@dataclass(frozen=True)
class Tile:
    """What the model sees, and the part of it for which this tile decides; both in pixels of the plane."""

    window: tuple[slice, slice]
    core: tuple[slice, slice]

    @property
    def core_in_window(self) -> tuple[slice, slice]:
        """``core`` in pixels of the window."""
        first, second = (
            slice(core.start - window.start, core.stop - window.start)
            for window, core in zip(self.window, self.core, strict=True)
        )
        return first, second


def _spans(size: int, tile: int, overlap: int) -> list[tuple[slice, slice]]:
    """Windows of at most ``tile`` px along an axis and the cores between the middles of their overlaps."""
    if size <= tile:
        return [(slice(0, size), slice(0, size))]
    count = -(-(size - overlap) // (tile - overlap))
    starts = [round(index * (size - tile) / (count - 1)) for index in range(count)]
    middles = [(left + tile + right) // 2 for left, right in pairwise(starts)]
    cores = zip([0, *middles], [*middles, size], strict=True)
    return [
        (slice(start, start + tile), slice(low, high))
        for start, (low, high) in zip(starts, cores, strict=True)
    ]


def tiles_of(shape: Sequence[int], tile: int, overlap: int) -> list[Tile]:
    """Equal tiles that overlap by at least ``overlap`` px and whose cores cover the plane once, in raster order."""
    rows, columns = (_spans(size, tile, overlap) for size in shape)
    return [Tile((y, x), (inner_y, inner_x)) for y, inner_y in rows for x, inner_x in columns]


def _owned(
    labels: NDArray[np.int32], tile: Tile, shape: Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which labels have their centroid in the tile's core, and which do not but are whole."""
    count = int(labels.max()) + 1
    where = np.flatnonzero(labels)
    owner = labels.ravel()[where]
    area = np.maximum(np.bincount(owner, minlength=count), 1)
    present = np.bincount(owner, minlength=count) > 0
    inside, cut = present.copy(), np.zeros(count, dtype=bool)
    places = np.unravel_index(where, labels.shape)
    for axis, (window, core) in enumerate(zip(tile.window, tile.core, strict=True)):
        centre = np.bincount(owner, places[axis], count) / area + window.start
        inside &= (core.start <= centre + 0.5) & (centre + 0.5 < core.stop)
        edges = np.moveaxis(labels, axis, 0)
        if window.start > 0:
            cut[edges[0]] = True
        if window.stop < shape[axis]:
            cut[edges[-1]] = True
    return inside, present & ~inside & ~cut


def merge_labels(
    found: Sequence[NDArray[np.int32]], tiles: Sequence[Tile], shape: Sequence[int]
) -> NDArray[np.int32]:
    """The objects of all tiles in one plane of ``shape``, each once.

    The tile whose core holds an object's centroid decides about it. Then whole objects follow which no tile claimed,
    because their outlines differ between tiles. Pixels go to the object that comes first.
    """
    merged = np.zeros(tuple(shape), dtype=np.int32)
    claims = [_owned(labels, tile, shape) for labels, tile in zip(found, tiles, strict=True)]
    number = 0
    for turn in (0, 1):
        for labels, tile, claim in zip(found, tiles, claims, strict=True):
            here = merged[tile.window]
            count = len(claim[turn])
            area = np.maximum(np.bincount(labels.ravel(), minlength=count), 1)
            taken = np.bincount(labels.ravel(), (here > 0).ravel(), count)
            kept = np.flatnonzero(claim[turn] & (taken <= SHARED * area))
            names = np.zeros(count, dtype=np.int32)
            names[kept] = number + 1 + np.arange(len(kept))
            number += len(kept)
            np.copyto(here, names[labels], where=here == 0)
    return merged
