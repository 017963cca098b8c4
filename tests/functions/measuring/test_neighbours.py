"""Neighbours against distances between all pixels of all objects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

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


@pytest.mark.parametrize("distance", [0.5, 1, 1.5, 4, 7.3])
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


def test_percent_touching_is_the_part_of_the_outline_near_others(crowd):
    measured = measure(crowd, 3)["PercentTouching_3"]
    for place, number in enumerate(np.unique(crowd[crowd > 0])):
        mask = crowd == number
        outline = mask & ~ndimage.binary_erosion(mask)
        others = ndimage.distance_transform_edt((crowd == 0) | mask)
        expected = 100 * (others[outline] <= 3).mean()
        assert measured[place] == pytest.approx(expected)


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
