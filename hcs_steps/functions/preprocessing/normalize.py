"""Intensity normalisation between two percentiles of a whole stack."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hcs_steps.arrays import dtype_range, is_cupy, namespace, round_saturate
from hcs_steps.functions._checks import require_numbers
from hcs_steps.functions._stacks import require_stack, row_blocks
from hcs_steps.functions.declare import Cost, PlateSize, step_function
from hcs_steps.functions.preprocessing._percentiles import (
    all_values,
    bit_patterns,
    is_small,
    is_torch,
    numpy_dtype,
    stack_percentiles,
)

_INTEGER_TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32")


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
    scaled = values.astype(xp.float64)
    scaled -= low
    scaled /= high - low
    xp.clip(scaled, 0.0, 1.0, out=scaled)
    scaled *= target_max - target_min
    scaled += target_min
    return scaled


def _rescale_tensor(values: Any, low: float, high: float, target_min: float, target_max: float) -> Any:
    """`_rescale` of a Torch tensor."""
    import torch

    if not high > low:
        return torch.full_like(values, target_min, dtype=torch.float64)
    scaled = values.to(torch.float64).sub(low).div_(high - low).clamp_(0.0, 1.0)
    return scaled.mul_(target_max - target_min).add_(target_min)


def _map_by_table(stack: Any, table: np.ndarray[Any, Any], result: Any) -> None:
    """Write to ``result`` what a table of all values of the stack's small integer dtype says for its pixels."""
    if is_torch(stack):
        import torch

        # Torch lacks most operations on unsigned types wider than 8 bits; signed ones of the same bits serve.
        signed = f"i{table.itemsize}" if table.dtype.kind == "u" and table.itemsize > 1 else table.dtype
        values = torch.from_numpy(table.view(signed)).to(stack.device)
        bits = result.view(values.dtype)
        for (number, _), index in bit_patterns(stack):
            bits[number] = values[index]
        return
    values = namespace(stack).asarray(table)
    for place, index in bit_patterns(stack):
        if is_cupy(stack):
            result[place] = values[index]
        else:  # no index is out of range, and of NumPy's modes "wrap" is the fastest
            np.take(values, index, out=result[place], mode="wrap")


def _map_by_formula(stack: Any, ends: tuple[float, float, float, float], result: Any) -> None:
    """Write to ``result`` the rescaled pixels of a stack, rounded where ``result`` has integers."""
    dtype = numpy_dtype(result)
    for source, target in zip(stack, result, strict=True):
        if is_torch(stack):
            values = _rescale_tensor(source, *ends)
            target[...] = values.round_().long() if dtype.kind in "ui" else values
            continue
        for rows in row_blocks(source.shape[0]):
            target[rows] = round_saturate(_rescale(source[rows], *ends), dtype)


def _needs(params: Mapping[str, Any], plate: PlateSize) -> Cost:
    """The stack and the result, which has more bits where the target range asks for them."""
    wider = params.get("target_max") is not None
    return Cost(3.1 if wider else 2.1, 4.0)


@step_function(needs=_needs, packages=(), devices=("cpu", "gpu"))
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
        (N, Y, X), integer or float; a NumPy or CuPy array or a Torch tensor on any device.
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

    A Torch tensor comes back as a tensor on its device. 8- and 16-bit integers are mapped by the same table
    everywhere, bit for bit; other types by the same formula in float64, so that results agree to the last
    digit or two of their dtype (integers: to 1 where the value lies half-way).

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), the percentiles are not in order, or the target range is empty or
        does not fit 32 bits.
    """
    shape, source = tuple(stack.shape), numpy_dtype(stack)
    require_stack(np.broadcast_to(np.empty((), dtype=source), shape), "stack_percentile_normalize")
    require_numbers(low_percentile=low_percentile, high_percentile=high_percentile)
    if not 0 <= low_percentile < high_percentile <= 100:
        raise ValueError(
            "stack_percentile_normalize needs 0 <= low_percentile < high_percentile <= 100, but got "
            f"{low_percentile} and {high_percentile}."
        )
    top = float(dtype_range(source)[1] if target_max is None else target_max)
    bottom = float(target_min)
    if not (math.isfinite(bottom) and math.isfinite(top) and bottom < top):
        raise ValueError(
            f"stack_percentile_normalize needs target_min < target_max, but got {bottom} and {top}."
        )
    dtype = _output_dtype(source, bottom, top)
    low, high = stack_percentiles(stack, low_percentile, high_percentile)
    ends = (low, high, bottom, top)
    if is_torch(stack):
        import torch

        result = torch.empty(shape, dtype=getattr(torch, dtype.name), device=stack.device)
    else:
        result = namespace(stack).empty(shape, dtype=dtype)
    if is_small(source):
        _map_by_table(stack, round_saturate(_rescale(all_values(source), *ends), dtype), result)
    else:
        _map_by_formula(stack, ends, result)
    return result
