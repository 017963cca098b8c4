from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage, sparse
from skimage.segmentation import expand_labels

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.segmentation._propagate import STEEPEST, UNIT, propagate
from hcs_steps.functions.segmentation.cells import segment_cells, segment_cytoplasm

DIVIDING = ("propagation", "watershed")


def _nuclei(shape, centres, radius=5):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, dtype=np.uint32)
    for number, (y, x) in enumerate(centres, start=1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number
    return labels


def _noisy(image, noise=10, seed=0):
    return (
        (image + np.random.default_rng(seed).normal(200, noise, image.shape)).clip(0, 65535).astype(np.uint16)
    )


def _wall(valley=300):
    """Two touching cells, 60 x 140, with a dim border at column 90, and their nuclei off centre."""
    image = np.zeros((80, 160))
    image[10:70, 10:150] = 1000
    image[10:70, 88:93] = valley
    nuclei = _nuclei(image.shape, [(40, 45), (40, 118)])
    truth = np.zeros(image.shape, dtype=np.uint32)
    truth[10:70, 10:91] = 1
    truth[10:70, 91:150] = 2
    return _noisy(ndimage.gaussian_filter(image, 1)), nuclei, truth


def _agreement(found, truth):
    return [
        ((found == k) & (truth == k)).sum() / ((found == k) | (truth == k)).sum()
        for k in np.unique(truth)[1:]
    ]


def _shortest_paths(image, seeds, mask, weight):
    """The cost of the cheapest path from each seed (rows) to each pixel, by Dijkstra's algorithm."""
    index = np.arange(image.size).reshape(image.shape)
    scaled = (image * np.float32(1 / weight)).astype(np.float32)
    tails, heads, costs = [], [], []
    full, front, back = slice(None), slice(None, -1), slice(1, None)
    for here, there, length in (
        ((full, front), (full, back), 1),
        ((front, full), (back, full), 1),
        ((front, front), (back, back), 2),
        ((front, back), (back, front), 2),
    ):
        rise = np.clip(scaled[there] - scaled[here], -STEEPEST, STEEPEST).astype(np.float32)
        cost = np.rint(np.sqrt(rise**2 + np.float32(length)) * np.float32(UNIT))
        linked = mask[here] & mask[there]
        tails.append(index[here][linked])
        heads.append(index[there][linked])
        costs.append(cost[linked])
    graph = sparse.coo_array(
        (np.concatenate(costs), (np.concatenate(tails), np.concatenate(heads))), shape=(image.size,) * 2
    ).tocsr()
    numbers = np.unique(seeds[seeds > 0])
    return numbers, np.stack(
        [
            sparse.csgraph.dijkstra(graph, directed=False, indices=np.flatnonzero(seeds == k), min_only=True)
            for k in numbers
        ]
    )


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    seed=st.integers(0, 2**31),
    weight=st.sampled_from([0.02, 0.3, 5.0]),
)
def test_propagation_finds_the_cheapest_paths(shape, seed, weight):
    rng = np.random.default_rng(seed)
    image = rng.random(shape).astype(np.float32)
    mask = rng.random(shape) < 0.8
    seeds = np.where(rng.random(shape) < 0.15, rng.integers(1, 1000, shape), 0).astype(np.int32)
    found = propagate(image, seeds, mask, weight)
    if not seeds.any():
        assert not found.any()
        return
    numbers, costs = _shortest_paths(image, seeds, mask | (seeds > 0), weight)
    reached = np.isfinite(costs.min(axis=0))
    np.testing.assert_array_equal(found.ravel(), np.where(reached, numbers[costs.argmin(axis=0)], 0))


def _border(cells):
    """The last column of cell 1 in each row through the middle of the plane."""
    return [np.flatnonzero(row == 1).max() for row in cells[20:60]]


@pytest.mark.parametrize("method", DIVIDING)
def test_touching_cells_are_divided_where_their_border_is_dim(method):
    image, nuclei, truth = _wall()
    _, cells = segment_cells(image[None], nuclei[None], method=method)
    # Half-way between the nuclei would be at 81.
    np.testing.assert_allclose(_border(cells[0]), 90, atol=3)
    assert min(_agreement(cells[0], truth)) > 0.9


