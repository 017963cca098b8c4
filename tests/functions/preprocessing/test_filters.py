from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.morphology import disk, footprint_rectangle

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.preprocessing.filters import gaussian, median

DTYPES = ["uint8", "uint16", "int16", "int32", "float32", "float64"]
PLANES = {"pixel_size_um": np.array([0.5, 0.25])}


def _stack(shape=(2, 40, 37), dtype="uint16", seed=0):
    return np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gaussian_is_scipys_in_double_precision(dtype):
    stack = _stack(dtype=dtype)
    result = gaussian(stack, 1.7)
    assert result.dtype == dtype
    for plane, got in zip(stack, result, strict=True):
        wanted = ndimage.gaussian_filter(plane.astype(float), 1.7, mode="reflect")
        tolerance = 0.5001 if np.dtype(dtype).kind in "ui" else 1e-4
        assert np.abs(got - wanted).max() <= tolerance


def test_gaussian_of_a_point_is_a_gaussian():
    stack = np.zeros((1, 61, 61))
    stack[0, 30, 30] = 1
    rows, columns = np.mgrid[-30:31, -30:31]
    wanted = np.exp(-(rows**2 + columns**2) / (2 * 3.0**2))
    np.testing.assert_allclose(gaussian(stack, 3, truncate=8)[0], wanted / wanted.sum(), atol=1e-9)


def test_gaussian_does_not_lose_brightness_at_the_edges_and_saturates_nothing():
    for dtype in ("uint8", "uint16"):
        stack = np.full((1, 9, 300), np.iinfo(dtype).max, dtype)
        np.testing.assert_array_equal(gaussian(stack, 5), stack)


def test_micrometres_follow_the_pixel_size_of_each_plane():
    stack = _stack(dtype="float64")
    result = gaussian(stack, sigma_um=1.0, planes=PLANES)
    np.testing.assert_array_equal(result[0], gaussian(stack[:1], 2.0)[0])
    np.testing.assert_array_equal(result[1], gaussian(stack[1:], 4.0)[0])


def test_gaussian_is_one_pixel_wide_by_default_and_none_wide_at_zero():
    stack = _stack()
    np.testing.assert_array_equal(gaussian(stack), gaussian(stack, 1.0))
    np.testing.assert_array_equal(gaussian(stack, 0), stack)


def test_gaussian_leaves_out_what_is_not_finite():
    stack = np.full((1, 30, 30), 7.0, np.float32)
    stack[0, 10, 10], stack[0, 20, 20] = np.nan, np.inf
    result = gaussian(stack, 2)
    assert np.isnan(result[0, 10, 10])
    assert np.isinf(result[0, 20, 20])
    others = np.isfinite(stack)
    np.testing.assert_allclose(result[others], 7, rtol=1e-6)
    assert np.isnan(gaussian(np.full((1, 3, 3), np.nan), 1)).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"sigma": -1}, "sigma must not be negative"),
        ({"sigma": float("nan")}, "sigma must not be negative"),
        ({"sigma": 1, "sigma_um": 1}, "not both"),
        ({"sigma_um": 1}, "pixel size"),
        ({"sigma_um": 2e5, "planes": PLANES}, "sigma_um in px must be at most 2,000"),
        ({"sigma": 1, "truncate": 3e5}, "truncate must be at most 40"),
        ({"sigma": 1, "truncate": None}, "truncate must be a number"),
        ({"sigma_um": 1, "planes": {"pixel_size_um": np.array([0.5, np.nan])}}, "pixel size"),
        ({"truncate": 0}, "truncate"),
    ],
)
def test_gaussian_refuses_impossible_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        gaussian(_stack(), **arguments)


