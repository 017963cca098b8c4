"""Background by tiles: against medians and SciPy's spline, known surfaces, crowds of cells, small and odd planes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.interpolate import RectBivariateSpline

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.preprocessing.tiles import (
    fill_missing,
    spline_matrix,
    subtract_background,
    tile_starts,
)


def uneven(shape, seed=0, noise=10.0):
    """A smooth background, and the same with noise."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    y, x = y / shape[0], x / shape[1]
    background = 1000 + 200 * x - 150 * (y - 0.4) ** 2 + 30 * np.sin(4 * x + 2 * y)
    return background, background + np.random.default_rng(seed).normal(0, noise, shape)


def with_cells(shape, coverage, seed=0):
    """Background, image, and the mask of bright disks that cover a part of it."""
    background, image = uneven(shape, seed)
    rng = np.random.default_rng(seed + 1)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, dtype=bool)
    while mask.mean() < coverage:
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        disk = (rows - y) ** 2 + (columns - x) ** 2 < 64
        image[disk & ~mask] += rng.uniform(200, 3000)
        mask |= disk
    return background, image, mask


@pytest.mark.parametrize(
    ("size", "tile"), [(1, 1), (1, 9), (5, 2), (10, 10), (11, 10), (100, 33), (2160, 128)]
)
def test_tiles_cover_an_axis_and_overlap_by_half(size, tile):
    starts = tile_starts(size, tile)
    length = min(tile, size)
    assert starts[0] == 0
    assert starts[-1] + length == size
    assert (np.diff(starts) <= max(1, length // 2)).all()


@pytest.mark.parametrize("shape", [(64, 64), (40, 100), (33, 200), (16, 90)])
def test_the_surface_is_the_spline_through_the_tile_medians(shape):
    tile, (_, image) = 16, uneven(shape)
    lines = [tile_starts(size, tile) for size in shape]
    levels = np.array([[np.median(image[y : y + tile, x : x + tile]) for x in lines[1]] for y in lines[0]])
    result = image - subtract_background(image[None], tile, foreground="none")[0]
    y, x = (starts + (tile - 1) / 2 for starts in lines)
    if min(levels.shape) > 1:
        spline = RectBivariateSpline(y, x, levels, kx=min(3, y.size - 1), ky=min(3, x.size - 1))
        rows, columns = np.arange(8, shape[0] - 8), np.arange(8, shape[1] - 8)
        np.testing.assert_allclose(result[8:-8, 8:-8], spline(rows, columns), rtol=1e-9)
    else:
        np.testing.assert_allclose(result, result[:1].repeat(shape[0], axis=0))
        assert np.ptp(result[0]) > 50


def test_the_surface_goes_on_straight_beyond_the_outer_centres():
    matrix = spline_matrix(100, 20)
    line = matrix @ (tile_starts(100, 20) + 9.5)
    np.testing.assert_allclose(line, np.arange(100), atol=1e-9)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)


@pytest.mark.parametrize("coverage", [0, 0.2, 0.5])
def test_the_background_is_found_beneath_cells(coverage):
    background, image, mask = with_cells((300, 320), coverage)
    automatic = image - subtract_background(image[None], 64)[0]
    masked = image - subtract_background(image[None], 64, mask=mask[None], foreground="none")[0]
    assert np.abs(automatic - background).mean() < 4
    assert np.abs(masked - background).mean() < 4
    plain = image - subtract_background(image[None], 64, foreground="none")[0]
    assert coverage == 0 or np.abs(plain - background).mean() > 5


def test_noise_stays_around_zero_in_signed_images_and_around_the_level_if_asked():
    _, image = uneven((200, 200))
    stack = image[None].astype(np.int16)
    result = subtract_background(stack, 64)
    assert result.dtype == np.int16
    assert abs(result.mean()) < 1
    kept = subtract_background(stack.astype(np.uint16), 64, keep_level=True)
    assert kept.mean() == pytest.approx(image.mean(), abs=2)
    assert kept.std() == pytest.approx(10, abs=1.5)


def test_dividing_makes_uneven_illumination_even():
    background, _ = uneven((200, 200), noise=0)
    cells = np.zeros((200, 200))
    cells[20::40, 20::40] = 1
    image = background * (1 + 4 * cells)
    result = subtract_background(image[None], 50, operation="divide")[0]
    bright = result[cells > 0]
    assert bright.std() / bright.mean() < 0.003
    assert image[cells > 0].std() / image[cells > 0].mean() > 0.03
    assert np.median(result) == pytest.approx(background.mean(), rel=0.01)


def test_tiles_without_background_take_the_level_of_their_neighbours():
    background, image = uneven((200, 200))
    mask = np.zeros((1, 200, 200), np.uint32)
    mask[0, 50:150, 60:160] = 7
    hidden = np.where(mask[0] > 0, 60_000, image)
    surface = hidden - subtract_background(hidden[None], 20, mask=mask, foreground="none")[0]
    assert np.abs(surface - background).max() < 60
    levels = np.array([[np.nan, np.nan, 3], [1, np.nan, np.nan]])
    np.testing.assert_allclose(fill_missing(levels), [[1, 2, 3], [1, 2, 3]])


def test_a_plane_without_background_stays():
    stack = uneven((40, 40))[1][None].astype(np.uint16)
    np.testing.assert_array_equal(subtract_background(stack, 16, mask=np.ones_like(stack)), stack)
    np.testing.assert_array_equal(subtract_background(stack * 0, 16, operation="divide"), 0)
    nothing = np.full((1, 20, 20), np.nan)
    assert np.isnan(subtract_background(nothing, 8)).all()


def test_pixels_that_are_not_finite_do_not_count():
    background, image = uneven((100, 100))
    image[10:30, 10:30] = np.nan
    image[60, 60] = np.inf
    result = subtract_background(image[None], 32)[0]
    assert np.isnan(result[10:30, 10:30]).all()
    assert np.isinf(result[60, 60])
    good = np.isfinite(result)
    assert np.abs(image[good] - result[good] - background[good]).mean() < 5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 1, 60), (1, 7, 3), (1, 65, 40)])
