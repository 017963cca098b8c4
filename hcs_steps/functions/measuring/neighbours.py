"""Objects near each object."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hcs_steps.arrays import namespace, to_numpy
from hcs_steps.functions.measuring.outline import Outline
from hcs_steps.functions.measuring.regions import Floats, Integers, Regions


def neighbours(
    regions: Regions, outline: Outline, x: Floats, y: Floats, distance: float, pixel_size: float
) -> dict[str, Floats]:
    """Columns of the category Neighbors.

    NumberOfNeighbors: other objects with a pixel at most ``distance`` px, centre to centre, from one of the
    object's. PercentTouching: the part of the outline's pixels that are so near to another object.
    FirstClosestDistance, SecondClosestDistance: to the nearest centroids (px and um), NaN without a first or second
    other object.
    """
    count = regions.count
    pairs, near = _near_pairs(regions, outline, distance)
    number = np.bincount(pairs // max(count, 1), minlength=count) + np.bincount(
        pairs % max(count, 1), minlength=count
    )
    around = np.bincount(to_numpy(outline.owner), minlength=count)
    touching = np.bincount(to_numpy(outline.owner), weights=near, minlength=count)
    first, second = _closest(x, y)
    reach = f"{distance:g}"
    columns = {
        f"NumberOfNeighbors_{reach}": number.astype(np.float64),
        f"PercentTouching_{reach}": 100 * touching / np.maximum(around, 1),
        "FirstClosestDistance": first,
        "SecondClosestDistance": second,
        "FirstClosestDistance_um": first * pixel_size,
        "SecondClosestDistance_um": second * pixel_size,
    }
    return {f"Neighbors_{name}": values for name, values in columns.items()}


def _near_pairs(regions: Regions, outline: Outline, distance: float) -> tuple[Integers, Any]:
    """Pairs of objects within ``distance``, as ``a * count + b`` with a < b, and which outline pixels see one.

    The shortest way between two objects joins two outline pixels, so it is enough to look at outlines. Each
    offset is looked at in one direction only.
    """
    xp = namespace(outline.y)
    margin, count = max(1, math.floor(distance)), regions.count
    canvas = outline.drawn(regions.plane.shape, margin)
    stride = canvas.shape[1]
    canvas = canvas.ravel()
    place = (outline.y + margin) * stride + outline.x + margin
    own = canvas[place].astype(xp.int64)
    near = xp.zeros(canvas.shape, dtype=bool)
    found = []
    for dy in range(margin + 1):
        for dx in range(-margin if dy else 1, margin + 1):
            if dy * dy + dx * dx > distance * distance:
                continue
            there = place + (dy * stride + dx)
            other = canvas[there]
            hit = xp.flatnonzero((other != 0) & (other != own))
            a, b = own[hit] - 1, other[hit].astype(xp.int64) - 1
            found.append(to_numpy(xp.unique(xp.minimum(a, b) * count + xp.maximum(a, b))))
            near[place[hit]] = True
            near[there[hit]] = True
    pairs = np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
    return pairs, to_numpy(near[place])


def _closest(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    from scipy.spatial import cKDTree

    missing = np.full(len(x), np.nan)
    if len(x) < 2:
        return missing, missing.copy()
    places = np.stack([x, y], axis=1)
    distances = cKDTree(places).query(places, k=min(3, len(x)))[0]
    return distances[:, 1], distances[:, 2] if len(x) > 2 else missing
