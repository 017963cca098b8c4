"""Projections against NumPy, focus against known blur, and extended depth of field against a known scene."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.preprocessing.project import METHODS, best_plane, focus_measure, project


def texture(shape=(96, 96), seed=0):
    return 500 + 300 * ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0)


def focal_planes(noise, widths=(5, 3, 1.5, 0, 1.5, 3, 5), seed=0):
    rng = np.random.default_rng(seed)
    sharp = texture(seed=seed)
    planes = [ndimage.gaussian_filter(sharp, width) if width else sharp for width in widths]
    return np.stack([plane + rng.normal(0, noise, plane.shape) for plane in planes])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 70, 33), (3, 1, 5)])
def test_projections_are_those_of_numpy(dtype, shape):
    stack = np.random.default_rng(0).uniform(0, 250, shape).astype(dtype)
    np.testing.assert_array_equal(project(stack)[0], stack.max(axis=0))
    mean, total = stack.mean(axis=0, dtype=np.float64), stack.sum(axis=0, dtype=np.float64)
    if np.dtype(dtype).kind in "ui":
        mean, total = np.rint(mean), np.minimum(total, np.iinfo(dtype).max)
    np.testing.assert_allclose(project(stack, "mean")[0], mean, rtol=1e-6)
    np.testing.assert_allclose(project(stack, "sum")[0], total, rtol=1e-6)
    for method in METHODS:
        result = project(stack, method)
        assert result.shape == (1, *shape[1:])
        assert result.dtype == dtype


def test_a_sum_ends_at_the_limits_of_its_dtype():
    assert project(np.full((3, 2, 2), 100, np.uint8), "sum").max() == 255
    assert project(np.full((3, 2, 2), -30_000, np.int16), "sum").min() == -32_768
    assert project(np.full((3, 2, 2), 2**31 - 1, np.int32), "sum").max() == 2**31 - 1


@pytest.mark.parametrize("noise", [0, 5, 30, 100])
def test_the_sharpest_plane_is_chosen_also_in_noise(noise):
    stack = focal_planes(noise).clip(0).astype(np.uint16)
    assert best_plane(stack) == 3
    np.testing.assert_array_equal(project(stack, "best_focus")[0], stack[3])


def test_the_focus_measure_is_a_difference_of_autocorrelations():
    plane = texture((40, 30))
    centred = plane - plane.mean()
    expected = 0
    for image in (centred, centred.T):
        products = [
            [a * b, a * c] for line in image.T for a, b, c in zip(line, line[1:], line[2:], strict=False)
        ]
        expected += np.mean(products, axis=0) @ [1, -1]
    assert focus_measure(plane) == pytest.approx(expected, rel=1e-4)


def test_real_planes_out_of_focus_are_not_chosen(real_data):
    import tifffile

    root = real_data("imagexpress_export_zstack") / "9987_Plate_3433" / "TimePoint_1"
    for field in ("B02_s1_w1", "B02_s1_w2", "B02_s2_w1", "B02_s2_w2", "B03_s1_w1", "B03_s1_w2"):
        stack = np.stack([tifffile.imread(root / f"ZStep_{z}" / f"9987_{field}.TIF") for z in (1, 2, 3)])
        assert best_plane(stack) == 0


def tilted_scene(noise=4.0):
    """Seven focal planes of a textured surface that rises from the first to the last, and the surface."""
    sharp = texture((120, 240), seed=1)
    height = np.broadcast_to(np.linspace(0, 6, 240), sharp.shape)
    widths = np.array([0, 0.7, 1.5, 2.5, 3.5, 4.5, 6, 8])
    blurred = np.stack([ndimage.gaussian_filter(sharp, w) if w else sharp for w in widths])
    rows, columns = np.indices(sharp.shape)
    planes = []
    for number in range(7):
        distance = np.abs(height - number)
        low = np.floor(distance).astype(int)
        part = distance - low
        mixed = (1 - part) * blurred[low, rows, columns] + part * blurred[low + 1, rows, columns]
        planes.append(mixed + np.random.default_rng(number).normal(0, noise, sharp.shape))
    return np.stack(planes), sharp


def test_extended_depth_of_field_follows_a_tilted_surface():
    stack, sharp = tilted_scene()
    stack = stack.clip(0).astype(np.uint16)
    extended = project(stack, "edf")[0].astype(float)
    error = np.std(extended - sharp)
    assert error < 10
    for method in ("mean", "max", "best_focus"):
        assert error < np.std(project(stack, method)[0].astype(float) - sharp) / 3


def test_extended_depth_of_field_has_no_seams():
    # Planes that differ by an offset only: a jump from one to the other would show as an edge.
    stack, _ = tilted_scene(noise=0)
    stack += 100 * np.arange(7)[:, None, None]
    sharp = stack - 100 * np.arange(7)[:, None, None]
    offset = project(stack, "edf")[0] - project(sharp, "edf")[0]
    assert offset.max() - offset.min() > 400
    assert np.abs(np.diff(offset, axis=1)).max() < 25


def test_planes_that_are_alike_come_out_as_they_are():
    plane = texture((40, 40)).astype(np.uint16)
    np.testing.assert_array_equal(project(np.stack([plane] * 4), "edf")[0], plane)
    np.testing.assert_array_equal(project(np.full((3, 8, 8), 7, np.uint8), "edf")[0], 7)


def test_pixels_that_are_not_finite_do_not_break_the_focus():
    stack = focal_planes(5)
    stack[0, 4, 4], stack[1, 5, 5] = np.nan, np.inf
    assert best_plane(stack) == 3
    assert np.isfinite(project(stack, "edf")).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("method", METHODS)
def test_a_device_gives_the_same_plane(cupy_standin, method, dtype):
    stack = focal_planes(5).astype(dtype)
    np.testing.assert_array_equal(project(cupy_standin.asarray(stack), method).get(), project(stack, method))


def test_errors_name_what_is_allowed():
    stack = np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(ValueError, match="max, mean, sum, best_focus, edf"):
        project(stack, "min")
    with pytest.raises(ValueError, match="smoothing_sigma must be above 0"):
        project(stack, "edf", smoothing_sigma=0)


def test_it_reduces_focal_planes():
    spec = spec_of(project)
    assert spec.reduces
    assert spec.stacks == "z_index"


@pytest.mark.parametrize("planes", [1, 4])
@pytest.mark.parametrize("dtype", [np.uint16, np.float64])
def test_peak_memory_stays_below_what_is_declared(planes, dtype):
    stack = np.repeat(texture((1000, 1000))[None], planes, axis=0).astype(dtype)
    project(stack[:, :64, :64], "edf")
    for method in METHODS:
        tracemalloc.start()
        project(stack, method)
        peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        declared = spec_of(project).cost({"method": method}).of(stack)
        assert peak <= declared <= 3 * peak, method
