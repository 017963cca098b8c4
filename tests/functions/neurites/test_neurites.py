"""Neurites: counts on drawn figures, lengths against geometry, noise, volumes, tables and errors."""

from __future__ import annotations

import builtins
import sys
import tracemalloc

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.draw import circle_perimeter, line

pytest.importorskip("skan")

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.neurites._skeletons import build_graph
from hcs_steps.functions.neurites.tracing import skan_axon_skeletonize_and_analyze as trace

FIGURES = {
    # name: lines (y0, x0, y1, x1), trees, branches, junctions, end points, types of branches
    "line": ([(50, 10, 50, 90)], 1, 1, 0, 2, [0]),
    "diagonal": ([(10, 10, 90, 90)], 1, 1, 0, 2, [0]),
    "Y": ([(50, 50, 90, 50), (50, 50, 10, 20), (50, 50, 10, 80)], 1, 3, 1, 3, [1, 1, 1]),
    "T": ([(20, 10, 20, 90), (20, 50, 90, 50)], 1, 3, 1, 3, [1, 1, 1]),
    "X": ([(10, 10, 90, 90), (10, 90, 90, 10)], 1, 4, 1, 4, [1, 1, 1, 1]),
    "+": ([(50, 10, 50, 90), (10, 50, 90, 50)], 1, 4, 1, 4, [1, 1, 1, 1]),
    "H": ([(10, 20, 90, 20), (10, 80, 90, 80), (50, 20, 50, 80)], 1, 5, 2, 4, [1, 1, 1, 1, 2]),
    "loop": ([(20, 20, 20, 80), (20, 80, 80, 80), (80, 80, 80, 20), (80, 20, 20, 20)], 1, 1, 0, 0, [3]),
    "ladder": (
        [(10, 30, 90, 30), (10, 70, 90, 70), *[(y, 30, y, 70) for y in (20, 40, 60, 80)]],
        *(1, 14, 8, 4, [1] * 4 + [2] * 10),
    ),
    "two": ([(20, 10, 20, 90), (70, 10, 75, 90)], 2, 2, 0, 4, [0, 0]),
}
COUNTS = ("trees", "branches", "junctions", "endpoints")


def draw(lines, shape=(101, 101), width=1):
    image = np.zeros(shape, dtype=bool)
    for ends in lines:
        image[line(*ends)] = True
    return image if width == 1 else ndimage.distance_transform_edt(~image) <= width / 2


def exact(mask, **options):
    return trace(
        mask.astype(np.uint8)[None] if mask.ndim == 2 else mask.astype(np.uint8),
        threshold_method="manual",
        threshold=0.5,
        **options,
    )


def counts(summary, row=0):
    return tuple(int(summary[name][row]) for name in COUNTS)


def neuron(shape=(400, 400), arms=5, arm=150.0, side=60.0, seed=0, wiggle=0.04):
    """Wavy arms from the centre with a side branch each: points 1 px apart, and the total length."""
    rng = np.random.default_rng(seed)

    def walk(start, angle, length):
        angles = angle + np.cumsum(rng.normal(0, wiggle, int(length)))
        steps = np.stack([np.sin(angles), np.cos(angles)], axis=1)
        return np.concatenate([[start], start + np.cumsum(steps, axis=0)]), angles

    paths = []
    for number in range(arms):
        path, angles = walk(np.array(shape) / 2, 2 * np.pi * number / arms, arm)
        half = int(arm / 2)
        turn = 0.9 if number % 2 else -0.9
        paths += [path, walk(path[half], angles[half] + turn, side)[0]]
    return paths, arms * (arm + side)


def render(paths, shape, width=4.0):
    """Gaussian profile of full width ``width`` at half height around the paths, height 1."""
    points = np.concatenate([path[:-1] + part * np.diff(path, axis=0) for path in paths for part in (0, 0.5)])
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    distance = cKDTree(points).query(grid.reshape(-1, 2), distance_upper_bound=3 * width)[0].reshape(shape)
    return np.exp(-0.5 * np.minimum(distance, 1e3) ** 2 / (width / 2.355) ** 2)


@pytest.mark.parametrize("width", [1, 5])
@pytest.mark.parametrize("name", FIGURES)
def test_branches_junctions_and_ends_are_counted_once(name, width):
    lines, *wanted, kinds = FIGURES[name]
    _, branches, summary, labels = exact(draw(lines, width=width))
    assert counts(summary) == tuple(wanted)
    assert sorted(branches["branch_type"]) == kinds
    assert labels.max() == wanted[0]


