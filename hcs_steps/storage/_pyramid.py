"""Halving images: the lower resolutions that a viewer needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from hcs_steps.storage.protocol import Image

SMALLEST = 256
"""The last level is the first whose height and width are at most this many pixels."""


_BAND = 128
"""Rows that are halved at a time: what is in between stays in the processor's cache, which is twice as fast."""


def level_shapes(height: int, width: int, pyramid: bool = True) -> list[tuple[int, int]]:
    """(height, width) of every level, the full resolution first; only that one without a pyramid."""
    shapes = [(height, width)]
    while pyramid and max(shapes[-1]) > SMALLEST:
        shapes.append(((shapes[-1][0] + 1) // 2, (shapes[-1][1] + 1) // 2))
    return shapes


def halve(plane: Image, *, labels: bool) -> Image:
    """A (Y, X) plane at half the resolution, ((Y + 1) // 2, (X + 1) // 2), same dtype.

    Images: the mean of each 2 x 2 block, rounded half up for integers; at an odd edge, of the pixels there
    are. Labels and booleans, which have no mean: the block's first pixel.
    """
    if labels or plane.dtype.kind == "b":
        return plane[::2, ::2]
    if plane.shape[0] % 2 or plane.shape[1] % 2:
        plane = np.pad(plane, [(0, size % 2) for size in plane.shape], mode="edge")
    result = np.empty((plane.shape[0] // 2, plane.shape[1] // 2), plane.dtype)
    for row in range(0, plane.shape[0], _BAND):
        result[row // 2 : (row + _BAND) // 2] = _mean_blocks(plane[row : row + _BAND])
    return result


def _mean_blocks(plane: Image) -> Image:
    if plane.dtype.kind == "f":
        wide = np.promote_types(plane.dtype, np.float32)
        return _sum_blocks(plane, wide) / 4
    if plane.dtype.itemsize < 8:
        wide = np.dtype(np.int32 if plane.dtype.itemsize <= 2 else np.int64)
        return (_sum_blocks(plane, wide) + 2) >> 2
    # The quarters are added, not the values, so that no sum of 64-bit integers wraps.
    rest = _sum_blocks(plane & 3, plane.dtype)
    mean: Image = _sum_blocks(plane >> 2, plane.dtype) + ((rest + 2) >> 2)
    return mean


def _sum_blocks(plane: Image, dtype: np.dtype[Any]) -> Image:
    total = plane[0::2, 0::2].astype(dtype)
    for rows, columns in ((0, 1), (1, 0), (1, 1)):
        total += plane[rows::2, columns::2]
    return total
