"""Segmentation of phase contrast images, where cells are no brighter than the background but rougher."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hcs_steps.arrays import namespace, ndimage_of, to_numpy
from hcs_steps.functions._checks import (
    LARGEST_PX,
    finite,
    plane_column,
    require_at_most,
    require_not_negative,
    require_numbers,
    require_positive,
    require_whole,
)
from hcs_steps.functions._stacks import require_stack
from hcs_steps.functions.declare import Table, step_function
from hcs_steps.functions.segmentation._masks import fill_holes, label_regions
from hcs_steps.functions.segmentation._objects import number_objects

BINS = 256
"""Bins of the histogram between its lowest and highest value."""

BIN_SMOOTHING = 3.0
"""Standard deviation in bins with which the histogram is smoothed before its mode is taken."""


def local_std(plane: Any, window: int) -> Any:
    """Standard deviation in a ``window`` x ``window`` px square around each pixel, in float64.

    The plane is mirrored at its edges. The mean of the plane is taken off first, so that noise of 5 on a level of
    20,000 comes out right.
    """
    xp, ndimage = namespace(plane), ndimage_of(plane)
    values = plane.astype(xp.float64)
    values -= values.mean()
    mean = ndimage.uniform_filter(values, window)
    values *= values
    variance = ndimage.uniform_filter(values, window)
    mean *= mean
    variance -= mean
    return xp.sqrt(xp.maximum(variance, 0, out=variance), out=variance)


def lower_side(values: Any) -> tuple[float, float]:
    """The mode of the values' smoothed histogram, and the standard deviation around it of those below."""
    from scipy import ndimage

    xp = namespace(values)
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(1.0, abs(low)):
        return low, 0.0
    counts, edges = xp.histogram(values, bins=BINS, range=(low, high))
    smooth = ndimage.gaussian_filter1d(to_numpy(counts).astype(np.float64), BIN_SMOOTHING, mode="constant")
    best, borders = int(smooth.argmax()), to_numpy(edges)
    mode = float((borders[best] + borders[best + 1]) / 2)
    below = values[values < mode]
    return mode, math.sqrt(float(((below - mode) ** 2).mean())) if below.size else 0.0


def _disk(xp: Any, radius: int) -> Any:
    steps = xp.arange(-radius, radius + 1)
    return steps[:, None] ** 2 + steps[None, :] ** 2 <= radius**2


def _clean(mask: Any, max_hole: float | None, opening: int, closing: int) -> Any:
    """Fill holes, open, close; what lies beyond the edge is taken to be like the edge."""
    xp, ndimage = namespace(mask), ndimage_of(mask)
    mask = fill_holes(mask, max_hole)
    for operation, radius in ((ndimage.binary_opening, opening), (ndimage.binary_closing, closing)):
        if radius:
            padded = operation(xp.pad(mask, 2 * radius, mode="edge"), structure=_disk(xp, radius))
            mask = padded[2 * radius : -2 * radius, 2 * radius : -2 * radius]
    return mask


