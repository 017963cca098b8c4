from __future__ import annotations

from enum import Enum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import regionprops

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.segmentation._objects import number_objects
from hcs_steps.functions.segmentation.count import count_cells_single_channel

SEPARATE = [(30, 30, 10), (30, 80, 12), (80, 40, 8), (90, 100, 11), (120, 60, 10)]


def _count(stack, **parameters):
    return len(count_cells_single_channel(stack, **parameters)[1]["plane"])


@pytest.mark.parametrize("scale", [0.5, 1, 2, 4])
def test_separate_disks_are_counted_at_any_magnification(draw_disks, scale):
    disks = [(y * scale, x * scale, radius * scale) for y, x, radius in SEPARATE]
    stack = draw_disks((int(150 * scale), int(130 * scale)), disks)[None]
    image, table, cells = count_cells_single_channel(stack)
    assert image is stack
    assert len(table["label"]) == 5
    assert cells.dtype == np.uint32
    assert cells.shape == stack.shape
    for y, x, radius in disks:
        label = cells[0, int(y), int(x)]
        area = table["area_px"][table["label"] == label][0]
        assert np.sqrt(area / np.pi) == pytest.approx(radius, abs=1)


@pytest.mark.parametrize("radius", [6, 10, 20])
def test_touching_disks_are_separated(draw_disks, radius):
    gap = 1.6 * radius
    shape = (int(12 * radius), int(12 * radius))
    pairs = [(y * radius, x * radius) for y in (2, 5, 8) for x in (3, 8)]
    disks = [(y, x + side * gap / 2, radius) for y, x in pairs for side in (-1, 1)]
    assert _count(draw_disks(shape, disks)[None]) == 12


def test_an_elongated_nucleus_is_not_split():
    rows, columns = np.mgrid[:120, :120]
    ellipse = ((rows - 60) / 12) ** 2 + ((columns - 60) / 26) ** 2 <= 1
    assert _count((ellipse * 1000 + 100).astype(np.uint16)[None]) == 1


def test_dim_nuclei_beside_bright_ones_are_counted(draw_disks):
    bright = draw_disks((150, 130), SEPARATE, height=20000)
    dim = draw_disks((150, 130), SEPARATE, height=5000)
    assert _count(np.concatenate([bright, dim], axis=1)[None]) == 10


def test_a_few_cells_in_a_nearly_empty_well_are_counted(draw_disks):
    assert _count(draw_disks((1200, 1200), [(300, 300, 8), (900, 500, 8)], height=150, noise=30)[None]) == 2


@pytest.mark.parametrize("method", ["watershed", "log", "dog"])
@pytest.mark.parametrize("kind", ["normal", "poisson", "few photons", "gradient", "constant"])
def test_planes_without_cells_have_none(method, kind):
    rng = np.random.default_rng(3)
    plane = {
        "normal": lambda: rng.normal(1000, 50, (300, 300)),
        "poisson": lambda: rng.poisson(20, (300, 300)),
        "few photons": lambda: rng.poisson(0.2, (300, 300)),
        "gradient": lambda: np.linspace(0, 2000, 300)[None] + rng.normal(500, 20, (300, 300)),
        "constant": lambda: np.full((300, 300), 7),
    }[kind]()
    stack = plane.clip(0).astype(np.uint16)[None]
    _, table, cells = count_cells_single_channel(stack, detection_method=method)
    assert len(table["plane"]) <= (2 if method != "watershed" else 0)
    if kind == "constant":
        assert len(table["plane"]) == 0
        assert not cells.any()
        assert table["plane"].dtype.kind == "i"


def test_an_empty_plane_between_others_keeps_the_plane_numbers(draw_disks):
    full = draw_disks((150, 130), SEPARATE)
    _, table, cells = count_cells_single_channel(np.stack([full, np.zeros_like(full), full]))
    assert table["plane"].tolist() == [0] * 5 + [2] * 5
    assert table["label"].tolist() == [1, 2, 3, 4, 5] * 2
    np.testing.assert_array_equal(cells[0], cells[2])


def test_the_table_agrees_with_regionprops(draw_disks):
    stack = draw_disks((150, 130), [*SEPARATE, (0, 60, 12)])[None]
    planes = {"pixel_size_um": np.array([0.5])}
    _, table, cells = count_cells_single_channel(stack, planes=planes)
    regions = regionprops(cells[0].astype(int), stack[0])
    assert table["label"].tolist() == [region.label for region in regions]
    np.testing.assert_array_equal(table["area_px"], [region.area for region in regions])
    np.testing.assert_allclose(table["mean_intensity"], [region.intensity_mean for region in regions])
    centroids = np.array([region.centroid for region in regions])
    np.testing.assert_allclose(np.c_[table["centroid_y_px"], table["centroid_x_px"]], centroids)
    np.testing.assert_allclose(table["centroid_y_um"], (centroids[:, 0] + 0.5) * 0.5)
    np.testing.assert_allclose(table["centroid_x_um"], (centroids[:, 1] + 0.5) * 0.5)
    np.testing.assert_allclose(table["area_um2"], table["area_px"] * 0.25)


