"""Segmentation of bright, roundish objects (nuclei) by thresholding and a watershed on the distance
transform.

All lengths follow from the image: the typical radius of its objects is read off the distance transform. The
constants below are ratios and hold for any magnification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEPARATION = 4.0
"""Least distance between the means of Otsu's two classes, in standard deviations of the lower class. Gaussian
noise gives 2.65, a linear gradient 3.5, whatever their amplitude; planes with nuclei give 4.7 to 28."""

FLOOR_SPREADS = 4.0
"""The foreground starts at least this many robust standard deviations above the background's median."""

SPARSE_SPREADS = 8.0
"""The same where Otsu's classes do not separate, because the objects are too few to make a class."""

LOCAL_SCALE = 0.8
"""Standard deviation of the local mean, in typical radii."""

SADDLE = 0.85
"""Neighbours stay apart if the neck between them is narrower than this part of the narrower one's width."""

SEED_DISTANCE = 0.5
"""Least distance between two seeds, in typical radii."""

SEED_SMOOTHING = 0.12
"""Standard deviation with which the distance map is smoothed, in typical radii."""

Labels = NDArray[np.int32]
Image = NDArray[np.float32]


@dataclass(frozen=True)
class WatershedOptions:
    """Parameters of `segment`; see `hcs_steps.functions.count.count_cells_single_channel`."""

    threshold_method: str
    threshold: float | None
    gaussian_sigma: float
    local_contrast: float
    min_area: int
    min_distance: float | None


def _spread(values: NDArray[Any], centre: float) -> float:
    """Standard deviation of a normal distribution with the median absolute deviation of ``values``."""
    return float(1.4826 * np.median(np.abs(values - centre)))


def _floor(smooth: Image, method: str) -> tuple[float, bool]:
    """The intensity above which a pixel can be foreground, and whether the plane has two separate classes."""
    from skimage.filters import threshold_li, threshold_otsu

    otsu = float(threshold_otsu(smooth))
    low = smooth[smooth <= otsu].astype(np.float64)
    high_mean = float(smooth[smooth > otsu].mean(dtype=np.float64))
    if high_mean - low.mean() < SEPARATION * low.std():
        middle = float(np.median(smooth))
        spread = _spread(smooth, middle)
        return (middle + SPARSE_SPREADS * spread if spread > 0 else np.inf), False
    if method == "li":
        return float(threshold_li(smooth)), True
    # Nuclei differ in brightness by a factor of ten: on the square root, bright ones do not hide dim ones.
    background = float(np.median(low))
    root = np.sqrt(np.maximum(smooth - np.float32(background), 0))
    floor = background + float(threshold_otsu(root)) ** 2
    rest = smooth[smooth <= floor]
    background = float(np.median(rest))
    return min(otsu, max(floor, background + FLOOR_SPREADS * _spread(rest, background))), True


def _components(mask: NDArray[np.bool_], min_area: int) -> tuple[Labels, NDArray[np.intp]]:
    """Connected regions of at least ``min_area`` pixels and their numbers; smaller ones are cleared to 0."""
    from scipy import ndimage

    labels = np.empty(mask.shape, dtype=np.int32)
    ndimage.label(mask, output=labels)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    large = areas >= max(1, min_area)
    labels[~large[labels]] = 0
    return labels, np.flatnonzero(large)


def _distance(mask: NDArray[np.bool_]) -> Image:
    from scipy import ndimage

    distance: Image = ndimage.distance_transform_edt(mask).astype(np.float32)
    return distance


def typical_radius(distance: Image, regions: Labels, numbers: NDArray[np.intp]) -> float:
    """Median of the regions' inscribed radii in px, weighted by area so that debris counts little."""
    inside = regions > 0
    owner = regions[inside]
    radii = np.zeros(int(numbers[-1]) + 1, dtype=np.float32)
    np.maximum.at(radii, owner, distance[inside])
    radii = radii[numbers]
    areas = np.bincount(owner)[numbers]
    order = np.argsort(radii, kind="stable")
    half = np.searchsorted(np.cumsum(areas[order]), areas.sum() / 2)
    return float(radii[order][half])


def _sharpen(smooth: Image, mask: NDArray[np.bool_], radius: float, contrast: float) -> NDArray[np.bool_]:
    """Open the gaps between crowded objects: keep the pixels above their neighbourhood's mean."""
    from scipy import ndimage

    background = float(smooth[~mask].mean(dtype=np.float64)) if not mask.all() else float(smooth.min())
    local = ndimage.gaussian_filter(smooth, LOCAL_SCALE * radius)
    kept = mask & (smooth > background + contrast * (local - background))
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(ndimage.binary_opening(kept))
    return filled


