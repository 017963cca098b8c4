"""Intensities of each object in one channel, over the whole object and along its edge."""

from __future__ import annotations

from typing import Any

import numpy as np

from hcs_steps.arrays import namespace, to_numpy
from hcs_steps.functions.measuring.outline import Outline
from hcs_steps.functions.measuring.regions import Block, Floats, Regions, ratio, unmeasured

_QUANTILES = {
    "MinIntensity": 0.0,
    "LowerQuartileIntensity": 0.25,
    "MedianIntensity": 0.5,
    "UpperQuartileIntensity": 0.75,
    "MaxIntensity": 1.0,
}
_WHOLE = (
    "Intensity_IntegratedIntensity",
    "Intensity_MeanIntensity",
    "Intensity_StdIntensity",
    *(f"Intensity_{name}" for name in _QUANTILES),
    "Intensity_MassDisplacement",
    "Location_CenterMassIntensity_X",
    "Location_CenterMassIntensity_Y",
)


def intensities(regions: Regions, outline: Outline, pixels: Any) -> dict[str, Floats]:
    """Columns of the category Intensity of a flat channel, and the intensity-weighted centroids (px).

    The edge is `Outline.inside`; standard deviations are those of the population; quartiles and the median
    are interpolated linearly, as `numpy.quantile`. MassDisplacement is the distance (px) between the centroid
    and the intensity-weighted centroid. Objects without an edge, or of total intensity 0, get NaN there.
    """
    columns = unmeasured(_WHOLE, regions.count)
    for block in regions.blocks():
        for name, values in _whole(block, pixels[block.index]).items():
            columns[name][block.objects] = to_numpy(values)
    for name, values in _edge(regions, outline, pixels).items():
        columns[f"Intensity_{name}"] = to_numpy(values)
    return columns


def _whole(block: Block, values: Any) -> dict[str, Any]:
    xp = namespace(values)
    exact = values.astype(xp.float64)
    total = block.sums(exact)
    mean = total / block.pixels
    away = exact - mean[block.owner]
    y0, x0 = block.y[block.first], block.x[block.first]
    y, x = block.y - y0[block.owner], block.x - x0[block.owner]
    shift_y = ratio(block.sums(exact * y), total)
    shift_x = ratio(block.sums(exact * x), total)
    apart = xp.hypot(shift_y - block.sums(y) / block.pixels, shift_x - block.sums(x) / block.pixels)
    result = {
        "Intensity_IntegratedIntensity": total,
        "Intensity_MeanIntensity": mean,
        "Intensity_StdIntensity": xp.sqrt(block.sums(away * away) / block.pixels),
        "Intensity_MassDisplacement": apart,
        "Location_CenterMassIntensity_X": shift_x + x0,
        "Location_CenterMassIntensity_Y": shift_y + y0,
    }
    ordered = in_order(block, values)
    for name, quantile in _QUANTILES.items():
        rank = xp.asarray(block.starts + (block.areas - 1) * quantile)
        below = xp.floor(rank).astype(xp.int64)
        low, high = ordered(below), ordered(xp.ceil(rank).astype(xp.int64))
        result[f"Intensity_{name}"] = low + (high - low) * (rank - below)
    return result


def in_order(block: Block, values: Any) -> Any:
    """A function from ranks to values in float64, where each object's values are sorted in its own places.

    Object and value share one whole-number key where they fit into one, so that a single plain sort is enough.
    """
    xp = namespace(values)
    if values.dtype == xp.float32:
        return _in_order_float32(block, values)
    low = bits = needed = 0
    whole = np.dtype(values.dtype).kind != "f"
    if whole:
        low = int(values.min())
        bits = (int(values.max()) - low).bit_length()
        needed = bits + (block.count - 1).bit_length()
    if not whole or needed > 64:
        order = xp.lexsort(xp.stack([values.astype(xp.float64), block.owner.astype(xp.float64)]))
        ordered = values[order]
        return lambda rank: ordered[rank].astype(xp.float64)
    kind = xp.uint32 if needed <= 32 else xp.uint64
    # Modulo 2^64, in which every whole number less the lowest is right.
    above = values.astype(xp.uint64) - xp.uint64(low % (1 << 64))
    keys = (block.owner.astype(kind) << kind(bits)) | above.astype(kind)
    keys.sort()
    mask = kind((1 << bits) - 1)
    return lambda rank: (keys[rank] & mask).astype(xp.float64) + float(low)


def _in_order_float32(block: Block, values: Any) -> Any:
    """Sorts by the bits of the values: those of positive floats ascend with them, those of negative descend."""
    xp = namespace(values)
    bits = values.view(xp.int32)
    flip = xp.int32(0x7FFFFFFF)
    ranked = in_order(block, xp.where(bits < 0, bits ^ flip, bits))

    def value(rank: Any) -> Any:
        key = ranked(rank).astype(xp.int32)
        return xp.where(key < 0, key ^ flip, key).view(xp.float32).astype(xp.float64)

    return value


def _edge(regions: Regions, outline: Outline, pixels: Any) -> dict[str, Any]:
    xp = namespace(pixels)
    at = xp.flatnonzero(outline.inside)
    owner = outline.owner[at]
    values = pixels[outline.y[at] * regions.plane.shape[1] + outline.x[at]].astype(xp.float64)
    count = xp.bincount(owner, minlength=regions.count)
    total = xp.bincount(owner, weights=values, minlength=regions.count)
    mean = ratio(total, count)
    away = values - mean[owner]
    spread = xp.bincount(owner, weights=away * away, minlength=regions.count)
    low = xp.full(regions.count, xp.inf)
    high = xp.full(regions.count, -xp.inf)
    xp.minimum.at(low, owner, values)
    xp.maximum.at(high, owner, values)
    return {
        "IntegratedIntensityEdge": xp.where(count > 0, total, xp.nan),
        "MeanIntensityEdge": mean,
        "StdIntensityEdge": xp.sqrt(ratio(spread, count)),
        "MinIntensityEdge": xp.where(count > 0, low, xp.nan),
        "MaxIntensityEdge": xp.where(count > 0, high, xp.nan),
    }
