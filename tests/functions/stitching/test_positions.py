"""Tile positions against synthetic truth and against what others found on real tiles."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.stitching.positions import (
    ashlar_compute_tile_positions_cpu,
    ashlar_compute_tile_positions_gpu,
    compute_tile_positions,
)


def spread(positions, true):
    """Differences to the truth about their mean: where the whole mosaic lies is nobody's choice."""
    difference = positions - true
    return difference - difference.mean(axis=0)


def rms(difference):
    return np.sqrt((difference**2).sum(axis=1).mean())


def stage(true_cells, pitch, size_um):
    cells = np.array(true_cells)
    return {
        "site": np.arange(1, len(cells) + 1),
        "x_um": 5000 + cells[:, 1] * pitch[0] * size_um,
        "y_um": 3000 + cells[:, 0] * pitch[1] * size_um,
        "pixel_size_um": np.full(len(cells), size_um),
    }


@pytest.mark.parametrize(
    "scene",
    [
        {},
        {"vignetting": 0.5},
        {"linear": ((1.0, 0.02), (-0.015, 1.0))},
        {"signal": 60},
        {"dtype": np.int32, "overlap": 0.2},
    ],
    ids=["plain", "vignetting", "sheared", "faint", "int32, 20 % overlap"],
)
def test_positions_are_within_a_tenth_of_a_pixel_of_the_truth(cut_tiles, scene):
    tiles, true = cut_tiles(4, 4, (224, 256), **scene)
    stack, positions, tile_table, pairs = compute_tile_positions(
        tiles, overlap_ratio=scene.get("overlap", 0.1), grid_dimensions=(4, 4)
    )
    assert stack is tiles
    assert positions.dtype == np.float64
    assert positions.min(axis=0).tolist() == [0, 0]
    assert set(tile_table["placed_by"]) == {"registered"}
    assert rms(spread(positions, true)) < 0.1
    accepted = pairs["accepted"] == 1
    measured = np.stack([pairs["dx_px"], pairs["dy_px"]], axis=1)[accepted]
    offsets = (true[pairs["neighbour_plane"]] - true[pairs["plane"]])[accepted]
    assert abs((measured - offsets).mean(axis=0)).max() < 0.05  # no bias
    assert pairs["in_tree"].sum() == 15
    assert (pairs["residual_px"][accepted] < 0.5).all()


def test_a_large_grid_stays_exact(cut_tiles):
    tiles, true = cut_tiles(6, 6, (140, 140), jitter=2, density=1 / 80)
    _, positions, _, _ = compute_tile_positions(tiles, grid_dimensions=(6, 6), max_shift=8)
    assert rms(spread(positions, true)) < 0.1


def test_an_empty_tile_is_flagged_and_placed_by_the_linear_model(cut_tiles):
    tiles, true = cut_tiles(4, 4, (200, 200), jitter=1, linear=((1.02, 0.02), (-0.02, 1.02)), empty=(3, 10))
    _, positions, tile_table, pairs = compute_tile_positions(tiles, grid_dimensions=(4, 4))
    empty = np.isin(np.arange(16), (3, 10))
    assert (tile_table["placed_by"] == np.where(empty, "model", "registered")).all()
    assert (tile_table["edges"][empty] == 0).all()
    touched = np.isin(pairs["plane"], (3, 10)) | np.isin(pairs["neighbour_plane"], (3, 10))
    assert (pairs["accepted"] == ~touched).all()
    assert set(pairs["reason"][touched]) <= {"above threshold", "unclear shift"}
    # The stage's own jitter is all that a model cannot know; by the nominal positions it is 12 px more.
    off = positions - true - (positions - true)[~empty].mean(axis=0)
    assert abs(off[empty]).max() < 4
    assert rms(spread(positions[~empty], true[~empty])) < 0.1


