"""Medians and MADs of many features at once, and the checks of arguments that the statistics share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAD_SCALE = 1.4826
"""A normal distribution's standard deviation is this many times its median absolute deviation."""

ROUNDING = 1e-12
"""Relative size below which a spread or a difference is what rounding left of zero."""

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def wells_by_features(values: Any, features: Sequence[str]) -> Floats:
    """``values`` as (wells, features) float64, NaN where not finite; ValueError if it has another shape."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != len(features):
        raise ValueError(
            f"values must be (wells, {len(features)} features), but have the shape {array.shape}."
        )
    return finite_or_nan(array)


def finite_or_nan(values: Any) -> Floats:
    """``values`` as float64 with NaN in the place of what is not finite."""
    array = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def well_mask(mask: Any, count: int, name: str) -> Mask:
    """``mask`` as one boolean per well; ValueError if it is not."""
    array = np.asarray(mask)
    if array.shape != (count,) or array.dtype.kind != "b":
        raise ValueError(
            f"{name} must be one boolean for each of {count} wells, but is {array.dtype} {array.shape}."
        )
    return array


def medians(values: Floats) -> Floats:
    """The median of each column of (n, features), without NaN; NaN where there is no other value."""
    # One sort of contiguous rows: NumPy's nanmedian goes column by column through Python.
    ordered = np.sort(values.T, axis=1)
    count = np.isfinite(values).sum(axis=0)
    if not ordered.shape[1]:
        return np.full(len(count), np.nan)
    middle = [
        np.take_along_axis(ordered, np.maximum(place, 0)[:, None], axis=1)[:, 0]
        for place in ((count - 1) // 2, count // 2)
    ]
    # Where all are NaN both places hold NaN.
    return np.where(count > 0, (middle[0] + middle[1]) / 2, np.nan)


def mads(values: Floats, centre: Floats | None = None) -> Floats:
    """The median absolute deviation of each column from its median, times `MAD_SCALE`; without NaN."""
    centre = medians(values) if centre is None else centre
    return MAD_SCALE * medians(np.abs(values - centre))


def names_column(names: Sequence[str]) -> NDArray[Any]:
    """Texts as a column of a table."""
    column = np.empty(len(names), dtype=object)
    column[:] = list(names)
    return column


def quotient(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    """``above / below``, NaN where ``below`` is not above 0."""
    empty = np.full(np.broadcast_shapes(np.shape(above), np.shape(below)), np.nan)
    divided: Floats = np.divide(above, below, out=empty, where=below > 0)
    return divided
