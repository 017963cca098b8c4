from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.segmentation.phase import local_std, lower_side, segment_log_std

COLUMNS = [
    "plane", "regions", "covered_fraction", "covered_area_px", "covered_area_um2", "background_std", "threshold_std",
]  # fmt: skip


def _rough(shape, disks, *, level=20000, noise=5, texture=60, seed=0):
    """Noise on a level, and rough discs (y, x, radius) that are as bright as the background; and their mask."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for y, x, radius in disks:
        mask |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    pattern = ndimage.gaussian_filter(rng.normal(0, 1, shape), 1)
    image = rng.normal(level, noise, shape) + mask * texture * pattern / pattern.std()
    return image.round().clip(0, 65535).astype(np.uint16), mask


DISKS = [(50, 60, 25), (120, 150, 35), (40, 180, 18)]


def test_the_local_standard_deviation_is_exact_on_a_bright_level():
    plane = np.random.default_rng(0).normal(20000, 5, (40, 50)).round().astype(np.uint16)
    expected = ndimage.generic_filter(plane.astype(np.float64), np.std, size=5, mode="reflect")
    np.testing.assert_allclose(local_std(plane, 5), expected, rtol=1e-9)
    np.testing.assert_allclose(local_std(plane.astype(np.float64) + 1e9, 5), expected, rtol=1e-5)


def test_rough_cells_on_a_bright_low_noise_level_are_found():
    plane, mask = _rough((180, 220), DISKS)
    stack = plane[None]
    image, cells, table = segment_log_std(stack, planes={"pixel_size_um": np.array([2.0])})
    assert image is stack
    assert cells.dtype == np.uint32
    assert cells.max() == 3
    both, either = np.count_nonzero(mask & (cells[0] > 0)), np.count_nonzero(mask | (cells[0] > 0))
    assert both / either > 0.85
    assert list(table) == COLUMNS
    assert table["regions"].tolist() == [3]
    assert table["covered_area_px"][0] == np.count_nonzero(cells)
    assert table["covered_fraction"][0] == pytest.approx(np.count_nonzero(cells) / cells.size)
    assert table["covered_area_um2"][0] == 4 * table["covered_area_px"][0]
    assert table["background_std"][0] == pytest.approx(5, rel=0.1)


@pytest.mark.parametrize("level", [0, 200, 20000])
@pytest.mark.parametrize("dtype", ["uint16", "float64"])
def test_an_empty_plane_has_no_cells(level, dtype):
    rng = np.random.default_rng(1)
    for plane in (rng.normal(level, 5, (400, 400)), np.full((400, 400), level)):
        for window in (3, 5, 11):
            _, cells, table = segment_log_std(plane.clip(0).astype(dtype)[None], window=window)
            assert not cells.any()
            assert table["covered_fraction"].tolist() == [0]


def test_a_plane_of_one_level_has_no_threshold():
    table = segment_log_std(np.full((1, 30, 30), 7, np.uint8))[2]
    assert np.isnan(table["threshold_std"][0])
    assert np.isnan(table["background_std"][0])


def test_the_threshold_comes_from_the_mode_and_the_side_below_it():
    rng = np.random.default_rng(2)
    background, cells = rng.normal(1.5, 0.1, 200_000), rng.normal(3, 0.8, 60_000)
    mode, sigma = lower_side(np.concatenate([background, cells]))
    assert mode == pytest.approx(1.5, abs=0.03)
    assert sigma == pytest.approx(0.1, rel=0.2)
    assert lower_side(np.ones(5)) == (1, 0)


def test_the_threshold_is_that_many_sigmas_above_the_mode():
    plane, _ = _rough((180, 220), DISKS)
    one, three = (segment_log_std(plane[None], sigmas=sigmas)[2] for sigmas in (1, 3))
    mode, sigma = lower_side(np.log(local_std(plane, 5)))
    assert np.log(three["threshold_std"][0]) == pytest.approx(mode + 3 * sigma)
    assert np.log(one["threshold_std"][0]) == pytest.approx(mode + sigma)


def test_what_a_mosaic_does_not_cover_is_neither_background_nor_cells():
    plane = np.random.default_rng(0).normal(1000, 8, (200, 240))
    rows, columns = np.ogrid[:200, :240]
    inside = (rows - 100) ** 2 + (columns - 120) ** 2 <= 30**2
    plane += inside * np.random.default_rng(1).normal(0, 90, plane.shape)
    plane = plane.astype(np.uint16)
    alone = segment_log_std(plane[None])
    plane[:12], plane[:, 225:], plane[188:, :60] = 0, 0, 0
    _, cells, confluence = segment_log_std(plane[None])
    assert cells.max() == 1
    np.testing.assert_array_equal(cells, alone[1])
    assert confluence["threshold_std"][0] == pytest.approx(alone[2]["threshold_std"][0], rel=0.05)


def test_holes_are_filled_up_to_their_limit():
    plane, _ = _rough((200, 200), [(100, 100, 60)])
    rows, columns = np.ogrid[:200, :200]
    calm = _rough((200, 200), [], seed=1)[0]
    plane = np.where((rows - 100) ** 2 + (columns - 100) ** 2 <= 12**2, calm, plane)
    assert segment_log_std(plane[None], max_hole_area=0)[1][0, 100, 100] == 0
    assert segment_log_std(plane[None], max_hole_area=None)[1][0, 100, 100] == 1
    assert segment_log_std(plane[None], max_hole_area=1000)[1][0, 100, 100] == 1


def test_cells_at_the_edge_reach_the_edge():
    plane, mask = _rough((150, 150), [(0, 70, 30)])
    cells = segment_log_std(plane[None], closing_radius=5)[1][0]
    assert np.count_nonzero(cells[0] > 0) >= 0.9 * np.count_nonzero(mask[0])
    assert segment_log_std(plane[None], remove_border=True)[1].max() == 0


def test_size_limits_are_inclusive():
    plane, _ = _rough((180, 220), DISKS)
    areas = np.sort(np.bincount(segment_log_std(plane[None])[1].ravel())[1:])
    assert segment_log_std(plane[None], min_area=int(areas[1]))[1].max() == 2
    assert segment_log_std(plane[None], max_area=int(areas[1]))[1].max() == 2


def test_regions_are_numbered_in_raster_order_and_planes_are_independent():
    planes = [_rough((180, 220), DISKS, seed=seed)[0] for seed in range(2)]
    _, cells, table = segment_log_std(np.stack(planes))
    assert table["plane"].tolist() == [0, 1]
    for number, plane in enumerate(planes):
        assert cells[number].tobytes() == segment_log_std(plane[None].copy())[1].tobytes()
        seen = [value for value in dict.fromkeys(cells[number].ravel().tolist()) if value]
        assert seen == [1, 2, 3]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float16", "float32", "float64"])
def test_the_data_type_does_not_matter(dtype):
    plane = _rough((180, 220), DISKS, level=128, noise=2, texture=20)[0]
    _, cells, _ = segment_log_std(plane.astype(dtype)[None])
    assert cells.max() == 3
    np.testing.assert_array_equal(cells, segment_log_std(plane[None])[1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (2, 2), (30, 1), (4, 3)])
def test_tiny_planes_and_nan_work(shape):
    plane = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert segment_log_std(plane[None], min_area=0)[1].shape == (1, *shape)
    assert not segment_log_std(np.full((1, *shape), np.nan))[1].any()


def test_the_device_finds_the_same(cupy_standin):
    stack = _rough((180, 220), DISKS)[0][None]
    _, cells, table = segment_log_std(stack)
    image, found, rows = segment_log_std(cupy_standin.asarray(stack))
    np.testing.assert_array_equal(found.get(), cells)
    for name in COLUMNS:
        np.testing.assert_array_equal(rows[name], table[name])
    np.testing.assert_array_equal(image.get(), stack)


def test_phase_contrast_tiles(real_data):
    folder = real_data("stitching_mist_5x5") / "tiles"
    tiles = np.stack([tifffile.imread(folder / f"ImageName_t01_p{tile:02d}.tif") for tile in (8, 13, 23)])
    _, cells, table = segment_log_std(tiles)
    nearly_empty, colony, rim = table["covered_fraction"]
    assert nearly_empty < 0.02
    assert 0.4 < colony < 0.55
    assert 0.18 < rim < 0.3
    assert cells[1, 90, 75] > 0
    assert cells[1, 120, 180] == 0
    assert table["background_std"] == pytest.approx(8.6, abs=0.5)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"window": 4}, "must be odd"),
        ({"window": 1}, "whole number from 3"),
        ({"sigmas": None}, "sigmas must be a number"),
        ({"sigmas": -1}, "sigmas must not be negative"),
        ({"closing_radius": -1}, "closing_radius must not be negative"),
        ({"min_area": 100, "max_area": 50}, "max_area=50"),
        ({"planes": {"pixel_size_um": np.ones(3)}}, "3 rows"),
    ],
)
def test_impossible_parameters_are_refused(parameters, text):
    with pytest.raises(ValueError, match=text):
        segment_log_std(np.zeros((1, 8, 8), np.uint8), **parameters)


@pytest.mark.parametrize("planes", [1, 3])
def test_peak_memory_stays_below_what_is_declared(planes):
    stack = np.repeat(_rough((600, 600), [(200, 200, 90), (400, 380, 120)])[0][None], planes, axis=0)
    segment_log_std(stack[:, :64, :64])
    tracemalloc.start()
    segment_log_std(stack)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(segment_log_std)
    declared = spec.cost().of(stack) + 4 * stack.size
    assert peak <= declared <= 3 * peak


def test_declaration():
    spec = spec_of(segment_log_std)
    assert [(output.name, output.kind) for output in spec.outputs] == [
        ("cells", "labels"),
        ("confluence", "table"),
    ]
    assert not spec.changes_image
    assert spec.devices == ("cpu", "gpu")
