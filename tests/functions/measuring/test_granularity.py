"""Granularity: structures of a known size vanish at the step of that size."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import reconstruction

from hcs_steps.functions.measuring.granularity import GranularityOptions, granular_spectrum, granularities
from hcs_steps.functions.measuring.regions import find_regions


def measure(labels, image, sizes=8, downsample=1, background=0):
    options = GranularityOptions(sizes, downsample, background)
    columns = granularities({"A": find_regions(labels)}, "GFP", image, options)["A"]
    assert list(columns) == [f"Granularity_{i + 1}_GFP" for i in range(sizes)]
    return np.stack(list(columns.values()))


def squares(sides):
    """One object per row of squares of each side length, on black."""
    image = np.zeros((40 * len(sides), 120), dtype=np.uint16)
    labels = np.zeros(image.shape, dtype=np.uint32)
    for number, side in enumerate(sides):
        top = 40 * number
        labels[top + 2 : top + 38] = number + 1
        for left in (15, 55, 95):
            image[top + 12 : top + 12 + side, left : left + side] = 600
    return labels, image


@pytest.mark.parametrize("factor", [1, 2])
def test_squares_vanish_at_the_step_of_their_half_width(factor):
    labels, image = squares([3, 7, 11])
    labels, image = (np.kron(plane, np.ones((factor, factor), plane.dtype)) for plane in (labels, image))
    spectrum = measure(labels, image, downsample=factor)
    # A square of 2n + 1 px survives n erosions by a cross (the diamond of radius n fits) and not n + 1.
    for place, step in enumerate((2, 4, 6)):
        assert spectrum[step - 1, place] == pytest.approx(100)
        assert np.abs(np.delete(spectrum[:, place], step - 1)).max() < 1e-4


def test_steps_are_erosions_reconstructed_under_the_image(texture_image):
    options = GranularityOptions(3, 1, 0)
    image = texture_image[:50, :60]
    cross = ndimage.generate_binary_structure(2, 1)
    images = list(granular_spectrum(image, options))
    np.testing.assert_array_equal(images[0], image)
    for step in (1, 2, 3):
        eroded = ndimage.grey_erosion(image, footprint=ndimage.iterate_structure(cross, step))
        np.testing.assert_array_equal(images[step], reconstruction(eroded, image, footprint=cross))


def test_per_object_means_weigh_reduced_pixels_by_what_the_object_covers(crowd, texture_image):
    options = GranularityOptions(2, 4, 5)
    measured = granularities({"A": find_regions(crowd)}, "GFP", texture_image, options)["A"]
    large = [
        np.kron(image, np.ones((4, 4)))[: crowd.shape[0], : crowd.shape[1]]
        for image in granular_spectrum(texture_image, options)
    ]
    for place, number in enumerate(np.unique(crowd[crowd > 0])):
        means = [image[crowd == number].mean() for image in large]
        if means[0] > 0:
            expected = 100 * (means[0] - means[1]) / means[0]
            assert measured["Granularity_1_GFP"][place] == pytest.approx(expected, abs=1e-3)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_black_object_has_no_granularity_and_no_objects_no_rows():
    labels, image = squares([3])
    assert np.isnan(measure(labels, np.zeros_like(image))).all()
    assert measure(np.zeros_like(labels), image).shape == (8, 0)
