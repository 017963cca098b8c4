"""Granularity: structures of a known size vanish at the step of that size."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import disk, reconstruction, white_tophat

from hcs_steps.functions.measuring.granularity import GranularityOptions, granular_spectrum, granularities
from hcs_steps.functions.measuring.objects import measure_objects
from hcs_steps.functions.measuring.regions import find_regions
from hcs_steps.functions.preprocessing.background import tophat


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


@pytest.mark.parametrize(("background", "again"), [(1, 1), (12, 1), (25, 2), (40, 4), (90, 4)])
def test_the_background_is_opened_on_a_copy_reduced_by_up_to_four(texture_image, background, again):
    plane = texture_image[:136, :144]
    reduced = plane.reshape(68, 2, 72, 2).mean(axis=(1, 3), dtype=np.float32)
    first = next(granular_spectrum(plane, GranularityOptions(1, 2, background)))
    np.testing.assert_array_equal(first, tophat(reduced[None], background, again)[0])
    if again == 1:
        np.testing.assert_array_equal(first, white_tophat(reduced, disk(background)))


@pytest.mark.parametrize("radius", [40, 100, 140])
def test_large_objects_are_no_background_by_default(radius):
    rows, columns = np.mgrid[:600, :600]
    labels = (np.hypot(rows - 300, columns - 300) <= radius).astype(np.uint8)
    bright = labels * np.float32(1000) + 200
    bright[290:310:4] += 100 * labels[290:310:4]
    default, named = (
        measure_objects(bright[None], labels=labels[None], features="granularity", **options)[1]
        for options in ({}, {"granularity_downsample": 4, "granularity_background": 40})
    )
    spectrum = [default[f"Objects_Granularity_{n}_Channel1"][0] for n in range(1, 17)]
    assert spectrum == [named[f"Objects_Granularity_{n}_Channel1"][0] for n in range(1, 17)]
    # The disc goes as a whole at the step of its radius on the reduced plane; the stripes on it are a small part.
    gone_at = radius // 4
    assert sum(spectrum[:9]) < 5
    assert (sum(spectrum) > 95) == (gone_at < 14)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_black_object_has_no_granularity_and_no_objects_no_rows():
    labels, image = squares([3])
    assert np.isnan(measure(labels, np.zeros_like(image))).all()
    assert measure(np.zeros_like(labels), image).shape == (8, 0)
