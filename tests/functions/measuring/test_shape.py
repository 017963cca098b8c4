"""Shapes against scikit-image, object by object, and against closed formulas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from skimage.draw import disk
from skimage.measure import regionprops, regionprops_table

from hcs_steps.functions.measuring.outline import find_outline, perimeters
from hcs_steps.functions.measuring.regions import find_regions
from hcs_steps.functions.measuring.shape import locations, shapes

SAME_AS_SKIMAGE = {
    "area": "Area",
    "bbox-0": "BoundingBoxMinimum_Y",
    "bbox-1": "BoundingBoxMinimum_X",
    "bbox-2": "BoundingBoxMaximum_Y",
    "bbox-3": "BoundingBoxMaximum_X",
    "area_bbox": "BoundingBoxArea",
    "area_convex": "ConvexArea",
    "perimeter": "Perimeter",
    "eccentricity": "Eccentricity",
    "solidity": "Solidity",
    "extent": "Extent",
    "axis_major_length": "MajorAxisLength",
    "axis_minor_length": "MinorAxisLength",
    "equivalent_diameter_area": "EquivalentDiameter",
}


def measure(labels, pixel_size=np.nan):
    regions = find_regions(labels)
    return {
        name.removeprefix("AreaShape_"): values
        for name, values in shapes(regions, find_outline(regions), pixel_size).items()
    }


def scattered(seed, shape=(60, 70), count=25):
    return np.random.default_rng(seed).integers(0, count, shape).astype(np.uint32)


def skimage_table(labels):
    _, small = np.unique(labels, return_inverse=True)
    names = {name.split("-")[0] for name in SAME_AS_SKIMAGE}
    return regionprops_table(small.reshape(labels.shape), properties=(*names, "centroid", "orientation"))


@pytest.fixture(params=["crowd", "scattered"])
def labels(request, crowd):
    return crowd if request.param == "crowd" else scattered(1)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_shapes_are_those_of_scikit_image_for_touching_holed_and_scattered_objects(labels):
    measured, expected = measure(labels), skimage_table(labels)
    for theirs, ours in SAME_AS_SKIMAGE.items():
        np.testing.assert_allclose(measured[ours], expected[theirs], rtol=1e-9, atol=1e-9, err_msg=theirs)


def test_the_orientation_is_that_of_scikit_image_in_degrees(labels):
    measured, expected = measure(labels), skimage_table(labels)
    clear = measured["Eccentricity"] > 0.1
    turned = (measured["Orientation"] - np.degrees(expected["orientation"]) + 90) % 180 - 90
    np.testing.assert_allclose(turned[clear], 0, atol=1e-6)
    assert clear.sum() > 10


def test_convex_areas_count_the_pixels_that_scikit_image_counts_whatever_the_object():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        height, width = rng.integers(1, 30, 2)
        labels = (rng.random((height, width)) < rng.uniform(0.02, 0.9)).astype(np.uint32)
        labels[0, 0] = 1
        expected = regionprops(labels.astype(int))[0].area_convex
        assert measure(labels)["ConvexArea"][0] == expected


def test_centroids_in_px_and_um(crowd):
    expected = skimage_table(crowd)
    measured = locations(find_regions(crowd), 0.5)
    np.testing.assert_allclose(measured["Location_Center_Y"], expected["centroid-0"], rtol=1e-12)
    np.testing.assert_allclose(measured["Location_Center_X"], expected["centroid-1"], rtol=1e-12)
    np.testing.assert_allclose(measured["Location_Center_X_um"], (expected["centroid-1"] + 0.5) * 0.5)


def test_a_disk_is_round():
    labels = np.zeros((220, 220), dtype=np.uint32)
    labels[disk((110, 110), 90)] = 1
    measured = {name: values[0] for name, values in measure(labels, 0.25).items()}
    assert measured["Area"] == pytest.approx(np.pi * 90**2, rel=2e-3)
    assert measured["Area_um2"] == measured["Area"] / 16
    assert measured["Perimeter"] == pytest.approx(2 * np.pi * 90, rel=0.06)
    assert measured["FormFactor"] == pytest.approx(1, abs=0.12)
    assert measured["MajorAxisLength"] == pytest.approx(180, rel=5e-3)
    assert measured["MaxFeretDiameter"] == pytest.approx(180, abs=1.5)
    assert measured["MinFeretDiameter"] == pytest.approx(180, abs=1.5)
    assert measured["MaxFeretDiameter_um"] == measured["MaxFeretDiameter"] / 4
    assert measured["Solidity"] > 0.98
    assert measured["Eccentricity"] < 0.01


def test_a_rectangle_has_the_moments_of_a_rectangle():
    labels = np.zeros((40, 60), dtype=np.uint8)
    labels[10:20, 5:45] = 7
    measured = {name: values[0] for name, values in measure(labels).items()}
    assert measured["MajorAxisLength"] == pytest.approx(4 * np.sqrt((40**2 - 1) / 12))
    assert measured["MinorAxisLength"] == pytest.approx(4 * np.sqrt((10**2 - 1) / 12))
    assert abs(measured["Orientation"]) == pytest.approx(90)
    assert measured["Perimeter"] == 2 * (39 + 9)
    assert measured["Solidity"] == measured["Extent"] == 1
    assert measured["MinFeretDiameter"] == 10
    assert np.isnan(measured["Area_um2"])


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_single_pixel_has_no_perimeter_and_is_convex_and_round():
    measured = {name: values[0] for name, values in measure(np.array([[0, 9], [0, 0]], np.uint32)).items()}
    assert (measured["Area"], measured["Perimeter"], measured["Eccentricity"]) == (1, 0, 0)
    assert (measured["Solidity"], measured["Extent"]) == (1, 1)
    assert np.isnan(measured["FormFactor"])
    assert measured["MaxFeretDiameter"] == 1


def outer_points(mask):
    y, x = np.nonzero(mask)
    shifts = [(-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)]
    return np.concatenate([np.stack([y + dy, x + dx], axis=1) for dy, dx in shifts])


@pytest.mark.parametrize("seed", range(4))
def test_feret_diameters_are_the_extremes_over_all_angles_and_pairs(seed):
    labels = scattered(seed, (14, 17), 5)
    measured = measure(labels)
    for place, number in enumerate(np.unique(labels[labels > 0])):
        points = outer_points(labels == number)
        longest = max(np.hypot(*(a - b)) for a, b in itertools.combinations(points, 2))
        assert measured["MaxFeretDiameter"][place] == pytest.approx(longest)
        angles = np.linspace(0, np.pi, 3000)
        along = points @ np.stack([np.sin(angles), np.cos(angles)])
        least = np.ptp(along, axis=0).min()
        assert least - 0.05 <= measured["MinFeretDiameter"][place] <= least + 1e-9


def test_touching_objects_have_the_perimeters_that_they_have_alone(crowd):
    regions = find_regions(crowd)
    together = perimeters(find_outline(regions), regions)
    for place in range(0, regions.count, 7):
        alone = find_regions((crowd == regions.numbers[place]).astype(np.uint8))
        assert perimeters(find_outline(alone), alone)[0] == pytest.approx(together[place], rel=1e-12)


def test_large_feret_tasks_are_cut_into_batches(monkeypatch, crowd):
    from hcs_steps.functions.measuring import hull

    whole = measure(crowd)
    monkeypatch.setattr(hull, "_PAIRS", 100)
    cut = measure(crowd)
    for name, values in whole.items():
        np.testing.assert_array_equal(cut[name], values)
