"""One image of all tiles of a well."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace, round_saturate, to_numpy
from hcs_steps.functions._checks import plane_column, require_not_negative
from hcs_steps.functions._stacks import choice, require_stack
from hcs_steps.functions.declare import Table, step_function
from hcs_steps.functions.stitching.blend import BLEND_METHODS, Place, margins, place, regions, sample, topmost

LARGEST_PER_TILES = 3
ALWAYS_ALLOWED = 1 << 24
"""A mosaic has at most this many times the pixels of its tiles, or this many: that much memory is foreseen."""
_BLOCK_PIXELS = 1 << 16
_BLOCK_PIXELS_GPU = 1 << 24


def mosaic_geometry(
    planes: Table, before: tuple[int, int, int], after: tuple[int, int, int], params: Mapping[str, Any]
) -> Table:
    """The mosaic's row of the plane table: that of its first tile, with the mosaic's centre as its place.

    ``x_um`` and ``y_um`` are the mean over the tiles of where the mosaic's centre lies by their stage position and
    their place in the mosaic; NaN where stage positions or the pixel size are not known.
    """
    table = {name: np.asarray(column)[:1].copy() for name, column in planes.items()}
    positions = np.asarray(to_numpy(params["positions"]), dtype=np.float64)
    positions = positions - positions.min(axis=0)
    size = plane_column(planes, "pixel_size_um", before[0])
    for axis, (name, cell) in enumerate((("x_um", "grid_column"), ("y_um", "grid_row"))):
        if name in table:
            to_centre = after[2 - axis] / 2 - (positions[:, axis] + before[2 - axis] / 2)
            table[name] = np.array([np.mean(plane_column(planes, name, before[0]) + to_centre * size)])
        if cell in table:
            table[cell] = np.array([-1])
    return table


@step_function(
    reduces=True,
    memory=2.1,
    scratch=4.0,
    packages=(),
    devices=("cpu", "gpu"),
    stacks="site",
    needs_stacks=True,
    mosaic=True,
    geometry=mosaic_geometry,
)
def assemble_stack(
    stack: Any,
    positions: Any,
    blend_method: str | Enum = "fixed",
    fixed_margin_ratio: float = 0.1,
    subpixel: bool = True,
    planes: Table | None = None,
) -> Any:
    """Put the tiles of a stack together into one image.

    Where one tile lies alone, its pixels are copied. Where several overlap, their mean is taken with weights
    that are above 0 on every pixel that a tile touches, so that no seam stays black, however the tiles are
    offset. A tile that lies between pixels is resampled by cubic convolution; one that does not stays as sharp
    as it is. What no tile touches is 0.

    Parameters
    ----------
    stack
        (N, Y, X), one tile per plane, integer or float; NumPy or CuPy. NaN spreads where it is blended.
    positions
        (N, 2), x and y of each tile's upper left corner in pixels, with fractions, as
        `compute_tile_positions` returns them.
    blend_method
        ``none``: the last tile of the stack lies on top. ``fixed``: weights rise over ``fixed_margin_ratio`` of
        the tile's size from its edges. ``dynamic``: weights rise over the actual overlap of each side, so that
        one tile fades linearly into the next.
    fixed_margin_ratio
        For ``fixed``; from 0 (plain mean of the tiles) to 0.5.
    subpixel
        False: tiles are placed on whole pixels and nothing is resampled, which keeps pixel values and their noise
        as they are and is several times as fast.
    planes
        The plane table; all planes must be of one channel, z and timepoint.

    Returns
    -------
    (1, height, width) in the dtype of ``stack``, the whole pixels that hold all tiles: the extent of the positions
    from their least, rounded up. Integers are rounded half to even and saturated.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), the positions are not N pairs of finite numbers, an argument is out of
        range, the stack mixes channels, z planes or timepoints, or the tiles lie so far apart that the mosaic would
        have more than three times their pixels (and more than 16 million).
    """
    require_stack(stack, "assemble_stack")
    method = choice(blend_method, BLEND_METHODS, "blend_method")
    require_not_negative(fixed_margin_ratio=fixed_margin_ratio)
    if fixed_margin_ratio > 0.5:
        raise ValueError(f"fixed_margin_ratio is at most 0.5, half of a tile, but is {fixed_margin_ratio}.")
    _require_one_view(planes, stack.shape[0])
    corners = _corners(positions, stack.shape[0])
    if not subpixel:
        corners = np.rint(corners)
    shape = int(stack.shape[1]), int(stack.shape[2])
    widths = margins(corners, shape, method, fixed_margin_ratio)
    places = [
        (place(y, shape[0], *width[1]), place(x, shape[1], *width[0]))
        for (x, y), width in zip(corners.tolist(), widths.tolist(), strict=True)
    ]
    height, width = (max(own[axis].stop for own in places) for axis in (0, 1))
    if height * width > max(LARGEST_PER_TILES * stack.size, ALWAYS_ALLOWED):
        raise ValueError(
            f"The mosaic would be {height} x {width} px, more than {LARGEST_PER_TILES} times the pixels of its "
            f"{stack.shape[0]} tiles of {shape[0]} x {shape[1]} px: their positions lie too far apart. "
            "Assemble neighbouring sites only."
        )
    xp = namespace(stack)
    mosaic = xp.zeros((1, height, width), dtype=stack.dtype)
    for rows, columns, tiles in regions(places, split_borders=method == "none"):
        shown = [topmost(tiles, places, rows, columns)] if method == "none" else tiles
        _fill(mosaic[0], stack, places, rows, columns, shown)
    return mosaic


assemble_stack_cpu = assemble_stack
assemble_stack_cupy = assemble_stack


def _require_one_view(planes: Table | None, count: int) -> None:
    for name, word in (("channel", "channels"), ("z_index", "z planes"), ("timepoint", "timepoints")):
        values = np.unique(plane_column(planes, name, count))
        if len(values) > 1 and np.isfinite(values).all():
            raise ValueError(
                f"assemble_stack got {len(values)} {word} in one stack. Stack sites only: "
                "variable_components: [site]."
            )


def _corners(positions: Any, count: int) -> NDArray[np.float64]:
    corners: NDArray[np.float64] = np.asarray(to_numpy(positions), dtype=np.float64)
    if corners.shape != (count, 2) or not np.isfinite(corners).all():
        raise ValueError(
            f"positions must be {count} pairs of finite numbers (x, y), one per plane of the stack, but have the "
            f"shape {corners.shape}."
        )
    least: NDArray[np.float64] = corners.min(axis=0)
    return np.subtract(corners, least)


def _fill(
    mosaic: Any, stack: Any, places: list[tuple[Place, Place]], rows: slice, columns: slice, tiles: list[int]
) -> None:
    """Compute one region of the mosaic, all of whose pixels show the same tiles."""
    xp = namespace(stack)
    if len(tiles) == 1:
        y, x = places[tiles[0]]
        if not (y.fraction or x.fraction):
            mosaic[rows, columns] = stack[tiles[0]][_in_tile(rows, y), _in_tile(columns, x)]
            return
    dtype = np.dtype(stack.dtype)
    work = xp.float32 if dtype.itemsize <= 2 or dtype == np.float32 else xp.float64
    for part in _blocks(rows, columns, xp):
        total = weight_sum = None
        for tile in tiles:
            y, x = places[tile]
            own_rows, own_columns = _in_tile(part, y), _in_tile(columns, x)
            values = sample(stack[tile], own_rows, own_columns, (y.fraction, x.fraction), work)
            if len(tiles) > 1:
                weights = xp.asarray(y.weights[own_rows].astype(work))[:, None] * xp.asarray(
                    x.weights[own_columns].astype(work)
                )
                values *= weights
                weight_sum = weights if weight_sum is None else xp.add(weight_sum, weights, out=weight_sum)
            total = values if total is None else xp.add(total, values, out=total)
        if weight_sum is not None:
            total /= weight_sum
        mosaic[part, columns] = _as_pixels(total, dtype)


def _in_tile(wanted: slice, own: Place) -> slice:
    return slice(wanted.start - own.start, wanted.stop - own.start)


def _blocks(rows: slice, columns: slice, xp: Any) -> Iterator[slice]:
    """Rows in blocks whose floats stay in the processor's cache."""
    pixels = _BLOCK_PIXELS if xp is np else _BLOCK_PIXELS_GPU
    step = max(1, math.ceil(pixels / (columns.stop - columns.start)))
    for start in range(rows.start, rows.stop, step):
        yield slice(start, min(start + step, rows.stop))


def _as_pixels(values: Any, dtype: np.dtype[Any]) -> Any:
    """Finite ``values`` rounded and saturated; may write to ``values``."""
    if dtype.kind == "f" or dtype.itemsize > 4:
        return round_saturate(values, dtype)
    xp, limits = namespace(values), np.iinfo(dtype)
    xp.rint(values, out=values)
    return xp.clip(values, limits.min, limits.max, out=values).astype(dtype)