@pytest.mark.parametrize("name", ["line", "Y", "T", "H", "ladder", "two"])
def test_default_parameters_find_the_same_figures_in_a_noisy_image(name):
    lines, *wanted, _ = FIGURES[name]
    smooth = ndimage.gaussian_filter(draw(lines, width=3) * 1000.0, 1)
    image = smooth + np.random.default_rng(1).normal(300, 20, smooth.shape)
    assert counts(trace(image.astype(np.uint16)[None])[2]) == tuple(wanted)


def test_neighbouring_junction_pixels_are_one_junction_and_steps_are_none():
    stairs = np.zeros((40, 40), dtype=bool)
    for i in range(5, 30):
        stairs[i, i] = stairs[i, i + 1] = True
    assert counts(exact(stairs)[2]) == (1, 1, 0, 2)
    crossing = draw([(20, 2, 20, 37), (2, 20, 20, 20), (20, 21, 37, 21)], (40, 40))
    assert counts(exact(crossing, min_branch_length=0)[2]) == (1, 4, 1, 4)


@pytest.mark.parametrize("shape", [(30, 30), (9, 11, 12)])
@pytest.mark.parametrize("density", [0.02, 0.1, 0.3])
def test_the_graph_has_the_connected_parts_of_the_image_and_no_triangles(shape, density):
    image = np.random.default_rng(0).random(shape) < density
    graph = build_graph(image, (1,) * len(shape))
    parts, count = ndimage.label(image, np.ones((3,) * len(shape)))
    found, tree = graph.trees()
    assert found == count
    np.testing.assert_array_equal(tree + 1, parts[tuple(graph.coordinates.T)])
    linked = (graph.links > 0).astype(int)
    assert (linked @ linked).multiply(linked).nnz == 0
    rows, columns = graph.links.nonzero()
    steps = graph.coordinates[rows] - graph.coordinates[columns]
    np.testing.assert_allclose(graph.links.data, np.linalg.norm(steps, axis=1))


def test_a_single_pixel_is_no_tree():
    dot = np.zeros((9, 9), dtype=bool)
    dot[4, 4] = True
    _, branches, summary, labels = exact(dot, min_object_size=0, min_tree_length=0)
    assert counts(summary) == (0, 0, 0, 0)
    assert len(branches["plane"]) == 0
    assert not labels.any()


@pytest.mark.parametrize("angle", range(0, 91, 9))
def test_straight_lines_have_their_length_at_every_angle(angle):
    ends = (
        120,
        120,
        round(120 + 100 * np.sin(np.radians(angle))),
        round(120 + 100 * np.cos(np.radians(angle))),
    )
    _, branches, _, _ = exact(draw([ends], (240, 240)))
    true = np.hypot(ends[2] - 120, ends[3] - 120)
    assert branches["length_px"] == pytest.approx(true, rel=0.004)
    assert branches["chain_length_px"][0] >= branches["length_px"][0] - 1e-9
    assert branches["tortuosity"] == pytest.approx(1, abs=0.004)


def test_plain_sum_of_steps_is_too_long_between_the_axes():
    branches = exact(draw([(20, 20, 102, 218)], (240, 240)))[1]
    assert branches["chain_length_px"][0] / branches["length_px"][0] == pytest.approx(1.082, abs=0.003)


@pytest.mark.parametrize(("radius", "tolerance"), [(10, 0.02), (20, 0.01), (80, 0.003)])
def test_circles_have_their_circumference_and_no_end(radius, tolerance):
    image = np.zeros((200, 200), dtype=bool)
    image[circle_perimeter(100, 100, radius)] = True
    _, branches, summary, _ = exact(image)
    assert counts(summary) == (1, 1, 0, 0)
    assert branches["length_px"] == pytest.approx(2 * np.pi * radius, rel=tolerance)
    assert np.isnan(branches["tortuosity"]).all()
    assert np.isnan(summary["mean_tortuosity"]).all()


@pytest.mark.parametrize("noise", [3, 30, 100, 300])
def test_a_synthetic_neuron_has_its_length_and_branches_at_any_noise(noise):
    paths, length = neuron()
    clean = 1000 * render(paths, (400, 400))
    image = (clean + np.random.default_rng(1).normal(2000, noise, clean.shape)).astype(np.uint16)
    _, _, summary, labels = trace(image[None])
    assert summary["total_length_px"][0] == pytest.approx(length, rel=0.05)
    assert summary["trees"] == 1
    assert 15 <= summary["branches"][0] <= 17
    assert 10 <= summary["endpoints"][0] <= 11
    points = np.concatenate(paths)
    near = ndimage.distance_transform_edt(labels[0] == 0)[tuple(np.round(points).astype(int).T)]
    assert (near <= 2).mean() > 0.98