def _saddles(labels: Labels, height: Image) -> tuple[NDArray[np.int64], NDArray[np.int64], Image]:
    """Pairs of touching basins and the height of the highest pass between them, highest pass first."""
    pairs, passes = [], []
    count = int(labels.max()) + 1
    for axis in (0, 1):
        here = (slice(None, -1), slice(None))[:: 1 - 2 * axis]
        there = (slice(1, None), slice(None))[:: 1 - 2 * axis]
        first, second = labels[here], labels[there]
        touch = (first != second) & (first > 0) & (second > 0)
        one, other = first[touch].astype(np.int64), second[touch].astype(np.int64)
        pairs.append(np.minimum(one, other) * count + np.maximum(one, other))
        passes.append(np.minimum(height[here][touch], height[there][touch]))
    keys, which = np.unique(np.concatenate(pairs), return_inverse=True)
    highest = np.zeros(len(keys), dtype=np.float32)
    np.maximum.at(highest, which, np.concatenate(passes))
    order = np.argsort(-highest, kind="stable")
    return keys[order] // count, keys[order] % count, highest[order]


def _merge_basins(labels: Labels, height: Image, peaks: Image) -> Labels:
    """Join basins whose pass reaches `SADDLE` of the lower peak; ``peaks[k]`` is the peak of basin k."""
    parent = list(range(len(peaks)))

    def root(basin: int) -> int:
        while parent[basin] != basin:
            parent[basin] = parent[parent[basin]]
            basin = parent[basin]
        return basin

    for one, other, saddle in zip(*(column.tolist() for column in _saddles(labels, height)), strict=True):
        high, low = root(one), root(other)
        if peaks[high] < peaks[low]:
            high, low = low, high
        if high != low and saddle >= SADDLE * peaks[low]:
            parent[low] = high
    roots = np.array([root(basin) for basin in range(len(peaks))], dtype=np.int32)
    merged: Labels = roots[labels]
    return merged


def _split(regions: Labels, distance: Image, radius: float, min_distance: float | None) -> Labels:
    """Cut regions at their necks: watershed of the smoothed distance map from its maxima, then merging."""
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    height = ndimage.gaussian_filter(distance, max(0.5, SEED_SMOOTHING * radius))
    mask = regions > 0
    height[~mask] = 0
    apart = SEED_DISTANCE * radius if min_distance is None else min_distance
    seeds = peak_local_max(height, min_distance=max(1, round(apart)), labels=regions, exclude_border=False)
    seeds = seeds[np.lexsort((seeds[:, 1], seeds[:, 0]))]
    markers = np.zeros(regions.shape, dtype=np.int32)
    markers[tuple(seeds.T)] = np.arange(1, len(seeds) + 1)
    basins = watershed(-height, markers, mask=mask).astype(np.int32)
    peaks = np.concatenate([np.zeros(1, np.float32), height[tuple(seeds.T)]])
    return _merge_basins(basins, height, peaks)


def segment(plane: NDArray[Any], options: WatershedOptions) -> Labels:
    """Label the objects of one (Y, X) plane; 0 is background, the order of labels is arbitrary but fixed."""
    from scipy import ndimage

    smooth: Image = ndimage.gaussian_filter(plane.astype(np.float32), options.gaussian_sigma)
    empty = np.zeros(plane.shape, dtype=np.int32)
    if options.threshold_method == "manual":
        assert options.threshold is not None
        floor, separate = options.threshold, False
    elif smooth.max() <= smooth.min():
        return empty
    else:
        floor, separate = _floor(smooth, options.threshold_method)
    regions, numbers = _components(ndimage.binary_fill_holes(smooth > floor), options.min_area)
    if not len(numbers):
        return empty
    distance = _distance(regions > 0)
    radius = typical_radius(distance, regions, numbers)
    if separate and options.local_contrast > 0:
        sharp = _sharpen(smooth, regions > 0, radius, options.local_contrast)
        regions, numbers = _components(sharp, options.min_area)
        if not len(numbers):
            return empty
        distance = _distance(regions > 0)
        radius = typical_radius(distance, regions, numbers)
    return _split(regions, distance, radius, options.min_distance)
