"""Control statistics: against the published formulas, one feature at a time, and where they mean nothing."""

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from scipy.stats import median_abs_deviation

from hcs_steps.statistics import (
    coefficient_of_variation,
    control_statistics,
    robust_ssmd,
    robust_z_prime,
    signal_to_background,
    ssmd,
    z_prime,
)

NEGATIVE, POSITIVE = [9.0, 11.0, 10.0, 10.5], [29.0, 31.0, 30.0, 33.0, 28.0]


def mad(values):
    return 1.4826 * statistics.median(abs(value - statistics.median(values)) for value in values)


@pytest.mark.parametrize(
    ("z", "strict", "centre", "spread"),
    [
        (z_prime, ssmd, statistics.mean, statistics.stdev),
        (robust_z_prime, robust_ssmd, statistics.median, mad),
    ],
    ids=["plain", "robust"],
)
@pytest.mark.parametrize("direction", [1, -1])
def test_windows_and_differences_follow_their_definitions(z, strict, centre, spread, direction):
    low, high = NEGATIVE, [direction * value for value in POSITIVE]
    gap, sds = centre(high) - centre(low), (spread(low), spread(high))
    assert z(low, high) == pytest.approx(1 - 3 * sum(sds) / abs(gap))
    assert strict(low, high) == pytest.approx(gap / math.hypot(*sds))


def test_signal_to_background_and_cv_follow_their_definitions():
    assert signal_to_background(NEGATIVE, POSITIVE) == pytest.approx(30.2 / 10.125)
    assert coefficient_of_variation(POSITIVE) == pytest.approx(100 * statistics.stdev(POSITIVE) / 30.2)


def test_a_stray_well_does_not_change_the_robust_measures():
    stray = [*POSITIVE[:-1], 5_000.0]
    assert robust_z_prime(NEGATIVE, stray) > 0.4
    assert z_prime(NEGATIVE, stray) < 0


def test_a_table_of_features_equals_each_feature_on_its_own_with_missing_wells():
    rng = np.random.default_rng(1)
    values = rng.lognormal(2, 0.3, (40, 30))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[3, 4] = np.inf
    negative, positive = np.arange(40) < 16, (np.arange(40) >= 16) & (np.arange(40) < 25)
    names = [f"Feature{index}" for index in range(30)]
    table = control_statistics(values, names, negative, positive)
    assert table["feature"].tolist() == names
    frame = pd.DataFrame(np.where(np.isfinite(values), values, np.nan), columns=names)
    for kind, mask in (("negative", negative), ("positive", positive)):
        some = frame[mask]
        np.testing.assert_array_equal(table[f"n_{kind}"], some.count())
        np.testing.assert_allclose(table[f"mean_{kind}"], some.mean())
        np.testing.assert_allclose(table[f"sd_{kind}"], some.std())
        np.testing.assert_allclose(table[f"median_{kind}"], some.median())
        spread = 1.4826 * median_abs_deviation(some, nan_policy="omit")
        np.testing.assert_allclose(table[f"mad_{kind}"], spread)
    one = [frame[name][mask].dropna() for mask in (negative, positive) for name in names[:1]]
    for name, function in (
        ("z_prime", z_prime),
        ("robust_z_prime", robust_z_prime),
        ("ssmd", ssmd),
        ("robust_ssmd", robust_ssmd),
        ("signal_to_background", signal_to_background),
    ):
        assert table[name][0] == pytest.approx(function(*one))
    assert table["cv_positive"][0] == pytest.approx(coefficient_of_variation(one[1]))


def test_the_columns_are_those_of_the_table_of_statistics():
    table = control_statistics(np.ones((2, 1)), ["A"], np.array([True, False]), np.array([False, True]))
    assert list(table) == [
        *(
            "feature",
            "n_negative",
            "n_positive",
            "mean_negative",
            "mean_positive",
            "sd_negative",
            "sd_positive",
        ),
        *("median_negative", "median_positive", "mad_negative", "mad_positive", "z_prime", "robust_z_prime"),
        *("ssmd", "robust_ssmd", "signal_to_background", "cv_negative", "cv_positive"),
    ]


@pytest.mark.parametrize(
    ("negative", "positive"),
    [
        ([], []),
        ([1.0], [2.0]),
        ([np.nan, np.nan], [1.0, 2.0]),
        ([5.0] * 3, [5.0] * 3),
        ([0.1] * 3, [0.1] * 7),
    ],
    ids=["no wells", "one well each", "all missing", "constant", "constant with rounding"],
)
def test_what_has_no_meaning_is_nan(negative, positive):
    for measure in (z_prime, robust_z_prime, ssmd, robust_ssmd):
        assert math.isnan(measure(negative, positive))


def test_controls_without_scatter_are_a_perfect_window_and_no_finite_difference():
    assert z_prime([1.0] * 3, [2.0] * 3) == 1
    assert math.isnan(robust_z_prime([1.0] * 3, [2.0] * 3)), "ties say nothing of scatter"
    assert math.isnan(ssmd([1.0] * 3, [2.0] * 3))


def test_ratios_of_a_feature_around_zero_are_not_given():
    assert math.isnan(signal_to_background([-0.5, -0.6], [2.5, 2.6]))
    assert math.isnan(signal_to_background([2.5, 2.6], [-0.5, -0.6]))
    assert math.isnan(signal_to_background([0.0, 0.0], [1.0, 2.0]))
    assert math.isnan(coefficient_of_variation([-1.0, -2.0]))


def test_a_well_cannot_be_both_controls_and_shapes_must_fit():
    wells = np.array([True, False])
    with pytest.raises(ValueError, match="both a negative and a positive"):
        control_statistics(np.ones((2, 1)), ["A"], wells, wells)
    with pytest.raises(ValueError, match="one boolean for each of 2 wells"):
        control_statistics(np.ones((2, 1)), ["A"], wells, np.array([0, 1]))
    with pytest.raises(ValueError, match="2 features"):
        control_statistics(np.ones((2, 1)), ["A", "B"], wells, ~wells)
