"""Background from the medians of overlapping tiles, subtracted or divided out, plane by plane."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace, round_saturate, to_numpy
from hcs_steps.functions._checks import require_positive
from hcs_steps.functions._stacks import choice, require_stack, row_blocks
from hcs_steps.functions.declare import step_function

FOREGROUND_RULES = ("auto", "none")
OPERATIONS = ("subtract", "divide")

_LEAST_SHARE = 0.05  # of a tile's pixels that must be background
_LEAST_LEVEL = 0.01  # of the mean background: nothing is divided by less


def tile_starts(size: int, tile: int) -> NDArray[np.int64]:
    """First pixels of tiles that cover an axis evenly and overlap by at least half; one if the tile covers all."""
    if tile >= size:
        return np.zeros(1, dtype=np.int64)
    count = math.ceil((size - tile) / max(1, tile // 2)) + 1
    return np.rint(np.linspace(0, size - tile, count)).astype(np.int64)


def spline_matrix(size: int, tile: int) -> NDArray[np.float64]:
    """(size, tiles): what the value at each tile's centre adds to the smooth curve at each pixel of an axis.

    The curve is the interpolating spline of order min(3, tiles - 1) through the centres. Beyond the outermost centre it
    goes on straight, with the slope to the centre two tiles on: the spline's own slope there is mostly noise.
    """
    from scipy.interpolate import make_interp_spline

    starts = tile_starts(size, tile)
    if starts.size == 1:
        return np.ones((size, 1))
    centres = starts + (min(tile, size) - 1) / 2
    own = np.eye(starts.size)
    pixels = np.arange(size)
    inside = np.clip(pixels, centres[0], centres[-1])
    matrix: NDArray[np.float64] = make_interp_spline(centres, own, k=min(3, starts.size - 1))(inside)
    beyond = (pixels - inside)[:, None]
    far = min(2, starts.size - 1)
    matrix += np.minimum(beyond, 0) * (own[far] - own[0]) / (centres[far] - centres[0])
    matrix += np.maximum(beyond, 0) * (own[-1] - own[-1 - far]) / (centres[-1] - centres[-1 - far])
    return matrix


def _background_of_rows(values: Any, automatic: bool, step: float, xp: Any) -> Any:
    """Median of the background of each row of float ``values``; NaN pixels do not count.

    ``step`` is the smallest difference between two intensities.
    """
    values = xp.sort(values, axis=1)  # NaN comes last
    total = values.shape[1]
    known = total - xp.isnan(values).sum(axis=1)
    rows = xp.arange(values.shape[0])

    def at(share: float, count: Any) -> Any:
        # The pixel at a share of the sorted ones; halves are the mean of two, as in a median.
        place = share * xp.maximum(count - 1, 0)
        below, above = xp.floor(place).astype(xp.int64), xp.ceil(place).astype(xp.int64)
        return (values[rows, below] + values[rows, above]) / 2

    count = known
    if automatic:
        # A Gaussian through two low quantiles: what lies 3 sigma above its centre is foreground.
        for _ in range(3):
            low, high = at(0.10, count), at(0.25, count)
            sigma = xp.maximum((high - low) / (1.2816 - 0.6745), step)
            limit = high + (0.6745 + 3.0) * sigma
            count = xp.minimum(count, (values <= limit[:, None]).sum(axis=1))
    level = at(0.5, count)
    return xp.where(count >= max(1.0, _LEAST_SHARE * total), level, xp.nan)


def _tile_levels(plane: Any, mask: Any, tile: int, automatic: bool) -> NDArray[np.float64]:
    """(tile rows, tile columns): background level of each tile, NaN where it has no background."""
    xp = namespace(plane)
    height, width = min(tile, plane.shape[0]), min(tile, plane.shape[1])
    lefts = tile_starts(plane.shape[1], tile)
    step = 1.0 if plane.dtype.kind in "ui" else 0.0
    levels = []
    for top in tile_starts(plane.shape[0], tile):
        band = plane[top : top + height].astype(xp.float32 if plane.dtype.itemsize <= 2 else xp.float64)
        if band.dtype.kind == "f":
            band = xp.where(xp.isfinite(band), band, xp.nan)
        if mask is not None:
            band = xp.where(mask[top : top + height] != 0, xp.nan, band)
        tiles = xp.stack([band[:, left : left + width].ravel() for left in lefts])
        levels.append(to_numpy(_background_of_rows(tiles, automatic, step, xp)))
    return np.array(levels, dtype=np.float64)


def fill_missing(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """``levels`` with NaN replaced by the mean of the known ones among the eight neighbours, from outside in."""
    levels = levels.copy()
    while (missing := np.isnan(levels)).any() and not missing.all():
        known = np.pad(~missing, 1).astype(np.float64)
        padded = np.pad(np.where(missing, 0.0, levels), 1)
        rows, columns = levels.shape
        around = [(y, x) for y in range(3) for x in range(3)]
        total = sum(padded[y : y + rows, x : x + columns] for y, x in around)
        count = sum(known[y : y + rows, x : x + columns] for y, x in around)
        found = missing & (count > 0)
        levels[found] = (total / np.maximum(count, 1))[found]
    return levels


def tile_background(
    plane: Any, tile: int, mask: Any = None, foreground: str = "auto"
) -> NDArray[np.float64] | None:
    """(tile rows, tile columns) background levels of a (Y, X) plane, gaps filled; None if there is no background."""
    levels = fill_missing(_tile_levels(plane, mask, tile, foreground == "auto"))
    return None if np.isnan(levels).any() else levels


def _require_mask(mask: Any, stack: Any) -> None:
    if mask is not None and tuple(mask.shape) != tuple(stack.shape):
        raise ValueError(
            f"mask has the shape {tuple(mask.shape)}, but the stack {tuple(stack.shape)}. It needs a plane for each "
            "plane of the stack."
        )


def _correct(plane: Any, levels: NDArray[np.float64], tile: int, operation: str, keep: bool) -> Any:
    """``plane`` without the smooth surface through ``levels``, in its own dtype."""
    xp = namespace(plane)
    down = spline_matrix(plane.shape[0], tile) @ levels
    across = spline_matrix(plane.shape[1], tile)
    mean = float(down.mean(axis=0) @ across.mean(axis=0))
    if operation == "divide" and not mean > 0:
        return plane
    down, across = xp.asarray(down), xp.asarray(np.ascontiguousarray(across.T))
    result = xp.empty(plane.shape, dtype=plane.dtype)
    for rows in row_blocks(plane.shape[0]):
        surface = down[rows] @ across
        if operation == "divide":
            values = plane[rows] / xp.maximum(surface, _LEAST_LEVEL * mean) * mean
        else:
            values = plane[rows] - surface
            if keep:
                values += mean
        result[rows] = round_saturate(values, plane.dtype)
    return result


@step_function(
    memory=2.1,
    scratch=12.0,
    packages=("scipy.linalg", "scipy.optimize"),
    devices=("cpu", "gpu"),
    planewise=True,
)
def subtract_background(
    stack: Any,
    tile: int = 128,
    mask: Any = None,
    foreground: str | Enum = "auto",
    operation: str | Enum = "subtract",
    keep_level: bool = False,
) -> Any:
    """Subtract from each plane a smooth surface through the background medians of overlapping tiles.

    1. Square tiles cover the plane evenly and overlap by at least half. Of each tile the median of its background
       pixels is taken; foreground is left out. A tile of less than 5 % background gets the mean of its neighbours.
    2. The surface is the tensor-product spline of order min(3, tiles - 1) per axis through the centres of the
       tiles, the one of `scipy.interpolate.RectBivariateSpline`; beyond the outermost centres it goes on straight.
       A plane of no more than one tile has one level.
    3. The surface is subtracted, or the plane divided by it.

    The mesh of medians with a bicubic spline is that of SExtractor (E. Bertin, S. Arnouts, A&A Suppl. 117, 1996).

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy. Planes are independent.
    tile
        Edge of the tiles in px, above 0: larger than the objects, smaller than the changes of the background.
    mask
        Optional (N, Y, X) labels or mask of the foreground, e.g. of an earlier step; 0 is background.
    foreground
        ``auto``: in each tile, also pixels that lie 3 standard deviations above the centre of the background are
        left out, both taken from the tenth and twenty-fifth percentile as if the background were Gaussian; it
        holds until three quarters of a tile are foreground. ``none``: only ``mask`` is.
    operation
        ``subtract``, or ``divide`` for a background that is uneven because the illumination is: the plane is divided
        by the surface and multiplied by its mean.
    keep_level
        Subtract only the surface's deviation from its own mean, so that the noise around the background does not
        end at 0 in unsigned images. ``divide`` keeps the level in any case.

    Returns
    -------
    (N, Y, X) in the dtype of ``stack``; integers are rounded half to even and saturated. Pixels that are not
    finite do not count and stay. A plane without background, or with none above 0 to divide by, is returned
    as it is.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), ``mask`` has another shape, a name is not known or ``tile`` no whole number
        above 0.
    """
    require_stack(stack, "subtract_background")
    require_positive(tile=tile)
    if int(tile) != tile:
        raise ValueError(f"tile is a whole number of pixels, but is {tile}.")
    rule = choice(foreground, FOREGROUND_RULES, "foreground")
    how = choice(operation, OPERATIONS, "operation")
    _require_mask(mask, stack)
    result = namespace(stack).empty(stack.shape, dtype=stack.dtype)
    for number, plane in enumerate(stack):
        levels = tile_background(plane, int(tile), None if mask is None else mask[number], rule)
        result[number] = plane if levels is None else _correct(plane, levels, int(tile), how, keep_level)
    return result
