from __future__ import annotations

import tracemalloc
from enum import Enum

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage.filters import threshold_li, threshold_triangle
from skimage.measure import label
from skimage.segmentation import watershed

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.segmentation._declump import convexity, flood
from hcs_steps.functions.segmentation._masks import fill_holes, large_regions
from hcs_steps.functions.segmentation._thresholds import (
    Smoothing,
    ThresholdOptions,
    corrected,
    find_level,
)
from hcs_steps.functions.segmentation._watershed import typical_radius
from hcs_steps.functions.segmentation.nuclei import segment_nuclei

SEPARATE = [(30, 30, 10), (30, 80, 12), (80, 40, 8), (90, 100, 11), (120, 60, 10)]


def _segment(plane, **parameters):
    return segment_nuclei(plane[None], **parameters)[1][0]


def _count(plane, **parameters):
    return int(_segment(plane, **parameters).max())


def _crowd(shape, count, *, seed, noise=40):
    """Ellipses of different brightness that overlap by a few pixels at most, and their true labels."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, int)
    image = np.zeros(shape)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    while truth.max() < count:
        y, x = rng.uniform(0, shape)
        a, b, angle = rng.uniform(7, 10), rng.uniform(10, 14), rng.uniform(0, np.pi)
        along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
        across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
        nucleus = (along / b) ** 2 + (across / a) ** 2 <= 1
        if nucleus.sum() < 250 or (truth[nucleus] > 0).mean() > 0.04:
            continue
        truth[nucleus] = truth.max() + 1
        image[nucleus] = np.maximum(image[nucleus], rng.uniform(600, 2400))
    image = ndimage.gaussian_filter(image, 1.2) + 300
    return rng.normal(image, noise).clip(0).astype(np.uint16), truth


@pytest.mark.parametrize("seed", [0, 1])
def test_a_crowd_of_known_nuclei(seed):
    image, truth = _crowd((300, 300), 90, seed=seed)
    found = _segment(image)
    assert int(found.max()) == pytest.approx(90, abs=5)
    centres = ndimage.center_of_mass(truth > 0, truth, np.arange(1, 91))
    under = [int(found[int(y), int(x)]) for y, x in centres]
    assert len(set(under) - {0}) >= 84


@pytest.mark.parametrize("scale", [0.5, 1, 3])
def test_outlines_are_where_the_edges_are_at_any_magnification(draw_disks, scale):
    disks = [(y * scale, x * scale, radius * scale) for y, x, radius in SEPARATE]
    nuclei = _segment(draw_disks((int(150 * scale), int(130 * scale)), disks))
    assert nuclei.max() == 5
    for y, x, radius in disks:
        area = np.count_nonzero(nuclei == nuclei[int(y), int(x)])
        assert np.sqrt(area / np.pi) == pytest.approx(radius, abs=1)


def test_a_dim_nucleus_that_touches_a_bright_one_keeps_its_outline(draw_disks):
    bright = draw_disks((100, 120), [(50, 40, 15)], height=8000, noise=5)
    dim = draw_disks((100, 120), [(50, 72, 15)], height=1200, noise=5, seed=1)
    nuclei = _segment(np.maximum(bright, dim))
    assert nuclei.max() == 2
    assert np.count_nonzero(nuclei == nuclei[50, 72]) == pytest.approx(np.pi * 15**2, rel=0.15)


def test_a_ring_of_nuclei_does_not_become_one_and_its_gap_is_not_filled(draw_disks):
    angles = np.arange(8) * np.pi / 4
    disks = [(100 + 34 * np.sin(angle), 100 + 34 * np.cos(angle), 14) for angle in angles]
    nuclei = _segment(draw_disks((200, 200), disks))
    assert nuclei.max() == 8
    assert nuclei[100, 100] == 0


def test_a_nucleolus_is_filled(draw_disks):
    image = draw_disks((150, 130), SEPARATE).astype(int)
    image[27:34, 27:34] = 200
    nuclei = _segment(image.astype(np.uint16))
    assert nuclei.max() == 5
    assert (nuclei[27:34, 27:34] == nuclei[30, 38]).all()


@pytest.mark.parametrize("kind", ["normal", "poisson", "few photons", "gradient", "constant", "vignetting"])
@pytest.mark.parametrize("parameters", [{}, {"threshold_scope": "local"}, {"threshold_scope": "global"}])
def test_planes_without_nuclei_have_none(kind, parameters):
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[-1:1:400j, -1:1:400j]
    plane = {
        "normal": lambda: rng.normal(1000, 50, (400, 400)),
        "poisson": lambda: rng.poisson(20, (400, 400)),
        "few photons": lambda: rng.poisson(0.2, (400, 400)),
        "gradient": lambda: rng.normal(1000 + 800 * columns, 20),
        "constant": lambda: np.full((400, 400), 7),
        "vignetting": lambda: rng.normal(3000 * (1 - 0.3 * (rows**2 + columns**2)), 30),
    }[kind]()
    assert _count(plane.clip(0).astype(np.uint16), **parameters) == 0


def test_numbers_follow_raster_order_and_planes_are_independent(draw_disks):
    planes = [draw_disks((150, 130), SEPARATE, seed=seed) for seed in range(2)]
    stack = np.stack([planes[0], np.zeros_like(planes[0]), planes[1]])
    image, nuclei = segment_nuclei(stack)
    assert image is stack
    assert nuclei.dtype == np.uint32
    assert not nuclei[1].any()
    for number, plane in ((0, planes[0]), (2, planes[1])):
        assert nuclei[number].tobytes() == _segment(plane.copy()).tobytes()
        seen = [value for value in dict.fromkeys(nuclei[number].ravel().tolist()) if value]
        assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_the_data_type_does_not_matter(draw_disks, dtype):
    plane = draw_disks((150, 130), SEPARATE, height=180, background=40, noise=3)
    np.testing.assert_array_equal(_segment(plane.astype(dtype)), _segment(plane))


def test_brightness_and_offset_do_not_matter(draw_disks):
    plane = draw_disks((150, 130), SEPARATE).astype(np.float64)
    np.testing.assert_array_equal(_segment(plane / 65535), _segment(plane))
    np.testing.assert_array_equal(_segment(plane - 5000), _segment(plane))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 2), (40, 1), (3, 5)])
def test_tiny_planes_work(shape):
    plane = np.zeros(shape, np.uint16)
    plane.ravel()[plane.size // 2 :] = 1000
    for parameters in ({}, {"threshold_scope": "local"}, {"threshold_method": "manual", "threshold": -1}):
        assert _segment(plane, **parameters).shape == shape


def test_nan_counts_as_background(draw_disks):
    plane = draw_disks((150, 130), SEPARATE).astype(np.float32)
    plane[:5], plane[-5:] = np.nan, np.inf
    assert _count(plane) == 5
    assert _count(np.full((20, 20), np.nan)) == 0


def test_declumping_can_be_by_shape_intensity_or_not_at_all(draw_disks):
    plane = draw_disks((120, 160), [(60, 40, 15), (60, 64, 15), (60, 120, 15)])
    assert _count(plane) == 3
    assert _count(plane, declump_method="none") == 2
    # Two nuclei without a neck between them, each brightest in its middle.
    columns = np.arange(100)
    square = np.zeros((100, 100))
    square[30:70, 30:70] = 400 + 600 * np.abs(np.sin((columns[30:70] - 29.5) * np.pi / 20))
    image = ndimage.gaussian_filter(square + 100, 1)
    assert _count(image, declump_method="intensity", local_contrast=0) == 2
    assert _count(image, declump_method="none") == 1


def test_a_local_threshold_finds_nuclei_on_uneven_background(draw_disks):
    disks = [(y, x, 9) for y in range(30, 400, 60) for x in range(30, 400, 60)]
    rows, columns = np.mgrid[-1:1:400j, -1:1:400j]
    plane = draw_disks((400, 400), disks, height=800) + 1000 * np.exp(-(rows**2 + columns**2))
    assert _count(plane, threshold_scope="local", threshold_window=100) == len(disks)
    assert _count(plane) == len(disks)
    assert _count(plane, threshold_scope="global") == 0


def test_size_limits_are_inclusive_in_px_and_in_micrometres(draw_disks):
    plane = draw_disks((150, 130), SEPARATE)
    areas = np.sort(np.bincount(_segment(plane).ravel())[1:])
    assert _count(plane, min_area=int(areas[1])) == 4
    assert _count(plane, max_area=int(areas[-2])) == 4
    diameters = np.sqrt(4 / np.pi * areas) * 0.5
    planes = {"pixel_size_um": np.array([0.5])}
    assert _count(plane, min_diameter_um=diameters[1] - 0.01, planes=planes) == 4
    assert _count(plane, max_diameter_um=diameters[0] + 0.01, planes=planes) == 1
    assert _count(plane, min_diameter_um=diameters[1] - 0.01, max_area=int(areas[-2]), planes=planes) == 3


def test_border_nuclei_can_be_removed(draw_disks):
    plane = draw_disks((150, 130), [*SEPARATE, (0, 60, 12), (149, 100, 9), (60, 0, 12), (60, 129, 12)])
    assert _count(plane) == 9
    assert _count(plane, remove_border=True) == 5


def test_a_manual_foreground_is_exactly_what_exceeds_the_threshold(draw_disks):
    plane = draw_disks((150, 130), SEPARATE)
    smooth = ndimage.gaussian_filter(plane.astype(np.float32), 1.0)
    found = _segment(plane, threshold_method="manual", threshold=600, min_area=0)
    np.testing.assert_array_equal(found > 0, smooth > 600)
    raw = _segment(plane, threshold_method="manual", threshold=600, min_area=0, gaussian_sigma=0)
    np.testing.assert_array_equal(raw > 0, plane > 600)
    assert _count(plane, threshold_method="manual", threshold=60000) == 0


def _scattered(side, count, *, seed=0, margin=0):
    """Places of ``count`` discs of radius 9 that do not touch, as `draw_disks` takes them."""
    rng, places = np.random.default_rng(seed), []
    while len(places) < count:
        y, x = rng.uniform(12 + margin, side - 12 - margin, 2)
        if all(np.hypot(y - other[0], x - other[1]) > 22 for other in places):
            places.append((y, x, 9))
    return places


@pytest.mark.parametrize("method", ["otsu", "li", "triangle"])
@pytest.mark.parametrize("height", [100, 200, 1000])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_few_nuclei_of_a_nearly_empty_plane_are_all_that_is_found(draw_disks, method, height, count):
    plane = draw_disks((500, 600), _scattered(500, count), height=height, background=100)
    assert _count(plane, threshold_method=method) == count


@pytest.mark.parametrize("height", [25, 40, 60])
def test_dim_nuclei_are_counted_without_the_noise(draw_disks, height):
    plane = draw_disks((400, 400), _scattered(400, 40), height=height, background=100)
    assert _count(plane) == pytest.approx(40, abs=1)


@pytest.mark.parametrize("scope", ["auto", "local"])
@pytest.mark.parametrize(("radius", "intensity"), [(3, 65535), (14, 65535), (30, 20000), (30, 65535)])
def test_bright_debris_does_not_hide_the_nuclei(draw_disks, radius, intensity, scope):
    plane = draw_disks((500, 500), _scattered(500, 80))
    without = _count(plane)
    rows, columns = np.ogrid[:500, :500]
    plane[(rows - 250) ** 2 + (columns - 250) ** 2 <= radius**2] = intensity
    assert without == 80
    assert _count(plane, threshold_scope=scope) == pytest.approx(80, abs=6)  # it lies on some


@pytest.mark.parametrize("count", [5, 20, 60])
def test_strong_vignetting_does_not_hide_nuclei(draw_disks, count):
    rows, columns = np.ogrid[:700, :700]
    light = 1 - 0.6 * ((rows - 350) ** 2 + (columns - 350) ** 2) / (2 * 350**2)
    assert _count(draw_disks((700, 700), _scattered(700, count)) * light) == pytest.approx(count, abs=1)


def test_the_dark_beside_the_well_does_not_hide_nuclei(draw_disks):
    plane = draw_disks((700, 700), _scattered(700, 40)).astype(float)
    columns = np.arange(700)
    inside = sum(x < 500 for _, x, _ in _scattered(700, 40))
    plane[:, columns >= 500] *= 0.1
    assert _count(plane) >= inside - 2


@pytest.mark.parametrize(
    "gap", [np.s_[:170, :170], np.s_[:3], np.s_[200:360, 200:360]], ids=["corner", "rim", "hole"]
)
@pytest.mark.parametrize("height", [300, 1000])
def test_what_no_tile_of_a_mosaic_covers_is_not_background(draw_disks, gap, height):
    plane = draw_disks((500, 500), _scattered(500, 80), height=height, background=300)
    shown = np.ones(plane.shape, dtype=bool)
    shown[gap] = False
    whole = _segment(plane)
    expected = np.unique(whole[shown & (whole > 0)]).size
    found = _segment(np.where(shown, plane, 0).astype(np.uint16))
    assert int(found.max()) == pytest.approx(expected, abs=2)
    assert not found[~shown].any()


@pytest.mark.parametrize(("method", "reference"), [("li", threshold_li), ("triangle", threshold_triangle)])
def test_thresholds_are_those_of_scikit_image(draw_disks, method, reference):
    plane = draw_disks((150, 130), SEPARATE).astype(np.float32)
    smoothing = Smoothing(0)
    assert smoothing.noise(plane, below=600) == pytest.approx(10, rel=0.15)
    level = find_level(plane, smoothing, ThresholdOptions(method))
    # The triangle is drawn into the noise: eight standard deviations of it are the least.
    assert level.floor == pytest.approx(
        max(float(reference(plane)), level.background + 8 * level.noise), abs=1
    )
    assert level.background == pytest.approx(200, abs=5)
    twice = corrected(level, ThresholdOptions(method, correction=2.0))
    assert twice.floor - twice.background == pytest.approx(2 * (level.floor - level.background))
    assert corrected(level, ThresholdOptions(method, lower=700.0)).floor == max(700, level.floor)
    assert corrected(level, ThresholdOptions(method, upper=210.0)).floor == 210
    found = _segment(plane, threshold_method=method, declump_method="none", gaussian_sigma=0, min_area=0)
    np.testing.assert_array_equal(found > 0, fill_holes(plane > level.floor, 150))


def test_threshold_correction_and_bounds_change_what_is_kept(draw_disks):
    plane = np.concatenate([draw_disks((150, 130), SEPARATE, height=h) for h in (600, 3000)], axis=1)
    assert _count(plane, declump_method="none") == 10
    assert _count(plane, declump_method="none", threshold_min=1500) == 5
    assert _count(plane, declump_method="none", threshold_correction=3) == 5
    assert _count(plane, declump_method="none", threshold_correction=3, threshold_max=500) == 10


def test_the_typical_radius_hardly_depends_on_crowding():
    rows, columns = np.mgrid[:200, :200]
    centres = [(y, x) for y in (30, 70, 110, 150) for x in (40, 80, 120, 160)]
    alone = (rows - 100) ** 2 + (columns - 100) ** 2 <= 18**2
    crowd = np.any([(rows - y) ** 2 + (columns - x) ** 2 <= 20.5**2 for y, x in centres], axis=0)
    assert typical_radius(alone) == pytest.approx(18, rel=0.1)
    assert typical_radius(crowd) == pytest.approx(20.5, rel=0.15)
    assert typical_radius(np.ones((1, 1), bool)) >= 1


def test_flooding_agrees_with_the_plain_watershed():
    rng = np.random.default_rng(1)
    height = ndimage.gaussian_filter(rng.random((80, 90)), 3).astype(np.float32)
    mask = height > np.median(height)
    markers = np.zeros(mask.shape, np.int32)
    for number, pixel in enumerate(rng.choice(np.flatnonzero(mask), 25, replace=False), 1):
        markers.ravel()[pixel] = number
    np.testing.assert_array_equal(flood(height, markers, mask), watershed(-height, markers, mask=mask))


def test_convexity_is_that_of_the_hull_of_the_pixels():
    rng = np.random.default_rng(2)
    for _ in range(20):
        blob = ndimage.gaussian_filter(rng.random((30, 30)), 3)
        regions = label(blob > np.median(blob), connectivity=1)
        mask = regions == np.bincount(regions.ravel())[1:].argmax() + 1
        points = np.argwhere(mask)
        hull = ConvexHull(points)
        grid = np.stack(np.mgrid[:30, :30], axis=-1).reshape(-1, 2)
        inside = (grid @ hull.equations[:, :2].T + hull.equations[:, 2] <= 1e-9).all(axis=1)
        assert convexity(mask) == pytest.approx(len(points) / inside.sum())
    assert convexity(np.ones((1, 5), bool)) == 1


def test_masks_agree_with_scipy(cupy_standin):
    mask = np.random.default_rng(3).random((60, 70)) > 0.4
    np.testing.assert_array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))
    small = fill_holes(mask, 2)
    added = label(small & ~mask, connectivity=1)
    assert np.bincount(added.ravel())[1:].max() == 2
    device = cupy_standin.asarray(mask)
    np.testing.assert_array_equal(fill_holes(device, 2).get(), small)
    np.testing.assert_array_equal(large_regions(device, 5)[0].get(), large_regions(mask, 5)[0])


def test_methods_can_be_enums_and_images_on_a_device(draw_disks, cupy_standin):
    class Method(Enum):
        TRIANGLE = "triangle"
        INTENSITY = "intensity"

    plane = draw_disks((150, 130), SEPARATE)
    assert _count(plane, threshold_method=Method.TRIANGLE, declump_method=Method.INTENSITY) == 5
    np.testing.assert_array_equal(_segment(cupy_standin.asarray(plane)), _segment(plane))


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"threshold_method": "magic"}, "otsu, li, triangle, manual"),
        ({"threshold_scope": "magic"}, "auto, global, local"),
        ({"declump_method": "magic"}, "shape, intensity, none"),
        ({"threshold_method": "manual"}, "needs a threshold"),
        ({"threshold": 5}, "only 'manual'"),
        ({"threshold_correction": 0}, "threshold_correction must be above 0"),
        ({"threshold_min": 5, "threshold_max": 4}, "threshold_min=5"),
        ({"outline_level": 1}, "outline_level must be between 0 and 1"),
        ({"gaussian_sigma": -1}, "gaussian_sigma must not be negative"),
        ({"min_distance": 0}, "min_distance must be above 0"),
        ({"min_area": 100, "max_area": 50}, "50 px, is below the smallest, 100 px"),
        ({"min_diameter_um": 5}, "need a known pixel size"),
        ({"planes": {"pixel_size_um": np.ones(3)}}, "3 rows"),
    ],
)
def test_impossible_parameters_are_refused(parameters, text):
    with pytest.raises(ValueError, match=text):
        segment_nuclei(np.zeros((1, 8, 8), np.uint8), **parameters)


def test_only_stacks_are_accepted():
    with pytest.raises(ValueError, match="N, Y, X"):
        segment_nuclei(np.zeros((8, 8), np.uint8))


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("parameters", [{}, {"threshold_scope": "local"}])
def test_peak_memory_stays_below_what_is_declared(draw_disks, planes, parameters):
    disks = [(y, x, 10) for y in range(20, 700, 45) for x in range(20, 700, 45)]
    stack = np.repeat(draw_disks((700, 700), disks)[None], planes, axis=0)
    segment_nuclei(stack[:, :64, :64])
    tracemalloc.start()
    segment_nuclei(stack, **parameters)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(segment_nuclei)
    declared = spec.cost().of(stack) + 4 * stack.size
    assert peak <= declared <= 3 * peak


def test_declaration():
    spec = spec_of(segment_nuclei)
    assert [(output.name, output.kind) for output in spec.outputs] == [("nuclei", "labels")]
    assert not spec.changes_image
    assert spec.devices == ("cpu",)
