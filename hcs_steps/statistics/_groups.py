"""Medians, means and sizes of groups of fields, given back for each field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.statistics._robust import Floats, quotient

Numbers = NDArray[np.int64]


def group_numbers(columns: Mapping[str, NDArray[Any]], names: Sequence[str], fields: int) -> Numbers:
    """A number for each field, the same where all columns ``names`` that there are have the same value."""
    numbers = np.zeros(fields, dtype=np.int64)
    for name in names:
        if name in columns:
            # As texts: numbers, words and a missing value can be put in order together.
            found, inverse = np.unique(np.asarray(columns[name]).astype(str), return_inverse=True)
            numbers = np.unique(numbers * len(found) + inverse, return_inverse=True)[1].astype(np.int64)
    return numbers


def group_sizes(values: Floats, group: Numbers) -> Numbers:
    """How many values other than NaN the group of each field has."""
    return np.bincount(group, weights=np.isfinite(values))[group].astype(np.int64)


def group_means(values: Floats, group: Numbers) -> Floats:
    """The mean of each field's group without NaN; NaN if there is nothing else."""
    total = np.bincount(group, weights=np.nan_to_num(values))[group]
    size = group_sizes(values, group)
    return quotient(total, size)


def group_medians(values: Floats, group: Numbers) -> Floats:
    """The median of each field's group without NaN; NaN if there is nothing else."""
    if not len(values):
        return values
    ordered = values[np.lexsort((values, group))]  # NaN last in each group
    start = np.concatenate([[0], np.cumsum(np.bincount(group))[:-1]])[group]
    size = group_sizes(values, group)
    low, high = (ordered[start + np.maximum(place, 0)] for place in ((size - 1) // 2, size // 2))
    return np.where(size > 0, (low + high) / 2, np.nan)
