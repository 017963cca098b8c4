"""Segmentation of bright, roundish objects (nuclei): threshold, local contrast, watershed, outlines.

``rise`` is the smoothed intensity above background, in units of the threshold's height above background.
All lengths follow from the image: the typical radius of its objects is read off the distances to the background.
The constants below are ratios and hold for any magnification.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions._coverage import fill
from hcs_steps.functions.segmentation._declump import Image, Labels, cut, flood, join_convex
from hcs_steps.functions.segmentation._masks import fill_holes, holes, label_regions, large_regions
from hcs_steps.functions.segmentation._thresholds import (
    Smoothing,
    ThresholdOptions,
    corrected,
    find_level,
    find_levels,
)

TILE_RADII = 12.0
"""Side of the tiles of a local threshold, in typical radii; where the whole plane does not tell the radius, ..."""

TILES = 8
"""... this number of tiles along the longer side."""

LOCAL_SCALE = 0.7
"""Standard deviation of the local mean, in typical radii."""

SMOOTHING = 0.06
"""Least standard deviation of the smoothing that outlines are drawn in, in typical radii."""

MASK_PART = 0.4
"""Objects are sought down to this part of the threshold's height above background, ..."""

MASK_NOISES = 3.5
"""... and to this many standard deviations of the noise."""

RING = 0.3
"""Width of the ring around an object that tells its contrast, in typical radii."""

RING_PART = 0.3
"""Objects below the threshold are kept if the ring around them has at most this part of their intensity."""

SMALL = 0.05
"""Objects below this part of the typical object's area may be debris or noise: they must exceed the threshold, ..."""

SMALL_RING_PART = 0.5
"""... and the ring around them may have at most this part of their intensity."""

SEED_DISTANCE = 0.5
"""Least distance between two seeds, in typical radii."""

SEED_SMOOTHING = 0.12
"""Standard deviation with which a map is smoothed before it is cut by shape, in typical radii."""

INTENSITY_SMOOTHING = 0.15
"""Standard deviation with which the intensity is smoothed before it is cut by intensity, in typical radii."""

HOLE = 0.5
"""Largest hole that is filled, in areas of the typical object."""

DEBRIS = 0.008
"""Smallest object that is kept where no size is given, in areas of the typical object, ..."""

MIN_PIXELS = 10
"""... and in px."""


@dataclass(frozen=True)
class WatershedOptions:
    """Parameters of `segment`; see `hcs_steps.functions.segmentation.nuclei.segment_nuclei`."""

    threshold: ThresholdOptions = field(default_factory=ThresholdOptions)
    scope: str = "auto"
    window: float | None = None
    gaussian_sigma: float = 1.0
    declump: str = "shape"
    local_contrast: float = 1.15
    outline: float = 0.6
    min_area: float | None = None
    min_distance: float | None = None

    def apart(self, radius: float) -> float:
        """Least distance between two seeds in px."""
        return SEED_DISTANCE * radius if self.min_distance is None else self.min_distance


def typical_radius(mask: NDArray[np.bool_]) -> float:
    """Radius in px of a disc whose pixels are on average as far from its edge as those of ``mask``.

    The mean over a disc is a third of the radius; the chessboard distance, which is fast, is 1.2 times shorter.
    Touching objects hardly change it, and debris counts little.
    """
    from scipy import ndimage

    distance = ndimage.distance_transform_cdt(mask, "chessboard")
    mean = float(distance.sum(dtype=np.int64)) / max(1, int(np.count_nonzero(mask)))
    return max(1.0, 3.6 * (mean - 0.5))


def _distance(mask: NDArray[np.bool_]) -> Image:
    """Euclidean distance of the pixels of ``mask`` to the next pixel outside their region."""
    from scipy import ndimage

    regions, _ = label_regions(mask)
    distance = np.zeros(mask.shape, dtype=np.float32)
    # Region by region, because most of a plane is background.
    for number, box in enumerate(ndimage.find_objects(regions), 1):
        window = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
        region = regions[window] == number
        np.copyto(distance[window], ndimage.distance_transform_edt(region), where=region, casting="same_kind")
    return distance


def _local_mean(rise: Image, radius: float) -> Image:
    from scipy import ndimage

    local: Image = ndimage.gaussian_filter(rise, LOCAL_SCALE * radius)
    return local


def _height(rise: Image, local: Image, cores: NDArray[np.bool_], radius: float, declump: str) -> Image:
    """The map whose basins are the objects: the distance to the edge, lowered where it is dim, or intensity."""
    from scipy import ndimage

    if declump == "intensity":
        height: Image = ndimage.gaussian_filter(rise, INTENSITY_SMOOTHING * radius)
    else:
        sigma = max(0.5, SEED_SMOOTHING * radius)
        height = ndimage.gaussian_filter(_distance(cores), sigma)
        tiny = np.float32(1e-6 * float(rise.max()))
        height *= np.sqrt(np.maximum(ndimage.gaussian_filter(rise, sigma), 0) / np.maximum(local, tiny))
    height[~cores] = 0
    return height


def _mean_rise(rise: Image, labels: Labels, count: int) -> NDArray[np.float64]:
    """Mean of ``rise`` for each of the labels 0..``count``, 0 where there is none and for background."""
    where = np.flatnonzero(labels)
    owner = labels.ravel()[where]
    sums = np.bincount(owner, rise.ravel()[where], count + 1)
    return sums / np.maximum(np.bincount(owner, minlength=count + 1), 1)


