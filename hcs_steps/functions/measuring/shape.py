"""Size, place and shape of each object."""

from __future__ import annotations

import numpy as np

from hcs_steps.arrays import to_numpy
from hcs_steps.functions.measuring.hull import convex_hulls, rows_of
from hcs_steps.functions.measuring.outline import Outline, perimeters
from hcs_steps.functions.measuring.regions import Floats, Regions, ratio

Columns = dict[str, Floats]


def locations(regions: Regions, pixel_size: float) -> Columns:
    """Centroids in px, where the centre of the first pixel is 0, and in um from the plane's upper left corner."""
    x, y = _mean_places(regions)
    return {
        "Location_Center_X": x,
        "Location_Center_Y": y,
        "Location_Center_X_um": (x + 0.5) * pixel_size,
        "Location_Center_Y_um": (y + 0.5) * pixel_size,
    }


def _mean_places(regions: Regions) -> tuple[Floats, Floats]:
    length = regions.length
    twice_x = regions.sums(length * (2 * regions.x + length - 1))
    return twice_x / (2 * regions.areas), regions.sums(length * regions.y) / regions.areas


def shapes(regions: Regions, outline: Outline, pixel_size: float) -> Columns:
    """Columns of the category AreaShape; definitions as `skimage.measure.regionprops`.

    The axes, eccentricity and orientation are those of the ellipse with the second moments of the object. An
    object of one pixel has no perimeter, so its form factor is NaN, and the eccentricity 0.
    """
    rows = rows_of(regions)
    first = np.searchsorted(rows.owner, np.arange(regions.count))
    last = np.append(first[1:], len(rows.owner)) - 1 if regions.count else first
    top, bottom = rows.y[first], rows.y[last]
    left = np.minimum.reduceat(rows.left, first) if regions.count else first
    right = np.maximum.reduceat(rows.right, first) if regions.count else first
    areas = regions.areas
    box = (right - left + 1) * (bottom - top + 1)
    hulls = convex_hulls(rows, regions.count)
    hull_areas = hulls.areas(top, bottom)
    longest, shortest = hulls.feret_diameters()
    around = to_numpy(perimeters(outline, regions))
    lengths = {
        "Perimeter": around,
        **_ellipses(regions),
        "EquivalentDiameter": np.sqrt(4 * areas / np.pi),
        "MaxFeretDiameter": longest,
        "MinFeretDiameter": shortest,
    }
    angles = {name: lengths.pop(name) for name in ("Eccentricity", "Orientation")}
    columns = {
        "Area": areas.astype(np.float64),
        "Area_um2": areas * pixel_size**2,
        "BoundingBoxMinimum_X": left,
        "BoundingBoxMinimum_Y": top,
        "BoundingBoxMaximum_X": right + 1,
        "BoundingBoxMaximum_Y": bottom + 1,
        "BoundingBoxArea": box,
        "ConvexArea": hull_areas,
        "Extent": areas / box,
        "Solidity": areas / hull_areas,
        "FormFactor": ratio(4 * np.pi * areas, around**2),
        **angles,
        **lengths,
        **{f"{name}_um": values * pixel_size for name, values in lengths.items()},
    }
    return {f"AreaShape_{name}": values.astype(np.float64) for name, values in columns.items()}


def _ellipses(regions: Regions) -> Columns:
    """Axes, eccentricity and orientation of the ellipse with the same second moments."""
    areas, length, owner = regions.areas, regions.length, regions.owner
    # Places count from each object's first pixel, so that the whole-number sums stay small and exact.
    x = regions.x - regions.x[regions.first][owner]
    y = regions.y - regions.y[regions.first][owner]
    row = length * (2 * x + length - 1) // 2
    squares = length * x * x + x * length * (length - 1) + length * (length - 1) * (2 * length - 1) // 6
    sum_x, sum_y = regions.sums(row), regions.sums(length * y)
    spread_x = regions.sums(squares) / areas - (sum_x / areas) ** 2
    spread_y = regions.sums(length * y * y) / areas - (sum_y / areas) ** 2
    together = regions.sums(row * y) / areas - (sum_x / areas) * (sum_y / areas)
    middle = (spread_x + spread_y) / 2
    half = np.hypot((spread_x - spread_y) / 2, together)
    major, minor = middle + half, np.maximum(middle - half, 0)
    round_ones = spread_x == spread_y
    angle = 0.5 * np.arctan2(2 * together, spread_y - spread_x)
    angle[round_ones] = np.where(together[round_ones] < 0, -np.pi / 4, np.pi / 4)
    return {
        "MajorAxisLength": 4 * np.sqrt(major),
        "MinorAxisLength": 4 * np.sqrt(minor),
        "Eccentricity": np.sqrt(1 - minor / np.where(major > 0, major, 1)) * (major > 0),
        "Orientation": np.degrees(angle),
    }
