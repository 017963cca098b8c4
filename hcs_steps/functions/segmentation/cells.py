"""Whole cells around their nuclei, and the cytoplasm that is left without the nuclei."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace, to_numpy
from hcs_steps.functions._checks import (
    plane_column,
    require_labels,
    require_not_negative,
    require_positive,
)
from hcs_steps.functions._stacks import choice, choice_text, require_stack
from hcs_steps.functions.declare import Cost, PlateSize, Table, step_function
from hcs_steps.functions.segmentation._foreground import (
    THRESHOLD_METHODS,
    Foreground,
    ForegroundOptions,
    find_foreground,
)
from hcs_steps.functions.segmentation._propagate import propagate
from hcs_steps.functions.segmentation._rings import nearest, ring_around

METHODS = ("propagation", "watershed", "distance")
RELIEFS = ("intensity", "gradient")
RING_WIDTH = 4.0
RING_GAP = 1.0
SEED_RING = 3.0
"""Width in px of the ring around each nucleus which a watershed starts from, too."""

Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]


def _needs(params: Mapping[str, Any], plate: PlateSize) -> Cost:
    """Distances alone take less than the foreground and what grows in it."""
    method = choice_text(params.get("method", "propagation"))
    return Cost(1.1, 20.0 if method == "distance" else 66.0)


@step_function(
    outputs={"cells": "labels"},
    changes_image=False,
    needs=_needs,
    packages=("scipy.ndimage", "scipy.linalg", "skimage"),
)
def segment_cells(
    stack: Any,
    nuclei: Any,
    method: str | Enum = "propagation",
    threshold_method: str | Enum = "otsu",
    threshold: float | None = None,
    threshold_correction: float = 1.0,
    gaussian_sigma: float = 1.0,
    regularization: float = 0.02,
    watershed_on: str | Enum = "intensity",
    max_distance: float | None = None,
    max_distance_um: float | None = None,
    fill_holes: bool = True,
    planes: Table | None = None,
) -> tuple[Any, NDArray[np.uint32]]:
    """Grow each nucleus into its cell, in a channel that shows the cells. The image passes through unchanged.

    Each cell has the number of its nucleus and contains it; nothing else is labelled but foreground which is
    connected with a nucleus. Cells that touch are divided by the method:

    ``propagation``: each pixel belongs to the nucleus from which the cheapest path leads to it, where both distance
    and changes of intensity cost (T. Jones, A. Carpenter and P. Golland, LNCS 3765, 2005). ``watershed``: the basins of
    the nuclei in the inverted intensity, so that borders follow dark valleys, or in its gradient, so that they
    follow edges (F. Meyer, Signal Processing 38, 1994). ``distance``: all pixels within ``max_distance`` of the nucleus
    that is nearest, whatever the intensity.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float. Planes are independent. Pixels that are not finite count as background.
    nuclei
        Label stack like ``stack``, e.g. from `segment_nuclei`, or (1, Y, X) for all planes; 0 is background.
    method
        ``propagation``, ``watershed`` or ``distance``.
    threshold_method, threshold
        Foreground: ``otsu`` (on the square root of the intensity above background, so that bright cells do
        not hide dim ones), ``li``, ``triangle``, or ``manual`` with ``threshold`` in units of the image.
        A plane in which the two classes differ by no more than its noise has no foreground.
    threshold_correction
        Factor on the height of an automatic threshold above background; below 1 for larger cells.
    gaussian_sigma
        Standard deviation of the smoothing in px; 0 for none.
    regularization
        Propagation: what one px of distance costs, in changes of intensity, of which the typical cell's height above
        background is 1. Small: borders follow edges; large: the nearest nucleus counts.
    watershed_on
        Watershed: ``intensity`` or ``gradient``.
    max_distance, max_distance_um
        Farthest that a cell reaches from its nucleus, in px or micrometres; the stricter one counts. ``distance``
        needs one of them.
    fill_holes
        Fill background that is enclosed by a single cell.
    planes
        The plane table; its ``pixel_size_um`` is needed for ``max_distance_um``.

    Returns
    -------
    stack
        The object that was passed in.
    cells
        uint32 (N, Y, X) with the numbers of the nuclei, 0 is background.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), the nuclei are missing or do not fit, a name is unknown, a number is out of
        range, ``manual`` has no threshold or another method has one, or a pixel size is needed and unknown.
    """
    require_stack(stack, "segment_cells")
    require_labels(nuclei, stack, "nuclei", "segment_cells")
    how = choice(method, METHODS, "method")
    relief = choice(watershed_on, RELIEFS, "watershed_on")
    options = ForegroundOptions(
        choice(threshold_method, THRESHOLD_METHODS, "threshold_method"),
        threshold,
        threshold_correction,
        gaussian_sigma,
    )
    require_positive(regularization=regularization)
    require_positive(max_distance=max_distance, max_distance_um=max_distance_um)
    limits = _limits(max_distance, max_distance_um, plane_column(planes, "pixel_size_um", stack.shape[0]))
    if how == "distance" and not math.isfinite(max(limits)):
        raise ValueError("method='distance' needs max_distance in px or max_distance_um.")
    seeds = np.broadcast_to(to_numpy(nuclei), stack.shape)
    cells = np.zeros(stack.shape, dtype=np.uint32)
    for index, limit in enumerate(limits):
        if not seeds[index].any():
            continue
        if how == "distance":
            cells[index] = _expand(seeds[index], limit)
        else:
            foreground = find_foreground(to_numpy(stack[index]), options)
            weight = regularization if how == "propagation" else None
            cells[index] = _grow(foreground, seeds[index], limit, weight, relief)
        if fill_holes:
            _fill_enclosed(cells[index])
    return stack, cells


def _limits(px: float | None, um: float | None, pixel_sizes: NDArray[np.float64]) -> list[float]:
    """The farthest distance from a nucleus in px for each plane; infinite if there is no limit."""
    if um is not None and not (pixel_sizes > 0).all():
        raise ValueError(
            "max_distance_um needs a known pixel size, but the plane table has none. Give max_distance in px instead."
        )
    limits = np.full(len(pixel_sizes), math.inf if px is None else px)
    return [float(limit) for limit in (limits if um is None else np.minimum(limits, um / pixel_sizes))]


def _expand(seeds: NDArray[Any], limit: float) -> NDArray[np.uint32]:
    """All pixels within ``limit`` px of a seed, with the number of the nearest."""
    expanded = ring_around(seeds, limit)
    np.copyto(expanded, seeds, where=seeds > 0, casting="unsafe")
    return np.asarray(expanded)


def _within(seeds: Labels, limit: float) -> Mask:
    """The pixels at most ``limit`` px from a seed."""
    rows, columns = nearest(seeds)
    rows -= np.arange(seeds.shape[0], dtype=rows.dtype)[:, None]
    columns -= np.arange(seeds.shape[1], dtype=rows.dtype)
    return np.asarray(np.hypot(rows, columns, dtype=np.float32) <= limit)


def _grow(
    foreground: Foreground, nuclei: NDArray[Any], limit: float, regularization: float | None, relief: str
) -> NDArray[np.uint32]:
    """Grow the nuclei within the foreground, by propagation if ``regularization`` is given, else by watershed."""
    from scipy import ndimage

    numbers, places = np.unique(nuclei, return_inverse=True)
    if numbers[0] != 0:
        return nuclei.astype(np.uint32)
    seeds = places.reshape(nuclei.shape).astype(np.int32)
    del places
    mask = foreground.mask
    if math.isfinite(limit):
        mask &= _within(seeds, limit)
    mask |= seeds > 0
    regions = np.empty(mask.shape, dtype=np.int32)
    count = ndimage.label(mask, structure=np.ones((3, 3)), output=regions)
    labels, crowded = _by_region(regions, int(count), seeds)
    del regions
    if crowded.any():
        own = np.where(crowded, seeds, 0)
        if regularization is not None:
            shares = propagate(foreground.rise, own, crowded, regularization)
        else:
            shares = _flood(foreground.rise, own, crowded, relief)
        np.copyto(labels, shares, where=crowded)
    return numbers.astype(np.uint32)[labels]


def _by_region(regions: Labels, count: int, seeds: Labels) -> tuple[Labels, Mask]:
    """Regions with one seed get its number; the others' pixels are returned as a mask. Most regions have one."""
    here = np.flatnonzero(seeds)
    region, seed = regions.ravel()[here], seeds.ravel()[here]
    first = np.full(count + 1, np.iinfo(np.int32).max, dtype=np.int32)
    last = np.zeros(count + 1, dtype=np.int32)
    np.minimum.at(first, region, seed)
    np.maximum.at(last, region, seed)
    return np.where(first == last, first, np.int32(0))[regions], (first < last)[regions]


