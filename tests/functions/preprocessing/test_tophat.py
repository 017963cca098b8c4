from __future__ import annotations

from enum import Enum

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.morphology import disk, footprint_rectangle, octagon, white_tophat
from skimage.morphology import opening as skimage_opening
from skimage.transform import downscale_local_mean, resize

from hcs_steps.functions.preprocessing._morphology import half_widths, opening
from hcs_steps.functions.preprocessing.background import tophat


def _image(shape, dtype="uint16", seed=0):
    return np.random.default_rng(seed).integers(0, 60000, shape).astype(dtype)


def _reference(plane, radius, factor):
    """The docstring's definition in calls of scikit-image."""
    rows, columns = (-(-size // factor) * factor for size in plane.shape)
    padded = np.pad(plane, ((0, rows - plane.shape[0]), (0, columns - plane.shape[1])), mode="edge")
    small = downscale_local_mean(padded.astype(float), (factor, factor))
    background = skimage_opening(small, disk(max(1, round(radius / factor))))
    large = resize(background, (rows, columns), order=1, mode="edge", anti_aliasing=False)
    return np.clip(plane - large[: plane.shape[0], : plane.shape[1]], 0, None)


@settings(deadline=None, max_examples=40)
@given(
    hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)),
    st.integers(1, 7),
)
def test_without_downsampling_it_is_scikit_images_white_tophat(plane, radius):
    np.testing.assert_array_equal(
        tophat(plane[None], radius, downsample_factor=1)[0], white_tophat(plane, disk(radius))
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_planes_are_independent(dtype):
    stack = np.stack([_image((40, 33), dtype, seed) for seed in range(3)])
    result = tophat(stack, 6, downsample_factor=1)
    assert result.dtype == dtype
    for plane, got in zip(stack, result, strict=True):
        np.testing.assert_array_equal(got, white_tophat(plane, disk(6)))


@pytest.mark.parametrize(("shape", "factor"), [((64, 80), 4), ((61, 75), 4), ((50, 50), 3), ((5, 300), 4)])
def test_downsampled_background_follows_the_definition(shape, factor):
    plane = _image(shape)
    wanted = _reference(plane, 20, factor)
    np.testing.assert_allclose(tophat(plane[None].astype(float), 20, factor)[0], wanted, atol=1e-8)
    got = tophat(plane[None], 20, factor)[0].astype(float)
    assert np.abs(got - wanted).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("radius", [1, 2, 3, 5, 12, 13])
def test_footprints_are_scikit_images(radius):
    side = 2 * radius + 1
    corner = round(side / (2 + np.sqrt(2)))
    wanted = {
        "disk": disk(radius),
        "square": footprint_rectangle((side, side)),
        "octagon": octagon(side - 2 * corner, corner),
    }
    for name, footprint in wanted.items():
        np.testing.assert_array_equal(2 * half_widths(name, radius) + 1, footprint.sum(axis=1), err_msg=name)
        plane = _image((37, 41))
        np.testing.assert_array_equal(
            tophat(plane[None], radius, 1, footprint=name)[0], white_tophat(plane, footprint), err_msg=name
        )


def test_signed_differences_saturate():
    plane = np.full((1, 9, 9), np.iinfo(np.int16).min, np.int16)
    plane[0, 4, 4] = np.iinfo(np.int16).max
    result = tophat(plane, 2, 1)
    assert result[0, 4, 4] == np.iinfo(np.int16).max
    assert np.count_nonzero(result) == 1


def test_wide_background_goes_and_small_spots_stay():
    rows, columns = np.mgrid[:200, :200]
    background = 1000 + 5 * rows + 3 * columns
    stack = background[None].astype(np.uint16)
    stack[0, 98:103, 98:103] += 5000
    result = tophat(stack, 30)
    assert 4800 <= result[0, 100, 100] <= 5500
    assert np.median(result) < 250


def test_an_enum_names_the_footprint_and_the_result_is_repeatable():
    class Footprint(Enum):
        SQUARE = "square"

    stack = _image((2, 30, 30))
    np.testing.assert_array_equal(tophat(stack, 8, 2, Footprint.SQUARE), tophat(stack, 8, 2, "square"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"selem_radius": 0}, "above 0"),
        ({"selem_radius": -3}, "above 0"),
        ({"downsample_factor": 0}, "whole number"),
        ({"downsample_factor": 1.5}, "whole number"),
        ({"footprint": "star"}, "disk, square, octagon"),
    ],
)
def test_impossible_arguments_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        tophat(np.zeros((1, 8, 8), np.uint8), **arguments)