@pytest.mark.parametrize("operation", ["subtract", "divide"])
def test_any_dtype_and_size(dtype, shape, operation):
    stack = np.random.default_rng(0).uniform(50, 90, shape).astype(dtype)
    for tile in (1, 2, 16, 128):
        result = subtract_background(stack, tile, operation=operation)
        assert result.shape == shape
        assert result.dtype == dtype
        assert np.isfinite(result).all()


def test_it_saturates():
    stack = np.full((1, 64, 64), -30_000, np.int16)
    stack[0, 5, 5] = 32_767
    assert subtract_background(stack, 16)[0, 5, 5] == 32_767


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize(("tile", "operation"), [(32, "subtract"), (50, "divide"), (500, "subtract")])
def test_a_device_gives_the_same_pixels(cupy_standin, dtype, tile, operation):
    _, image, mask = with_cells((130, 90), 0.2)
    stack, masks = np.stack([image, image[::-1]]).astype(dtype), np.stack([mask, mask[::-1]])
    device = subtract_background(
        cupy_standin.asarray(stack), tile, mask=cupy_standin.asarray(masks), operation=operation
    )
    np.testing.assert_array_equal(device.get(), subtract_background(stack, tile, masks, operation=operation))


def test_real_planes_have_an_even_background(real_data):
    import tifffile

    root = real_data("arrayscan_transfluor_multisite")
    image = tifffile.imread(sorted(root.glob("*.TIF"))[0]).astype(np.float32)
    result = subtract_background(image[None], 128, keep_level=True)[0]

    def spread(plane):
        parts = [np.quantile(p, 0.3) for row in np.split(plane, 4) for p in np.split(row, 4, axis=1)]
        return np.std(parts) / np.mean(parts)

    assert spread(result) < spread(image) / 3


def test_errors_name_what_is_allowed():
    stack = np.zeros((2, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="subtract, divide"):
        subtract_background(stack, operation="add")
    with pytest.raises(ValueError, match="auto, none"):
        subtract_background(stack, foreground="otsu")
    with pytest.raises(ValueError, match=r"\(1, 8, 8\).*\(2, 8, 8\)"):
        subtract_background(stack, mask=stack[:1])
    for tile in (0, 2.5):
        with pytest.raises(ValueError, match="tile"):
            subtract_background(stack, tile)


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("parameters", [{}, {"operation": "divide"}, {"tile": 48}])
def test_peak_memory_stays_below_what_is_declared(parameters, dtype, planes):
    stack = np.repeat(uneven((1000, 1000))[1][None], planes, axis=0).astype(dtype)
    subtract_background(stack[:, :64, :64])
    tracemalloc.start()
    subtract_background(stack, **parameters)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(subtract_background)
    assert peak <= spec.cost().of(stack) <= 3 * peak