@pytest.mark.parametrize("parameters", [{}, {"method": "watershed", "watershed_on": "gradient"}])
def test_a_bright_cell_beside_a_dim_one_ends_at_the_step(parameters):
    image = np.zeros((80, 160))
    image[10:70, 10:91] = 2000
    image[10:70, 91:150] = 1000
    nuclei = _nuclei(image.shape, [(40, 45), (40, 115)])
    _, cells = segment_cells(_noisy(ndimage.gaussian_filter(image, 1))[None], nuclei[None], **parameters)
    np.testing.assert_allclose(_border(cells[0]), 90, atol=3)


def test_a_large_regularization_divides_half_way():
    image, nuclei, _ = _wall()
    _, cells = segment_cells(image[None], nuclei[None], regularization=1000)
    np.testing.assert_allclose(_border(cells[0])[15:25], 81, atol=1)


@pytest.mark.parametrize("dark", [True, False])
def test_a_doughnut_whose_nucleus_is_dark_is_one_cell(dark):
    image = 1000.0 * (_nuclei((80, 160), [(40, 40), (40, 115)], 30) > 0)
    nuclei = _nuclei(image.shape, [(40, 40), (40, 115)], 10)
    if dark:
        image[nuclei > 0] = 0
    _, cells = segment_cells(_noisy(ndimage.gaussian_filter(image, 1))[None], nuclei[None])
    truth = _nuclei(image.shape, [(40, 40), (40, 115)], 30)
    assert min(_agreement(cells[0], truth)) > 0.93


@settings(max_examples=30, deadline=None)
@given(
    image=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9)),
    seed=st.integers(0, 2**31),
    method=st.sampled_from(DIVIDING),
)
def test_cells_contain_their_nuclei_and_nothing_but_connected_foreground(image, seed, method):
    rng = np.random.default_rng(seed)
    nuclei = np.where(rng.random(image.shape) < 0.1, rng.integers(1, 2**32 - 1, image.shape), 0).astype(
        np.uint32
    )
    _, cells = segment_cells(
        image,
        nuclei,
        method=method,
        threshold_method="manual",
        threshold=120,
        gaussian_sigma=0,
        fill_holes=False,
    )
    np.testing.assert_array_equal(cells[nuclei > 0], nuclei[nuclei > 0])
    assert not cells[(nuclei == 0) & (image <= 120)].any()
    assert set(np.unique(cells)) <= set(np.unique(nuclei)) | {0}
    for plane, own, pixels in zip(cells, nuclei, image, strict=True):
        # Of the foreground, exactly the regions with a nucleus belong to cells.
        regions, _ = ndimage.label((pixels > 120) | (own > 0), np.ones((3, 3)))
        np.testing.assert_array_equal(plane > 0, np.isin(regions, regions[own > 0]))


@pytest.mark.parametrize("distance", [1, 4.5, 30])
def test_distance_expands_like_scikit_image(distance):
    rng = np.random.default_rng(1)
    nuclei = np.where(rng.random((2, 60, 70)) < 0.004, rng.integers(1, 50, (2, 60, 70)), 0).astype(np.uint32)
    _, cells = segment_cells(
        np.zeros(nuclei.shape, np.uint8), nuclei, method="distance", max_distance=distance, fill_holes=False
    )
    for plane, own in zip(cells, nuclei, strict=True):
        np.testing.assert_array_equal(plane, expand_labels(own, distance))


@pytest.mark.parametrize("method", [*DIVIDING, "distance"])
def test_no_cell_reaches_farther_than_the_limit(method):
    image = np.full((1, 60, 60), 100, np.uint16)
    image[0, 5:55, 5:55] = 1000
    nuclei = _nuclei((60, 60), [(30, 30)], 3)[None]
    _, cells = segment_cells(image, nuclei, method=method, max_distance=10)
    away = ndimage.distance_transform_edt(nuclei[0] == 0)
    np.testing.assert_array_equal(cells[0] == 1, away <= 10)
    planes = {"pixel_size_um": np.array([0.5])}
    _, same = segment_cells(image, nuclei, method=method, max_distance_um=5, planes=planes)
    np.testing.assert_array_equal(same, cells)
    _, stricter = segment_cells(
        image, nuclei, method=method, max_distance=20, max_distance_um=5, planes=planes
    )
    np.testing.assert_array_equal(stricter, cells)