def test_micrometres_are_nan_where_the_pixel_size_is_unknown(draw_disks):
    stack = np.stack([draw_disks((150, 130), SEPARATE)] * 2)
    _, table, _ = count_cells_single_channel(stack, planes={"pixel_size_um": np.array([np.nan, 2.0])})
    assert np.isnan(table["area_um2"][:5]).all()
    assert np.isfinite(table["centroid_y_um"][5:]).all()
    assert np.isnan(count_cells_single_channel(stack)[1]["centroid_x_um"]).all()


@given(hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 5)))
def test_objects_are_numbered_in_raster_order(labels):
    numbered = number_objects(labels)
    seen = [value for value in dict.fromkeys(numbered.ravel().tolist()) if value]
    assert seen == list(range(1, len(seen) + 1))
    np.testing.assert_array_equal(numbered == 0, labels == 0)
    assert len(seen) == len(set(labels.ravel().tolist()) - {0})


def test_border_cells_can_be_removed(draw_disks):
    stack = draw_disks((150, 130), [*SEPARATE, (0, 60, 12), (149, 100, 9), (60, 0, 12), (60, 129, 12)])[None]
    assert _count(stack) == 9
    _, table, cells = count_cells_single_channel(stack, remove_border_cells=True)
    assert table["label"].tolist() == [1, 2, 3, 4, 5]
    assert cells.max() == 5


def test_area_limits_are_inclusive(draw_disks):
    stack = draw_disks((150, 130), SEPARATE)[None]
    areas = np.sort(count_cells_single_channel(stack)[1]["area_px"])
    assert _count(stack, min_cell_area=int(areas[1])) == 4
    assert _count(stack, max_cell_area=int(areas[-2])) == 4
    assert _count(stack, min_cell_area=int(areas[0]), max_cell_area=int(areas[-1])) == 5


def test_manual_threshold_is_in_units_of_the_image(draw_disks):
    image = np.concatenate([draw_disks((150, 130), SEPARATE, height=h) for h in (500, 4000)], axis=1)[None]
    assert _count(image, threshold_method="manual", threshold=450) == 10
    assert _count(image, threshold_method="manual", threshold=1500) == 5
    assert _count(image, threshold_method="manual", threshold=60000) == 0


def test_methods_can_be_enums(draw_disks):
    class Method(Enum):
        WATERSHED = "watershed"
        LI = "li"

    stack = draw_disks((150, 130), SEPARATE)[None]
    assert _count(stack, detection_method=Method.WATERSHED, threshold_method=Method.LI) == 5


@pytest.mark.parametrize("method", ["log", "dog"])
def test_blobs_are_found_where_they_are(draw_disks, method):
    stack = draw_disks((150, 130), SEPARATE)[None]
    image, _, cells = count_cells_single_channel(stack, detection_method=method)
    assert image is stack
    assert cells.max() == 5
    assert sorted(int(cells[0, y, x]) for y, x, _ in SEPARATE) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("method", ["watershed", "log"])
def test_the_same_input_gives_the_same_bytes_whatever_its_neighbours(draw_disks, method):
    planes = [draw_disks((150, 130), SEPARATE, seed=seed) for seed in range(2)]
    together = count_cells_single_channel(np.stack(planes), detection_method=method)
    for number, plane in enumerate(planes):
        alone = count_cells_single_channel(plane[None].copy(), detection_method=method)
        assert alone[2][0].tobytes() == together[2][number].tobytes()


def test_nan_counts_as_background(draw_disks):
    stack = draw_disks((150, 130), SEPARATE)[None].astype(np.float32)
    stack[0, :5] = np.nan
    stack[0, -5:] = np.inf
    assert _count(stack) == 5
    assert _count(np.full((1, 20, 20), np.nan)) == 0


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"detection_method": "magic"}, "watershed, log, dog"),
        ({"threshold_method": "magic"}, "otsu, li, manual"),
        ({"threshold_method": "manual"}, "needs a threshold"),
        ({"threshold": 5}, "only 'manual'"),
        ({"gaussian_sigma": -1}, "gaussian_sigma must not be negative"),
        ({"min_distance": 0}, "min_distance must be above 0"),
        ({"min_cell_area": 100, "max_cell_area": 50}, "max_cell_area=50"),
        ({"min_sigma": 5, "max_sigma": 2}, "max_sigma=2"),
        ({"planes": {"pixel_size_um": np.ones(3)}}, "3 rows"),
    ],
)
def test_impossible_parameters_are_refused(parameters, text):
    with pytest.raises(ValueError, match=text):
        count_cells_single_channel(np.zeros((1, 8, 8), np.uint8), **parameters)


def test_only_stacks_are_accepted():
    with pytest.raises(ValueError, match="N, Y, X"):
        count_cells_single_channel(np.zeros((8, 8), np.uint8))


def test_declaration():
    spec = spec_of(count_cells_single_channel)
    assert [(output.name, output.kind) for output in spec.outputs] == [
        ("cell_counts", "table"),
        ("cells", "labels"),
    ]
    assert not spec.changes_image
    assert spec.devices == ("cpu",)
