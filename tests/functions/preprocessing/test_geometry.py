from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tifffile
from skimage import transform

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.preprocessing.geometry import crop, rescale


def _stack(shape=(2, 40, 60), dtype="uint16", seed=0):
    return np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)


def _planes(count=2, size=0.5):
    return {
        "well": np.array(["A01"] * count),
        "x_um": np.arange(count) * 1000.0,
        "y_um": np.full(count, 300.0),
        "pixel_size_um": np.full(count, size),
    }


def _moved(function, planes, stack, **arguments):
    """The plane table after a step, as the runner asks for it, and the step's result."""
    injected = {"planes": planes} if function is rescale else {}
    result = function(stack, **arguments, **injected)
    return spec_of(function).geometry(planes, stack.shape, result.shape, arguments), result


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize(
    ("factor", "order"), [(0.5, 0), (0.5, 1), (0.25, 1), (2, 0), (2, 1), (1.5, 1), (0.5, 3), (2, 3)]
)
def test_rescale_is_scikit_images(dtype, factor, order):
    stack = _stack(dtype=dtype)
    result = rescale(stack, factor, order=order)
    assert result.dtype == dtype
    for plane, got in zip(stack, result, strict=True):
        wanted = transform.rescale(
            plane.astype(float),
            factor,
            order=order,
            preserve_range=True,
            anti_aliasing=factor < 1 and order > 0,
        )
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max() <= (0.501 if np.dtype(dtype).kind in "ui" else 1e-4)


def test_without_anti_aliasing_every_second_pixel_pair_is_averaged():
    stack = _stack(dtype="float64")
    wanted = stack.reshape(2, 20, 2, 30, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(rescale(stack, 0.5, anti_aliasing=False), wanted)


@pytest.mark.parametrize("factor", [0.3, 0.37, 0.7, 1.3, 2.1])
@pytest.mark.parametrize("order", [1, 3])
def test_odd_factors_keep_the_centre_and_the_exact_pixel_size(factor, order):
    size = (101, 64)
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in size)
    plane = 1000 + 2.0 * rows[:, None] + 5.0 * columns
    got = rescale(plane[None], factor, order=order, anti_aliasing=False)[0]
    assert got.shape == tuple(round(n * factor) for n in size)
    rows, columns = ((np.arange(n) - (n - 1) / 2) / factor for n in got.shape)
    wanted = 1000 + 2.0 * rows[:, None] + 5.0 * columns
    inside = (slice(10, -10),) * 2  # near the edges the spline of a mirrored ramp is none
    np.testing.assert_allclose(got[inside], wanted[inside], atol=0.01)


def test_a_whole_order_may_be_a_float():
    stack = np.arange(2 * 9 * 8, dtype=np.float32).reshape(2, 9, 8)
    np.testing.assert_array_equal(rescale(stack, 0.5, order=1.0), rescale(stack, 0.5, order=1))


def test_labels_stay_labels_at_order_zero():
    labels = np.zeros((1, 40, 40), np.uint32)
    labels[0, 5:20, 5:20], labels[0, 22:38, 10:30] = 7, 70000
    assert set(np.unique(rescale(labels, 0.4, order=0))) == {0, 7, 70000}


def test_cubic_splines_do_not_leave_the_range_of_the_plane():
    stack = np.zeros((1, 20, 20))
    stack[0, :, 10:] = 1
    result = rescale(stack, 3, order=3)
    assert result.min() == 0
    assert result.max() == 1


def test_rescale_to_a_pixel_size_changes_the_plane_table():
    planes, stack = _planes(size=0.5), _stack()
    changed, result = _moved(rescale, planes, stack, pixel_size_um=1.25)
    np.testing.assert_array_equal(result, rescale(stack, 0.4))
    np.testing.assert_array_equal(changed["pixel_size_um"], [1.25, 1.25])
    np.testing.assert_array_equal(changed["x_um"], planes["x_um"])
    changed, _ = _moved(rescale, planes, stack, factor=2)
    np.testing.assert_array_equal(changed["pixel_size_um"], [0.25, 0.25])
    changed, _ = _moved(rescale, _planes(size=np.nan), stack, factor=2)
    assert np.isnan(changed["pixel_size_um"]).all()
    np.testing.assert_array_equal(planes["pixel_size_um"], [0.5, 0.5])


def test_rescale_takes_what_is_not_finite_for_dark():
    stack = np.full((1, 20, 20), 5.0)
    stack[0, 0, 0], stack[0, 9, 9] = 3.0, np.nan
    result = rescale(stack, 0.5, order=3)
    assert np.isfinite(result).all()
    assert result.min() >= 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "either factor or pixel_size_um"),
        ({"factor": 2, "pixel_size_um": 1}, "not both"),
        ({"factor": 0}, "factor must be above 0"),
        ({"pixel_size_um": -1}, "pixel_size_um must be above 0"),
        ({"pixel_size_um": 1.0}, "not known"),
        ({"pixel_size_um": 1.0, "planes": {"pixel_size_um": np.array([0.5, 0.6])}}, "one pixel size"),
        ({"factor": 2, "order": 6}, "0 to 5"),
        ({"factor": 2, "order": 1.5}, "0 to 5"),
        ({"factor": 2, "order": None}, "0 to 5"),
        (
            {"pixel_size_um": 1e-3, "planes": {"pixel_size_um": np.full(2, 0.5)}},
            "must be at most 100, but is 500",
        ),
    ],
)
def test_rescale_refuses_impossible_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        rescale(_stack(), **arguments)