@pytest.mark.parametrize("width", [1.5, 6.0])
def test_neurites_of_other_widths_have_their_length_too(width):
    paths, length = neuron()
    image = 1000 * render(paths, (400, 400), width) + np.random.default_rng(1).normal(2000, 50, (400, 400))
    summary = trace(image.astype(np.uint16)[None])[2]
    assert summary["total_length_px"][0] == pytest.approx(length, rel=0.05)
    assert summary["trees"] == 1


@pytest.mark.parametrize("correlation", [0, 1, 3, 8])
@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_is_found_in_noise(correlation, seed):
    noise = np.random.default_rng(seed).normal(0, 1, (500, 500))
    noise = ndimage.gaussian_filter(noise, correlation) if correlation else noise
    image = (1000 + 50 * noise / noise.std()).astype(np.uint16)
    _, branches, summary, labels = trace(image[None])
    assert counts(summary) == (0, 0, 0, 0)
    assert summary["total_length_px"] == 0
    assert summary["area_px"] == 0
    assert not labels.any()
    assert all(len(column) == 0 for column in branches.values())


@pytest.mark.parametrize(
    "background", ["poisson", "few photons", "hot pixels", "slope", "vignette", "constant", "zero"]
)
def test_nothing_is_found_where_there_is_no_neurite(background):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:400, :400]
    image = {
        "poisson": lambda: rng.poisson(100, (400, 400)),
        "few photons": lambda: rng.poisson(0.2, (400, 400)),
        "hot pixels": lambda: rng.normal(500, 10, (400, 400)) + 30000 * (rng.random((400, 400)) < 1e-4),
        "slope": lambda: rng.normal(500, 10, (400, 400)) + 2 * columns,
        "vignette": lambda: rng.poisson(2000 * np.exp(-((rows - 200) ** 2 + (columns - 200) ** 2) / 8e4)),
        "constant": lambda: np.full((400, 400), 7),
        "zero": lambda: np.zeros((400, 400)),
    }[background]()
    assert counts(trace(image.astype(np.uint16)[None])[2]) == (0, 0, 0, 0)


@pytest.mark.parametrize("method", ["otsu", "li", "triangle", "local"])
def test_other_thresholds_find_a_clean_neuron(method):
    paths, length = neuron(arms=4, seed=3)
    image = 1000 * render(paths, (400, 400)) + np.random.default_rng(0).normal(300, 5, (400, 400))
    summary = trace(image.astype(np.uint16)[None], threshold_method=method, gaussian_sigma=1)[2]
    assert summary["total_length_px"][0] == pytest.approx(length, rel=0.08)
    assert summary["trees"] == 1


def test_spurs_are_pruned_by_length_and_the_stem_stays():
    comb = draw([(50, 10, 50, 90), (50, 30, 44, 30), (50, 50, 38, 50), (50, 70, 26, 70)])
    for shortest, ends in ((0, 5), (8, 4), (15, 3), (30, 2)):
        _, _, summary, _ = exact(comb, min_branch_length=shortest)
        assert summary["endpoints"][0] == ends
        assert summary["longest_branch_px"][0] <= 84
    assert summary["total_length_px"][0] == pytest.approx(80, abs=4)


def test_a_star_of_short_arms_keeps_its_longest_way():
    star = draw([(20, 20, 20, 28), (20, 20, 20, 10), (20, 20, 32, 20)], (41, 41))
    _, _, summary, _ = exact(star, min_branch_length=50, min_tree_length=0)
    assert counts(summary) == (1, 1, 0, 2)
    assert summary["total_length_px"][0] == pytest.approx(22, abs=2)


def test_micrometres_need_the_pixel_size():
    image = draw([(50, 10, 50, 90)]).astype(np.uint8)
    stack = np.stack([image, image])
    planes = {"pixel_size_um": np.array([0.5, np.nan])}
    _, branches, summary, _ = trace(stack, threshold_method="manual", threshold=0.5, planes=planes)
    np.testing.assert_allclose(summary["total_length_um"], [40, np.nan])
    np.testing.assert_allclose(branches["length_um"], [40, np.nan])
    np.testing.assert_allclose(branches["euclidean_um"], [40, np.nan])
    np.testing.assert_allclose(summary["area_um2"], [81 * 0.25, np.nan])
    assert np.isnan(trace(stack, threshold_method="manual", threshold=0.5)[2]["total_length_um"]).all()


