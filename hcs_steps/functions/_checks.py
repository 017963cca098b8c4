"""Checks of arguments that several image functions share, each with a message that says what is allowed."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace, to_numpy
from hcs_steps.functions.declare import Table

LARGEST_PX = 2_000
"""No structuring element or kernel is larger: a typo is told before it takes the memory of the machine."""


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, but is {value!r}.")
    return float(value)


def require_numbers(**values: float) -> None:
    """Raise ValueError for a named value that is no number, None included, or not finite."""
    for name, value in values.items():
        if not math.isfinite(_number(name, value)):
            raise ValueError(f"{name} must be finite, but is {value}.")


def require_positive(**values: float | None) -> None:
    """Raise ValueError for a named number that is not above 0; None stands for "not given" and passes."""
    for name, value in values.items():
        if value is not None and not (math.isfinite(_number(name, value)) and value > 0):
            raise ValueError(f"{name} must be above 0, but is {value}.")


def require_not_negative(**values: float | None) -> None:
    """Raise ValueError for a named number below 0; None stands for "not given" and passes."""
    for name, value in values.items():
        if value is not None and not (math.isfinite(_number(name, value)) and value >= 0):
            raise ValueError(f"{name} must not be negative, but is {value}.")


def require_at_most(most: float, **values: float | None) -> None:
    """Raise ValueError for a named number above ``most``; None stands for "not given" and passes."""
    for name, value in values.items():
        if value is not None and not _number(name, value) <= most:
            raise ValueError(f"{name} must be at most {most:,}, but is {value:,}.")


def require_whole(least: int, **values: float) -> None:
    """Raise ValueError for a named number that is not whole or below ``least``."""
    for name, value in values.items():
        number = _number(name, value)
        if not (math.isfinite(number) and number == int(number) and number >= least):
            raise ValueError(f"{name} must be a whole number from {least} up, but is {value}.")


def plane_column(planes: Table | None, name: str, count: int) -> NDArray[np.float64]:
    """A column of numbers of a stack's plane table (`PLANE_COLUMNS`), NaN where the table does not say.

    A pixel size of 0 or less, or an infinite one, is unknown as well. Raises ValueError if the table has not as many
    rows as the stack has planes.
    """
    if planes is None or name not in planes:
        return np.full(count, np.nan)
    values = np.asarray(planes[name], dtype=np.float64)
    if values.shape != (count,):
        raise ValueError(f"The plane table has {values.size} rows, but the stack has {count} planes.")
    if name == "pixel_size_um":
        values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    return values


def finite(plane: NDArray[Any]) -> NDArray[Any]:
    """``plane`` with NaN and infinities replaced by its lowest finite value (0 if there is none)."""
    if plane.dtype.kind != "f":
        return plane
    good = np.isfinite(plane)
    return plane if good.all() else np.where(good, plane, plane[good].min() if good.any() else 0)


def require_labels(labels: Any, stack: Any, name: str, function: str) -> Any:
    """``labels`` as a stack shaped like ``stack``, where that is; one plane, (1, Y, X), stands for all.

    Raises ValueError for labels that are missing, do not fit or are no labels.
    """
    shape = tuple(stack.shape)
    if labels is None:
        raise ValueError(
            f"{function} needs the labels {name!r}, e.g. from an earlier segmentation step of the pipeline with an "
            f"output of that name."
        )
    given = tuple(getattr(labels, "shape", ()))
    if given != shape and given != (1, *shape[1:]):
        raise ValueError(
            f"{function} got {name} of shape {given} for a stack of shape {shape}. Give a label plane for each "
            "plane of the stack, or one for all."
        )
    if np.dtype(labels.dtype).kind not in "ui":
        raise ValueError(
            f"{function} got {name} of dtype {labels.dtype}; labels are whole numbers, 0 for background."
        )
    if np.dtype(labels.dtype).kind == "i" and int(labels.min()) < 0:
        raise ValueError(f"{function} got negative numbers in {name}. Labels start at 1; 0 is background.")
    if labels.dtype.itemsize > 4 and int(labels.max()) > np.iinfo(np.uint32).max:
        raise ValueError(f"{function} got numbers in {name} that do not fit 32 bits.")
    xp = namespace(stack)
    return xp.broadcast_to(to_numpy(labels) if xp is np else xp.asarray(labels), shape)
