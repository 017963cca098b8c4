"""Which pixels of a plane or volume are neurite, and their skeleton."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.neurites._ridges import CERTAIN, ridge_strength

SKELETON_METHODS = ("zhang", "lee")
THRESHOLD_METHODS = ("ridge", "otsu", "li", "triangle", "local", "manual")

CANDIDATE = 20
DOUBLE = 20
CERTAIN_LEVEL = round(CANDIDATE + DOUBLE * math.log2(CERTAIN))
"""Ridge strength is kept in a byte, on a scale of logarithms: a neurite's pixels begin at `CANDIDATE`, and
`DOUBLE` more is twice as strong."""

_CAP = 3.0
"""A skeleton pixel counts for at most this many certain ones, so that a bright spot does not make a neurite."""

_EVIDENCE = 12.0
"""Certain skeleton pixels that a ridge needs, in neurite widths."""

_LOCAL_SCALE = 5.0
_LOCAL_SPREADS = 3.0

_SOMA_RANGE = 8
_SOMA_BRIGHTNESS = 0.7

_SEPARATION = 4.0
"""Least distance between the means of Otsu's classes, in standard deviations of the lower, for there to be a
soma at all; noise gives 2.65."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class MaskOptions:
    """Parameters of the segmentation in px; see `hcs_steps.functions.neurites.tracing`."""

    method: str
    threshold: float | None
    gaussian_sigma: float
    width: float
    min_object_size: int
    skeleton_method: str


def neurite_levels(plane: NDArray[Any], options: MaskOptions) -> NDArray[np.uint8]:
    """How surely each pixel is neurite: from `CANDIDATE` on perhaps, from `CERTAIN_LEVEL` on certainly."""
    from scipy import ndimage

    if options.gaussian_sigma:
        floats = plane.astype(np.float64 if plane.dtype == np.float64 else np.float32)
        plane = ndimage.gaussian_filter(floats, options.gaussian_sigma)
    if options.method == "ridge":
        strength = ridge_strength(plane, options.width)
        np.maximum(strength, 0.5, out=strength)
        np.log2(strength, out=strength)
        strength *= DOUBLE
        strength += CANDIDATE
        return np.minimum(strength, 255, out=strength).astype(np.uint8)
    return np.where(_above(plane, options), np.uint8(CERTAIN_LEVEL), np.uint8(0))


def thin_in_depth(levels: NDArray[np.uint8], reach: int) -> None:
    """Clear what is less than half as strong as the same place up to ``reach`` planes above or below.

    Out of focus a neurite is a faint ridge in every plane; only where it is sharp is it there.
    """
    from scipy import ndimage

    strongest = ndimage.maximum_filter1d(levels, 2 * reach + 1, axis=0)
    strongest -= levels
    levels[strongest > DOUBLE] = 0


def _above(plane: NDArray[Any], options: MaskOptions) -> Mask:
    from scipy import ndimage
    from skimage import filters

    if options.method == "manual":
        assert options.threshold is not None
        return np.asarray(plane > options.threshold)
    if plane.min() == plane.max():
        return np.zeros(plane.shape, dtype=bool)
    if options.method == "local":
        image = plane.astype(np.float32)
        image -= ndimage.gaussian_filter(image, _LOCAL_SCALE * options.width)
        middle = np.median(image)
        spread = 1.4826 * np.median(np.abs(image - middle))
        return np.asarray(image > middle + _LOCAL_SPREADS * spread)
    threshold = getattr(filters, f"threshold_{options.method}")(plane)
    return np.asarray(plane > threshold)


def _fill_pinholes(mask: Mask, area: float) -> None:
    """Fill holes of less than ``area`` pixels in each plane; each would make a ring in the skeleton."""
    from scipy import ndimage

    for plane in mask if mask.ndim == 3 else mask[None]:
        holes, _ = ndimage.label(~plane)
        small = np.bincount(holes.ravel()) < area
        small[0] = False
        plane |= small[holes]