def test_a_part_without_connection_moves_as_a_whole(cut_tiles):
    tiles, true = cut_tiles(2, 5, (200, 200), jitter=1, empty=(2, 7))
    _, positions, tile_table, _ = compute_tile_positions(tiles, grid_dimensions=(2, 5))
    assert len(set(tile_table["component"])) == 4
    assert sorted(set(tile_table["placed_by"])) == ["model", "registered"]
    for part in ([0, 1, 5, 6], [3, 4, 8, 9]):
        assert rms(spread(positions[part], true[part])) < 0.1
    assert abs(spread(positions, true)).max() < 5


@pytest.mark.parametrize("value", [0, 700])
def test_constant_tiles_stay_at_their_nominal_positions(value):
    tiles = np.full((4, 100, 120), value, np.uint16)
    _, positions, tile_table, pairs = compute_tile_positions(tiles, grid_dimensions=(2, 2))
    assert np.allclose(positions, [[0, 0], [108, 0], [0, 90], [108, 90]])
    assert set(tile_table["placed_by"]) == {"nominal"}
    assert set(pairs["reason"]) == {"empty overlap"}
    assert np.isnan(pairs["dx_px"]).all()
    assert np.isnan(pairs["residual_px"]).all()


@pytest.mark.parametrize("seed", range(4))
def test_pure_noise_is_never_registered(seed):
    tiles = np.random.default_rng(seed).poisson(200, (9, 128, 128)).astype(np.uint16)
    _, _, tile_table, pairs = compute_tile_positions(tiles, grid_dimensions=(3, 3))
    assert set(tile_table["placed_by"]) == {"nominal"}
    assert pairs["accepted"].sum() == 0


def test_adjacent_tiles_without_overlap_stay_at_their_nominal_positions(cut_tiles):
    tiles, _ = cut_tiles(2, 2, (128, 128), overlap=0, jitter=0)
    _, positions, tile_table, pairs = compute_tile_positions(tiles, overlap_ratio=0, grid_dimensions=(2, 2))
    assert np.allclose(positions, [[0, 0], [128, 0], [0, 128], [128, 128]])
    assert set(tile_table["placed_by"]) == {"nominal"}
    assert set(pairs["reason"]) == {"no overlap"}


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (200, 200)])
def test_one_tile_lies_at_the_origin(shape):
    _, positions, tile_table, pairs = compute_tile_positions(np.ones((1, *shape), np.uint8))
    assert positions.tolist() == [[0, 0]]
    assert tile_table["placed_by"].tolist() == ["registered"]
    assert all(len(column) == 0 for column in pairs.values())


def test_stage_positions_win_over_the_grid_and_max_shift_is_in_micrometres(cut_tiles):
    cells = [(row, column) for row in range(3) for column in range(3)]
    tiles, true = cut_tiles(3, 3, (160, 200), jitter=3)
    planes = stage(cells, (180, 144), size_um=0.5)
    arguments = {"planes": planes, "grid_dimensions": (9, 1), "overlap_ratio": 0.5}
    _, positions, tile_table, _ = compute_tile_positions(tiles, **arguments, max_shift=7.5)
    assert np.allclose(tile_table["nominal_x_px"], [180 * column for _, column in cells])
    assert rms(spread(positions, true)) < 0.1
    _, _, _, pairs = compute_tile_positions(tiles, **arguments, max_shift=1.0)
    shift = np.hypot(pairs["dx_px"] - pairs["nominal_dx_px"], pairs["dy_px"] - pairs["nominal_dy_px"])
    assert shift[pairs["accepted"] == 1].max(initial=0) <= 2.5
    assert (pairs["accepted"] == 0).any()


def test_without_stage_positions_the_stated_cells_count(cut_tiles):
    tiles, true = cut_tiles(2, 3, (160, 160), jitter=2)
    order = [4, 0, 5, 2, 1, 3]
    planes = {
        "site": np.arange(6),
        "x_um": np.zeros(6),  # all the same: written by software that does not know them
        "y_um": np.zeros(6),
        "pixel_size_um": np.ones(6),
        "grid_row": np.array([0, 0, 0, 1, 1, 1])[order],
        "grid_column": np.array([0, 1, 2, 0, 1, 2])[order],
    }
    _, positions, _, _ = compute_tile_positions(tiles[order], planes=planes)
    assert rms(spread(positions, true[order])) < 0.1


