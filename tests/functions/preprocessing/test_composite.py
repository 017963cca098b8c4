from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.preprocessing.composite import (
    create_composite,
    rgb_composite,
    rgb_of,
)


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))),
    st.data(),
)
def test_it_is_numpys_weighted_average(stack, data):
    weight = st.floats(0.01, 100)
    weights = data.draw(st.lists(weight, min_size=len(stack), max_size=len(stack)))
    result = create_composite(stack, weights)
    assert result.shape == (1, *stack.shape[1:])
    assert result.dtype == np.uint8
    assert np.abs(result[0] - np.average(stack, axis=0, weights=weights)).max() <= 0.5 + 1e-9


def test_equal_weights_by_default_and_rounding_half_to_even():
    stack = np.array([[[0, 1, 255]], [[1, 2, 255]]], dtype=np.uint8)
    assert create_composite(stack)[0].tolist() == [[0, 2, 255]]


def test_the_highest_value_survives_uneven_weights():
    stack = np.full((3, 300, 2), 65535, np.uint16)
    assert (create_composite(stack, [0.1, 0.2, 0.7]) == 65535).all()


def test_floats_keep_their_dtype_and_a_plane_of_weight_zero_is_left_out():
    stack = np.array([[[1.0]], [[np.nan]], [[4.0]]], dtype=np.float32)
    result = create_composite(stack, [1, 0, 2])
    assert result.dtype == np.float32
    assert result[0, 0, 0] == 3


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ([1.0], "1 weights for a stack of 2 planes"),
        ([1.0, -1.0], "negative"),
        ([0.0, 0.0], "positive"),
        ([1.0, float("nan")], "finite"),
    ],
)
def test_impossible_weights_are_refused(weights, text):
    with pytest.raises(ValueError, match=text):
        create_composite(np.zeros((2, 3, 3), np.uint8), weights)


def test_only_stacks_are_accepted():
    with pytest.raises(ValueError, match="N, Y, X"):
        create_composite(np.zeros((3, 3), np.uint8))


def test_declaration():
    assert spec_of(create_composite).reduces
    assert spec_of(create_composite).stacks == "channel"
    assert [(output.name, output.optional) for output in spec_of(create_composite).outputs] == [("rgb", True)]


PLANES = {
    "channel": np.array(["1", "2", "2"]),
    "channel_name": np.array(["DAPI", "GFP", "GFP"]),
    "z_index": np.array([1, 1, 2]),
}


@pytest.mark.parametrize(
    ("weights", "same"),
    [
        ({"DAPI": 1, "GFP": 2}, [1, 2, 2]),
        ({1: 3, 2: 1}, [3, 1, 1]),
        ({"1": 3, "GFP": 1}, [3, 1, 1]),
        ({"GFP": 5}, [0, 1, 1]),
    ],
)
def test_weights_by_channel(weights, same):
    stack = np.random.default_rng(0).integers(0, 9999, (3, 5, 6)).astype(np.uint16)
    np.testing.assert_array_equal(
        create_composite(stack, weights, planes=PLANES), create_composite(stack, same)
    )


def test_numbers_of_channels_may_be_integers_in_the_table():
    stack = np.random.default_rng(0).integers(0, 255, (2, 5, 6)).astype(np.uint8)
    planes = {"channel": np.array([1, 2])}
    np.testing.assert_array_equal(create_composite(stack, {2: 1}, planes=planes)[0], stack[1])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"weights": {"DAPI": 1}}, "plane table"),
        ({"weights": {"Cy5": 1}, "planes": PLANES}, "'Cy5', but the stack has: DAPI, GFP"),
        ({"colors": ["blue", "green"]}, "2 colors for a stack of 3 planes"),
        ({"colors": "blue"}, "1 colors"),
        ({"colors": ["blue", "green", "ultraviolet"]}, "'ultraviolet' is no colour.*orange"),
        ({"colors": ["#12", (1, 2), None]}, "no colour"),
        ({"colors": [(0, 0, 256), None, None]}, "no colour"),
        ({"colors": [(0, float("nan"), 1), None, None]}, "no colour"),
        ({"colors": [(), None, None]}, "no colour"),
    ],
)
def test_impossible_channels_and_colours_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        create_composite(np.zeros((3, 3, 3), np.uint8), **arguments)


def test_colours_by_name_hex_and_numbers():
    assert rgb_of("blue") == rgb_of("Blue") == rgb_of("#0000ff") == rgb_of("00F") == rgb_of((0, 0, 1))
    assert rgb_of([255, 128, 0]) == rgb_of("#ff8000") == rgb_of("orange")
    assert rgb_of((0.5, 1, 0)) == (0.5, 1, 0)