def _rough(plane: Any, window: int, sigmas: float) -> tuple[Any, float, float]:
    """The pixels whose logarithm of the local standard deviation is high, that threshold and the mode."""
    xp, ndimage = namespace(plane), ndimage_of(plane)
    if plane.dtype == xp.float16:
        plane = plane.astype(xp.float32)  # SciPy has no filters of float16
    deviation = local_std(plane, window)
    # A flat patch, e.g. a saturated one, has no logarithm and is background. So is what a mosaic does not cover (0),
    # together with the edge between that and the tiles.
    flat = ndimage.maximum_filter(plane, window) == ndimage.minimum_filter(plane, window)
    flat |= ndimage.maximum_filter(flat & (plane == 0), 4 * (window // 2) + 1)
    if bool(flat.all()):
        return xp.zeros(plane.shape, dtype=bool), math.nan, math.nan
    logarithm = xp.log(xp.where(flat, 1, deviation))
    mode, spread = lower_side(logarithm[~flat])
    threshold = mode + sigmas * spread
    return (logarithm > threshold) & ~flat, math.exp(threshold), math.exp(mode)


@step_function(
    outputs={"cells": "labels", "confluence": "table"},
    rows={"confluence": "planes"},
    changes_image=False,
    memory=1.1,
    scratch=42.0,
    packages=("scipy.ndimage",),
    devices=("cpu", "gpu"),
    planewise=True,
)
def segment_log_std(
    stack: Any,
    window: int = 5,
    sigmas: float = 3.0,
    max_hole_area: int | None = 400,
    opening_radius: int = 2,
    closing_radius: int = 3,
    min_area: int = 100,
    max_area: int | None = None,
    remove_border: bool = False,
    planes: Table | None = None,
) -> tuple[Any, Any, dict[str, Any]]:
    """Label the cell-covered regions of phase contrast planes by their roughness. The image passes through
    unchanged.

    The local standard deviation is high on cells and their halos (K. Wu et al., IEEE Trans. Biomed. Eng. 42, 1995). A
    pixel belongs to cells if the logarithm of its local standard deviation exceeds the mode of the plane's histogram,
    which is the background, by ``sigmas`` standard deviations; these are estimated from the values below the mode,
    where there is background alone. Then holes are filled, the mask is opened and closed by discs, and connected
    regions are numbered. Cells that touch are one region. The background must be the commonest texture: a plane that
    is confluent throughout has no mode of the background.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy. Planes are independent. NaN counts as the lowest value.
    window
        Side of the square in px in which the standard deviation is taken; odd, at least 3. About the width of a
        cell's finest structures.
    sigmas
        Distance of the threshold from the mode in standard deviations.
    max_hole_area
        Largest hole in px that is filled; None for all, 0 for none.
    opening_radius, closing_radius
        Radii in px of the discs; 0 for none. Opening removes what is thinner, closing fills what is narrower.
    min_area, max_area
        Limits of a region in px, inclusive.
    remove_border
        Drop regions that touch the edge of the plane.
    planes
        The plane table; its ``pixel_size_um`` gives the area in square micrometres.

    Returns
    -------
    stack
        The object that was passed in.
    cells
        uint32 (N, Y, X), 0 is background; regions 1..n in each plane in raster order of the first pixel. In the
        namespace of ``stack``.
    confluence
        One row per plane: ``plane`` (along axis 0), ``regions`` (their number), ``covered_fraction`` (of the plane's
        area), ``covered_area_px``, ``covered_area_um2`` (NaN where the pixel size is unknown), ``background_std`` (the
        mode) and ``threshold_std``, local standard deviations in units of ``stack``; NaN for a constant plane.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), ``window`` is even or below 3, or a number is out of range.
    """
    require_stack(stack, "segment_log_std")
    require_whole(3, window=window)
    if window % 2 == 0:
        raise ValueError(f"window must be odd, but is {window}.")
    require_at_most(LARGEST_PX, window=window, opening_radius=opening_radius, closing_radius=closing_radius)
    require_numbers(
        sigmas=sigmas, opening_radius=opening_radius, closing_radius=closing_radius, min_area=min_area
    )
    require_at_most(100, sigmas=sigmas)
    require_positive(max_area=max_area)
    require_not_negative(sigmas=sigmas, max_hole_area=max_hole_area, min_area=min_area)
    require_not_negative(opening_radius=opening_radius, closing_radius=closing_radius)
    if max_area is not None and max_area < min_area:
        raise ValueError(f"max_area={max_area} is below min_area={min_area}.")
    xp = namespace(stack)
    count = stack.shape[0]
    sizes = plane_column(planes, "pixel_size_um", count)
    cells = xp.zeros(stack.shape, dtype=xp.uint32)
    regions, areas = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    levels = np.full((count, 2), np.nan)
    for index, plane in enumerate(stack):
        mask, *levels[index] = _rough(finite(plane), int(window), sigmas)
        mask = _clean(mask, max_hole_area, int(opening_radius), int(closing_radius))
        found = to_numpy(label_regions(mask)[0])
        labels = number_objects(found, min_area=min_area, max_area=max_area, remove_border=remove_border)
        cells[index] = xp.asarray(labels)
        regions[index], areas[index] = labels.max(), np.count_nonzero(labels)
    table = {
        "plane": np.arange(count, dtype=np.int64),
        "regions": regions,
        "covered_fraction": areas / (stack.shape[1] * stack.shape[2]),
        "covered_area_px": areas,
        "covered_area_um2": areas * sizes**2,
        "background_std": levels[:, 1],
        "threshold_std": levels[:, 0],
    }
    return stack, cells, table