@pytest.mark.parametrize("kind", ["constant", "noise", "photons"])
def test_a_plane_without_cells_gives_each_nucleus_a_cell_of_its_own_size(kind):
    rng = np.random.default_rng(0)
    image = {
        "constant": np.full((100, 100), 500),
        "noise": rng.normal(500, 40, (100, 100)),
        "photons": rng.poisson(3, (100, 100)),
    }[kind]
    nuclei = _nuclei((100, 100), [(30, 30), (70, 60)])[None]
    for threshold in ("otsu", "li", "triangle"):
        _, cells = segment_cells(image.astype(np.uint16)[None], nuclei, threshold_method=threshold)
        np.testing.assert_array_equal(cells, nuclei)


@pytest.mark.parametrize("method", ["otsu", "li", "triangle"])
def test_dim_cells_beside_bright_ones_are_found_whole(method):
    truth = _nuclei((120, 240), [(60, 50), (60, 180)], 30)
    image = _noisy(ndimage.gaussian_filter(np.choose(truth, [0, 500, 2000]).astype(float), 1))
    nuclei = _nuclei((120, 240), [(60, 50), (60, 180)], 10)
    _, cells = segment_cells(image[None], nuclei[None], threshold_method=method)
    # Otsu's threshold on the intensity itself would lose the dim cell.
    assert min(_agreement(cells[0], truth)) > 0.8


def test_threshold_correction_scales_the_height_above_background():
    ramp = 1000 + np.tile(np.linspace(0, 1000, 200), (40, 1))
    nuclei = _nuclei(ramp.shape, [(20, 190)], 4)[None]
    area = [
        np.count_nonzero(segment_cells(ramp[None], nuclei, gaussian_sigma=0, threshold_correction=factor)[1])
        for factor in (0.5, 1.0)
    ]
    # The threshold lies at some column t of 200; half its height is column t / 2.
    assert 8000 - area[0] == pytest.approx((8000 - area[1]) / 2, rel=0.05)


def test_holes_in_one_cell_are_filled_and_gaps_between_cells_are_not():
    image = np.zeros((1, 40, 80), np.uint8)
    image[0, 5:35, 5:75] = 200
    image[0, 10:14, 10:14] = 0
    image[0, 15:25, 35:45] = 0
    nuclei = np.zeros(image.shape, np.uint32)
    nuclei[0, 18:22, 18:22], nuclei[0, 18:22, 60:64] = 1, 2
    parameters = {"threshold_method": "manual", "threshold": 100, "gaussian_sigma": 0}
    _, cells = segment_cells(image, nuclei, **parameters)
    assert (cells[0, 10:14, 10:14] == 1).all()
    assert not cells[0, 15:25, 35:45].any()
    _, open_cells = segment_cells(image, nuclei, fill_holes=False, **parameters)
    assert not open_cells[0, 10:14, 10:14].any()


