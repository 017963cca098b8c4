"""Exact percentiles of whole stacks: from a histogram for 8- and 16-bit integers, by selection for the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import is_cupy, namespace, to_numpy

_BLOCK_PIXELS = 1 << 17


def is_torch(x: Any) -> bool:
    """Whether ``x`` is a Torch tensor; does not import Torch."""
    return type(x).__module__.partition(".")[0] == "torch"


def numpy_dtype(x: Any) -> np.dtype[Any]:
    """The NumPy data type of an array or tensor; ValueError where NumPy has none."""
    name = str(x.dtype).rpartition(".")[2]
    try:
        return np.dtype(name)
    except TypeError as error:
        raise ValueError(
            f"Images have integer or float pixels of a NumPy data type, but got {name}."
        ) from error


def is_small(dtype: np.dtype[Any]) -> bool:
    """Whether all values of ``dtype`` fit a table: 8- and 16-bit integers."""
    return dtype.kind in "ui" and dtype.itemsize <= 2


def all_values(dtype: np.dtype[Any]) -> NDArray[Any]:
    """Every value of a small integer dtype, in the order of its bit patterns read as unsigned numbers."""
    return np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(dtype)


def bit_patterns(stack: Any) -> Iterator[tuple[tuple[int, slice], Any]]:
    """Pieces of a stack of small integers as indices into a table of `all_values`, with their place in the stack.

    On the host a piece is small enough for the cache and good until the next one; on a device it is a plane.
    """
    size = numpy_dtype(stack).itemsize
    if is_torch(stack):
        import torch

        bits = stack.view(torch.uint8 if size == 1 else torch.int16)
        for number in range(stack.shape[0]):
            yield (number, slice(None)), bits[number].to(torch.int64) & (2 ** (8 * size) - 1)
        return
    bits = stack.view(f"u{size}")
    height, width = stack.shape[1:]
    if is_cupy(stack):
        for number in range(stack.shape[0]):
            yield (number, slice(0, height)), bits[number].astype(np.int32)
        return
    step = max(1, min(height, _BLOCK_PIXELS // width))
    index = np.empty((step, width), dtype=np.intp)  # one for all pieces: new memory costs more than the work
    for number, plane in enumerate(bits):
        for top in range(0, height, step):
            rows = slice(top, min(top + step, height))
            piece = index[: rows.stop - top]
            piece[...] = plane[rows]
            yield (number, rows), piece


def histogram(stack: Any) -> NDArray[np.int64]:
    """Number of pixels per value of a small integer dtype, from its lowest value to its highest."""
    dtype = numpy_dtype(stack)
    values = all_values(dtype)
    total = np.zeros(values.size, dtype=np.int64)
    for _, index in bit_patterns(stack):
        pixels = index.reshape(-1)
        if is_torch(stack):
            counts = pixels.bincount().cpu().numpy()
        else:
            counts = to_numpy(namespace(stack).bincount(pixels))
        total[: counts.size] += counts
    return total[np.argsort(values)]


def _ranks(total: int, percentile: float) -> tuple[int, int, float]:
    """The two neighbours in order, from 0, between which a percentile lies, and how far it is from the first."""
    position = (total - 1) * (percentile / 100)
    below = min(math.floor(position), total - 1)
    return below, min(below + 1, total - 1), position - below


def _between(first: float, second: float, fraction: float) -> float:
    # The two forms of the interpolation are NumPy's, so that both round alike.
    if fraction < 0.5:
        return first + (second - first) * fraction
    return second - (second - first) * (1 - fraction)


def _selected(pixels: Any, ranks: Sequence[int]) -> list[float]:
    """The pixels of these places in order, from 0, of a flat array or tensor; changes the order of an array."""
    if is_torch(pixels):
        return [pixels.kthvalue(rank + 1).values.item() for rank in ranks]
    pixels.partition(sorted(set(ranks)))
    return [pixels[rank].item() for rank in ranks]


def _finite_pixels(stack: Any) -> Any:
    """A copy of all pixels of a stack in one row, those that are not finite left out; no copy of a tensor."""
    if is_torch(stack):
        pixels = stack.reshape(-1)
        finite = pixels.isfinite()
        return pixels if bool(finite.all()) else pixels[finite]
    if numpy_dtype(stack).kind == "f":
        finite = namespace(stack).isfinite(stack)
        if not bool(finite.all()):
            return stack[finite]
    return stack.flatten()


def stack_percentiles(stack: Any, *percentiles: float) -> tuple[float, ...]:
    """Percentiles over all pixels of a NumPy, CuPy or Torch ``stack``, never sampled.

    What `numpy.percentile` returns with linear interpolation in float64. 8- and 16-bit integers are counted in
    a histogram: exact, in one pass and without a copy of the stack. Of float stacks only the finite pixels
    count; NaN if there is none.
    """
    if is_small(numpy_dtype(stack)):
        cumulative = np.cumsum(histogram(stack))
        low, total = int(all_values(numpy_dtype(stack)).min()), int(cumulative[-1])
        places = [_ranks(total, value) for value in percentiles]
        found = [np.searchsorted(cumulative, place[:2], side="right") + low for place in places]
        return tuple(
            float(_between(int(a), int(b), place[2])) for (a, b), place in zip(found, places, strict=True)
        )
    pixels = _finite_pixels(stack)
    total = math.prod(pixels.shape)
    if total == 0:
        return (math.nan,) * len(percentiles)
    places = [_ranks(total, value) for value in percentiles]
    picked = iter(_selected(pixels, [rank for place in places for rank in place[:2]]))
    return tuple(float(_between(next(picked), next(picked), place[2])) for place in places)
