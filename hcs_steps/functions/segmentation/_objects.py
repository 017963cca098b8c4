"""From a raw label image to numbered objects and their table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.declare import Table


def number_objects(
    labels: NDArray[np.int32],
    *,
    min_area: float = 0,
    max_area: float | None = None,
    remove_border: bool = False,
) -> NDArray[np.uint32]:
    """Drop objects outside the area limits (px, inclusive) or at the image edge; number the rest 1..n.

    Numbers follow the raster order of each object's first pixel, so they do not depend on how ``labels``
    was made.
    """
    where = np.flatnonzero(labels)
    owner = labels.ravel()[where]
    areas = np.bincount(owner, minlength=1)
    first = np.full(len(areas), labels.size, dtype=np.int64)
    np.minimum.at(first, owner, where)
    keep = (areas > 0) & (areas >= min_area)
    if max_area is not None:
        keep &= areas <= max_area
    if remove_border:
        keep[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = False
    order = np.flatnonzero(keep)
    order = order[np.argsort(first[order], kind="stable")]
    numbers = np.zeros(len(areas), dtype=np.uint32)
    numbers[order] = np.arange(1, len(order) + 1)
    numbered: NDArray[np.uint32] = numbers[labels]
    return numbered


def measure(plane: NDArray[Any], labels: NDArray[np.uint32]) -> dict[str, NDArray[Any]]:
    """Label, area, centroid (px, the centre of the first pixel is 0) and mean intensity of objects 1..n."""
    where = np.flatnonzero(labels)
    owner = labels.ravel()[where]
    count = int(labels.max())
    areas = np.bincount(owner, minlength=count + 1)[1:]

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.bincount(owner, weights=values.astype(np.float64), minlength=count + 1)[1:]
        averages: NDArray[np.float64] = sums / areas
        return averages

    return {
        "label": np.arange(1, count + 1, dtype=np.uint32),
        "area_px": areas.astype(np.int64),
        "centroid_y_px": mean(where // labels.shape[1]),
        "centroid_x_px": mean(where % labels.shape[1]),
        "mean_intensity": mean(plane.ravel()[where]),
    }


def object_table(per_plane: Sequence[Table], pixel_sizes: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Rows of all planes below one another, with the lengths in micrometres added."""
    counts = [len(rows["label"]) for rows in per_plane]
    columns = {name: np.concatenate([rows[name] for rows in per_plane]) for name in per_plane[0]}
    size = np.repeat(pixel_sizes, counts)
    return {
        "plane": np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        "label": columns["label"],
        "centroid_y_px": columns["centroid_y_px"],
        "centroid_x_px": columns["centroid_x_px"],
        "centroid_y_um": (columns["centroid_y_px"] + 0.5) * size,
        "centroid_x_um": (columns["centroid_x_px"] + 0.5) * size,
        "area_px": columns["area_px"],
        "area_um2": columns["area_px"] * size**2,
        "mean_intensity": columns["mean_intensity"],
    }
