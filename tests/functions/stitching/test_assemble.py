"""Mosaics against a slow reference, a smooth scene that is known everywhere, and geometry."""

from __future__ import annotations

import tracemalloc
from enum import Enum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.stitching.assemble import assemble_stack, assemble_stack_cpu, assemble_stack_cupy

METHODS = ("none", "fixed", "dynamic")
SHAPE = (40, 50)


def scene(x, y):
    """Smooth enough to be sampled exactly; x and y of pixel centres."""
    return 1000 + 300 * np.sin(x / 6) + 200 * np.cos(y / 7) + 100 * np.sin((x + y) / 9)


def tiles_at(positions, shape=SHAPE):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.stack([scene(x + left, y + top) for left, top in positions])


def grid(rows, columns, shape=SHAPE, overlap=0.2, jitter=0.0, seed=0):
    pitch = np.array([shape[1], shape[0]]) * (1 - overlap)
    cells = np.array([(column, row) for row in range(rows) for column in range(columns)])
    positions = cells * pitch + np.random.default_rng(seed).uniform(-jitter, jitter, cells.shape)
    return positions - positions.min(axis=0)


def covered(mosaic, positions, shape=SHAPE):
    """Which pixels of a mosaic lie wholly inside a tile."""
    y, x = np.mgrid[: mosaic.shape[0], : mosaic.shape[1]]
    inside = np.zeros(mosaic.shape, dtype=bool)
    for left, top in positions:
        inside |= (x >= left) & (x + 1 <= left + shape[1]) & (y >= top) & (y + 1 <= top + shape[0])
    return inside


