"""Correlation between channels against SciPy and the formulas, object by object."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr

from hcs_steps.functions.measuring.correlation import correlations
from hcs_steps.functions.measuring.regions import find_regions


def measure(labels, images, threshold=15.0):
    names = [chr(ord("A") + number) for number in range(len(images))]
    pairs = correlations(find_regions(labels), names, [image.ravel() for image in images], threshold)
    return {name: values for columns in pairs.values() for name, values in columns.items()}


@pytest.fixture
def channels(crowd):
    rng = np.random.default_rng(8)
    shared = rng.gamma(1.0, 800, crowd.shape)
    noise = [rng.gamma(1.0, 500, crowd.shape) for _ in range(3)]
    return [(shared * part + noise[i] + 5).astype(np.uint16) for i, part in enumerate((1, 0.5, 0))]


def test_pearson_is_scipys(crowd, channels):
    measured = measure(crowd, channels)
    for place, number in enumerate(np.unique(crowd[crowd > 0])):
        a, b = (image[crowd == number].astype(float) for image in channels[:2])
        if len(a) > 2:
            assert measured["Correlation_Correlation_A_B"][place] == pytest.approx(
                pearsonr(a, b)[0], abs=1e-9
            )


@pytest.mark.parametrize("threshold", [0, 15, 50])
def test_manders_overlap_and_k_follow_their_formulas(crowd, channels, threshold):
    measured = measure(crowd, channels, threshold)
    for place, number in enumerate(np.unique(crowd[crowd > 0])):
        a, b = (image[crowd == number].astype(float) for image in (channels[0], channels[2]))
        high_a, high_b = a >= a.max() * threshold / 100, b >= b.max() * threshold / 100
        both = high_a & high_b
        expected = {
            "Manders_A_C": a[both].sum() / a[high_a].sum(),
            "Manders_C_A": b[both].sum() / b[high_b].sum(),
        }
        if both.any():
            product = (a[both] * b[both]).sum()
            expected["Overlap_A_C"] = product / np.sqrt((a[both] ** 2).sum() * (b[both] ** 2).sum())
            expected["K_A_C"] = product / (a[both] ** 2).sum()
            expected["K_C_A"] = product / (b[both] ** 2).sum()
        for name, value in expected.items():
            assert measured[f"Correlation_{name}"][place] == pytest.approx(value, rel=1e-9)


def test_the_same_channel_twice_correlates_perfectly_and_its_negative_perfectly_against(crowd, channels):
    image = channels[0].astype(np.float32)
    measured = measure(crowd, [image, 3 * image + 7, -image])
    large = np.bincount(np.unique(crowd[crowd > 0], return_inverse=True)[1]) > 2
    np.testing.assert_allclose(measured["Correlation_Correlation_A_B"][large], 1, rtol=1e-9)
    np.testing.assert_allclose(measured["Correlation_Correlation_A_C"][large], -1, rtol=1e-9)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_constant_channel_has_no_correlation(crowd, channels):
    measured = measure(crowd, [channels[0], np.full_like(channels[0], 4)])
    assert np.isnan(measured["Correlation_Correlation_A_B"]).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("size", [7, 900])
def test_rounding_of_a_constant_float_channel_is_no_variation(dtype, size):
    rng = np.random.default_rng(0)
    labels = np.ones((size, size), np.uint8)
    even = np.full(labels.shape, 0.1, dtype=dtype)
    unsteady = even.astype(np.float64) * (1 + 2e-16 * rng.integers(0, 2, labels.shape))
    faint = np.float64(0.1) * (1 + 1e-9 * rng.random(labels.shape))
    measured = measure(labels, [rng.random(labels.shape), even, unsteady, faint, 3 * faint])
    for pair in ("A_B", "A_C", "B_C"):
        assert np.isnan(measured[f"Correlation_Correlation_{pair}"]).all()
    assert measured["Correlation_Correlation_D_E"][0] == pytest.approx(1, abs=1e-6)


def test_every_pair_of_channels_is_there_and_one_channel_has_none(crowd, channels):
    assert measure(crowd, channels[:1]) == {}
    pearson = [name for name in measure(crowd, channels) if name.startswith("Correlation_Correlation")]
    assert pearson == [f"Correlation_Correlation_{pair}" for pair in ("A_B", "A_C", "B_C")]
