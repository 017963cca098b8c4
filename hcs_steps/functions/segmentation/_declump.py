"""Cutting clumps of touching objects: basins of a height map, cut at low passes, joined where that is convex."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.segmentation._masks import label_regions

SADDLE = 0.85
"""Neighbours stay apart if the pass between them is lower than this part of the lower one's peak."""

CONVEX = 0.965
"""Neighbours are one object if their union fills this part of its convex hull, ..."""

ALIKE = 0.7
"""... the dimmer one has at least this part of the brighter one's intensity, ..."""

VALLEY = 0.85
"""... and their boundary at least this part of the dimmer one's, ..."""

NECK = 0.7
"""... it is as long as this part of the smaller one's diameter, ..."""

HOLLOW = 0.7
"""... without pixels below this part of it, which lie in holes that were filled."""

Labels = NDArray[np.int32]
Image = NDArray[np.float32]
Pixels = NDArray[np.int64]


def _steps(shape: tuple[int, ...]) -> tuple[tuple[Any, Any, int], ...]:
    """Slices of each pixel and its right and lower neighbour, and the neighbour's distance in the flat plane."""
    every, front, back = slice(None), slice(None, -1), slice(1, None)
    return ((every, front), (every, back), 1), ((front, every), (back, every), shape[1])


def touching(labels: Labels) -> tuple[Pixels, Pixels]:
    """Flat indices of all pairs of neighbouring pixels with different labels above 0."""
    first, second = [], []
    for here, there, step in _steps(labels.shape):
        rows, columns = np.nonzero(labels[here] != labels[there])
        pixels = rows * labels.shape[1] + columns
        both = (labels.ravel()[pixels] > 0) & (labels.ravel()[pixels + step] > 0)
        first.append(pixels[both])
        second.append(pixels[both] + step)
    return np.concatenate(first), np.concatenate(second)


def _pairs(labels: Labels) -> tuple[Pixels, Pixels, Pixels, Pixels, Pixels]:
    """Pairs of touching labels, lower one first; for each pair of pixels at their boundary, the number of its
    pair and the two flat indices."""
    one, other = touching(labels)
    count = int(labels.max()) + 1
    first, second = labels.ravel()[one].astype(np.int64), labels.ravel()[other].astype(np.int64)
    keys, which = np.unique(
        np.minimum(first, second) * count + np.maximum(first, second), return_inverse=True
    )
    return keys // count, keys % count, which, one, other


def join_shallow(labels: Labels, height: Image, peaks: Image) -> Labels:
    """Join basins whose pass reaches `SADDLE` of the lower peak, highest pass first; ``peaks[k]`` is the
    highest ``height`` of basin k."""
    first, second, which, one, other = _pairs(labels)
    passes = np.zeros(len(first), dtype=np.float32)
    level = height.ravel()
    np.maximum.at(passes, which, np.minimum(level[one], level[other]))
    order = np.argsort(-passes, kind="stable")
    parent = list(range(len(peaks)))

    def root(basin: int) -> int:
        while parent[basin] != basin:
            parent[basin] = parent[parent[basin]]
            basin = parent[basin]
        return basin

    columns = (column[order].tolist() for column in (first, second, passes))
    for a, b, saddle in zip(*columns, strict=True):
        high, low = root(a), root(b)
        if peaks[high] < peaks[low]:
            high, low = low, high
        if high != low and saddle >= SADDLE * peaks[low]:
            parent[low] = high
    roots = np.array([root(basin) for basin in range(len(peaks))], dtype=np.int32)
    joined: Labels = roots[labels]
    return joined


def flood(height: Image, markers: Labels, mask: NDArray[np.bool_]) -> Labels:
    """Give each pixel of ``mask`` the marker downhill of which it lies in the inverted ``height``: a watershed
    (F. Meyer, Signal Processing 38, 1994). Regions without a marker become 0."""
    from skimage.segmentation import watershed

    regions, count = label_regions(mask)
    here = np.flatnonzero(markers)
    region, marker = regions.ravel()[here], markers.ravel()[here]
    first = np.full(count + 1, np.iinfo(np.int32).max, dtype=np.int32)
    last = np.zeros(count + 1, dtype=np.int32)
    np.minimum.at(first, region, marker)
    np.maximum.at(last, region, marker)
    # Flooding is slow, and most regions have one marker.
    labels: Labels = np.where(first == last, first, 0)[regions]
    crowded = (first < last)[regions]
    if crowded.any():
        np.copyto(labels, watershed(-height, np.where(crowded, markers, 0), mask=crowded), where=crowded)
    return labels