def test_rows_belong_to_their_planes():
    stack = np.zeros((3, 101, 101), dtype=np.uint8)
    stack[0] = draw(FIGURES["Y"][0])
    stack[2] = draw(FIGURES["two"][0])
    image, branches, summary, labels = exact(stack)
    assert image is not None
    np.testing.assert_array_equal(branches["plane"], [0, 0, 0, 2, 2])
    np.testing.assert_array_equal(branches["branch"], [1, 2, 3, 1, 2])
    np.testing.assert_array_equal(branches["tree"], [1, 1, 1, 1, 2])
    np.testing.assert_array_equal(summary["plane"], [0, 1, 2])
    np.testing.assert_array_equal(summary["trees"], [1, 0, 2])
    assert labels.dtype == np.uint32
    assert labels.shape == stack.shape
    assert labels[2, 20, 50] == 1
    assert labels[2, 72, 42] == 2
    assert branches["mean_intensity"] == pytest.approx(1)


def test_ends_of_a_branch_and_its_intensity():
    image = np.zeros((1, 60, 60), dtype=np.float32)
    image[0, 30, 10:50] = np.arange(1, 41)
    _, branches, _, _ = trace(image, threshold_method="manual", threshold=0.5)
    ends = {(int(branches[f"{end}_y_px"][0]), int(branches[f"{end}_x_px"][0])) for end in ("start", "end")}
    assert ends == {(30, 10), (30, 49)}
    assert branches["mean_intensity"][0] == pytest.approx(20.5)


def soma_image(seed=0):
    paths, _ = neuron(arms=5, seed=4)
    image = 1000 * render(paths, (400, 400))
    rows, columns = np.mgrid[:400, :400]
    image = np.maximum(image, 3000.0 * (np.hypot(rows - 200, columns - 200) <= 25))
    image = ndimage.gaussian_filter(image, 1)
    return (image + np.random.default_rng(seed).normal(500, 20, image.shape)).astype(np.uint16)


def test_somata_are_crossed_or_taken_out():
    image = soma_image()
    whole = trace(image[None])
    without = trace(image[None], exclude_soma=True)
    inside = np.hypot(*(np.mgrid[:400, :400] - 200)) <= 20
    assert whole[2]["trees"] == 1
    assert whole[3][0][inside].any()
    assert 4 <= without[2]["trees"][0] <= 5
    assert not without[3][0][inside].any()
    assert without[2]["area_px"][0] < whole[2]["area_px"][0] - 1500
    removed = whole[2]["total_length_px"][0] - without[2]["total_length_px"][0]
    assert 5 * 20 <= removed <= 5 * 32 + 20


def test_dark_neurites_are_bright_ones_of_the_negative():
    image = soma_image()
    bright, dark = trace(image[None]), trace((60000 - image)[None], dark_neurites=True)
    np.testing.assert_array_equal(bright[3], dark[3])
    mask = draw(FIGURES["Y"][0])
    _, _, summary, _ = trace(
        200 - 100 * mask[None].astype(np.uint8), threshold_method="manual", threshold=150, dark_neurites=True
    )
    assert counts(summary) == (1, 3, 1, 3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_offset_gain_and_data_type_do_not_matter(dtype):
    paths, length = neuron(arms=3, seed=5)
    image = 100 * render(paths, (400, 400)) + np.random.default_rng(2).normal(40, 6, (400, 400))
    stack = np.round(image.clip(0, 255)).astype(dtype)[None]
    image, _, summary, labels = trace(stack)
    assert image is stack
    assert summary["total_length_px"][0] == pytest.approx(length, rel=0.06)
    if dtype != "uint8":
        np.testing.assert_array_equal(labels, trace(stack.astype(np.float64) * 3 - 1000)[3])


def test_nan_and_infinity_are_background():
    paths, _ = neuron(arms=3, seed=5)
    image = 100 * render(paths, (400, 400)) + np.random.default_rng(2).normal(40, 6, (400, 400))
    image[:20, :20] = np.nan
    image[-20:, -20:] = np.inf
    labels = trace(image[None])[3][0]
    assert labels.any()
    assert not labels[:10, :10].any()
    assert not labels[-10:, -10:].any()
    assert not trace(np.full((1, 30, 30), np.nan))[3].any()


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 7), (1, 7, 1), (1, 2, 2), (1, 3, 40)])
@pytest.mark.parametrize("method", ["ridge", "otsu", "local"])
@pytest.mark.parametrize("dimension", ["2d", "3d"])
def test_tiny_planes_work(shape, method, dimension):
    stack = np.random.default_rng(0).integers(0, 200, shape).astype(np.uint16)
    _, _, summary, labels = trace(stack, threshold_method=method, analysis_dimension=dimension)
    assert len(summary["plane"]) == (shape[0] if dimension == "2d" else 1)
    assert labels.shape == shape


