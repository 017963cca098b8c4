from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import blob_dog, blob_log

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.segmentation._blobs import dog_responses, log_responses, maxima, paint, prune
from hcs_steps.functions.segmentation.spots import segment_spots

COLUMNS = [
    "plane", "label", "centroid_y_px", "centroid_y_um", "centroid_x_px", "centroid_x_um", "sigma_px", "radius_px",
    "radius_um", "response", "signal_to_noise", "mean_intensity", "cell",
]  # fmt: skip


def _gaussians(shape, spots, *, background=500, noise=10, seed=0):
    """Gaussian spots (y, x, sigma, height) on noise, as uint16."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    image = np.full(shape, float(background))
    for y, x, sigma, height in spots:
        image += height * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 2 / sigma**2)
    return np.random.default_rng(seed).normal(image, noise).clip(0, 65535).round().astype(np.uint16)


SPOTS = [(20, 30, 1.5, 400), (20, 60, 2, 300), (50, 40, 1, 500), (80, 90, 3, 200), (60, 0, 1.5, 400)]


def _random_plane(seed, count=80):
    rng = np.random.default_rng(seed)
    spots = np.c_[rng.uniform(0, 120, (count, 2)), rng.uniform(1, 4, count), rng.uniform(0.3, 1, count)]
    rows, columns = np.ogrid[:120, :130]
    image = sum(h * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 2 / s**2) for y, x, s, h in spots)
    return rng.normal(image, 0.01).astype(np.float32)


def _sorted(blobs):
    blobs = np.asarray(blobs, dtype=np.float64)[:, :3].round(3)
    return blobs[np.lexsort(blobs.T)]


@pytest.mark.parametrize("overlap", [1.0, 0.5])
def test_blobs_are_those_of_scikit_image(overlap):
    for seed in range(3):
        plane = _random_plane(seed)
        limits = {"min_sigma": 1, "max_sigma": 4, "threshold": 0.1, "overlap": overlap}
        found = prune(maxima(log_responses(plane, 1, 4, 7), lambda *_: 0.1), overlap)
        np.testing.assert_allclose(_sorted(found), _sorted(blob_log(plane, num_sigma=7, **limits)))
        found = prune(maxima(dog_responses(plane, 1, 4), lambda *_: 0.1), overlap)
        np.testing.assert_allclose(_sorted(found), _sorted(blob_dog(plane, **limits)))


def test_spots_are_found_where_they_are_with_their_size():
    stack = _gaussians((100, 110), SPOTS)[None]
    image, spots, table = segment_spots(stack, planes={"pixel_size_um": np.array([0.5])})
    assert image is stack
    assert spots.dtype == np.uint32
    assert list(table) == COLUMNS
    assert len(table["label"]) == 5
    for y, x, sigma, height in SPOTS:
        row = np.flatnonzero(table["label"] == spots[0, y, x])[0]
        assert (table["centroid_y_px"][row], table["centroid_x_px"][row]) == pytest.approx((y, x), abs=1)
        assert table["sigma_px"][row] == pytest.approx(sigma, abs=0.5)
        # The scale-normalised Laplacian in the middle of a Gaussian of the same sigma is half its height.
        assert table["response"][row] == pytest.approx(height / 2, rel=0.15)
        inside = stack[0][spots[0] == spots[0, y, x]]
        assert table["mean_intensity"][row] == pytest.approx(inside.mean())
    np.testing.assert_allclose(table["centroid_y_um"], (table["centroid_y_px"] + 0.5) * 0.5)
    np.testing.assert_allclose(table["radius_um"], table["sigma_px"] * np.sqrt(2) * 0.5)
    assert not table["cell"].any()


def test_labels_are_discs_in_raster_order():
    _, spots, table = segment_spots(_gaussians((100, 110), SPOTS)[None])
    seen = [value for value in dict.fromkeys(spots.ravel().tolist()) if value]
    assert seen == table["label"].tolist() == [1, 2, 3, 4, 5]
    rows, columns = np.ogrid[:100, :110]
    disc = np.zeros((100, 110), bool)
    for y, x, radius in zip(table["centroid_y_px"], table["centroid_x_px"], table["radius_px"], strict=True):
        disc |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    np.testing.assert_array_equal(spots[0] > 0, disc)


def test_the_relatively_nearer_centre_owns_a_shared_pixel():
    blobs = np.array([[10.0, 10, 4, 1], [10, 16, 2, 1], [30, 30, 1, 1]])
    rows, columns = np.mgrid[:40, :40]
    away = [np.hypot(rows - y, columns - x) / (np.sqrt(2) * sigma) for y, x, sigma, _ in blobs]
    expected = np.where(np.min(away, axis=0) <= 1, np.argmin(away, axis=0) + 1, 0)
    np.testing.assert_array_equal(paint(blobs, (40, 40)), expected)


@pytest.mark.parametrize("level", [0, 100, 20000])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_an_empty_plane_has_no_spots_whatever_its_noise(level, dtype):
    rng = np.random.default_rng(4)
    for plane in (
        rng.normal(level, 5, (300, 300)),
        rng.poisson(level, (300, 300)),
        np.full((300, 300), level),
    ):
        _, spots, table = segment_spots(plane.clip(0).astype(dtype)[None])
        assert not spots.any()
        assert list(table) == COLUMNS
        assert [len(column) for column in table.values()] == [0] * len(COLUMNS)
        assert table["plane"].dtype.kind == "i"


def test_the_threshold_is_in_units_of_noise():
    weak = [(30, 30, 1.5, 60), (70, 60, 1.5, 400)]
    quiet, loud = (_gaussians((100, 110), weak, noise=noise)[None] for noise in (3, 30))
    assert len(segment_spots(quiet)[2]["label"]) == 2
    assert len(segment_spots(loud)[2]["label"]) == 1
    table = segment_spots(quiet, threshold=4)[2]
    highest = table["signal_to_noise"].max()
    assert len(segment_spots(quiet, threshold=highest + 1)[2]["label"]) == 0


def test_only_spots_in_cells_are_kept_and_know_their_cell():
    stack = _gaussians((100, 110), SPOTS)[None]
    cells = np.zeros(stack.shape, np.uint32)
    cells[0, 10:30, 20:50] = 7
    cells[0, 70:90, 80:100] = 3
    _, spots, table = segment_spots(stack, cells=cells)
    assert table["cell"].tolist() == [7, 3]
    assert spots.max() == 2
    with pytest.raises(ValueError, match="cells of shape"):
        segment_spots(stack, cells=cells[:, :50])


def test_planes_are_independent_and_numbered(draw_disks):
    full = _gaussians((100, 110), SPOTS)
    empty = _gaussians((100, 110), [], seed=1)
    _, spots, table = segment_spots(np.stack([full, empty, full]))
    assert table["plane"].tolist() == [0] * 5 + [2] * 5
    np.testing.assert_array_equal(spots[0], spots[2])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_the_data_type_does_not_matter(dtype):
    plane = _gaussians((100, 110), [(y, x, s, h / 4) for y, x, s, h in SPOTS], background=50, noise=3)
    _, spots, _ = segment_spots(plane.astype(dtype)[None])
    np.testing.assert_array_equal(spots, segment_spots(plane[None])[1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (2, 2), (30, 1)])
def test_tiny_planes_and_nan_work(shape):
    plane = np.zeros(shape, np.float32)
    plane.ravel()[-1] = 100
    assert segment_spots(plane[None])[1].shape == (1, *shape)
    assert not segment_spots(np.full((1, *shape), np.nan))[1].any()


def test_the_device_finds_the_same(cupy_standin):
    stack = _gaussians((100, 110), SPOTS)[None]
    _, spots, table = segment_spots(stack)
    device = cupy_standin.asarray(stack)
    image, found, rows = segment_spots(device, cells=spots)
    assert image is device
    np.testing.assert_array_equal(found.get(), spots)
    for name in COLUMNS[:-1]:
        np.testing.assert_array_equal(rows[name], table[name])


def test_vesicles_transfluor(real_data):
    folder = real_data("arrayscan_transfluor_multisite")
    counts = {}
    for well in ("O01", "O02"):
        paths = sorted(folder.glob(f"*_{well}f*.TIF"))
        table = segment_spots(np.stack([tifffile.imread(path) for path in paths]))[2]
        counts[well] = len(table["plane"])
        assert set(table["plane"]) == {0, 1, 2}
    # O01 is full of bright vesicles, in O02 the stain is spread over the cells.
    assert counts["O01"] > 2.5 * counts["O02"]


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"min_sigma": 0}, "min_sigma must be above 0"),
        ({"min_sigma": 5, "max_sigma": 2}, "max_sigma=2"),
        ({"num_sigma": 0}, "num_sigma must be above 0"),
        ({"threshold": 0}, "threshold must be above 0"),
        ({"min_sigma": None}, "min_sigma must be a number"),
        ({"overlap": "a"}, "overlap must be a number"),
        ({"overlap": -1}, "overlap must not be negative"),
        ({"overlap": 2}, "overlap must be at most 1"),
        ({"planes": {"pixel_size_um": np.ones(3)}}, "3 rows"),
    ],
)
def test_impossible_parameters_are_refused(parameters, text):
    with pytest.raises(ValueError, match=text):
        segment_spots(np.zeros((1, 8, 8), np.uint8), **parameters)


def _crowd(count, *, height=2000, spread=0.0, size=300, apart=6, seed=0):
    """``count`` spots of sigma 1.5 at random places at least ``apart`` px from each other, with shot noise on 100."""
    rng = np.random.default_rng(seed)
    places = np.empty((0, 2))
    while len(places) < count:
        place = rng.integers(8, size - 8, 2)
        if (np.hypot(*(places - place).T) >= apart).all():
            places = np.vstack([places, place])
    points = np.zeros((size, size))
    points[tuple(places.astype(int).T)] = height * np.exp(spread * rng.normal(size=count))
    image = ndimage.gaussian_filter(points, 1.5) * 2 * np.pi * 1.5**2
    return rng.poisson(image + 100).astype(np.uint16), places


@pytest.mark.parametrize("count", [300, 600, 900])
@pytest.mark.parametrize(("height", "spread"), [(2000, 0), (200, 0), (2000, 0.5)])
def test_spots_are_found_however_many_there_are(count, height, spread):
    plane, places = _crowd(count, height=height, spread=spread)
    table = segment_spots(plane[None])[2]
    assert len(table["label"]) == pytest.approx(count, rel=0.02)
    found = cKDTree(np.c_[table["centroid_y_px"], table["centroid_x_px"]])
    assert np.mean(found.query(places)[0] <= 1.5) > 0.98


def test_noise_does_not_grow_with_the_number_of_spots():
    ratios = [np.median(segment_spots(_crowd(count)[0][None])[2]["signal_to_noise"]) for count in (100, 600)]
    assert ratios[1] > ratios[0] / 2


@pytest.mark.parametrize(("pitch", "over"), [(12, 1), (12, 15), (20, 1), (20, 15)])
def test_a_grid_of_spots_is_found_also_where_they_are_saturated(pitch, over):
    points = np.zeros((240, 240))
    points[pitch // 2 :: pitch, pitch // 2 :: pitch] = 1
    image = ndimage.gaussian_filter(points, 1.5)
    image = np.minimum(over * image / image.max(), 1) * 20000 + 100
    plane = np.random.default_rng(0).poisson(image).clip(0, 20100).astype(np.uint16)
    assert len(segment_spots(plane[None])[2]["label"]) == (240 // pitch) ** 2


@pytest.mark.parametrize("blur", [0.7, 1, 2, 4])
def test_noise_that_neighbours_share_has_no_spots(blur):
    rng = np.random.default_rng(5)
    plane = ndimage.gaussian_filter(rng.normal(size=(600, 600)), blur)
    plane = (2000 + 100 * plane / plane.std()).astype(np.float32)
    assert not segment_spots(plane[None])[1].any()


@pytest.mark.parametrize("size", [2, 6, 15])
@pytest.mark.parametrize("light", [100, 10000])
def test_a_texture_has_hardly_any_spots(size, light):
    rng = np.random.default_rng(6)
    texture = ndimage.gaussian_filter(rng.normal(size=(300, 300)), size)
    plane = rng.poisson(light * np.exp(0.3 * texture / texture.std()))
    assert len(segment_spots(plane[None])[2]["label"]) <= 3


@pytest.mark.parametrize("planes", [1, 3])
def test_peak_memory_stays_below_what_is_declared(planes):
    rng = np.random.default_rng(0)
    spots = np.c_[rng.uniform(0, 600, (60, 2)), np.full(60, 1.5), np.full(60, 400)]
    stack = np.repeat(_gaussians((600, 600), spots)[None], planes, axis=0)
    segment_spots(stack[:, :64, :64])
    tracemalloc.start()
    segment_spots(stack)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(segment_spots)
    declared = spec.cost().of(stack) + 4 * stack.size
    assert peak <= declared <= 3 * peak


def test_declaration():
    spec = spec_of(segment_spots)
    assert [(output.name, output.kind) for output in spec.outputs] == [
        ("spots", "labels"),
        ("spot_table", "table"),
    ]
    assert not spec.changes_image
    assert spec.devices == ("cpu", "gpu")