def cut(height: Image, mask: NDArray[np.bool_], apart: float) -> Labels:
    """Label the basins of the maxima of ``height`` in ``mask``, joined across high passes. Maxima are at least
    ``apart`` px from one another, and each connected region has one."""
    from scipy import ndimage

    regions, count = label_regions(mask)
    highest = np.zeros(count + 1, dtype=np.float32)
    inside = np.flatnonzero(mask)
    owner, level = regions.ravel()[inside], height.ravel()[inside]
    np.maximum.at(highest, owner, level)
    summits = ndimage.maximum_filter(height, 2 * max(1, round(apart)) + 1).ravel()[inside] == level
    reached = np.zeros(count + 1, dtype=bool)
    reached[owner[summits]] = True
    summits |= (level == highest[owner]) & ~reached[owner]
    summit = np.zeros(mask.shape, dtype=bool)
    summit.ravel()[inside[summits]] = True
    markers = np.empty(mask.shape, dtype=np.int32)
    number = int(ndimage.label(summit, structure=np.ones((3, 3)), output=markers))
    peaks = np.zeros(number + 1, dtype=np.float32)
    np.maximum.at(peaks, markers.ravel()[inside[summits]], level[summits])
    return join_shallow(flood(height, markers, mask), height, peaks)


def _envelope(values: NDArray[np.int64]) -> NDArray[np.float64]:
    """The greatest convex function of the index that is nowhere above ``values``."""
    corners: list[tuple[int, int]] = []
    for point in enumerate(values.tolist()):
        while len(corners) > 1:
            (x1, y1), (x2, y2) = corners[-2:]
            if (y2 - y1) * (point[0] - x1) < (point[1] - y1) * (x2 - x1):
                break
            corners.pop()
        corners.append(point)
    at, height = zip(*corners, strict=True)
    return np.asarray(np.interp(np.arange(len(values)), at, height), dtype=np.float64)


def convexity(mask: NDArray[np.bool_]) -> float:
    """Pixels of a region as part of the pixel centres in its convex hull; 1 if it is digitally convex."""
    shape = mask[mask.any(axis=1)]
    left = shape.argmax(axis=1)
    right = shape.shape[1] - 1 - shape[:, ::-1].argmax(axis=1)
    inner = np.floor(-_envelope(-right) + 1e-6) - np.ceil(_envelope(left) - 1e-6) + 1
    return float(shape.sum() / inner.sum())


def _union(labels: Labels, boxes: list[Any], one: int, other: int) -> NDArray[np.bool_]:
    window = tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(boxes[one - 1], boxes[other - 1], strict=True)
    )
    return np.isin(labels[window], (one, other))


def join_convex(labels: Labels, rise: Image, brightness: NDArray[np.float64]) -> Labels:
    """Join touching objects that look like one: a convex union, alike in brightness, no gap between them.

    ``rise`` is the intensity above background, ``brightness[k]`` that of object k. The most convex pairs come
    first; what was joined is compared with its neighbours again.
    """
    from scipy import ndimage

    areas = np.bincount(labels.ravel(), minlength=len(brightness)).astype(np.float64)
    changed = np.ones(len(brightness), dtype=bool)
    while changed.any():
        first, second, which, one, other = _pairs(labels)
        if not len(first):
            break
        boxes = ndimage.find_objects(labels)
        level = rise.ravel()
        dim = np.minimum(brightness[first], brightness[second])
        edge = np.minimum(level[one], level[other])
        solid = edge >= HOLLOW * dim[which]
        sums = np.bincount(which, np.where(solid, edge, 0), len(first))
        between = sums / np.maximum(np.bincount(which, solid, len(first)), 1)
        bright = np.maximum(brightness[first], brightness[second])
        wide = math.pi / 4 * np.bincount(which, minlength=len(first)) >= NECK * np.sqrt(
            4 / math.pi * np.minimum(areas[first], areas[second])
        )
        near = wide & (dim >= ALIKE * bright) & (between >= VALLEY * dim) & (changed[first] | changed[second])
        pairs = [
            (convexity(_union(labels, boxes, a, b)), a, b)
            for a, b in zip(first[near].tolist(), second[near].tolist(), strict=True)
        ]
        changed[:] = False
        roots = np.arange(len(brightness), dtype=np.int32)
        for part, a, b in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
            if part >= CONVEX and not (changed[a] or changed[b]):
                changed[[a, b]] = True
                roots[b] = a
                brightness[a] = np.average(brightness[[a, b]], weights=areas[[a, b]])
                areas[a] += areas[b]
        labels = roots[labels]
    return labels
