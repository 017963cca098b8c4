"""One image from several channels: the weighted mean of a stack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hcs_steps.arrays import namespace, round_saturate
from hcs_steps.functions._stacks import require_stack, row_blocks
from hcs_steps.functions.declare import step_function


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    if weights is None:
        return [1.0 / count] * count
    values = [float(weight) for weight in weights]
    if len(values) != count:
        raise ValueError(
            f"create_composite got {len(values)} weights for a stack of {count} planes. "
            "Give one weight per plane."
        )
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"create_composite weights must be finite and not negative, but are {values}.")
    total = sum(values)
    if not (total > 0 and math.isfinite(total)):
        raise ValueError(f"create_composite weights must have a positive, finite sum, but are {values}.")
    return [value / total for value in values]


@step_function(reduces=True, memory=3.0, devices=("cpu", "gpu"))
def create_composite(stack: Any, weights: Sequence[float] | None = None) -> Any:
    """Weighted mean over the planes of a stack, e.g. of the channels of a site.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy.
    weights
        N numbers, none negative, divided by their sum. None weighs all planes alike.

    Returns
    -------
    (1, Y, X) in the dtype of ``stack``: computed in float64, in the order of the planes; integers are rounded
    half to even and saturated.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), or the weights are not N finite non-negative numbers with a positive
        sum.
    """
    require_stack(stack, "create_composite")
    xp = namespace(stack)
    shares = _shares(weights, stack.shape[0])
    result = xp.empty((1, *stack.shape[1:]), dtype=stack.dtype)
    for rows in row_blocks(stack.shape[1]):
        mean = xp.zeros(result[0, rows].shape, dtype=xp.float64)
        for plane, share in zip(stack, shares, strict=True):
            if share:
                mean += share * plane[rows].astype(xp.float64)
        result[0, rows] = round_saturate(mean, stack.dtype)
    return result
