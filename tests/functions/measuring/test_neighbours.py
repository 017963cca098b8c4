"""Neighbours against distances between all pixels of all objects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from hcs_steps.functions.measuring import nearness
from hcs_steps.functions.measuring.neighbours import neighbours
from hcs_steps.functions.measuring.outline import find_outline
from hcs_steps.functions.measuring.regions import find_regions
from hcs_steps.functions.measuring.shape import locations


def measure(labels, distance, pixel_size=np.nan):
    found = find_regions(labels)
    places = locations(found, pixel_size)
    x, y = places["Location_Center_X"], places["Location_Center_Y"]
    columns = neighbours(found, find_outline(found), x, y, distance, pixel_size)
    return {name.removeprefix("Neighbors_"): values for name, values in columns.items()}


@pytest.mark.parametrize("distance", [0.5, 1, 1.5, 4, 7.3, 33.3, 64, 500])
def test_neighbours_are_objects_with_a_pixel_within_the_distance(crowd, distance):
    numbers = np.unique(crowd[crowd > 0])
    apart = np.stack([ndimage.distance_transform_edt(crowd != number) for number in numbers])
    expected = [
        sum(
            apart[other][crowd == number].min() <= distance for other in range(len(numbers)) if other != place
        )
        for place, number in enumerate(numbers)
    ]
    measured = measure(crowd, distance)
    np.testing.assert_array_equal(measured[f"NumberOfNeighbors_{distance:g}"], expected)


@pytest.mark.parametrize("distance", [0.5, 3, 8, 40])
def test_percent_touching_is_the_part_of_the_outline_near_others(crowd, distance):
    measured = measure(crowd, distance)[f"PercentTouching_{distance:g}"]
    for place, number in enumerate(np.unique(crowd[crowd > 0])):
        mask = crowd == number
        outline = mask & ~ndimage.binary_erosion(mask)
        others = ndimage.distance_transform_edt((crowd == 0) | mask)
        expected = 100 * (others[outline] <= distance).mean()
        assert measured[place] == pytest.approx(expected)


@pytest.mark.parametrize("distance", [1, 2.3, 5, 9, 31])
@pytest.mark.parametrize("share", [0.02, 0.3])
def test_counts_and_pixels_near_others_are_those_of_all_pixels_against_all(monkeypatch, distance, share):
    rng = np.random.default_rng(int(10 * distance))
    labels = np.where(rng.random((70, 45)) < share, rng.integers(1, 15, (70, 45)), 0).astype(np.uint16)
    labels[20:40, 5:30] = 20
    found = find_regions(labels)
    outline = find_outline(found)
    owner, places = outline.owner, np.stack([outline.y, outline.x], axis=1)
    close = (cdist(places, places) <= distance) & (owner[:, None] != owner)
    met = np.zeros((found.count, found.count), dtype=bool)
    one, other = np.nonzero(close)
    met[owner[one], owner[other]] = True
    for at_once in (nearness._PAIRS, 50):
        monkeypatch.setattr(nearness, "_PAIRS", at_once)
        number, near = nearness.near_others(outline, found.count, distance)
        np.testing.assert_array_equal(number, met.sum(axis=1))
        np.testing.assert_array_equal(near, close.any(axis=1))


def test_a_distance_far_beyond_the_plane_makes_all_objects_neighbours(crowd):
    measured = measure(crowd, 1e7)
    count = len(np.unique(crowd)) - 1
    np.testing.assert_array_equal(measured["NumberOfNeighbors_1e+07"], np.full(count, count - 1))
    np.testing.assert_array_equal(measured["PercentTouching_1e+07"], np.full(count, 100))


def test_distances_to_the_closest_centroids(crowd):
    numbers = np.unique(crowd[crowd > 0])
    centres = np.array(ndimage.center_of_mass(np.ones(crowd.shape), crowd, numbers))
    between = np.sort(cdist(centres, centres), axis=1)
    measured = measure(crowd, 5, pixel_size=0.65)
    np.testing.assert_allclose(measured["FirstClosestDistance"], between[:, 1])
    np.testing.assert_allclose(measured["SecondClosestDistance"], between[:, 2])
    np.testing.assert_allclose(measured["FirstClosestDistance_um"], between[:, 1] * 0.65)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_objects(count):
    labels = np.zeros((9, 9), dtype=np.uint8)
    labels[0, :count] = np.arange(1, count + 1)
    measured = measure(labels, 2)
    assert [len(values) for values in measured.values()] == [count] * 6
    np.testing.assert_array_equal(measured["NumberOfNeighbors_2"], [count - 1] * count)
    assert np.isfinite(measured["FirstClosestDistance"]).all() == (count != 1)
    assert np.isnan(measured["SecondClosestDistance"]).all()
