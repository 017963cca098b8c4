"""Pixels that show nothing: told from dark ones, filled with background."""

from __future__ import annotations

import numpy as np
import pytest

from hcs_steps.functions import assemble_stack, signal_to_background
from hcs_steps.functions._coverage import covered, fill
from hcs_steps.functions.measuring.translocation import measure_translocation
from hcs_steps.functions.segmentation.cells import segment_cells


def _noise(shape, seed=0, level=500):
    return np.random.default_rng(seed).poisson(level, shape).astype(np.uint16)


def _mosaic(positions, side=120):
    """A mosaic of tiles with the corners ``positions`` (x, y), and which of its pixels have a tile."""
    tiles = _noise((len(positions), side, side))
    mosaic = assemble_stack(tiles, np.array(positions, dtype=float), subpixel=False)[0]
    shown = np.zeros(mosaic.shape, dtype=bool)
    for x, y in np.array(positions) - np.min(positions, axis=0):
        shown[y : y + side, x : x + side] = True
    return mosaic, shown


RAGGED = [(0, 3), (108, 0), (219, 5), (4, 110), (110, 112), (222, 108), (1, 222), (113, 219), (218, 221)]


@pytest.mark.parametrize("positions", [RAGGED, RAGGED[1:], RAGGED[:4] + RAGGED[5:], RAGGED[:3] + RAGGED[6:]])
def test_the_gaps_of_a_mosaic_are_found(positions):
    mosaic, shown = _mosaic(positions)
    found = covered(mosaic)
    assert found is not None
    assert found[shown].all()
    assert np.count_nonzero(found & ~shown) < 0.03 * np.count_nonzero(~shown)  # short steps between tiles


def test_a_float_plane_has_gaps_where_it_is_not_finite_as_well():
    plane = _noise((200, 200)).astype(np.float32)
    plane[10, 20], plane[30, 40], plane[:, :5] = np.nan, np.inf, 0
    expected = np.ones(plane.shape, dtype=bool)
    expected[10, 20] = expected[30, 40] = expected[:, :5] = False
    np.testing.assert_array_equal(covered(plane), expected)


def _zero_background(shape=(300, 300)):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    plane = np.zeros(shape, dtype=np.uint16)
    for y in range(30, 290, 40):
        for x in range(30, 290, 40):
            plane[(rows - y) ** 2 + (columns - x) ** 2 <= 18**2] = 900
    return plane


@pytest.mark.parametrize(
    "plane",
    [
        _noise((150, 150)),
        np.zeros((100, 100), np.uint16),
        _noise((150, 150), level=1),
        np.maximum(_noise((150, 150)).astype(np.int32) - 500, 0),
        _zero_background(),
        np.pad(np.full((40, 40), 7, np.uint16), 80),
        np.zeros((1, 1), np.uint8),
    ],
    ids=["noise", "black", "photons", "clipped", "discs on 0", "square on 0", "pixel"],
)
def test_dark_pixels_are_covered(plane):
    assert covered(plane) is None
    same, shown = fill(plane)
    assert same is plane
    assert shown is None


def test_gaps_are_filled_with_background_in_the_dtype_of_the_plane():
    mosaic, _ = _mosaic(RAGGED[1:])
    filled, found = fill(mosaic)
    assert filled.dtype == mosaic.dtype
    np.testing.assert_array_equal(filled[found], mosaic[found])
    assert set(np.unique(filled[~found])) == {int(np.percentile(mosaic[found], 1))}


def test_a_device_finds_the_same(cupy_standin):
    mosaic, _ = _mosaic(RAGGED[1:])
    np.testing.assert_array_equal(covered(cupy_standin.asarray(mosaic)).get(), covered(mosaic))


def test_measures_of_background_leave_the_gaps_of_a_mosaic_out():
    image = _noise((300, 300), level=200)
    nuclei = np.zeros((1, 300, 300), dtype=np.uint32)
    for number, (y, x) in enumerate([(60, 60), (150, 150), (240, 240)], 1):
        nuclei[0, y : y + 20, x : x + 20] = number
        image[y - 8 : y + 28, x - 8 : x + 28] += 200
    ragged = image.copy()
    ragged[:6], ragged[:, 290:] = 0, 0

    def numbers(plane):
        translocation = measure_translocation(plane[None], nuclei=nuclei)[1]
        cells = segment_cells(plane[None], nuclei=nuclei)[1]
        return (
            float(translocation["Intensity_Background"][0]),
            float(np.median(np.bincount(cells.ravel())[1:])),
            float(signal_to_background(plane[None])[1]["ImageQuality_BackgroundIntensity"][0]),
        )

    assert numbers(ragged) == pytest.approx(numbers(image), rel=0.03)
