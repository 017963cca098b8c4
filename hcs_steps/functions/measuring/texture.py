"""Haralick's texture features of each object, from grey-level co-occurrences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hcs_steps.arrays import namespace, to_numpy
from hcs_steps.functions.measuring.regions import Block, Floats, Regions, ratio, unmeasured

FEATURES = (
    "AngularSecondMoment", "Contrast", "Correlation", "Variance", "InverseDifferenceMoment", "SumAverage",
    "SumVariance", "SumEntropy", "Entropy", "DifferenceVariance", "DifferenceEntropy", "InfoMeas1", "InfoMeas2",
)  # fmt: skip
DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))


@dataclass(frozen=True)
class TextureOptions:
    """Distances in px, number of grey levels, "mean" or "each" direction, and the limits of the grey scale."""

    scales: Sequence[int]
    levels: int
    directions: str
    limits: tuple[float, float] | None


def textures(
    regions: Regions, names: Sequence[str], channels: Sequence[Any], options: TextureOptions
) -> list[dict[str, Floats]]:
    """Columns of the category Texture, of each flat channel.

    A scale s compares each pixel with those s columns to the right (direction 00), s rows down as well (01), s rows
    down (02), and s rows down and s columns to the left (03), as far as they belong to the same object. Pairs count
    both ways. Objects without any pair get NaN.
    """
    kinds = ["00", "01", "02", "03"] if options.directions == "each" else ["Mean"]
    result = [unmeasured(_names(name, kinds, options), regions.count) for name in names]
    xp = namespace(regions.plane)
    place = xp.zeros(regions.plane.size, dtype=xp.int32)
    # The histograms of a block, objects x levels, stay about as small as its pixels.
    most = max(1, 2 * regions.block_pixels // options.levels)
    for block in regions.blocks(max_objects=most):
        place[block.index] = xp.arange(block.index.size, dtype=xp.int32)
        levels = [_grey_levels(block, pixels[block.index], options) for pixels in channels]
        measured: list[list[Any]] = [[] for _ in names]
        for scale in options.scales:
            pairs = [_pairs(regions, block, place, scale, step) for step in DIRECTIONS]
            for found, grey in zip(measured, levels, strict=True):
                features = [_features(block, grey, *pair, options.levels) for pair in pairs]
                found += [_average(features)] if options.directions == "mean" else features
        for columns, found in zip(result, measured, strict=True):
            values = to_numpy(namespace(place).concatenate(found)) if found else ()
            for column, per_object in zip(columns.values(), values, strict=True):
                column[block.objects] = per_object
    return result


def _names(channel: str, kinds: Sequence[str], options: TextureOptions) -> list[str]:
    return [
        f"Texture_{feature}_{channel}_{scale}_{kind}_{options.levels}"
        for scale in options.scales
        for kind in kinds
        for feature in FEATURES
    ]


def _grey_levels(block: Block, values: Any, options: TextureOptions) -> Any:
    """Intensities between each object's extremes, or between the given limits, in equal steps from 0."""
    xp = namespace(values)
    exact = values.astype(xp.float64)
    if options.limits is None:
        base = float(exact.min())
        high = block.maxima(exact - base) + base
        top = float(exact.max())
        low = top - block.maxima(top - exact)
        low, span = low[block.owner], (high - low)[block.owner]
    else:
        low, span = options.limits[0], xp.full(exact.shape, options.limits[1] - options.limits[0])
    steps = xp.floor((exact - low) * options.levels / xp.where(span > 0, span, 1))
    return xp.clip(steps, 0, options.levels - 1).astype(xp.int64)