def _flood(rise: NDArray[np.float32], seeds: Labels, mask: Mask, relief: str) -> Labels:
    """The watershed of the inverted intensity or of its gradient from the seeds."""
    from skimage.filters import sobel
    from skimage.segmentation import watershed

    height = -rise if relief == "intensity" else sobel(rise)
    # Nuclei are dark in many stains of the cell: a seed within such a pit would be the last to flood.
    start = seeds + ring_around(seeds, SEED_RING).astype(np.int32) * mask
    labels: Labels = watershed(height, start, connectivity=2, mask=mask)
    return labels


def _fill_enclosed(cells: NDArray[np.uint32]) -> None:
    """Fill, in place, the background regions which touch neither the plane's edge nor a second cell."""
    from scipy import ndimage

    regions = np.empty(cells.shape, dtype=np.int32)
    count = int(ndimage.label(cells == 0, output=regions))
    first = np.full(count + 1, np.iinfo(np.uint32).max, dtype=np.uint32)
    last = np.zeros(count + 1, dtype=np.uint32)
    front, back, every = slice(None, -1), slice(1, None), slice(None)
    for one, other in (((every, front), (every, back)), ((front, every), (back, every))):
        for hole, cell in ((one, other), (other, one)):
            beside = (regions[hole] > 0) & (cells[cell] > 0)
            np.minimum.at(first, regions[hole][beside], cells[cell][beside])
            np.maximum.at(last, regions[hole][beside], cells[cell][beside])
    filling = np.where(first == last, first, np.uint32(0))
    filling[np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])] = 0
    filling[0] = 0
    cells += filling[regions]


