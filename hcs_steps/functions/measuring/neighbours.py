"""Objects near each object."""

from __future__ import annotations

import numpy as np

from hcs_steps.arrays import to_numpy
from hcs_steps.functions.measuring.nearness import near_others
from hcs_steps.functions.measuring.outline import Outline
from hcs_steps.functions.measuring.regions import Floats, Regions


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
    number, near = near_others(outline, count, distance)
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


def _closest(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    from scipy.spatial import cKDTree

    missing = np.full(len(x), np.nan)
    if len(x) < 2:
        return missing, missing.copy()
    places = np.stack([x, y], axis=1)
    distances = cKDTree(places).query(places, k=min(3, len(x)))[0]
    return distances[:, 1], distances[:, 2] if len(x) > 2 else missing
