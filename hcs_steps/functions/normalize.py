"""Intensity normalisation between two percentiles of a whole stack."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hcs_steps.arrays import dtype_range, namespace, round_saturate, to_numpy
from hcs_steps.functions._stacks import require_stack, row_blocks
from hcs_steps.functions.declare import step_function

_INTEGER_TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32")


def _is_small(dtype: Any) -> bool:
    """Whether all values of ``dtype`` fit a histogram: 8- and 16-bit integers."""
    kind = np.dtype(dtype)
    return kind.kind in "ui" and kind.itemsize <= 2


def _histogram(stack: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Number of pixels per value, from the lowest value of the stack's small integer dtype to the highest."""
    xp = namespace(stack)
    low, high = (int(limit) for limit in dtype_range(stack.dtype))
    counts = xp.zeros(high - low + 1, dtype=xp.int64)
    for plane in stack:
        for rows in row_blocks(plane.shape[0]):
            values = plane[rows].ravel().astype(xp.int64) - low
            counts += xp.bincount(values, minlength=high - low + 1)
    return np.asarray(to_numpy(counts), dtype=np.int64)


def _percentile_of_histogram(cumulative: Any, low: int, percentile: float) -> float:
    """What ``np.percentile(values, percentile)`` (method linear) returns for the values of a histogram."""
    total = int(cumulative[-1])
    position = (total - 1) * (percentile / 100)
    below = min(math.floor(position), total - 1)
    above = min(below + 1, total - 1)
    fraction = position - below
    first, second = (int(i) + low for i in np.searchsorted(cumulative, [below, above], side="right"))
    # The two forms of the interpolation are NumPy's, so that both round alike.
    if fraction < 0.5:
        return first + (second - first) * fraction
    return second - (second - first) * (1 - fraction)


def stack_percentiles(stack: Any, *percentiles: float) -> tuple[float, ...]:
    """Percentiles over all pixels of ``stack``, interpolated linearly as `numpy.percentile` does, never
    sampled.

    8- and 16-bit integers are counted in a histogram: exact, in one pass and without a copy of the stack. Of
    float stacks only the finite pixels count; NaN if there is none.
    """
    if _is_small(stack.dtype):
        cumulative = np.cumsum(_histogram(stack))
        low = int(dtype_range(stack.dtype)[0])
        return tuple(_percentile_of_histogram(cumulative, low, value) for value in percentiles)
    xp = namespace(stack)
    pixels = stack
    if np.dtype(stack.dtype).kind == "f":
        finite = xp.isfinite(stack)
        if not bool(finite.all()):
            pixels = stack[finite]
        if pixels.size == 0:
            return (math.nan,) * len(percentiles)
    return tuple(float(value) for value in to_numpy(xp.percentile(pixels, list(percentiles))))


def _output_dtype(dtype: np.dtype[Any], target_min: float, target_max: float) -> np.dtype[Any]:
    if dtype.kind == "f":
        return dtype
    for name in (dtype.name, *_INTEGER_TYPES):
        candidate: np.dtype[Any] = np.dtype(name)
        low, high = dtype_range(candidate)
        if low <= target_min and target_max <= high:
            return candidate
    raise ValueError(f"No integer dtype up to 32 bits holds the target range {target_min} to {target_max}.")


def _rescale(values: Any, low: float, high: float, target_min: float, target_max: float) -> Any:
    """Map [low, high] to the target range in float64, clipped; low == high maps all to its start."""
    xp = namespace(values)
    if not high > low:
        return xp.full(values.shape, target_min, dtype=xp.float64)
    scaled = (values.astype(xp.float64) - low) / (high - low)
    return xp.clip(scaled, 0.0, 1.0) * (target_max - target_min) + target_min


@step_function(memory=4.0, devices=("cpu", "gpu"))
def stack_percentile_normalize(
    stack: Any,
    low_percentile: float = 1.0,
    high_percentile: float = 99.0,
    target_min: float = 0.0,
    target_max: float | None = None,
) -> Any:
    """Stretch a stack so that two percentiles of all its pixels land on the ends of a target range.

    All planes are mapped alike, so that they stay comparable. Values beyond the percentiles are clipped.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy.
    low_percentile, high_percentile
        0 <= low < high <= 100, over the whole stack, exact at any size (see `stack_percentiles`).
    target_min, target_max
        Intensities of the two percentiles in the result. ``target_max=None`` is the highest value of an
        integer dtype and 1.0 for floats.

    Returns
    -------
    (N, Y, X). Floats keep their dtype. Integers keep theirs if the target range fits, otherwise the result
    has the smallest integer dtype, unsigned if possible, that holds it (uint8 stretched to 0..65535 becomes
    uint16); values are rounded half to even. A stack whose two percentiles are equal becomes ``target_min``
    throughout. NaN pixels stay NaN unless the stack is constant.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), the percentiles are not in order, or the target range is empty or
        does not fit 32 bits.
    """
    require_stack(stack, "stack_percentile_normalize")
    if not 0 <= low_percentile < high_percentile <= 100:
        raise ValueError(
            "stack_percentile_normalize needs 0 <= low_percentile < high_percentile <= 100, but got "
            f"{low_percentile} and {high_percentile}."
        )
    top = float(dtype_range(stack.dtype)[1] if target_max is None else target_max)
    bottom = float(target_min)
    if not (math.isfinite(bottom) and math.isfinite(top) and bottom < top):
        raise ValueError(
            f"stack_percentile_normalize needs target_min < target_max, but got {bottom} and {top}."
        )
    xp = namespace(stack)
    dtype = _output_dtype(np.dtype(stack.dtype), bottom, top)
    low, high = stack_percentiles(stack, low_percentile, high_percentile)
    result = xp.empty(stack.shape, dtype=dtype)
    lookup = None
    offset = 0
    if _is_small(stack.dtype):
        first, last = (int(limit) for limit in dtype_range(stack.dtype))
        offset = first
        lookup = round_saturate(_rescale(xp.arange(first, last + 1), low, high, bottom, top), dtype)
    for source, target in zip(stack, result, strict=True):
        for rows in row_blocks(source.shape[0]):
            if lookup is None:
                target[rows] = round_saturate(_rescale(source[rows], low, high, bottom, top), dtype)
            else:
                target[rows] = lookup[source[rows].astype(xp.int64) - offset]
    return result