def test_only_stacks_are_accepted():
    with pytest.raises(ValueError, match=r"image\[None\]"):
        tophat(np.zeros((8, 8), np.uint8))


@settings(deadline=None, max_examples=30)
@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)),
    st.integers(1, 30),
    st.sampled_from(["disk", "square", "octagon"]),
)
def test_openings_are_those_of_the_whole_footprint_at_any_radius(plane, radius, name):
    widths = half_widths(name, radius)
    footprint = np.abs(np.arange(-radius, radius + 1)) <= widths[:, None]

    def neighbours(image):
        padded = np.pad(image, radius, mode="symmetric")
        return np.lib.stride_tricks.sliding_window_view(padded, footprint.shape)[..., footprint]

    wanted = neighbours(neighbours(plane).min(axis=-1)).max(axis=-1)
    np.testing.assert_array_equal(opening(plane, name, radius), wanted)


def test_a_plane_worked_on_in_strips_has_no_seams(monkeypatch):
    plane = _image((150, 41))
    whole = [opening(plane, name, 9) for name in ("disk", "square", "octagon")]
    monkeypatch.setattr("hcs_steps.functions.preprocessing._morphology._STRIP_BYTES", 1)
    for name, wanted in zip(("disk", "square", "octagon"), whole, strict=True):
        np.testing.assert_array_equal(opening(plane, name, 9), wanted)
    np.testing.assert_array_equal(whole[0], skimage_opening(plane, disk(9)))


@pytest.mark.parametrize("factor", [1, 3])
def test_nan_stays_where_it_is(factor):
    rows, columns = np.mgrid[:60, :60]
    stack = (100 + rows + columns)[None].astype(np.float32)
    stack[0, 30, 30] = 900
    wanted = tophat(stack, 10, factor)
    stack[0, 5, 5] = np.nan
    result = tophat(stack, 10, factor)
    assert np.flatnonzero(np.isnan(result)).tolist() == [5 * 60 + 5]
    assert result[0, 30, 30] == wanted[0, 30, 30] > 700
    assert np.isnan(tophat(np.full((1, 5, 5), np.nan), 3, factor)).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
@pytest.mark.parametrize("arguments", [{}, {"downsample_factor": 1}, {"footprint": "octagon"}])
def test_cupy_gives_the_same(cupy_standin, dtype, arguments):
    stack = _image((2, 45, 50), "uint8").astype(dtype)
    got = tophat(cupy_standin.asarray(stack), 20, **arguments).get()
    np.testing.assert_array_equal(got, tophat(stack, 20, **arguments))


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (2, 3)])
@pytest.mark.parametrize("factor", [1, 4])
def test_planes_smaller_than_the_footprint(shape, factor):
    plane = _image(shape)
    assert tophat(plane[None], 50, factor).shape == (1, *shape)
    assert not tophat(np.full((1, *shape), 77, np.uint16), 50, factor).any()


def test_nuclei_stay_and_uneven_light_goes_on_real_wells(real_data):
    plane = tifffile.imread(real_data("bbbc013_fkhr_translocation") / "images" / "Channel2-17-B-05.tif")
    rows = np.linspace(0, 60, plane.shape[0])[:, None]
    lit = (plane.astype(float) + rows).astype(np.uint16)
    before, after = tophat(plane[None].astype(np.uint16), 30), tophat(lit[None], 30)
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.995
    top, bottom = (np.median(half) for half in np.array_split(after[0], 2))
    assert abs(top - bottom) <= 2
    np.testing.assert_array_equal(tophat(plane[None], 15, 1)[0], white_tophat(plane, disk(15)))