def test_a_picture_adds_tinted_channels_and_clips():
    stack = np.zeros((3, 1, 5), np.uint16)
    stack[0, 0] = [0, 100, 200, 300, 0]
    stack[1, 0] = [0, 0, 200, 200, 200]
    stack[2, 0] = [9, 9, 9, 9, 9]
    picture = rgb_composite(stack, ["red", "#ffff00", None], [(0, 200), (0, 200), None])
    assert picture.dtype == np.uint8
    assert picture[0].tolist() == [[0, 0, 0], [128, 0, 0], [255, 255, 0], [255, 255, 0], [255, 255, 0]]


def test_a_picture_is_stretched_by_percentiles_of_each_plane():
    plane = np.arange(1000, dtype=np.float32).reshape(1, 20, 50)
    picture = rgb_composite(np.concatenate([plane, 100 * plane]), ["green", "blue"], None, 10, 90)
    low, high = np.percentile(plane, [10, 90])
    wanted = np.round(255 * np.clip((plane[0] - low) / (high - low), 0, 1))
    assert np.abs(picture[..., 1] - wanted).max() <= 1
    np.testing.assert_array_equal(picture[..., 1], picture[..., 2])
    assert not picture[..., 0].any()


def test_colours_and_ranges_by_channel():
    stack = np.random.default_rng(0).integers(0, 999, (3, 8, 9)).astype(np.uint16)
    by_name = rgb_composite(stack, {"GFP": "green"}, {"GFP": (0, 500)}, planes=PLANES)
    in_order = rgb_composite(stack, [None, "green", "green"], [None, (0, 500), (0, 500)])
    np.testing.assert_array_equal(by_name, in_order)


def test_default_colours():
    stack = np.random.default_rng(0).integers(0, 999, (3, 8, 9)).astype(np.uint16)
    np.testing.assert_array_equal(rgb_composite(stack), rgb_composite(stack, ["blue", "green", "red"]))
    grey = rgb_composite(stack[:1])
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


def test_black_where_there_is_nothing_to_see():
    assert not rgb_composite(np.full((2, 4, 4), 70, np.uint8)).any()
    stack = np.array([[[0.0, np.nan, 1.0]]])
    assert rgb_composite(stack, ["white"], [(0, 1)])[0, :, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"display_ranges": [(5, 5), None]}, "low < high"),
        ({"display_ranges": [(0, 5)]}, "1 display_ranges"),
        ({"low_percentile": 50, "high_percentile": 50}, "low_percentile < high_percentile"),
    ],
)
def test_impossible_pictures_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        rgb_composite(np.zeros((2, 3, 3), np.uint8), **arguments)


def test_the_mean_and_the_picture_together():
    stack = np.random.default_rng(0).integers(0, 999, (2, 8, 9)).astype(np.uint16)
    mean, picture = create_composite(stack, [1, 3], ["red", "cyan"])
    np.testing.assert_array_equal(mean, create_composite(stack, [1, 3]))
    np.testing.assert_array_equal(picture, rgb_composite(stack, ["red", "cyan"]))
    _, dark = create_composite(stack, colors=["red", None], display_ranges=[(0, 9000), None])
    np.testing.assert_array_equal(dark[..., 0], np.round(stack[0] / 9000 * 255))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_cupy_gives_the_same(cupy_standin, dtype):
    stack = np.random.default_rng(0).integers(0, 255, (3, 20, 30)).astype(dtype)
    device = cupy_standin.asarray(stack)
    np.testing.assert_array_equal(
        create_composite(device, {"GFP": 2, 1: 1}, planes=PLANES).get(), create_composite(stack, [1, 2, 2])
    )
    np.testing.assert_array_equal(rgb_composite(device).get(), rgb_composite(stack))


@pytest.mark.parametrize("planes", [1, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
@pytest.mark.parametrize("colors", [None, {"GFP": "green"}])
def test_memory_is_bounded_by_what_is_declared(dtype, planes, colors):
    stack = np.random.default_rng(0).integers(0, 255, (planes, 1600, 800)).astype(dtype)
    tracemalloc.start()
    create_composite(stack, colors=colors, planes={"channel_name": ["GFP"] * planes})
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(create_composite)
    declared = spec.cost().of(stack)
    assert peak <= declared <= 3 * peak


def test_real_channels_make_a_picture_of_both(real_data):
    folder = real_data("bbbc013_fkhr_translocation") / "images"
    stack = np.stack([tifffile.imread(folder / f"Channel{i}-17-B-05.tif") for i in (1, 2)])
    picture = rgb_composite(stack, ["green", "blue"])
    assert not picture[..., 0].any()
    for plane, shown in ((stack[0], picture[..., 1]), (stack[1], picture[..., 2])):
        assert np.corrcoef(plane.ravel(), shown.ravel())[0, 1] > 0.9
        assert 0.001 <= np.mean(shown == 255) <= 0.05