def test_labels_of_one_plane_serve_all_and_may_be_any_numbers():
    image, nuclei, truth = _wall()
    stack = np.stack([image, image])
    _, cells = segment_cells(stack, nuclei[None] * np.uint32(2_000_000_000))
    np.testing.assert_array_equal(cells[0], cells[1])
    assert sorted(set(cells.ravel().tolist())) == [0, 2_000_000_000, 4_000_000_000]
    assert min(_agreement(cells[0] // 2_000_000_000, truth)) > 0.9


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_all_pixel_types_give_the_same_cells(dtype):
    image, nuclei, _ = _wall()
    image = (image // 8).astype(np.uint8)
    expected = segment_cells(image[None], nuclei[None])[1]
    given = image.astype(dtype)[None]
    stack, cells = segment_cells(given, nuclei[None].astype(np.int64))
    assert stack is given
    assert cells.dtype == np.uint32
    np.testing.assert_array_equal(cells, expected)


def test_planes_do_not_influence_one_another_and_results_are_repeatable():
    image, nuclei, _ = _wall()
    stack = np.stack([image, np.zeros_like(image), image[:, ::-1]])
    labels = np.stack([nuclei, np.zeros_like(nuclei), nuclei[:, ::-1]])
    for method in DIVIDING:
        _, cells = segment_cells(stack, labels, method=method)
        assert not cells[1].any()
        for plane in (0, 2):
            alone = segment_cells(stack[plane][None].copy(), labels[plane][None].copy(), method=method)[1]
            assert alone[0].tobytes() == cells[plane].tobytes()


def test_pixels_that_are_not_finite_are_background():
    image, nuclei, _ = _wall()
    spoilt = image.astype(np.float32)
    spoilt[10:20] = np.nan
    spoilt[70:75] = np.inf
    _, cells = segment_cells(
        spoilt[None], nuclei[None], threshold_method="manual", threshold=700, gaussian_sigma=0
    )
    assert not cells[0, :20].any()
    assert not cells[0, 71:75].any()
    assert (cells[0, 25:55, 20] == 1).all()
    np.testing.assert_array_equal(segment_cells(np.full((1, 80, 160), np.nan), nuclei[None])[1], nuclei[None])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
@pytest.mark.parametrize("method", [*DIVIDING, "distance"])
def test_planes_of_any_size_work(shape, method):
    image = np.arange(shape[0] * shape[1], dtype=np.uint8).reshape((1, *shape))
    nuclei = np.zeros((1, *shape), np.uint32)
    assert not segment_cells(image, nuclei, method=method, max_distance=2)[1].any()
    nuclei[0, -1, -1] = 3
    cells = segment_cells(image, nuclei, method=method, max_distance=2)[1]
    assert cells[0, -1, -1] == 3
    assert (segment_cells(image, np.full_like(nuclei, 5), method=method, max_distance=2)[1] == 5).all()


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"method": "magic"}, "propagation, watershed, distance"),
        ({"threshold_method": "magic"}, "otsu, li, triangle, manual"),
        ({"threshold_method": "manual"}, "needs a threshold"),
        ({"threshold": 5}, "only 'manual'"),
        ({"threshold_correction": 0}, "threshold_correction must be above 0"),
        ({"gaussian_sigma": -1}, "gaussian_sigma must not be negative"),
        ({"regularization": 0}, "regularization must be above 0"),
        ({"watershed_on": "magic"}, "intensity, gradient"),
        ({"max_distance": -1}, "max_distance must be above 0"),
        ({"max_distance_um": 5}, "needs a known pixel size"),
        ({"method": "distance"}, "needs max_distance"),
        ({"nuclei": None}, "needs the labels 'nuclei'"),
        ({"nuclei": np.ones((2, 8, 8), np.uint32)}, r"\(2, 8, 8\)"),
        ({"nuclei": np.ones((1, 8, 8))}, "whole numbers"),
        ({"nuclei": np.full((1, 8, 8), -1)}, "negative"),
        ({"nuclei": np.full((1, 8, 8), 2**40)}, "32 bits"),
        ({"planes": {"pixel_size_um": np.ones(3)}}, "3 rows"),
    ],
)
def test_impossible_parameters_of_cells_are_refused(parameters, text):
    arguments = {"nuclei": np.ones((1, 8, 8), np.uint32), **parameters}
    with pytest.raises(ValueError, match=text):
        segment_cells(np.zeros((1, 8, 8), np.uint8), **arguments)


def test_the_cytoplasm_is_the_cell_without_nuclei():
    image, nuclei, _ = _wall()
    _, cells = segment_cells(image[None], nuclei[None])
    stack, cytoplasm = segment_cytoplasm(image[None], nuclei[None], cells)
    np.testing.assert_array_equal(cytoplasm, np.where(nuclei[None] > 0, 0, cells))
    assert cytoplasm.dtype == np.uint32
    _, apart = segment_cytoplasm(image[None], nuclei[None], cells, ring_gap=2)
    away = ndimage.distance_transform_edt(nuclei == 0)
    np.testing.assert_array_equal(apart[0] > 0, (cells[0] > 0) & (away > 2) & (apart[0] > 0))
    # Rings stay in their cells and on their nucleus's side.
    _, ring = segment_cytoplasm(image[None], nuclei[None], cells, ring_width=6)
    np.testing.assert_array_equal(ring[0], np.where((away > 0) & (away <= 6), cells[0], 0))
    assert stack.shape == cells.shape


def test_rings_have_the_given_width_and_do_not_enter_neighbours():
    nuclei = _nuclei((60, 90), [(30, 25), (30, 45), (10, 80)], 6)[None]
    _, ring = segment_cytoplasm(np.zeros(nuclei.shape, np.uint8), nuclei, ring_width=5, ring_gap=2)
    distances = np.stack([ndimage.distance_transform_edt(nuclei[0] != k) for k in (1, 2, 3)])
    nearest = distances.min(axis=0)
    np.testing.assert_array_equal(ring[0] > 0, (nearest > 2) & (nearest <= 7))
    for k in (1, 2, 3):
        np.testing.assert_array_equal(distances[k - 1][ring[0] == k], nearest[ring[0] == k])
    _, default = segment_cytoplasm(np.zeros(nuclei.shape, np.uint8), nuclei)
    np.testing.assert_array_equal(default[0] > 0, (nearest > 1) & (nearest <= 5))
    assert not segment_cytoplasm(np.zeros(nuclei.shape, np.uint8), np.zeros_like(nuclei))[1].any()