@pytest.mark.parametrize(
    ("order", "cells"),
    [
        ("rows", [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]),
        ("columns", [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)]),
        ("snake rows", [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0), (2, 0), (2, 1), (2, 2)]),
        ("snake columns", [(0, 0), (1, 0), (2, 0), (2, 1), (1, 1), (0, 1), (0, 2), (1, 2), (2, 2)]),
        ("spiral", [(1, 1), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0), (0, 1), (0, 2)]),
    ],
)
def test_plates_acquired_in_any_order_are_stitched(cut_tiles, order, cells):
    tiles, true = cut_tiles(3, 3, (140, 140), jitter=2, density=1 / 80)
    taken = [3 * row + column for row, column in cells]
    _, positions, tile_table, _ = compute_tile_positions(tiles[taken], grid_dimensions=(3, 3), order=order)
    assert set(tile_table["placed_by"]) == {"registered"}
    assert rms(spread(positions, true[taken])) < 0.1
    planes = stage(cells, (126, 126), size_um=0.65)
    _, by_stage, _, _ = compute_tile_positions(tiles[taken], planes=planes, max_shift=15 * 0.65)
    assert np.allclose(by_stage, positions, atol=0.02)


def test_all_planes_of_a_site_get_the_position_of_its_reference_plane(cut_tiles):
    tiles, true = cut_tiles(2, 2, (160, 160), jitter=2)
    noise = np.random.default_rng(1).poisson(200, (4, 160, 160)).astype(np.uint16)
    # Per site: two channels of which the second shows cells, each of three z planes of which the middle one does.
    stack = np.stack([p for n, t in zip(noise, tiles, strict=True) for p in (n, n, n, n, t, n)])
    planes = {
        "site": np.repeat([3, 5, 7, 9], 6),
        "channel": np.tile([1, 1, 1, 2, 2, 2], 4),
        "channel_name": np.tile(["BF", "BF", "BF", "DAPI", "DAPI", "DAPI"], 4),
        "z_index": np.tile([0, 1, 2], 8),
        "timepoint": np.zeros(24, int),
    }
    for channel in (2, "DAPI"):
        _, positions, tile_table, pairs = compute_tile_positions(
            stack, planes=planes, grid_dimensions=(2, 2), reference_channel=channel
        )
        assert positions.shape == (24, 2)
        assert len(tile_table["plane"]) == 24
        assert (positions.reshape(4, 6, 2) == positions[::6, None]).all()
        assert rms(spread(positions[::6], true)) < 0.1
        assert pairs["plane"].tolist() == [4, 4, 10, 16]
        assert pairs["neighbour_site"].tolist() == [5, 7, 9, 9]
    _, _, tile_table, _ = compute_tile_positions(stack, planes=planes, grid_dimensions=(2, 2))
    assert set(tile_table["placed_by"]) == {"nominal"}
    with pytest.raises(ValueError, match=r"reference_channel='GFP' is not there at site 3.*BF, DAPI"):
        compute_tile_positions(stack, planes=planes, grid_dimensions=(2, 2), reference_channel="GFP")
    for channel, column in ((1, "channel"), ("DAPI", "channel_name")):
        del planes[column]
        with pytest.raises(ValueError, match=f"needs the column '{column}'"):
            compute_tile_positions(stack, planes=planes, grid_dimensions=(2, 2), reference_channel=channel)