def test_a_plane_never_vanishes():
    assert rescale(np.full((1, 3, 3), 9, np.uint8), 0.01).tolist() == [[[9]]]
    assert rescale(np.full((1, 1, 1), 9, np.uint8), 3).tolist() == [[[9] * 3] * 3]


@pytest.mark.parametrize(
    ("arguments", "region"),
    [
        ({"top": 3, "left": 4, "height": 5, "width": 6}, (slice(3, 8), slice(4, 10))),
        ({"top": 3}, (slice(3, 40), slice(0, 60))),
        ({"width": 7}, (slice(0, 40), slice(0, 7))),
        ({"size": 10}, (slice(15, 25), slice(25, 35))),
        ({"size": (11, 60)}, (slice(14, 25), slice(0, 60))),
        ({"margin": 2}, (slice(2, 38), slice(2, 58))),
        ({"margin": (0, 5)}, (slice(0, 40), slice(5, 55))),
    ],
)
def test_crop_keeps_the_rectangle_and_the_place_of_its_centre(arguments, region):
    stack, planes = _stack(), _planes()
    changed, result = _moved(crop, planes, stack, **arguments)
    np.testing.assert_array_equal(result, stack[(slice(None), *region)])
    assert not np.shares_memory(result, stack)
    # The centre of the kept pixels, by the place of each pixel's centre on the stage.
    for name, axis, size in (("y_um", 0, 40), ("x_um", 1, 60)):
        places = planes[name][:, None] + (np.arange(size) + 0.5 - size / 2) * 0.5
        np.testing.assert_allclose(changed[name], places[:, region[axis]].mean(axis=1))
    np.testing.assert_array_equal(changed["well"], planes["well"])


def test_an_unknown_stage_position_or_pixel_size_stays_unknown():
    stack = _stack()
    planes = _planes() | {"x_um": np.array([np.nan, 5.0])}
    changed, _ = _moved(crop, planes, stack, left=10)
    assert np.isnan(changed["x_um"][0])
    assert changed["x_um"][1] == 5 + 10 / 2 * 0.5
    changed, _ = _moved(crop, _planes(size=np.nan), stack, left=10)
    assert np.isnan(changed["x_um"]).all()
    np.testing.assert_array_equal(changed["y_um"], [300, 300])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "exactly one of"),
        ({"size": 3, "margin": 3}, "exactly one of"),
        ({"size": 3, "top": 0}, "exactly one of"),
        ({"size": 41}, "have 40 rows and 60 columns"),
        ({"top": -1}, "top must be a whole number from 0"),
        ({"left": 30, "width": 31}, "columns 30 to 61"),
        ({"margin": 20}, "rows 20 to 20"),
        ({"height": 0}, "height must be a whole number from 1"),
    ],
)
def test_crop_refuses_what_is_not_inside(arguments, text):
    with pytest.raises(ValueError, match=text):
        crop(_stack(), **arguments)


@pytest.mark.parametrize("function", [rescale, crop])
def test_only_stacks_are_accepted(function):
    with pytest.raises(ValueError, match=r"image\[None\]"):
        function(np.zeros((8, 8), np.uint8), 2)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [(rescale, {"factor": 0.37}), (rescale, {"factor": 2.2, "order": 3}), (crop, {"size": 9})],
)
def test_cupy_gives_the_same(cupy_standin, function, arguments, dtype):
    stack = _stack(dtype=dtype)
    if dtype == "float32":
        stack[0, 3, 3] = np.nan
    got = function(cupy_standin.asarray(stack), **arguments).get()
    np.testing.assert_array_equal(got, function(stack, **arguments))


@pytest.mark.parametrize("planes", [1, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
@pytest.mark.parametrize(
    ("function", "arguments"), [(rescale, {"factor": 0.5}), (rescale, {"factor": 1}), (crop, {"margin": 1})]
)
def test_memory_is_bounded_by_what_is_declared(function, arguments, dtype, planes):
    stack = _stack((planes, 500, 500), dtype)
    function(stack[:, :40, :40], **arguments)
    tracemalloc.start()
    function(stack, **arguments)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(function)
    declared = spec.cost(arguments).of(stack)
    assert peak <= declared <= 3 * peak


def test_a_real_plane_shrinks_without_aliasing_and_keeps_its_mean(real_data):
    folder = real_data("imagexpress_export_zstack") / "9987_Plate_3433" / "TimePoint_1" / "ZStep_2"
    plane = tifffile.imread(folder / "9987_B03_s1_w1.TIF")
    for factor in (0.5, 0.31):
        small = rescale(plane[None], factor)[0]
        assert small.dtype == plane.dtype
        assert small.mean() == pytest.approx(plane.mean(), rel=0.01)
    wanted = transform.rescale(plane.astype(float), 0.5, order=1, preserve_range=True, anti_aliasing=True)
    assert np.abs(rescale(plane[None], 0.5)[0] - wanted).max() <= 0.51