@pytest.mark.parametrize("parameters", [{}, {"ring_width": 6, "ring_gap": 2}, {"use_cells": True}])
def test_the_cytoplasm_on_the_gpu_is_that_on_the_cpu(cupy_standin, parameters):
    image, nuclei, truth = _wall()
    parameters = dict(parameters)
    cells = truth[None] if parameters.pop("use_cells", False) else None
    expected = segment_cytoplasm(image[None], nuclei[None], cells, **parameters)[1]
    device = cupy_standin.asarray(image[None])
    moved = None if cells is None else cupy_standin.asarray(cells)
    stack, found = segment_cytoplasm(device, cupy_standin.asarray(nuclei[None]), moved, **parameters)
    assert stack is device
    np.testing.assert_array_equal(found.get(), expected)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"ring_width": 0}, "ring_width must be above 0"),
        ({"ring_gap": -1}, "ring_gap must not be negative"),
        ({"nuclei": None}, "needs the labels 'nuclei'"),
        ({"cells": np.ones((1, 4, 8), np.uint32)}, "cells of shape"),
    ],
)
def test_impossible_parameters_of_the_cytoplasm_are_refused(parameters, text):
    arguments = {"nuclei": np.ones((1, 8, 8), np.uint32), **parameters}
    with pytest.raises(ValueError, match=text):
        segment_cytoplasm(np.zeros((1, 8, 8), np.uint8), **arguments)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (segment_cells, {}),
        (segment_cells, {"method": "watershed"}),
        (segment_cells, {"method": "distance", "max_distance": 30}),
        (segment_cells, {"max_distance": 30}),
        (segment_cytoplasm, {}),
    ],
)
def test_peak_memory_stays_below_what_is_declared(function, parameters, count):
    centres = [(y, x) for y in range(20, 600, 45) for x in range(20, 600, 45)]
    nuclei = _nuclei((600, 600), centres, 8)
    # Confluent: everything is in one region.
    stack = np.repeat(
        _noisy(1000.0 * ndimage.binary_dilation(nuclei > 0, iterations=16))[None], count, axis=0
    )
    labels = np.repeat(nuclei[None], count, axis=0)
    function(stack[:, :64, :64], labels[:, :64, :64], **parameters)
    tracemalloc.start()
    function(stack, labels, **parameters)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(function)
    declared = spec.cost(parameters).of(stack) + 4 * stack.size
    assert peak <= declared <= 3 * peak, (peak / stack[0].size, declared / stack[0].size)


def test_declarations():
    for function, name in ((segment_cells, "cells"), (segment_cytoplasm, "cytoplasm")):
        spec = spec_of(function)
        assert [(output.name, output.kind) for output in spec.outputs] == [(name, "labels")]
        assert not spec.changes_image


@pytest.mark.parametrize(("well", "site"), [("D6", 2), ("D7", 1)])
def test_cells_of_a_cell_painting_plate(real_data, well, site):
    from hcs_steps.functions.segmentation.nuclei import segment_nuclei

    folder = real_data("cytation_nf1_cellpainting")
    dna = tifffile.imread(folder / "images" / f"{well}_01_1_{site}_DAPI_001.tif")[None]
    actin = tifffile.imread(folder / "images" / f"{well}_01_3_{site}_RFP_001.tif")[None]
    truth = {
        name: tifffile.imread(folder / "truth_masks" / f"{well}_01_3_{site}_RFP_001_Mask{name}.tiff") > 0
        for name in ("Cells", "Cytoplasm")
    }
    _, nuclei = segment_nuclei(dna)
    _, cells = segment_cells(actin, nuclei)
    _, cytoplasm = segment_cytoplasm(actin, nuclei, cells)
    # The reference leaves out the cells at the border of the image.
    kept = np.bincount(nuclei.ravel(), truth["Cells"].ravel()) > 0.5 * np.bincount(nuclei.ravel())
    kept[0] = False
    for name, found in (("Cells", cells[0]), ("Cytoplasm", cytoplasm[0])):
        overlap = (kept[found] & truth[name]).sum() / (kept[found] | truth[name]).sum()
        assert overlap >= 0.82
