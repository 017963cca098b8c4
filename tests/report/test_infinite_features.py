"""Infinite features, as ratios to nothing are: no reference, and no warning."""

import warnings

import numpy as np

from hcs_steps.report.profiles import normalize


def test_infinite_values_are_no_reference_and_stay_infinite():
    reference = np.array([True] * 5 + [False] * 3)
    values = np.array([1.0, 2.0, 4.0, np.inf, -np.inf, 8.0, np.inf, np.nan])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = normalize({"ratio": values, "never": np.full(8, np.inf)}, reference)
    # Of 1, 2 and 4 the median is 2 and the MAD 1.
    expected = [-1 / 1.4826, 0, 2 / 1.4826, np.inf, -np.inf, 6 / 1.4826, np.inf, np.nan]
    np.testing.assert_allclose(found.columns["ratio"], expected)
    assert found.constant == ("never",)
    assert np.isnan(found.columns["never"]).all()
