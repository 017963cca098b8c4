"""Correlation and co-localisation of two channels within each object."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from hcs_steps.arrays import namespace, to_numpy
from hcs_steps.functions.measuring.regions import Block, Floats, Regions, ratio, unmeasured
from hcs_steps.functions.measuring.translocation import ROUNDING

_MEASURES = ("Correlation", "Overlap", "Manders", "K")


def correlations(
    regions: Regions, names: Sequence[str], channels: Sequence[Any], threshold: float
) -> dict[tuple[int, int], dict[str, Floats]]:
    """Columns of the category Correlation for each pair of flat channels, by pair.

    Correlation: Pearson's coefficient, NaN where a channel varies by no more than rounding. The others take pixels
    of which both channels reach ``threshold`` per cent of their own greatest intensity in the object (E. Manders et
    al., J. Microsc. 169, 1993; the limits are CellProfiler's): Overlap, sum(ab) / sqrt(sum(aa) sum(bb)); K_A_B,
    sum(ab) / sum(aa); Manders_A_B, the part of the intensity of A's pixels over its limit that these pixels hold.
    """
    pairs = list(combinations(range(len(names)), 2))
    columns = {pair: unmeasured(_pair_names(names, pair), regions.count) for pair in pairs}
    for block in regions.blocks() if pairs else ():
        views = [_Channel(block, pixels[block.index], threshold) for pixels in channels]
        for one, other in pairs:
            measured = _pair(block, views[one], views[other])
            for column, values in zip(columns[one, other].values(), measured, strict=True):
                column[block.objects] = to_numpy(values)
    return columns


def _pair_names(names: Sequence[str], pair: tuple[int, int]) -> list[str]:
    a, b = names[pair[0]], names[pair[1]]
    both_ways = [
        f"Correlation_{measure}_{pair}" for measure in _MEASURES[2:] for pair in (f"{a}_{b}", f"{b}_{a}")
    ]
    return [f"Correlation_Correlation_{a}_{b}", f"Correlation_Overlap_{a}_{b}", *both_ways]


class _Channel:
    """A channel's pixels in a block: as they are, less the object's mean, and whether they reach the limit."""

    def __init__(self, block: Block, values: Any, threshold: float) -> None:
        xp = namespace(values)
        self.values = values.astype(xp.float64)
        low = min(float(values.min()), 0.0)
        limit = (block.maxima(self.values - low) + low) * (threshold / 100)
        self.above = self.values >= limit[block.owner]
        self.total_above = block.sums(self.values * self.above)
        # Less each object's first pixel, so that rounding of a sum over many pixels does not pass for variation.
        base = self.values[block.first]
        self.centred = self.values - base[block.owner]
        shift = block.sums(self.centred) / block.pixels
        self.centred -= shift[block.owner]
        variation = block.sums(self.centred * self.centred)
        rounding = block.pixels * (ROUNDING * (base + shift)) ** 2
        self.variation = xp.where(variation <= rounding, 0.0, variation)


def _pair(block: Block, a: _Channel, b: _Channel) -> tuple[Any, ...]:
    xp = namespace(a.values)
    pearson = ratio(block.sums(a.centred * b.centred), xp.sqrt(a.variation * b.variation))
    both = (a.above & b.above).astype(xp.float64)
    kept_a, kept_b = a.values * both, b.values * both
    product, square_a, square_b = (
        block.sums(kept_a * kept_b),
        block.sums(kept_a * kept_a),
        block.sums(kept_b * kept_b),
    )
    return (
        xp.clip(pearson, -1, 1),
        ratio(product, xp.sqrt(square_a * square_b)),
        ratio(block.sums(kept_a), a.total_above),
        ratio(block.sums(kept_b), b.total_above),
        ratio(product, square_a),
        ratio(product, square_b),
    )