def _whole(labels: Labels, max_hole: float, min_area: float) -> Labels:
    """Keep the largest piece of each object if it has ``min_area`` px, and fill holes of at most ``max_hole``."""
    from skimage.measure import label

    pieces = label(labels, connectivity=1)
    number = int(pieces.max()) + 1
    areas = np.bincount(pieces.ravel(), minlength=number)
    owner = np.zeros(number, dtype=np.int32)
    owner[pieces.ravel()] = labels.ravel()
    largest = np.zeros(int(labels.max()) + 1, dtype=np.int64)
    np.maximum.at(largest, owner, areas)
    owner[(areas < largest[owner]) | (areas < min_area)] = 0
    whole: Labels = owner[pieces]
    gaps, count = holes(whole > 0, max_hole)
    if count:
        # The pixel to the left of a hole's first one belongs to an object.
        where = np.flatnonzero(gaps)
        _, first = np.unique(gaps.ravel()[where], return_index=True)
        beside = np.concatenate([[0], whole.ravel()[where[first] - 1]]).astype(np.int32)
        whole += beside[gaps]
    return whole


def _distinct(rise: Image, labels: Labels, brightness: NDArray[np.float64], radius: float) -> Labels:
    """Drop the objects that neither exceed the threshold nor stand out; small ones must do both."""
    from scipy import ndimage

    ring = ndimage.maximum_filter(labels, 2 * max(1, round(RING * radius)) + 1)
    ring[labels > 0] = 0
    around = _mean_rise(rise, ring, len(brightness) - 1) / np.maximum(brightness, np.finfo(float).tiny)
    small = np.bincount(labels.ravel(), minlength=len(brightness)) < SMALL * np.pi * radius**2
    bright = brightness > 1
    kept = np.where(small, bright & (around <= SMALL_RING_PART), bright | (around <= RING_PART))
    labels[~kept[labels]] = 0
    return labels


def _by_contrast(
    rise: Image, least: Any, radius: float, min_area: float, options: WatershedOptions
) -> Labels:
    """Objects by local contrast: seeds above ``least`` and their neighbourhood's mean, outlines by their brightness."""
    from scipy import ndimage

    max_hole = HOLE * np.pi * radius**2
    mask = fill_holes(rise > least, max_hole)
    local = _local_mean(rise, radius)
    cores = ndimage.binary_opening(mask & (rise > np.float32(options.local_contrast) * local))
    cores = large_regions(fill_holes(cores, max_hole), min_area)[0] > 0
    labels = cut(_height(rise, local, cores, radius, options.declump), cores, options.apart(radius))
    brightness = _mean_rise(rise, labels, int(labels.max()))
    labels = flood(np.zeros_like(rise), labels, mask)
    labels[rise <= (options.outline * brightness).astype(np.float32)[labels]] = 0
    labels = _distinct(rise, _whole(labels, max_hole, min_area), brightness, radius)
    return join_convex(labels, rise, brightness)


def _by_threshold(
    rise: Image, mask: NDArray[np.bool_], radius: float, min_area: float, options: WatershedOptions
) -> Labels:
    """Objects that together are ``mask`` without its holes."""
    mask = large_regions(fill_holes(mask, HOLE * np.pi * radius**2), min_area)[0] > 0
    if options.declump == "none":
        labels: Labels = label_regions(mask)[0]
        return labels
    local = _local_mean(rise, radius)
    labels = cut(_height(rise, local, mask, radius, options.declump), mask, options.apart(radius))
    return join_convex(labels, rise, _mean_rise(rise, labels, int(labels.max())))


def segment(plane: NDArray[Any], options: WatershedOptions) -> Labels:
    """Label the objects of one (Y, X) plane; 0 is background, the order of labels is arbitrary but fixed."""
    from scipy import ndimage

    filled, shown = fill(plane)
    smooth: Image = ndimage.gaussian_filter(filled.astype(np.float32), options.gaussian_sigma)
    smoothing = Smoothing(options.gaussian_sigma, shown)
    whole = find_level(smooth, smoothing, options.threshold)
    level = corrected(whole, options.threshold)
    mask = smooth > level.floor
    if not level.exact and (options.scope == "local" or (options.scope == "auto" and not level.separate)):
        known = level.separate and mask.any()
        window = TILE_RADII * typical_radius(mask) if known else max(plane.shape) / TILES
        found = find_levels(smooth, smoothing, options.threshold, options.window or window, whole)
        level = corrected(found, options.threshold)
        mask = smooth > level.floor
    if not mask.any():
        return np.zeros(plane.shape, dtype=np.int32)
    radius = typical_radius(mask)
    min_area = max(MIN_PIXELS, DEBRIS * np.pi * radius**2) if options.min_area is None else options.min_area
    height = np.maximum(np.float32(level.floor - level.background), np.float32(1e-6 * float(smooth.max())))
    smooth -= np.float32(level.background)
    smooth /= height
    if level.exact or options.declump == "none" or options.local_contrast == 0:
        return _by_threshold(smooth, mask, radius, min_area, options)
    if 0 < options.gaussian_sigma < SMOOTHING * radius:
        rest = np.sqrt((SMOOTHING * radius) ** 2 - options.gaussian_sigma**2)
        smooth = ndimage.gaussian_filter(smooth, rest)
    least = np.maximum(np.float32(MASK_PART), np.float32(MASK_NOISES * level.noise) / height)
    return _by_contrast(smooth, least, radius, min_area, options)