def test_the_result_is_deterministic_and_the_seed_only_picks_unrelated_pairs(cut_tiles):
    tiles, true = cut_tiles(3, 3, (140, 140), jitter=2)
    first, again, other = (compute_tile_positions(tiles, grid_dimensions=(3, 3), seed=s) for s in (0, 0, 7))
    assert first[1].tobytes() == again[1].tobytes()
    for column in first[3]:
        assert first[3][column].tobytes() == again[3][column].tobytes()
    assert rms(spread(other[1], true)) < 0.1


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_other_types_and_nan_give_the_same_positions(cut_tiles, dtype):
    tiles, true = cut_tiles(2, 2, (160, 160), jitter=2, signal=60)
    tiles = (tiles // 4).astype(dtype) if dtype == np.uint8 else tiles.astype(dtype) / 1000
    if dtype != np.uint8:
        tiles[:, 20:24, 30:34] = np.nan
        tiles[0, 150, 100] = np.inf
    _, positions, _, _ = compute_tile_positions(tiles, grid_dimensions=(2, 2))
    assert rms(spread(positions, true)) < 0.15


def test_whitening_finds_cells_under_a_strong_haze(cut_tiles):
    tiles, true = cut_tiles(2, 3, (200, 200), jitter=3)
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    hazy = (tiles + 3000 * np.exp(-(x**2 + y**2))).astype(np.uint16)
    _, positions, tile_table, _ = compute_tile_positions(hazy, grid_dimensions=(2, 3), filter_sigma=1.5)
    assert set(tile_table["placed_by"]) == {"registered"}
    assert rms(spread(positions, true)) < 0.3


def test_the_gpu_path_gives_the_result_of_the_cpu(cut_tiles, cupy_standin):
    tiles, _ = cut_tiles(2, 3, (130, 150), jitter=2, empty=(5,))
    tiles = tiles.astype(np.float32)
    tiles[0, 5, 5] = np.nan
    device = cupy_standin.asarray(tiles)
    for sigma in (0, 1.5):
        _, expected, table, _ = compute_tile_positions(tiles, grid_dimensions=(2, 3), filter_sigma=sigma)
        stack, positions, got, _ = compute_tile_positions(device, grid_dimensions=(2, 3), filter_sigma=sigma)
        assert stack is device
        assert isinstance(positions, np.ndarray)
        assert np.allclose(positions, expected, atol=0.01)
        assert (got["placed_by"] == table["placed_by"]).all()


@pytest.mark.parametrize("count", [2, 6])
@pytest.mark.parametrize("overlap", [0.1, 0.4])
def test_peak_memory_stays_below_what_is_declared(overlap, count):
    stack = np.random.default_rng(0).poisson(300, (count, 600, 600)).astype(np.uint16)
    arguments = {"grid_dimensions": (count // 2, 2), "overlap_ratio": overlap}
    compute_tile_positions(stack[:, :64, :64], **arguments)
    tracemalloc.start()
    compute_tile_positions(stack, **arguments)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(compute_tile_positions)
    declared = spec.cost().of(stack)
    assert peak <= declared <= 3 * peak


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Nothing says where the 4 tiles lie"),
        ({"grid_dimensions": (1, 3)}, "A grid of 1 x 3 cells is too small for 4 tiles"),
        ({"grid_dimensions": (0, 9)}, "too small|at least 1"),
        (
            {"grid_dimensions": (2, 2), "order": "zigzag"},
            "order='zigzag' is not known. Allowed: rows, columns",
        ),
        ({"grid_dimensions": (2, 2), "overlap_ratio": 1}, "overlap_ratio is a part of a tile"),
        ({"grid_dimensions": (2, 2), "stitch_alpha": 1.5}, "stitch_alpha is a quantile"),
        ({"grid_dimensions": (2, 2), "max_shift": -1}, "max_shift must not be negative"),
        ({"grid_dimensions": (2, 2), "filter_sigma": -1}, "filter_sigma must not be negative"),
        ({"grid_dimensions": (2, 2), "pixel_size_um": 0}, "pixel_size_um must be above 0"),
        ({"planes": {"site": np.arange(3)}}, "The plane table has 3 rows, but the stack has 4 planes"),
    ],
)
def test_a_mistake_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        compute_tile_positions(np.ones((4, 30, 30), np.uint8), **arguments)


def test_the_declaration():
    spec = spec_of(compute_tile_positions)
    assert [(o.name, o.kind) for o in spec.outputs] == [
        ("positions", "array"),
        ("tile_positions", "table"),
        ("tile_pairs", "table"),
    ]
    assert (spec.stacks, spec.needs_stacks, spec.changes_image, spec.reduces) == ("site", True, False, False)
    assert ashlar_compute_tile_positions_cpu is ashlar_compute_tile_positions_gpu is compute_tile_positions


def mist_tiles(folder):
    from skimage.io import imread

    return np.stack([imread(folder / "tiles" / f"ImageName_t01_p{n:02d}.tif") for n in range(1, 26)])


def test_the_mist_tiles_agree_with_every_valid_pair_of_the_reference(real_data):
    folder = real_data("stitching_mist_5x5")
    tiles = mist_tiles(folder)
    _, positions, tile_table, pairs = compute_tile_positions(
        tiles, overlap_ratio=0.06, grid_dimensions=(5, 5), order="columns"
    )
    text = (folder / "reference_MIST" / "relative-positions-1.txt").read_text()
    found = re.findall(r"_p(\d+)\.tif, \w+_p(\d+)\.tif, 4\.0+, (-?\d+), (-?\d+)", text)
    valid = {(int(first), int(second)): (int(x), int(y)) for second, first, x, y in found}
    assert len(valid) == 25
    for (first, second), offset in valid.items():
        difference = positions[second - 1] - positions[first - 1] - offset
        assert np.hypot(*difference) < 1.5, (first, second, difference)
    # Closed loops are evidence that needs no reference.
    accepted = pairs["accepted"] == 1
    assert accepted.sum() >= 35
    assert np.median(pairs["residual_px"][accepted]) < 0.2
    assert set(tile_table["placed_by"]) == {"registered"}


def test_mist_tiles_whose_cells_are_gone_are_flagged_and_placed_by_the_model(real_data):
    tiles = mist_tiles(real_data("stitching_mist_5x5"))
    arguments = {"overlap_ratio": 0.06, "grid_dimensions": (5, 5), "order": "columns"}
    _, expected, _, _ = compute_tile_positions(tiles, **arguments)
    bare = tiles.copy()
    empty = [3, 12, 16]
    bare[empty] = np.random.default_rng(0).normal(287, 9, bare[empty].shape).astype(np.uint16)
    _, positions, tile_table, _ = compute_tile_positions(bare, **arguments)
    flagged = np.isin(np.arange(25), empty)
    assert (tile_table["placed_by"] == np.where(flagged, "model", "registered")).all()
    difference = positions - expected - (positions - expected)[~flagged].mean(axis=0)
    assert abs(difference[~flagged]).max() < 1.5
    assert abs(difference[flagged]).max() < 8


def imagexpress(folder, well, z_step=2, wavelength=1):
    from skimage.io import imread

    plate = folder / "9987_Plate_3433" / "TimePoint_1" / f"ZStep_{z_step}"
    stack = np.stack([imread(plate / f"9987_{well}_s{site}_w{wavelength}.TIF") for site in (1, 2)])
    return stack, stage([(0, 0), (0, 1)], (230.4, 0), size_um=1.3672)


@pytest.mark.parametrize("wavelength", [1, 2])
def test_the_two_sites_of_b03_lie_232_pixels_apart(real_data, wavelength):
    stack, planes = imagexpress(real_data("imagexpress_export_zstack"), "B03", wavelength=wavelength)
    _, positions, tile_table, _ = compute_tile_positions(stack, planes=planes)
    assert abs(positions[1] - positions[0] - [232, 0]).max() <= 1
    assert set(tile_table["placed_by"]) == {"registered"}


@pytest.mark.parametrize("wavelength", [1, 2])
@pytest.mark.parametrize("z_step", [0, 2])
def test_b02_has_no_cells_in_its_overlap_and_stays_at_the_stage_positions(real_data, wavelength, z_step):
    stack, planes = imagexpress(real_data("imagexpress_export_zstack"), "B02", z_step, wavelength)
    _, positions, tile_table, pairs = compute_tile_positions(stack, planes=planes)
    assert np.allclose(positions, [[0, 0], [230.4, 0]])
    assert set(tile_table["placed_by"]) == {"nominal"}
    assert pairs["accepted"].tolist() == [0]