@step_function(
    outputs={"cytoplasm": "labels"},
    changes_image=False,
    memory=1.1,
    scratch=32.0,
    packages=("scipy.ndimage",),
    devices=("cpu", "gpu"),
    planewise=True,
)
def segment_cytoplasm(
    stack: Any,
    nuclei: Any,
    cells: Any = None,
    ring_width: float | None = None,
    ring_gap: float | None = None,
) -> tuple[Any, Any]:
    """The cytoplasm of each cell: the cell without nuclei, or a ring around the nucleus. The image passes through.

    Parameters
    ----------
    stack
        (N, Y, X); only its shape counts. NumPy or CuPy.
    nuclei
        Label stack like ``stack``, or (1, Y, X) for all planes; 0 is background.
    cells
        The same with the numbers of the nuclei, e.g. from `segment_cells`. None: rings around the nuclei.
    ring_width
        Width of the ring in px. None: the whole cell, or 4 px without cells.
    ring_gap
        Pixels at most so many px from a nucleus are left out. None: 0 with cells, 1 px without.

    Returns
    -------
    stack
        The object that was passed in.
    cytoplasm
        uint32 (N, Y, X) with the numbers of cells and nuclei, 0 is background. Rings enter neither nuclei nor the rings
        of neighbours; with cells they consist of the pixels of the cell whose nearest nucleus is its own.
        A nucleus that fills its cell has no cytoplasm.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), labels are missing or do not fit it, or a number is out of range.
    """
    require_stack(stack, "segment_cytoplasm")
    nuclei = require_labels(nuclei, stack, "nuclei", "segment_cytoplasm")
    require_positive(ring_width=ring_width)
    require_not_negative(ring_gap=ring_gap)
    xp = namespace(stack)
    cytoplasm = xp.zeros(stack.shape, dtype=xp.uint32)
    if cells is None:
        width = RING_WIDTH if ring_width is None else ring_width
        gap = RING_GAP if ring_gap is None else ring_gap
        for index in range(stack.shape[0]):
            cytoplasm[index] = ring_around(nuclei[index], width, gap)
        return stack, cytoplasm
    cells = require_labels(cells, stack, "cells", "segment_cytoplasm")
    for index in range(stack.shape[0]):
        cell = cells[index].astype(xp.uint32)
        inside = nuclei[index] == 0
        if ring_width is not None or ring_gap:
            width = math.inf if ring_width is None else ring_width
            inside &= ring_around(nuclei[index], width, ring_gap or 0.0) == cell
        cytoplasm[index] = cell * inside
    return stack, cytoplasm