def expected_blend(tiles, positions, ratio):
    """Mean of tiles at whole positions with ramps over ``ratio`` of their size, one pixel after the other."""
    height, width = tiles.shape[1:]
    size = positions.max(axis=0).astype(int) + np.array([width, height])
    total, weight_sum = np.zeros((2, size[1], size[0]))
    along = np.array([min((min(i, width - 1 - i) + 0.5) / (ratio * width), 1) for i in range(width)])
    down = np.array([min((min(i, height - 1 - i) + 0.5) / (ratio * height), 1) for i in range(height)])
    for tile, (x, y) in zip(tiles, positions.astype(int), strict=True):
        total[y : y + height, x : x + width] += tile * np.outer(down, along)
        weight_sum[y : y + height, x : x + width] += np.outer(down, along)
    return np.divide(total, weight_sum, out=np.zeros_like(total), where=weight_sum > 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("jitter", [0.0, 3.0])
def test_the_mosaic_of_a_scene_is_the_scene(method, jitter):
    positions = grid(3, 4, jitter=jitter)
    mosaic = assemble_stack(tiles_at(positions), positions, method)[0]
    assert mosaic.shape == tuple(np.ceil(positions.max(axis=0) + np.array([50, 40]))[::-1].astype(int))
    y, x = np.mgrid[: mosaic.shape[0], : mosaic.shape[1]]
    inside = covered(mosaic, positions)
    assert inside.mean() > 0.9
    # At a tile's edge cubic convolution repeats the last pixel: half a pixel's slope of the scene at most.
    difference = abs(mosaic - scene(x, y))[inside]
    assert np.quantile(difference, 0.95) < 3
    assert difference.max() < 45


def test_a_tile_at_a_fraction_is_resampled_without_a_shift_and_without_much_blur():
    for fraction in (0.25, 0.5, 0.8):
        positions = np.array([[0, 0], [20 + fraction, 10 + fraction]])
        mosaic = assemble_stack(tiles_at(positions), positions, "none")[0]
        y, x = np.mgrid[15:45, 25:65]
        assert abs(mosaic[15:45, 25:65] - scene(x, y)).max() < 1.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_where_one_tile_lies_alone_its_pixels_are_copied(method, dtype):
    tiles = np.random.default_rng(0).integers(0, 255, (4, *SHAPE)).astype(dtype)
    positions = np.array([[0, 0], [45, 0], [0, 36], [45, 36]], float)
    mosaic = assemble_stack(tiles, positions, method)[0]
    assert mosaic.dtype == dtype
    assert (mosaic[:36, :45] == tiles[0, :36, :45]).all()
    assert (mosaic[40:, 50:] == tiles[3, 4:, 5:]).all()


@pytest.mark.parametrize("ratio", [0.05, 0.3])
def test_fixed_blending_is_the_weighted_mean(ratio):
    tiles = np.random.default_rng(1).integers(0, 60000, (6, *SHAPE)).astype(np.uint16)
    positions = np.rint(grid(2, 3, jitter=2))
    mosaic = assemble_stack(tiles, positions, "fixed", fixed_margin_ratio=ratio)[0]
    expected = expected_blend(tiles, positions, ratio)
    assert abs(mosaic - expected).max() <= 0.51
    sharp = assemble_stack(tiles, positions, "fixed", fixed_margin_ratio=0)[0]
    assert abs(sharp - expected_blend(tiles, positions, 1e-9)).max() <= 0.51


def test_dynamic_blending_fades_linearly_over_the_whole_overlap():
    tiles = np.stack([np.full(SHAPE, 1000.0), np.full(SHAPE, 3000.0)])
    mosaic = assemble_stack(tiles, np.array([[0, 0], [30, 0]]), "dynamic")[0]
    assert np.allclose(mosaic[:, 30:50], 1000 + 2000 * (np.arange(20) + 0.5) / 20)
    assert (mosaic[:, :30] == 1000).all()
    assert (mosaic[:, 50:] == 3000).all()
    below = assemble_stack(tiles, np.array([[0, 25], [0, 0]]), "dynamic")[0]
    assert np.allclose(below[25:40, 7], 3000 - 2000 * (np.arange(15) + 0.5) / 15)


def test_without_blending_the_last_tile_lies_on_top():
    tiles = np.stack([np.full(SHAPE, value, np.uint16) for value in (10, 20, 30)])
    mosaic = assemble_stack(tiles, np.array([[0, 0], [40, 0], [20, 0]]), "none")[0]
    assert mosaic[0].tolist() == [10] * 20 + [30] * 50 + [20] * 20


@given(
    offsets=st.lists(st.tuples(st.floats(0, 30), st.floats(0, 30)), min_size=1, max_size=5),
    method=st.sampled_from(METHODS),
    subpixel=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_no_pixel_that_a_tile_covers_stays_black_or_changes_a_constant(offsets, method, subpixel):
    positions = np.array(offsets)
    mosaic = assemble_stack(
        np.full((len(offsets), 12, 14), 1000, np.uint16), positions, method, subpixel=subpixel
    )[0]
    at = positions - positions.min(axis=0)
    at = at if subpixel else np.rint(at)
    inside = covered(mosaic, at, (12, 14))
    assert (mosaic[inside] == 1000).all()
    assert set(np.unique(mosaic)) <= {0, 1000}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("offset", [0, 0.001, 0.4, 0.5, 0.99, -0.3, -1])
def test_tiles_offset_by_up_to_a_pixel_leave_no_black_line(method, offset):
    tiles = np.full((2, *SHAPE), 500, np.uint16)
    mosaic = assemble_stack(tiles, np.array([[0.0, 0.0], [50 + offset, 0.0]]), method)[0]
    assert (mosaic == 500).all()


def test_a_true_gap_is_0():
    tiles = np.full((2, *SHAPE), 500, np.uint16)
    mosaic = assemble_stack(tiles, np.array([[0, 0], [52, 3]]))[0]
    assert (mosaic[:, 50:52] == 0).all()
    assert (mosaic[40:, :50] == 0).all()


def test_whole_pixels_keep_the_noise_and_only_the_differences_of_positions_count():
    tiles = np.random.default_rng(0).integers(0, 4000, (2, *SHAPE)).astype(np.uint16)
    positions = np.array([[7.3, -2.0], [52.1, -1.6]])
    mosaic = assemble_stack(tiles, positions, subpixel=False)[0]
    assert mosaic.shape == (40, 95)
    assert (mosaic[:, :45] == tiles[0, :, :45]).all()
    assert (mosaic[:, 50:] == tiles[1, :, 5:]).all()
    assert (assemble_stack(tiles, positions + 11.7) == assemble_stack(tiles, positions)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_overshoots_saturate(dtype):
    top = np.iinfo(dtype).max
    tiles = np.zeros((2, 30, 30), dtype)
    tiles[:, ::3] = top
    mosaic = assemble_stack(tiles, np.array([[0, 0], [5.5, 5.5]]), "none")[0]
    assert mosaic.dtype == dtype
    assert mosaic.min() >= 0
    assert mosaic.max() == top


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3)])
def test_tiny_tiles_work(shape):
    tiles = np.full((2, *shape), 9, np.uint8)
    for method in METHODS:
        mosaic = assemble_stack(tiles, np.array([[0, 0], [0.5, 0.5]]), method)
        assert mosaic.shape == (1, shape[0] + 1, shape[1] + 1)
        assert mosaic[0, 0, 0] == mosaic[0, -1, -1] == 9