def test_the_result_is_the_same_twice_and_the_input_is_not_written_to():
    image = soma_image()
    before = image.copy()
    first, second = trace(image[None]), trace(image[None])
    np.testing.assert_array_equal(image, before)
    for one, two in zip(first[1:3], second[1:3], strict=True):
        assert list(one) == list(two)
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


def test_columns_and_types_do_not_depend_on_what_is_found():
    empty = exact(np.zeros((50, 50), dtype=bool))
    full = exact(draw(FIGURES["H"][0]))
    for nothing, something in zip(empty[1:3], full[1:3], strict=True):
        assert {name: column.dtype for name, column in nothing.items()} == {
            name: column.dtype for name, column in something.items()
        }


def helix(turns=2.0, radius=20.0, rise=12.0):
    angle = np.linspace(0, 2 * np.pi * turns, 4000)
    points = np.stack(
        [rise * angle / (2 * np.pi), 30 + radius * np.sin(angle), 30 + radius * np.cos(angle)], 1
    )
    return points, np.linalg.norm(np.diff(points, axis=0), axis=1).sum()


@pytest.mark.parametrize("gap", [1.0, 3.0])
def test_a_helix_has_its_length_in_three_dimensions(gap):
    points, length = helix()
    shape = (int(30 / gap) + 2, 61, 61)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    distance = cKDTree(points).query(grid * [gap, 1, 1] - [3, 0, 0])[0].reshape(shape)
    clean = 200 + 1000 * np.exp(-0.5 * (distance / 1.7) ** 2)
    stack = (clean + np.random.default_rng(0).normal(0, 20, shape)).astype(np.uint16)
    planes = {"pixel_size_um": np.full(len(stack), 0.5), "z_um": 0.5 * gap * np.arange(len(stack))}
    _, branches, summary, labels = trace(stack, analysis_dimension="3d", planes=planes)
    assert counts(summary) == (1, 1, 0, 2)
    assert summary["planes"] == len(stack)
    assert summary["total_length_px"][0] == pytest.approx(length, rel=0.03)
    assert summary["total_length_um"][0] == pytest.approx(length / 2, rel=0.03)
    assert branches["chain_length_px"].sum() > 1.08 * length
    assert (labels.reshape(len(stack), -1).any(axis=1)).sum() >= 24 / gap - 2
    assert {int(branches["start_plane"][0]), int(branches["end_plane"][0])} != {0}


@pytest.mark.parametrize("step", [(0, 0, 1), (1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 2, 0), (1, 2, 3)])
def test_straight_lines_have_their_length_in_three_dimensions(step):
    volume = np.zeros((50, 60, 60), dtype=np.uint8)
    count = 44 // max(step)
    points = np.linspace(2, 2 + count * np.array(step), 400).T
    volume[tuple(np.round(points).astype(int))] = 1
    _, branches, summary, labels = exact(volume, analysis_dimension="3d")
    assert counts(summary) == (1, 1, 0, 2)
    ends = np.argwhere(labels)[[0, -1]]
    assert np.linalg.norm(ends[1] - ends[0]) >= count * np.linalg.norm(step) - 4
    assert branches["length_px"] == pytest.approx(np.linalg.norm(ends[1] - ends[0]), rel=0.01)


def test_a_branched_figure_in_three_dimensions():
    volume = np.zeros((41, 41, 41), dtype=np.uint8)
    volume[20, 20, 5:36] = volume[20, 5:36, 20] = volume[5:36, 20, 20] = 1
    _, _, summary, _ = exact(volume, analysis_dimension="3d")
    assert counts(summary) == (1, 6, 1, 6)
    assert summary["total_length_px"][0] == pytest.approx(90, rel=0.02)


