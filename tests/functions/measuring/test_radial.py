"""Radial distributions against a plain computation per object and discs with known profiles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from hcs_steps.functions.measuring.outline import find_outline
from hcs_steps.functions.measuring.radial import radial_distributions
from hcs_steps.functions.measuring.regions import find_regions


def measure(labels, image, bins=4):
    found = find_regions(labels)
    return radial_distributions(found, find_outline(found), ["GFP"], [image.ravel()], bins)[0]


def column(measured, kind, bins=4):
    return np.stack([measured[f"RadialDistribution_{kind}_GFP_{i + 1}of{bins}"] for i in range(bins)])


def plain(mask, image, bins):
    """The definition, written for one object that is alone in the plane."""
    padded = np.pad(mask, 1)
    edge = mask & ~ndimage.binary_erosion(mask, border_value=1)
    from_edge = ndimage.distance_transform_edt(~edge) + 1
    from_edge = np.where(padded[1:-1, 1:-1], from_edge, 0)
    y0, x0 = np.unravel_index(np.argmax(from_edge), mask.shape)
    y, x = np.nonzero(mask)
    radius = np.hypot(y - y0, x - x0)
    ring = np.minimum((radius / (radius + from_edge[y, x]) * bins).astype(int), bins - 1)
    wedge = (y > y0) + 2 * (x > x0) + 4 * (abs(y - y0) > abs(x - x0))
    values = image[y, x].astype(float)
    fraction, mean, variation = [], [], []
    for i in range(bins):
        inside = ring == i
        fraction.append(values[inside].sum() / values.sum())
        mean.append(fraction[-1] / (inside.sum() / len(values)))
        means = [values[inside & (wedge == w)].mean() for w in range(8) if (inside & (wedge == w)).any()]
        variation.append(np.std(means) / np.mean(means))
    return fraction, mean, variation


def test_rings_and_wedges_of_each_object_follow_the_definition(crowd, texture_image):
    measured = measure(crowd, texture_image)
    numbers, areas = np.unique(crowd[crowd > 0], return_counts=True)
    compared = 0
    for place, number in enumerate(numbers):
        mask = crowd == number
        if areas[place] < 150 or ndimage.label(mask)[1] > 1:
            continue
        expected = plain(mask, texture_image, 4)
        for kind, values in zip(("FracAtD", "MeanFrac", "RadialCV"), expected, strict=True):
            np.testing.assert_allclose(column(measured, kind)[:, place], values, rtol=1e-6)
        compared += 1
    assert compared > 10


def test_fractions_add_up_to_one(crowd, texture_image):
    np.testing.assert_allclose(np.nansum(column(measure(crowd, texture_image), "FracAtD"), axis=0), 1)


def test_a_ring_shaped_stain_lies_in_the_outer_bins():
    rows, columns = np.mgrid[:101, :101]
    radius = np.hypot(rows - 50, columns - 50)
    labels = (radius <= 40).astype(np.uint8)
    rim = np.where((radius > 32) & (radius <= 40), 1000, 10).astype(np.uint16)
    measured = measure(labels, rim)
    assert column(measured, "FracAtD")[3, 0] > 0.9
    assert column(measured, "MeanFrac")[3, 0] > 1.5
    even = measure(labels, np.full_like(rim, 7))
    np.testing.assert_allclose(column(even, "MeanFrac"), 1)
    np.testing.assert_allclose(column(even, "RadialCV"), 0, atol=1e-12)
    np.testing.assert_allclose(column(even, "FracAtD")[:, 0], (2 * np.arange(4) + 1) / 16, atol=0.02)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_single_pixels_and_a_plane_without_edges():
    measured = measure(np.array([[5, 0, 6, 6]], np.uint32), np.array([[3, 1, 0, 0]], np.uint8), bins=2)
    np.testing.assert_array_equal(column(measured, "FracAtD", 2), [[1, np.nan], [np.nan, np.nan]])
    full = measure(np.ones((3, 3), np.uint8), np.ones((3, 3), np.uint8), bins=3)
    assert len(full) == 9
    assert all(len(values) == 1 and np.isnan(values[0]) for values in full.values())
