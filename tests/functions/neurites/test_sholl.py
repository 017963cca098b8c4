"""Sholl analysis on spokes, rings and trees with known numbers of crossings."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import circle_perimeter, line

pytest.importorskip("skan")

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.neurites.sholl import sholl


def spokes(count, length=80, shape=(201, 201), centre=(100, 100), turn=0.1):
    image = np.zeros(shape, dtype=np.uint32)
    for angle in turn + 2 * np.pi * np.arange(count) / count:
        end = (round(centre[0] + length * np.sin(angle)), round(centre[1] + length * np.cos(angle)))
        image[line(*centre, *end)] = 1
    return image[None]


def at_point(skeleton, point=(100, 100), **options):
    return sholl(np.zeros(skeleton.shape, np.uint16), axon_skeleton=skeleton, centre=point, **options)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 12])
@pytest.mark.parametrize("turn", [0.0, 0.1, 0.3])
def test_n_rays_cross_every_circle_n_times(count, turn):
    stack = np.zeros((1, 201, 201), np.uint16)
    image, profile, summary = sholl(
        stack, axon_skeleton=spokes(count, turn=turn), centre=(100, 100), step_px=5, start_radius_px=15
    )
    assert image is stack
    inside = profile["radius_px"] <= 75
    np.testing.assert_array_equal(profile["radius_px"][inside], np.arange(15, 76, 5))
    np.testing.assert_array_equal(profile["intersections"][inside], count)
    assert summary["max_intersections"] == count
    assert summary["primary_intersections"] == count
    assert summary["critical_radius_px"] == 15
    assert summary["ramification_index"] == 1


def test_a_ring_around_the_centre_crosses_at_most_one_circle():
    ring = np.zeros((1, 201, 201), np.uint32)
    ring[(0, *circle_perimeter(100, 100, 50))] = 1
    _, profile, summary = at_point(ring, step_px=10)
    counts = dict(zip(profile["radius_px"], profile["intersections"], strict=True))
    assert all(counts[radius] == 0 for radius in (10, 20, 30, 40))
    assert summary["enclosing_radius_px"][0] in (50.0,) or np.isnan(summary["enclosing_radius_px"][0])
    off_centre = at_point(ring, (100, 80), step_px=10)[1]
    np.testing.assert_array_equal(off_centre["intersections"][(off_centre["radius_px"] == 50)], 2)


def test_a_way_along_a_circle_crosses_it_once():
    image = np.zeros((1, 201, 201), np.uint32)
    image[0, 100, 100:150] = 1
    rows, columns = circle_perimeter(100, 100, 50)
    arc = (columns >= 100) & (rows >= 100)
    image[0, rows[arc], columns[arc]] = 1
    image[0, 150:180, 100] = 1
    profile = at_point(image, step_px=5)[1]
    assert (profile["intersections"][profile["radius_px"] <= 75] == 1).all()


def test_branching_raises_the_count_and_the_ramification_index():
    image = spokes(3, length=40, turn=0.3)
    for angle in 0.3 + 2 * np.pi * np.arange(3) / 3:
        fork = (round(100 + 40 * np.sin(angle)), round(100 + 40 * np.cos(angle)))
        for side in (-0.5, 0.5):
            end = (round(fork[0] + 40 * np.sin(angle + side)), round(fork[1] + 40 * np.cos(angle + side)))
            image[0][line(*fork, *end)] = 1
    _, profile, summary = at_point(image, step_px=10)
    np.testing.assert_array_equal(profile["intersections"], [3, 3, 3, 3, 6, 6, 6])
    assert summary["critical_radius_px"] == 50
    assert summary["enclosing_radius_px"] == 70
    assert summary["ramification_index"] == 2
    assert summary["total_intersections"] == 30


def test_regression_is_the_closed_formula():
    _, profile, summary = at_point(spokes(5), step_px=8, start_radius_px=16)
    used = profile["intersections"] > 0
    radius = profile["radius_px"][used]
    density = np.log10(profile["intersections"][used] / (np.pi * radius**2))
    slope = np.cov(radius, density)[0, 1] / np.var(radius, ddof=1)
    assert summary["regression_coefficient_per_px"][0] == pytest.approx(-slope)
    assert summary["regression_r2"][0] == pytest.approx(np.corrcoef(radius, density)[0, 1] ** 2)


def test_micrometres_follow_the_pixel_size():
    planes = {"pixel_size_um": np.array([0.5])}
    _, profile, summary = at_point(spokes(4), step_um=10.0, planes=planes)
    np.testing.assert_allclose(profile["radius_px"], [20, 40, 60, 80][: len(profile["radius_px"])])
    np.testing.assert_allclose(profile["radius_um"], profile["radius_px"] / 2)
    assert summary["critical_radius_um"] == summary["critical_radius_px"] / 2
    per_um = summary["regression_coefficient_per_um"]
    np.testing.assert_allclose(per_um, 2 * summary["regression_coefficient_per_px"])
    assert np.isnan(at_point(spokes(4))[1]["radius_um"]).all()


def test_each_object_has_the_skeleton_next_to_it():
    skeleton = spokes(4, 60, (201, 401)) | spokes(6, 60, (201, 401), (100, 300))
    rows, columns = np.mgrid[:201, :401]
    nuclei = np.zeros((1, 201, 401), np.uint32)
    nuclei[0][np.hypot(rows - 100, columns - 100) <= 10] = 7
    nuclei[0][np.hypot(rows - 100, columns - 300) <= 10] = 9
    stack = np.zeros(skeleton.shape, np.uint16)
    _, profile, summary = sholl(stack, axon_skeleton=skeleton, nuclei=nuclei, centre="labels")
    np.testing.assert_array_equal(summary["cell"], [7, 9])
    np.testing.assert_allclose(summary["centre_x_px"], [100, 300])
    np.testing.assert_allclose(summary["start_radius_px"], 10, atol=0.2)
    for cell, count in ((7, 4), (9, 6)):
        inside = (profile["cell"] == cell) & (profile["radius_px"] < 58)
        np.testing.assert_array_equal(profile["intersections"][inside], count)


def soma_with_neurites():
    image = ndimage.gaussian_filter((spokes(6, 90)[0] > 0) * 3000.0, 1.5)
    rows, columns = np.mgrid[:201, :201]
    image = np.maximum(
        image, 3000 * ndimage.gaussian_filter(1.0 * (np.hypot(rows - 100, columns - 100) <= 22), 1)
    )
    return (image + np.random.default_rng(0).normal(300, 15, image.shape)).astype(np.uint16)[None]


def test_the_soma_and_the_skeleton_are_found_in_the_image():
    stack = soma_with_neurites()
    _, profile, summary = sholl(stack)
    assert summary["cell"] == 1
    np.testing.assert_allclose([summary["centre_y_px"][0], summary["centre_x_px"][0]], 100, atol=3)
    assert summary["start_radius_px"][0] == pytest.approx(22, abs=4)
    outside = (profile["radius_px"] > 35) & (profile["radius_px"] < 85)
    np.testing.assert_array_equal(profile["intersections"][outside], 6)


def test_spheres_in_three_dimensions():
    volume = np.zeros((61, 61, 61), np.uint32)
    volume[30, 30, 5:56] = volume[30, 5:56, 30] = volume[5:56, 30, 30] = 1
    options = {"centre": (30, 30, 30), "step_px": 5, "analysis_dimension": "3d"}
    stack = np.zeros(volume.shape, np.uint8)
    _, profile, summary = sholl(stack, axon_skeleton=volume, **options)
    np.testing.assert_array_equal(profile["intersections"], [6] * 5)
    assert summary["enclosing_radius_px"] == 25
    planes = {"pixel_size_um": np.full(61, 1.0), "z_um": 2.0 * np.arange(61)}
    _, profile, _ = sholl(stack, axon_skeleton=volume, planes=planes, **options)
    np.testing.assert_array_equal(profile["intersections"], [6] * 5 + [2] * 5)


def test_planes_without_a_soma_have_a_row_of_nothing():
    noise = np.random.default_rng(0).normal(500, 20, (2, 120, 120)).astype(np.uint16)
    _, profile, summary = sholl(noise)
    assert all(len(column) == 0 for column in profile.values())
    np.testing.assert_array_equal(summary["cell"], [0, 0])
    np.testing.assert_array_equal(summary["plane"], [0, 1])
    assert np.isnan(summary["centre_y_px"]).all()
    full = at_point(spokes(3))
    for nothing, something in zip((profile, summary), full[1:], strict=True):
        assert {n: c.dtype for n, c in nothing.items()} == {n: c.dtype for n, c in something.items()}


def test_an_empty_skeleton_around_a_point_has_no_circles():
    _, profile, summary = at_point(np.zeros((1, 50, 50), np.uint32), (25, 25))
    assert len(profile["plane"]) == 0
    assert summary["max_intersections"] == 0
    assert np.isnan(summary["critical_radius_px"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"centre": "middle"}, "centre='middle' is not known"),
        ({"centre": (1, 2, 3)}, r"nor a point \(y, x\)"),
        ({"centre": "labels"}, "needs nuclei"),
        ({"step_px": 0}, "step_px must be above 0"),
        ({"step_um": 5.0}, "step_um=5.0 needs the pixel size"),
        ({"step_um": 5.0, "step_px": 5.0}, "Give one of them"),
        ({"axon_skeleton": np.zeros((1, 3, 3))}, r"axon_skeleton of shape \(1, 3, 3\)"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        sholl(np.zeros((1, 20, 20), np.uint16), **options)


@pytest.mark.parametrize("planes", [1, 8])
@pytest.mark.parametrize("dimension", ["2d", "3d"])
def test_peak_memory_stays_below_what_is_declared(planes, dimension):
    stack = np.repeat(np.tile(soma_with_neurites(), (1, 2, 2)), planes, axis=0)
    sholl(stack[:, :64, :64], analysis_dimension=dimension)
    tracemalloc.start()
    sholl(stack, analysis_dimension=dimension)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(sholl)
    declared = spec.cost({"analysis_dimension": dimension}).of(stack)
    assert peak <= declared <= 3 * peak
