"""Checks of arguments that several image functions share, each with a message that says what is allowed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.declare import Table


def require_positive(**values: float | None) -> None:
    """Raise ValueError for a named number that is not above 0; None stands for "not given" and passes."""
    for name, value in values.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be above 0, but is {value}.")


def require_not_negative(**values: float | None) -> None:
    """Raise ValueError for a named number below 0; None stands for "not given" and passes."""
    for name, value in values.items():
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must not be negative, but is {value}.")


def plane_column(planes: Table | None, name: str, count: int) -> NDArray[np.float64]:
    """A column of numbers of a stack's plane table (`PLANE_COLUMNS`), NaN where the table does not say.

    Raises ValueError if the table has not as many rows as the stack has planes.
    """
    if planes is None or name not in planes:
        return np.full(count, np.nan)
    values = np.asarray(planes[name], dtype=np.float64)
    if values.shape != (count,):
        raise ValueError(f"The plane table has {values.size} rows, but the stack has {count} planes.")
    return values


def finite(plane: NDArray[Any]) -> NDArray[Any]:
    """``plane`` with NaN and infinities replaced by its lowest finite value (0 if there is none)."""
    if plane.dtype.kind != "f":
        return plane
    good = np.isfinite(plane)
    return plane if good.all() else np.where(good, plane, plane[good].min() if good.any() else 0)