def _blocks(objects: NDArray[Any]) -> list[NDArray[Any]]:
    """Rows of all planes in blocks, because NumPy indexes and counts with 64-bit copies."""
    rows = objects.reshape(-1, objects.shape[-1])
    return np.array_split(rows, 1 + objects.size // 1_000_000)


def _sizes(objects: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    sizes = np.zeros(count + 1, dtype=np.int64)
    for block in _blocks(objects):
        sizes += np.bincount(block.ravel(), minlength=count + 1)
    return sizes


def members(objects: NDArray[np.int32], keep: Mask) -> Mask:
    """The pixels of the objects whose numbers are kept."""
    mask = np.empty(objects.shape, dtype=bool)
    for block, out in zip(_blocks(objects), _blocks(mask), strict=True):
        out[...] = keep[block]
    return mask


def neurite_skeleton(levels: NDArray[np.uint8], options: MaskOptions) -> tuple[Mask, Mask]:
    """Mask and skeleton of the neurites in a plane (2-D) or a volume (3-D) of `neurite_levels`.

    Hysteresis: connected candidates stay if some of their pixels are certain, if they have the least size,
    and, for ridges, if strength summed along their skeleton is that of a neurite. Thinning after T. Zhang and
    C. Suen (CACM 27, 1984) in 2-D, T.-C. Lee et al. (CVGIP 56, 1994) in 3-D.
    """
    from scipy import ndimage
    from skimage.morphology import skeletonize

    mask = levels >= CANDIDATE
    _fill_pinholes(mask, options.width**2 / 2)
    objects, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim))
    keep = np.zeros(count + 1, dtype=bool)
    keep[objects[levels >= CERTAIN_LEVEL]] = True
    keep &= _sizes(objects, count) >= options.min_object_size
    keep[0] = False
    mask = members(objects, keep)
    skeleton = (
        np.asarray(skeletonize(mask, method=options.skeleton_method)).astype(bool)
        if mask.any()
        else np.zeros_like(mask)
    )
    if options.method == "ridge":
        doubles = (levels[skeleton] - float(CERTAIN_LEVEL)) / DOUBLE
        weight = np.minimum(np.exp2(doubles), _CAP)
        evidence = np.bincount(objects[skeleton], weights=weight, minlength=count + 1)
        keep &= evidence >= _EVIDENCE * options.width
        mask = members(objects, keep)
        skeleton &= mask
    return mask, skeleton


def soma_mask(plane: NDArray[Any], neurites: Mask, width: float) -> Mask:
    """Cell bodies: bright regions into which a square with the diagonal ``width`` px fits, of at most 8 widths.

    The grey opening by that square leaves the somata and takes the neurites, one by a square 8 times as large
    is the background. Otsu's threshold of the difference outlines the somata. They must be about as bright as
    the pixels of ``neurites``; without any, or where the threshold does not separate two classes, there are
    no somata.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    step = max(1, int(width // 12))
    none = np.zeros(plane.shape, dtype=bool)
    sure = neurites[::step, ::step]
    if not sure.any():
        return none
    small = ndimage.gaussian_filter(plane.astype(np.float32), step)[::step, ::step]
    side = max(3, round(width / np.sqrt(2) / step))
    opened = ndimage.grey_opening(small, size=(side, side))
    background = ndimage.grey_opening(opened, size=(_SOMA_RANGE * side, _SOMA_RANGE * side))
    opened -= background
    small -= background
    if opened.min() == opened.max():
        return none
    threshold = max(threshold_otsu(opened), _SOMA_BRIGHTNESS * float(np.median(small[sure])))
    above = opened > threshold
    low = opened[~above].astype(np.float64)
    high = opened[above].astype(np.float64)
    if not high.size or high.mean() - low.mean() < _SEPARATION * low.std():
        return none
    full = np.repeat(np.repeat(above, step, axis=0), step, axis=1)
    return np.asarray(full[: plane.shape[0], : plane.shape[1]])