FOOTPRINTS = {
    "disk": disk,
    "square": lambda radius: footprint_rectangle((2 * radius + 1, 2 * radius + 1)),
}


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["uint8", "int8", "uint16", "int16"]).flatmap(
        lambda t: hnp.arrays(t, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9))
    ),
    st.integers(1, 7),
    st.sampled_from(["disk", "square"]),
)
def test_median_of_small_integers_is_scipys(stack, radius, footprint):
    wanted = [
        ndimage.median_filter(plane, footprint=FOOTPRINTS[footprint](radius), mode="reflect")
        for plane in stack
    ]
    np.testing.assert_array_equal(median(stack, radius, footprint), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("radius", [1, 8])
def test_median_is_scipys_for_every_dtype(dtype, radius):
    stack = _stack(dtype=dtype)
    result = median(stack, radius)
    assert result.dtype == dtype
    for plane, got in zip(stack, result, strict=True):
        np.testing.assert_array_equal(
            got, ndimage.median_filter(plane, footprint=disk(radius), mode="reflect")
        )


def test_median_is_exact_where_all_of_16_bits_are_used():
    plane = np.random.default_rng(3).permutation(65536).astype(np.uint16).reshape(256, 256)
    got = median(plane[None, :80, :80], 24)[0]
    rows = np.sort(np.pad(plane[:80, :80], 24, mode="symmetric")[10:59, 20:69][disk(24).astype(bool)])
    assert got[10, 20] == rows[rows.size // 2]


def test_half_precision_works_as_well():
    stack = _stack(dtype="float16")
    for result, wanted in (
        (gaussian(stack), gaussian(stack.astype(float))),
        (median(stack), median(stack * 1.0)),
    ):
        assert result.dtype == np.float16
        np.testing.assert_allclose(result, wanted, rtol=2e-3)


def test_median_removes_hot_pixels_and_keeps_edges():
    stack = np.zeros((1, 30, 30), np.uint16)
    stack[0, :, 15:] = 1000
    clean = stack.copy()
    stack[0, 5, 5], stack[0, 20, 20] = 65535, 0
    np.testing.assert_array_equal(median(stack, 1, "square"), clean)


def test_median_of_nan():
    stack = np.ones((1, 9, 9), np.float32)
    stack[0, 4, 4] = np.nan
    assert (median(stack, 1) == 1).all()
    assert np.isnan(median(np.full((1, 4, 4), np.nan), 2)).all()


def test_median_of_radius_zero_is_a_copy():
    stack = _stack()
    result = median(stack, 0)
    np.testing.assert_array_equal(result, stack)
    assert result is not stack


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"radius": -1}, "radius"), ({"radius": 1.5}, "radius"), ({"footprint": "star"}, "disk, square")],
)
def test_median_refuses_impossible_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        median(_stack(), **arguments)


@pytest.mark.parametrize("function", [gaussian, median])
def test_only_stacks_are_accepted_and_one_pixel_is_enough(function):
    with pytest.raises(ValueError, match=r"image\[None\]"):
        function(np.zeros((8, 8), np.uint8))
    assert function(np.full((1, 1, 1), 9, np.uint8)).tolist() == [[[9]]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    ("function", "arguments"), [(gaussian, {"sigma": 2}), (median, {"radius": 2}), (median, {"radius": 6})]
)
def test_cupy_gives_the_same(cupy_standin, function, arguments, dtype):
    stack = _stack(dtype=dtype)
    if dtype == "float32":
        stack[0, 3, 3] = np.nan
    got = function(cupy_standin.asarray(stack), **arguments).get()
    np.testing.assert_array_equal(got, function(stack, **arguments))


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize(
    ("function", "arguments", "dtype"),
    [
        (gaussian, {"sigma": 2}, "uint8"),
        (gaussian, {"sigma": 2}, "float32"),
        (median, {"radius": 1}, "uint16"),
        (median, {"radius": 1}, "float64"),
        (median, {"radius": 9}, "uint8"),
        (median, {"radius": 9}, "uint16"),
    ],
)
def test_memory_is_bounded_by_what_is_declared(function, arguments, dtype, planes):
    stack = _stack((planes, 900, 900), dtype)
    function(stack[:, :40, :40], **arguments)
    tracemalloc.start()
    function(stack, **arguments)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(function)
    declared = spec.cost().of(stack)
    assert peak <= declared <= 3 * peak


@pytest.mark.parametrize("function", [gaussian, median])
def test_noise_of_real_nuclei_falls(real_data, function):
    path = next((real_data("bbbc013_fkhr_translocation") / "images").glob("Channel2-17-B-05.tif"))
    plane = tifffile.imread(path)

    def noise(image):
        return np.median(np.abs(np.diff(image.astype(float), axis=1)))

    smooth = function(plane[None])[0]
    assert smooth.dtype == plane.dtype
    assert noise(smooth) < 0.7 * noise(plane)
    assert smooth.mean() == pytest.approx(plane.mean(), rel=0.02)