def test_volumes_are_the_z_stacks_of_the_plane_table():
    stack = np.zeros((6, 60, 60), dtype=np.uint8)
    stack[[0, 3, 4], 30, 10:50] = 1
    planes = {
        "well": np.array(["A01"] * 6),
        "site": np.array([1, 2, 1, 2, 1, 2]),
        "z_index": np.array([2, 2, 1, 1, 0, 0]),
        "z_um": np.array([4.0, 4.0, 2.0, 2.0, 0.0, 0.0]),
        "pixel_size_um": np.full(6, 1.0),
    }
    _, branches, summary, _ = exact(stack, analysis_dimension="3d", planes=planes)
    np.testing.assert_array_equal(summary["planes"], [3, 3])
    np.testing.assert_array_equal(summary["plane"], [4, 5])
    np.testing.assert_array_equal(summary["trees"], [2, 1])
    np.testing.assert_array_equal(branches["start_plane"], [4, 0, 3])


def test_unknown_distance_of_planes_leaves_no_micrometres():
    volume = np.zeros((5, 60, 60), dtype=np.uint8)
    volume[2, 30, 10:50] = 1
    planes = {"pixel_size_um": np.full(5, 0.5)}
    summary = exact(volume, analysis_dimension="3d", planes=planes)[2]
    assert np.isnan(summary["total_length_um"]).all()
    assert summary["total_length_px"][0] == pytest.approx(39, abs=0.1)
    summary = exact(volume, analysis_dimension="3d", planes=planes, z_spacing_um=2.0)[2]
    assert summary["total_length_um"][0] == pytest.approx(19.5, abs=0.1)


def test_width_in_micrometres_is_width_in_pixels():
    image = soma_image()[None]
    planes = {"pixel_size_um": np.array([0.25])}
    np.testing.assert_array_equal(
        trace(image, neurite_width_um=1.5, planes=planes)[3], trace(image, neurite_width=6.0)[3]
    )
    with pytest.raises(ValueError, match=r"neurite_width_um=1\.5 needs the pixel size"):
        trace(image, neurite_width_um=1.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold_method": "magic"}, "threshold_method='magic' is not known"),
        ({"analysis_dimension": "4d"}, "analysis_dimension='4d' is not known"),
        ({"threshold_method": "manual"}, "'manual' needs a threshold"),
        ({"skeleton_method": "zhang", "analysis_dimension": "3d"}, "use 'lee'"),
        ({"threshold": 5.0}, "only 'manual' takes one"),
        ({"neurite_width": 0}, "neurite_width must be above 0"),
        ({"min_branch_length": -1}, "min_branch_length must not be negative"),
        ({"soma_width": 0}, "soma_width must be above 0"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        trace(np.zeros((1, 9, 9), dtype=np.uint16), **options)


def test_a_plane_without_a_stack_axis_is_refused():
    with pytest.raises(ValueError, match=r"axes \(N, Y, X\)"):
        trace(np.zeros((9, 9), dtype=np.uint16))


def test_missing_skan_says_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def without_skan(name, *rest, **more):
        if name.partition(".")[0] == "skan":
            raise ModuleNotFoundError(name)
        return real(name, *rest, **more)

    monkeypatch.setitem(sys.modules, "skan", None)
    monkeypatch.setitem(sys.modules, "skan.csr", None)
    monkeypatch.setattr(builtins, "__import__", without_skan)
    with pytest.raises(ImportError, match=r'pip install "hcs-steps\[skeleton\]"'):
        trace(np.zeros((1, 9, 9), dtype=np.uint16))


def test_arrays_on_a_device_are_fetched(cupy_standin):
    image = soma_image()[None]
    device = cupy_standin.asarray(image)
    passed, _, _, labels = trace(device)
    assert passed is device
    np.testing.assert_array_equal(labels, trace(image)[3])


@pytest.mark.parametrize("planes", [1, 8])
@pytest.mark.parametrize("dimension", ["2d", "3d"])
def test_peak_memory_stays_below_what_is_declared(planes, dimension):
    stack = np.repeat(soma_image()[None], planes, axis=0)
    trace(stack[:1], analysis_dimension=dimension)  # what it loads is not counted
    tracemalloc.start()
    trace(stack, analysis_dimension=dimension)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(trace)
    declared = spec.cost({"analysis_dimension": dimension}).of(stack)
    labels = 4 * stack.size
    assert peak <= declared + labels <= 3 * peak
