"""Which measured pairs to believe, and the positions that follow from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.stitching.measure import Registration
from hcs_steps.functions.stitching.pairs import Pair
from hcs_steps.functions.stitching.place import (
    Edges,
    LinearModel,
    adjust,
    join_components,
    largest_component,
    residuals,
    spanning_tree,
)
from hcs_steps.functions.stitching.register import Candidates

SURE_CORRELATION = 0.5
AGREES_PX = 2.0
AGREES_BY_CHANCE = 0.05
"""The part of all possible shifts that may agree with the model: agreement has to mean something."""


@dataclass
class Measured:
    """One offset per pair of tiles, as yet the best candidate; NaN where nothing was measured.

    Attributes
    ----------
    offsets
        (pairs, 2), x and y of the second tile's corner minus the first's.
    correlation
        (pairs,), of what overlaps.
    shift_error
        (pairs,), standard errors of the offsets; NaN where they are known to the pixel at best.
    """

    offsets: NDArray[np.float64]
    correlation: NDArray[np.float64]
    shift_error: NDArray[np.float64]

    @classmethod
    def nothing(cls, count: int) -> Measured:
        """No offset for any of ``count`` pairs."""
        return cls(np.full((count, 2), np.nan), np.full(count, np.nan), np.full(count, np.nan))

    def refine(self, task: Registration, pair: Pair, number: int, found: Candidates, step: int) -> None:
        """Take candidate ``step`` of a pair, to a fraction of a pixel if that works."""
        offset = int(found.offsets[step, 0]), int(found.offsets[step, 1])
        shift = task.refined(pair, offset)
        self.correlation[number] = found.correlation[step]
        self.offsets[number] = offset if shift is None else (shift.x, shift.y)
        self.shift_error[number] = np.nan if shift is None else shift.error


@dataclass(frozen=True)
class Solution:
    """Positions of the tiles and what became of the pairs; see `compute_tile_positions` for the columns."""

    positions: NDArray[np.float64]
    placed_by: NDArray[Any]
    component: NDArray[np.int64]
    edges: NDArray[np.int64]
    measured: Measured
    residual: NDArray[np.float64]
    accepted: NDArray[np.bool_]
    in_tree: NDArray[np.bool_]
    reason: NDArray[Any]


def limits(chance: NDArray[np.float64], alpha: float) -> tuple[float, float]:
    """Least correlations of a sure and of a doubtful pair, from those of unrelated pairs.

    A sure pair beats all of them, and their median by four times as much as the 90 % quantile does: the best peaks
    of noise follow Gumbel's distribution, by which one in some thousand gets there. That is at most 0.5, since single
    objects that look alike reach any correlation. The error falls with the correlation, so its quantile
    ``alpha`` is the correlation's quantile 1 - ``alpha``.
    """
    positive = np.maximum(chance, np.finfo(np.float64).tiny)
    if len(positive) == 0:
        return 1.0, 1.0
    middle, upper, doubtful = np.quantile(positive, (0.5, 0.9, 1 - alpha))
    beyond_noise = min(float(middle + 4 * (upper - middle)), SURE_CORRELATION)
    return max(float(positive.max()), beyond_noise), float(doubtful)


def solve(
    task: Registration,
    nominal: NDArray[np.float64],
    pairs: Sequence[Pair],
    found: Sequence[Candidates],
    chance: NDArray[np.float64],
    alpha: float,
) -> Solution:
    """Positions from the candidates of all pairs."""
    sure, doubtful = limits(chance, alpha)
    measured = Measured.nothing(len(pairs))
    for number, own in enumerate(found):
        if len(own.correlation):
            measured.refine(task, pairs[number], number, own, 0)
    ends = np.array([(pair.first, pair.second) for pair in pairs], dtype=np.int64).reshape(-1, 2)
    edges = Edges(ends, measured.offsets, measured.correlation, measured.shift_error)
    used = (np.nan_to_num(measured.correlation) > sure) & np.isfinite(measured.shift_error)
    positions, component, believed = _adjusted(edges, used, len(nominal))
    if len(believed):
        _, model = join_components(nominal, positions, component)
        tolerance = _tolerance(residuals(edges.take(believed), model(nominal)), task.reach)
        for number in np.flatnonzero(~used).tolist():
            step = _agreeing(nominal[ends[number]], found[number], model, doubtful, tolerance)
            if step is not None:
                measured.refine(task, pairs[number], number, found[number], step)
                used[number] = np.isfinite(measured.shift_error[number])
        positions, component, believed = _adjusted(edges, used, len(nominal))
    accepted = np.isin(np.arange(len(pairs)), believed)
    in_tree = np.zeros(len(pairs), dtype=bool)
    in_tree[believed] = spanning_tree(edges.take(believed), len(nominal))[0]
    joined, _ = join_components(nominal, positions, component)
    return Solution(
        positions=joined,
        placed_by=_placed_by(component, len(believed) > 0),
        component=component,
        edges=np.bincount(ends[believed].ravel(), minlength=len(nominal)),
        measured=measured,
        residual=residuals(edges, joined),
        accepted=accepted,
        in_tree=in_tree,
        reason=_reasons(pairs, measured, used, accepted, doubtful),
    )


def _adjusted(
    edges: Edges, used: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Positions, components, and the numbers of those of the used edges that do not contradict the others."""
    positions, component, kept = adjust(edges.take(used), count)
    return positions, component, np.flatnonzero(used)[kept]


def _tolerance(deviations: NDArray[np.float64], reach: float) -> float:
    """How far a doubtful shift may lie from the model: what is usual among the sure ones, if that is not much."""
    usual = 3 * 1.48 * float(np.median(deviations))
    return min(max(AGREES_PX, usual), math.sqrt(AGREES_BY_CHANCE) * reach)


def _agreeing(
    nominal: NDArray[np.float64], found: Candidates, model: LinearModel, least: float, tolerance: float
) -> int | None:
    """The best candidate of a pair that is above the threshold and agrees with the model."""
    start, end = model(nominal)
    for step, (offset, value) in enumerate(zip(found.offsets, found.correlation, strict=True)):
        if value > least and np.hypot(*(offset - (end - start))) <= tolerance:
            return step
    return None


def _placed_by(component: NDArray[np.int64], connected: bool) -> NDArray[Any]:
    if not connected and len(component) > 1:
        return np.full(len(component), "nominal", dtype="U10")
    return np.where(largest_component(component), "registered", "model").astype("U10")


def _reasons(
    pairs: Sequence[Pair],
    measured: Measured,
    used: NDArray[np.bool_],
    accepted: NDArray[np.bool_],
    least: float,
) -> NDArray[Any]:
    reasons = []
    for number, pair in enumerate(pairs):
        value = measured.correlation[number]
        if accepted[number]:
            reasons.append("accepted")
        elif used[number]:
            reasons.append("inconsistent")
        elif not pair.comparable:
            reasons.append("no overlap")
        elif np.isnan(value):
            reasons.append("empty overlap")
        else:
            reasons.append("unclear shift" if value > least else "above threshold")
    return np.array(reasons, dtype="U15")
