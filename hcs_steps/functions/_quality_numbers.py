"""Numbers that tell the quality of one plane: its spectrum's slope, and what its histogram shows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace, to_numpy
from hcs_steps.functions._coverage import covered
from hcs_steps.functions._stacks import row_blocks
from hcs_steps.functions.preprocessing._percentiles import histogram, is_small
from hcs_steps.functions.preprocessing.filters import working_dtype

BIT_DEPTHS = (8, 10, 12, 14, 16, 24, 32)
_MOST_VALUES = 1 << 16
_LEAST_VALUES = 16  # that must differ to show a step
_TOP_PERCENT = 0.1  # more than hot pixels and dust, less than a few cells


def _hann(xp: Any, size: int, dtype: Any) -> Any:
    return (0.5 - 0.5 * xp.cos(2 * math.pi * (xp.arange(size) + 0.5) / size)).astype(dtype)


def _low_frequencies(plane: Any, radius: int, window: str) -> Any:
    """Power of a plane at the frequencies -radius..radius (rows, wrapped) and 0..radius (columns), in float64."""
    xp = namespace(plane)
    dtype = working_dtype(plane.dtype)
    height, width = plane.shape
    kept = min(radius, width // 2) + 1
    level = float(plane.mean(dtype=xp.float64))
    taper = _hann(xp, width, dtype) if window == "hann" else None
    spectrum = xp.empty((height, kept), dtype=xp.complex64 if dtype.itemsize == 4 else xp.complex128)
    for rows in row_blocks(height):
        values = plane[rows].astype(dtype)
        values -= dtype.type(level)
        if taper is not None:
            values *= taper
        spectrum[rows] = xp.fft.rfft(values, axis=1)[:, :kept]
    if window == "hann":
        spectrum *= _hann(xp, height, dtype)[:, None]
    # Columns lie along the memory's rows for this transform, which is twice as fast.
    spectrum = xp.fft.fft(xp.ascontiguousarray(spectrum.T), axis=1)
    return spectrum.real.astype(xp.float64) ** 2 + spectrum.imag.astype(xp.float64) ** 2


def log_log_slope(plane: Any, window: str) -> float:
    """The power log-log slope of one plane; NaN if it has none."""
    xp = namespace(plane)
    height, width = plane.shape
    last = math.floor(min(height, width) / 8) - 1
    lowest, highest = float(plane.min()), float(plane.max())
    if last < 3 or not (lowest < highest and math.isfinite(highest - lowest)):
        return math.nan
    power = _low_frequencies(plane, last, window)
    across, down = xp.arange(power.shape[0])[:, None], xp.arange(height)
    radius = xp.floor(xp.sqrt(across**2 + xp.minimum(down, height - down) ** 2)).astype(xp.int64) + 1
    # The transform of a real image holds each frequency with a column above 0 once for two.
    power *= xp.where(across == 0, 1.0, 2.0)
    inside = radius <= last
    rings = to_numpy(xp.bincount(radius[inside], weights=power[inside], minlength=last + 1))[2:]
    good = np.isfinite(rings) & (rings > 0)
    if good.sum() < 2:
        return math.nan
    slope, _ = np.polyfit(np.log(np.arange(2, last + 1)[good]), np.log(rings[good]), 1)
    return float(slope)


def value_counts(plane: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Values of a plane in order, and how many pixels each stands for; what shows nothing (`covered`) is left out.

    8- and 16-bit integers are counted. Of other types the lowest and the highest value are counted, and between them
    as many pixels in order as there are 16-bit numbers stand for all.
    """
    shown = covered(plane)
    if shown is not None:
        plane = plane[shown][None]
    if is_small(np.dtype(plane.dtype)):
        counts = histogram(plane[None])
        found = np.flatnonzero(counts)
        values = found + int(np.iinfo(np.dtype(plane.dtype)).min)
        return values.astype(plane.dtype), counts[found]
    xp = namespace(plane)
    pixels = plane.ravel()
    if not pixels.size:
        return to_numpy(pixels), np.zeros(0, dtype=np.int64)
    pixels = xp.sort(pixels)
    low, high = int((pixels == pixels[0]).sum()), int(pixels.size - (pixels == pixels[-1]).sum())
    inner = np.unique(np.linspace(low, high, min(_MOST_VALUES, max(high - low, 0)) + 1).astype(np.int64))
    starts = np.concatenate([[0], inner]) if low < pixels.size else np.zeros(1, dtype=np.int64)
    counts = np.diff(np.append(starts, pixels.size))
    return to_numpy(pixels[xp.asarray(starts + counts // 2)]), counts


def _limits(values: NDArray[Any], bit_depth: int | None) -> tuple[float, float]:
    """The lowest and the highest intensity that a plane of these values could have had."""
    low, high = values[0], values[-1]
    if bit_depth is not None:
        return 0.0, float(2**bit_depth - 1)
    if values.dtype.kind == "f":
        return float(low), float(high)
    bounds = np.iinfo(values.dtype)
    # Data of fewer bits that were scaled to more (times 16, times 257) occur at multiples only.
    step = int(np.gcd.reduce(values)) if low >= 0 and values.size >= _LEAST_VALUES else 1
    bits = next((bits for bits in BIT_DEPTHS if int(high) <= (2**bits - 1) * step), 64)
    ceiling = min((2**bits - 1) * step, int(bounds.max) // step * step)
    return 0.0 if low >= 0 else float(bounds.min), float(ceiling)


def saturation_numbers(
    values: NDArray[Any], counts: NDArray[np.int64], bit_depth: int | None
) -> dict[str, float]:
    """See `hcs_steps.functions.quality.saturation`; of the values that occur in a plane, and how often."""
    names = ("PercentMaximal", "PercentMinimal", "MaxIntensity", "MinIntensity", "SaturationLevel")
    if not values.size:
        return dict.fromkeys(names, math.nan)
    floor, ceiling = _limits(values, bit_depth)
    percent = 100 / counts.sum()
    found = (
        percent * counts[values >= ceiling].sum(),
        percent * counts[values <= floor].sum(),
        values[-1],
        values[0],
        ceiling,
    )
    return {name: float(value) for name, value in zip(names, found, strict=True)}


def _median_of(values: NDArray[Any], counts: NDArray[np.int64]) -> float:
    cumulative = np.cumsum(counts)
    if not cumulative.size:
        return math.nan
    below, above = np.searchsorted(cumulative, [(cumulative[-1] + 1) // 2, cumulative[-1] // 2 + 1])
    return (float(values[below]) + float(values[above])) / 2


def signal_numbers(values: NDArray[Any], counts: NDArray[np.int64], dark: float) -> dict[str, float]:
    """See `hcs_steps.functions.quality.signal_to_background`; of the values that occur in a plane, and how often."""
    names = ("SignalToBackground", "SignalIntensity", "BackgroundIntensity")
    if not values.size:
        return dict.fromkeys(names, math.nan)
    cumulative = np.cumsum(counts)
    total = int(cumulative[-1])
    top = values[np.searchsorted(cumulative, total * (1 - _TOP_PERCENT / 100))]
    clipped = np.minimum(values, top).astype(np.float64)
    share = cumulative[:-1] / total
    mean = np.cumsum(clipped * counts) / total
    between = (mean[-1] * share - mean[:-1]) ** 2 / np.maximum(share * (1 - share), np.finfo(float).tiny)
    cut = int(np.argmax(between)) + 1 if between.size else 1
    background = _median_of(values[:cut], counts[:cut]) - dark
    signal = _median_of(values[cut:], counts[cut:]) - dark if cut < values.size else background
    if background > 0:
        ratio = signal / background
    else:
        ratio = math.inf if signal > 0 else math.nan
    return dict(zip(names, (ratio, signal, background), strict=True))
