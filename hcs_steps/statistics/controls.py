"""How well a feature tells the positive from the negative controls of a plate.

The measures are those of the field: Z' (J.-H. Zhang, T. D. Y. Chung and K. R. Oldenburg, J. Biomol. Screen. 4, 67,
1999), its robust form (A. Birmingham et al., Nature Methods 6, 569, 2009), and the strictly standardised mean
difference, SSMD (X. D. Zhang, Genomics 89, 552, 2007). Robust forms take the median for the mean and 1.4826 times the
median absolute deviation for the standard deviation; the latter is that of a sample (n - 1).

Values that are not finite are left out. A measure is NaN where it has no meaning: less than two values of a
control where a spread is needed, or nothing to divide by.

Signal to background and the CV need a feature with a true zero (an intensity, an area, a count): of a log
ratio or a z-score, whose zero is a convention, they say nothing even where they are numbers. Both are NaN where the
mean that they divide by is not above 0, and signal to background also where the other mean is below 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hcs_steps.statistics._robust import (
    ROUNDING,
    Floats,
    finite_or_nan,
    mads,
    medians,
    names_column,
    quotient,
    well_mask,
    wells_by_features,
)

Columns = dict[str, NDArray[Any]]


def control_statistics(
    values: ArrayLike, features: Sequence[str], negative: ArrayLike, positive: ArrayLike
) -> Columns:
    """The control statistics of all features of a plate.

    Parameters
    ----------
    values
        (wells, features): one value per well.
    features
        Names of the features, in the order of the columns of ``values``.
    negative, positive
        (wells,) booleans: which wells are negative and which are positive controls. Without any of one kind,
        what needs it is NaN.

    Returns
    -------
    Columns with one row per feature: ``feature``; for each of ``negative`` and ``positive`` ``n_``, ``mean_``, ``sd_``,
    ``median_`` and ``mad_`` (MAD x 1.4826); ``z_prime``, ``robust_z_prime``, ``ssmd`` and ``robust_ssmd`` (above 0 if
    positive controls are higher), ``signal_to_background`` (mean of the positive over that of the negative
    controls), ``cv_negative`` and ``cv_positive`` in per cent.

    Raises
    ------
    ValueError
        If shapes do not fit, a mask is not boolean, or a well is both a negative and a positive control.
    """
    table = wells_by_features(values, features)
    masks = [
        well_mask(mask, len(table), name) for mask, name in ((negative, "negative"), (positive, "positive"))
    ]
    if (masks[0] & masks[1]).any():
        raise ValueError("A well cannot be both a negative and a positive control.")
    low, high = (_group(table[mask]) for mask in masks)
    return {
        "feature": names_column(features),
        "n_negative": low.n,
        "n_positive": high.n,
        "mean_negative": low.mean,
        "mean_positive": high.mean,
        "sd_negative": low.sd,
        "sd_positive": high.sd,
        "median_negative": low.median,
        "median_positive": high.median,
        "mad_negative": low.mad,
        "mad_positive": high.mad,
        "z_prime": _window(low.mean, high.mean, low.sd, high.sd),
        "robust_z_prime": _robust_window(low, high),
        "ssmd": _standardised(low.mean, high.mean, low.sd, high.sd),
        "robust_ssmd": _standardised(low.median, high.median, low.mad, high.mad),
        "signal_to_background": quotient(np.where(high.mean >= 0, high.mean, np.nan), low.mean),
        "cv_negative": 100 * quotient(low.sd, low.mean),
        "cv_positive": 100 * quotient(high.sd, high.mean),
    }


def z_prime(negative: ArrayLike, positive: ArrayLike) -> float:
    """Z' of one feature: 1 - 3 (SD of the positive + SD of the negative controls) / |difference of their means|.

    1 is the best there is; 0.5 or more is called an excellent assay, and below 0 the controls overlap.

    >>> round(z_prime([1, 2, 3], [11, 12, 13]), 3)
    0.4
    """
    low, high = _one(negative), _one(positive)
    return float(_window(low.mean, high.mean, low.sd, high.sd)[0])


def robust_z_prime(negative: ArrayLike, positive: ArrayLike) -> float:
    """Z' of medians and 1.4826 MAD, which a stray well does not change.

    >>> round(robust_z_prime([1, 2, 3], [11, 12, 1300]), 3)
    0.11
    """
    low, high = _one(negative), _one(positive)
    return float(_robust_window(low, high)[0])


def ssmd(negative: ArrayLike, positive: ArrayLike) -> float:
    """Strictly standardised mean difference: (mean of the positive - mean of the negative) / sqrt(sum of variances).

    >>> round(ssmd([1, 2, 3], [11, 12, 13]), 3)
    7.071
    """
    low, high = _one(negative), _one(positive)
    return float(_standardised(low.mean, high.mean, low.sd, high.sd)[0])


def robust_ssmd(negative: ArrayLike, positive: ArrayLike) -> float:
    """SSMD of medians and 1.4826 MAD.

    >>> round(robust_ssmd([1, 2, 3], [11, 12, 13]), 3)
    4.769
    """
    low, high = _one(negative), _one(positive)
    return float(_standardised(low.median, high.median, low.mad, high.mad)[0])


def signal_to_background(negative: ArrayLike, positive: ArrayLike) -> float:
    """Mean of the positive over the mean of the negative controls; NaN unless that is above 0 and the other not below.

    >>> signal_to_background([1, 2, 3], [11, 12, 13])
    6.0
    """
    low, high = _one(negative), _one(positive)
    return float(quotient(np.where(high.mean >= 0, high.mean, np.nan), low.mean)[0])


def coefficient_of_variation(values: ArrayLike) -> float:
    """Standard deviation over the mean, in per cent; NaN unless the mean is above 0.

    >>> coefficient_of_variation([1, 2, 3])
    50.0
    """
    group = _one(values)
    return float(100 * quotient(group.sd, group.mean)[0])


@dataclass(frozen=True)
class _Group:
    """One kind of control, for each feature: number of values, centre and spread, plain and robust."""

    n: NDArray[np.int64]
    mean: Floats
    sd: Floats
    median: Floats
    mad: Floats


def _one(values: ArrayLike) -> _Group:
    return _group(finite_or_nan(values).reshape(-1, 1))


def _group(values: Floats) -> _Group:
    """Of (wells, features) values; the spread of less than two values is NaN."""
    there = np.isfinite(values)
    n = there.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(there, values, 0.0).sum(axis=0) / n
        squares = np.square(np.where(there, values - mean, 0.0)).sum(axis=0)
        sd = np.sqrt(squares / (n - 1))
    # The mean of equal values may differ from them in the last digit.
    sd = np.where(sd <= ROUNDING * np.abs(mean), 0.0, sd)
    median = medians(values)
    few = n < 2
    return _Group(n, mean, np.where(few, np.nan, sd), median, np.where(few, np.nan, mads(values, median)))


def _gap(low: Floats, high: Floats) -> Floats:
    """How far ``high`` lies above ``low``; exactly 0 where only rounding parts them."""
    gap = high - low
    return np.where(np.abs(gap) <= ROUNDING * (np.abs(high) + np.abs(low)), 0.0, gap)


def _window(low: Floats, high: Floats, low_spread: Floats, high_spread: Floats) -> Floats:
    return 1 - 3 * quotient(low_spread + high_spread, np.abs(_gap(low, high)))


def _robust_window(low: _Group, high: _Group) -> Floats:
    """NaN where both MADs are 0: most controls of either kind are tied, as small counts often are, and their scatter is
    not known.
    """
    tied = (low.mad == 0) & (high.mad == 0)
    return np.where(tied, np.nan, _window(low.median, high.median, low.mad, high.mad))


def _standardised(low: Floats, high: Floats, low_spread: Floats, high_spread: Floats) -> Floats:
    return quotient(_gap(low, high), np.hypot(low_spread, high_spread))
