"""Rank tests of many features at once, in their large-sample forms with correction for ties.

SciPy's own go through the features one by one where values are missing; here ranks are taken once and serve all
tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcs_steps.statistics._robust import Floats, Mask

LEAST_GROUP = 3
"""Two groups are compared if each has so many values: of less the normal distribution is no model."""


@dataclass(frozen=True)
class Ranks:
    """Ranks from 1 of each feature's values among the wells (ties share their mean; 0: no value), (wells, features).

    ``n`` values each, and ``ties``: the sum of t ** 3 - t over groups of t equal values.
    """

    rank: Floats
    there: Mask
    n: NDArray[np.int64]
    ties: Floats


def ranked(table: Floats) -> Ranks:
    """Ranks of the values of (wells, features), NaN for none, among the wells."""
    values = np.ascontiguousarray(table.T)
    there = np.isfinite(values)
    order = np.argsort(values, axis=1, kind="stable")  # NaN last
    ordered = np.take_along_axis(values, order, axis=1)
    place = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    new = np.ones(values.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    last = np.ones(values.shape, dtype=bool)
    last[:, :-1] = new[:, 1:]
    first_of_run = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    backwards = np.where(last, place, values.shape[1])[:, ::-1]
    last_of_run = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
    rank = np.empty(values.shape)
    np.put_along_axis(rank, order, (first_of_run + last_of_run) / 2 + 1, axis=1)
    rank[~there] = 0.0
    size = (last_of_run - first_of_run + 1).astype(np.float64)
    ties = np.where(np.isfinite(ordered), size**2 - 1, 0.0).sum(axis=1)
    return Ranks(rank.T, there.T, there.sum(axis=1), ties)


def mann_whitney(ranks: Ranks, group: Mask) -> Floats:
    """Two-sided p of each feature for the wells of ``group`` against the others, with continuity correction.

    H. B. Mann and D. R. Whitney, Ann. Math. Stat. 18, 50, 1947. NaN for less than 3 values on a side, or if all are
    equal.
    """
    from scipy.special import ndtr

    n = ranks.n.astype(np.float64)
    some, others = (ranks.there[side].sum(axis=0) for side in (group, ~group))
    statistic = ranks.rank[group].sum(axis=0) - some * (some + 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(some * others / 12 * ((n + 1) - ranks.ties / (n * (n - 1))))
        z = (np.abs(statistic - some * others / 2) - 0.5) / spread
    p = np.minimum(2 * ndtr(-z), 1.0)
    return np.where((np.minimum(some, others) >= LEAST_GROUP) & (spread > 0), p, np.nan)


def kruskal_wallis(ranks: Ranks, group: NDArray[np.int64]) -> Floats:
    """P of each feature for the groups of wells with the same number.

    W. H. Kruskal and W. A. Wallis, J. Am. Stat. Assoc. 47, 583, 1952. NaN for less than two groups, if no group has two
    values, or if all are equal.
    """
    from scipy.special import chdtrc

    member = (np.unique(group)[:, None] == group).astype(np.float64)
    size = member @ ranks.there
    total = member @ ranks.rank
    groups = (size > 0).sum(axis=0)
    n = ranks.n.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = np.divide(total**2, size, out=np.zeros_like(total), where=size > 0).sum(axis=0)
        statistic = 12 / (n * (n + 1)) * between - 3 * (n + 1)
        statistic /= 1 - ranks.ties / (n**3 - n)
        p = chdtrc(groups - 1.0, np.maximum(statistic, 0.0))
    # Groups of one well each always give the same statistic.
    return np.where((groups >= 2) & (n > groups) & (ranks.ties < n**3 - n), p, np.nan)