def test_one_tile_is_its_own_mosaic():
    tile = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)
    assert (assemble_stack(tile, [[3.7, 2.2]]) == tile).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_gpu_path_gives_the_result_of_the_cpu(method, cupy_standin):
    positions = grid(2, 3, jitter=2)
    tiles = tiles_at(positions).astype(np.uint16)
    expected = assemble_stack(tiles, positions, method)
    for places in (positions, cupy_standin.asarray(positions)):
        got = assemble_stack(cupy_standin.asarray(tiles), places, method).get()
        assert abs(got.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 3)])
def test_peak_memory_stays_below_what_is_declared(method, rows, columns):
    stack = np.ones((rows * columns, 500, 500), np.uint16)
    positions = grid(rows, columns, (500, 500), overlap=0.1, jitter=4)
    assemble_stack(stack[:, :20, :20], positions / 25, method)
    tracemalloc.start()
    assemble_stack(stack, positions, method)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(assemble_stack)
    declared = spec.cost().of(stack)
    assert peak <= declared <= 3 * peak


def planes_of(count, **columns):
    return {
        "well": np.array(["B03"] * count),
        "site": np.arange(1, count + 1),
        "channel": np.ones(count, int),
        "channel_name": np.array(["DAPI"] * count),
        "z_index": np.zeros(count, int),
        "timepoint": np.zeros(count, int),
        "x_um": np.array([1000.0, 1000 + 45 * 0.5]),
        "y_um": np.array([2000.0, 2000.0]),
        "z_um": np.full(count, 7.5),
        "time_s": np.full(count, np.nan),
        "pixel_size_um": np.full(count, 0.5),
        "grid_row": np.zeros(count, int),
        "grid_column": np.arange(count),
        **columns,
    }


def test_the_plane_table_of_a_mosaic_says_where_its_centre_lies():
    geometry = spec_of(assemble_stack).geometry
    positions = np.array([[0, 0], [47.0, 2.0]])
    table = geometry(planes_of(2), (2, *SHAPE), (1, 42, 97), {"positions": positions})
    assert all(len(column) == 1 for column in table.values())
    assert (table["site"][0], table["channel_name"][0], table["z_um"][0]) == (1, "DAPI", 7.5)
    assert (table["grid_row"][0], table["grid_column"][0]) == (-1, -1)
    assert table["pixel_size_um"][0] == 0.5
    # Mean of what the two tiles say: 1000 + 23.5 px and 1022.5 - 23.5 px; 2000 + 1 px and 2000 - 1 px.
    assert table["x_um"][0] == pytest.approx(1011.25)
    assert table["y_um"][0] == pytest.approx(2000.0)
    unknown = geometry(
        planes_of(2, x_um=np.full(2, np.nan)), (2, *SHAPE), (1, 42, 97), {"positions": positions}
    )
    assert np.isnan(unknown["x_um"][0])


def test_the_declaration():
    spec = spec_of(assemble_stack)
    assert (spec.reduces, spec.mosaic, spec.stacks, spec.needs_stacks) == (True, True, "site", True)
    assert assemble_stack_cpu is assemble_stack_cupy is assemble_stack


@pytest.mark.parametrize(
    ("positions", "arguments", "message"),
    [
        ([[0, 0]], {}, "positions must be 2 pairs of finite numbers"),
        ([[0, 0], [np.nan, 0]], {}, "positions must be 2 pairs of finite numbers"),
        ([[0, 0], [1e5, 1e5]], {}, "lie too far apart"),
        (
            [[0, 0], [40, 0]],
            {"blend_method": "soft"},
            "blend_method='soft' is not known. Allowed: none, fixed",
        ),
        ([[0, 0], [40, 0]], {"fixed_margin_ratio": -0.1}, "fixed_margin_ratio must not be negative"),
        ([[0, 0], [40, 0]], {"fixed_margin_ratio": 0.6}, "fixed_margin_ratio is at most 0.5"),
        (
            [[0, 0], [40, 0]],
            {"planes": planes_of(2, channel=np.array([1, 2]))},
            "2 channels in one stack. Stack sites",
        ),
        ([[0, 0], [40, 0]], {"planes": planes_of(2, z_index=np.array([1, 2]))}, "2 z planes in one stack"),
        (
            [[0, 0], [40, 0]],
            {"planes": planes_of(2, timepoint=np.array([1, 2]))},
            "2 timepoints in one stack",
        ),
    ],
)
def test_a_mistake_is_named(positions, arguments, message):
    with pytest.raises(ValueError, match=message):
        assemble_stack(np.ones((2, *SHAPE), np.uint8), positions, **arguments)


def test_blending_takes_an_enum():
    method = Enum("Method", {"DYNAMIC": "dynamic"}).DYNAMIC
    tiles = np.ones((2, *SHAPE), np.uint8)
    assert (assemble_stack(tiles, [[0, 0], [40, 0]], method) == 1).all()