def _pairs(regions: Regions, block: Block, place: Any, scale: int, step: tuple[int, int]) -> tuple[Any, Any]:
    """The pixels of the block, as places in it, of every pair of pixels of an object at the given step."""
    xp = namespace(place)
    height, width = regions.plane.shape
    dy, dx = step[0] * scale, step[1] * scale
    y, x = block.y + dy, block.x + dx
    here = xp.flatnonzero((y < height) & (x >= 0) & (x < width))
    there = block.index[here] + (dy * width + dx)
    labels = regions.plane.ravel()
    same = xp.flatnonzero(labels[block.index[here]] == labels[there])
    return here[same], place[there[same]]


def _average(measured: list[Any]) -> Any:
    """Mean over the directions in which an object has pairs."""
    xp = namespace(measured[0])
    stacked = xp.stack(measured)
    there = ~xp.isnan(stacked)
    return ratio(xp.where(there, stacked, 0).sum(axis=0), there.sum(axis=0))


def _entropy(shares: Any) -> Any:
    """Entropy in bits of each row of probabilities."""
    xp = namespace(shares)
    return -(shares * xp.log2(xp.where(shares > 0, shares, 1))).sum(axis=1)


def _features(block: Block, grey: Any, one: Any, other: Any, levels: int) -> Any:
    """The 13 features (rows) of each object (columns) from the grey levels of its pairs of pixels.

    R. Haralick, K. Shanmugam and I. Dinstein, IEEE Trans. SMC 3, 1973, with logarithms to base 2 and levels from 0.
    The matrix itself is never built: two features need its cells that are not empty, the others the distributions
    of the level, of the sum and of the difference; and HXY1 = HXY2 = 2 HX, as the matrix is symmetric.
    """
    xp = namespace(grey)
    count, owner = block.count, block.owner[one]
    a, b = grey[one], grey[other]

    def shares(values: Any, size: int) -> Any:
        cells = xp.bincount(owner * size + values, minlength=count * size).reshape(count, size)
        return cells / xp.maximum(cells.sum(axis=1, keepdims=True), 1)

    level = xp.arange(levels, dtype=xp.float64)
    sums = xp.arange(2 * levels - 1, dtype=xp.float64)
    p = (shares(a, levels) + shares(b, levels)) / 2
    p_sum, p_difference = shares(a + b, 2 * levels - 1), shares(xp.abs(a - b), levels)
    pairs = xp.bincount(owner, minlength=count)

    cells, counts = xp.unique(
        (owner * levels + xp.minimum(a, b)) * levels + xp.maximum(a, b), return_counts=True
    )
    holder = cells // (levels * levels)
    diagonal = (cells // levels) % levels == cells % levels
    share = xp.where(diagonal, counts, counts / 2) / xp.maximum(pairs, 1)[holder]
    twice = xp.where(diagonal, 1, 2)
    energy = xp.bincount(holder, weights=twice * share**2, minlength=count)
    entropy = -xp.bincount(holder, weights=twice * share * xp.log2(share), minlength=count)

    mean = (p * level).sum(axis=1)
    variance = (p * (level - mean[:, None]) ** 2).sum(axis=1)
    mean_sum = (p_sum * sums).sum(axis=1)
    sum_variance = (p_sum * (sums - mean_sum[:, None]) ** 2).sum(axis=1)
    mean_difference = (p_difference * level).sum(axis=1)
    contrast = (p_difference * level**2).sum(axis=1)
    flat = variance == 0
    correlation = xp.where(flat, 1, (variance - contrast / 2) / xp.where(flat, 1, variance))
    own = _entropy(p)
    shared = xp.maximum(2 * own - entropy, 0)
    result = xp.stack([
        energy,
        contrast,
        correlation,
        variance,
        (p_difference / (1 + level**2)).sum(axis=1),
        mean_sum,
        sum_variance,
        _entropy(p_sum),
        entropy,
        (p_difference * (level - mean_difference[:, None]) ** 2).sum(axis=1),
        _entropy(p_difference),
        -shared / xp.where(own > 0, own, 1),
        xp.sqrt(1 - xp.exp(-2 * shared)),
    ])  # fmt: skip
    return xp.where(pairs > 0, result, xp.nan)
