from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.measuring.translocation import measure_translocation
from hcs_steps.functions.segmentation.cells import segment_cytoplasm

CENTRES = [(25, 25), (25, 46), (70, 30), (70, 80), (2, 90)]


def _nuclei(radius=7, shape=(100, 100)):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, dtype=np.uint32)
    for number, (y, x) in enumerate(CENTRES, start=1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number
    return labels


def _image(inside, outside, background=100.0):
    """Nuclei and their surroundings of up to 14 px with a given intensity each, on a background."""
    nuclei = _nuclei()
    distance, nearest = ndimage.distance_transform_edt(nuclei == 0, return_indices=True)
    owner = nuclei[tuple(nearest)]
    image = np.full(nuclei.shape, background)
    for number, (one, other) in enumerate(zip(inside, outside, strict=True), start=1):
        image[(owner == number) & (distance <= 14)] = background + other
        image[nuclei == number] = background + one
    return image


def test_known_ratios_are_found():
    inside, outside = [300, 50, 200, 80, 400], [100, 200, 200, 20, 50]
    stack = _image(inside, outside)[None]
    image, table = measure_translocation(stack, _nuclei()[None])
    assert image is stack
    ratio = np.array(inside) / outside
    assert table["plane"].tolist() == [0] * 5
    assert table["label"].tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(table["Intensity_Background"], 100)
    np.testing.assert_allclose(table["Nuclei_Intensity_MeanIntensity"], 100 + np.array(inside))
    np.testing.assert_allclose(table["Cytoplasm_Intensity_MeanIntensity"], 100 + np.array(outside))
    np.testing.assert_allclose(table["Translocation_Ratio"], ratio)
    np.testing.assert_allclose(table["Translocation_Log2Ratio"], np.log2(ratio))
    np.testing.assert_allclose(table["Translocation_Difference"], np.subtract(inside, outside))
    assert np.isnan(table["Correlation_Correlation"]).all()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"]),
    width=st.sampled_from([1, 2.5, 4]),
    gap=st.sampled_from([0, 1, 2.2]),
    given_cytoplasm=st.booleans(),
)
def test_the_table_agrees_with_one_object_at_a_time(seed, dtype, width, gap, given_cytoplasm):
    rng = np.random.default_rng(seed)
    shape = (2, *rng.integers(1, 25, 2))
    stack = rng.integers(0, 120, shape).astype(dtype)
    nuclei = np.where(rng.random(shape) < 0.05, rng.integers(1, 2**32 - 1, shape), 0).astype(np.uint32)
    nuclei[:, :3, :3] = 5
    cytoplasm = segment_cytoplasm(stack, nuclei, ring_width=width, ring_gap=gap)[1]
    if given_cytoplasm:
        cytoplasm = np.where((rng.random(shape) < 0.5) & (nuclei == 0), np.roll(nuclei, 1, 2), 0)
    _, table = measure_translocation(
        stack,
        nuclei,
        cytoplasm if given_cytoplasm else None,
        background=3,
        ring_width=width,
        ring_gap=gap,
        nuclear_channel="DNA",
        planes={"channel_name": np.array(["GFP", "DNA"])},
    )
    rows = [(plane, label) for plane in range(2) for label in np.unique(nuclei[plane][nuclei[plane] > 0])]
    assert list(zip(table["plane"].tolist(), table["label"].tolist(), strict=True)) == rows
    for row, (plane, label) in enumerate(rows):
        inner, outer = nuclei[plane] == label, cytoplasm[plane] == label
        pixels, stain = stack[plane].astype(float), stack[1].astype(float)
        assert table["Nuclei_AreaShape_Area"][row] == inner.sum()
        assert table["Cytoplasm_AreaShape_Area"][row] == outer.sum()
        one = pixels[inner].mean()
        other = pixels[outer].mean() if outer.any() else np.nan
        close = {"rtol": 1e-6, "equal_nan": True}
        np.testing.assert_allclose(table["Nuclei_Intensity_MeanIntensity"][row], one, **close)
        np.testing.assert_allclose(table["Cytoplasm_Intensity_MeanIntensity"][row], other, **close)
        np.testing.assert_allclose(table["Translocation_Difference"][row], one - other, **close)
        ratio = (one - 3) / (other - 3) if one > 3 and other > 3 else np.nan
        np.testing.assert_allclose(table["Translocation_Ratio"][row], ratio, **close)
        a, b = pixels[inner | outer], stain[inner | outer]
        coefficient = np.corrcoef(a, b)[0, 1] if np.ptp(a) > 0 and np.ptp(b) > 0 else np.nan
        np.testing.assert_allclose(
            table["Correlation_Correlation"][row], coefficient, atol=1e-9, equal_nan=True
        )


def test_the_automatic_background_ignores_single_pixels_and_most_of_the_cells():
    rng = np.random.default_rng(0)
    image = _image([300] * 5, [100] * 5, background=1000) + rng.normal(0, 10, (100, 100))
    image[50, 50] = 0
    _, table = measure_translocation(image[None], _nuclei()[None])
    # The darkest hundredth of the means of 16 pixels lies some 2.3 * 10 / 4 below the background.
    np.testing.assert_allclose(table["Intensity_Background"], 1000, atol=10)
    np.testing.assert_allclose(table["Translocation_Ratio"], 3, rtol=0.12)
    _, raw = measure_translocation(image[None], _nuclei()[None], background=0)
    np.testing.assert_allclose(raw["Translocation_Ratio"], 1300 / 1100, rtol=0.02)
    np.testing.assert_array_equal(raw["Translocation_Difference"], table["Translocation_Difference"])


def test_what_has_no_meaning_is_nan():
    image = _image([300, 50, 0, 80, 400], [100, 0, 100, 20, 50])
    nuclei = _nuclei()
    nuclei[40:60, :20] = 6
    nuclei[45:55, 5:15] = 7
    _, table = measure_translocation(image[None], nuclei[None], background=100)
    ratio = table["Translocation_Ratio"]
    # 2: nothing in the cytoplasm; 3: nothing in the nucleus; 7: no cytoplasm, because 6 encloses it.
    np.testing.assert_array_equal(np.isnan(ratio), [False, True, True, False, False, False, True])
    np.testing.assert_array_equal(np.isnan(table["Translocation_Log2Ratio"]), np.isnan(ratio))
    assert table["Cytoplasm_AreaShape_Area"][6] == 0
    assert np.isfinite(table["Translocation_Difference"][:6]).all()


def test_pixels_that_are_not_finite_are_left_out():
    image = _image([300] * 5, [100] * 5)
    image[70, 25:60] = np.nan
    image[25, 30] = np.inf
    _, table = measure_translocation(image[None], _nuclei()[None])
    np.testing.assert_allclose(table["Translocation_Ratio"], 3)
    _, empty = measure_translocation(np.full((1, 100, 100), np.nan), _nuclei()[None])
    assert np.isnan(empty["Translocation_Ratio"]).all()


def test_channels_of_a_site_are_correlated_with_their_own_nuclear_stain():
    rng = np.random.default_rng(2)
    stain = rng.normal(500, 50, (2, 100, 100))
    other = rng.normal(500, 50, (2, 100, 100))
    stack = np.stack([stain[0], 3 * stain[0] + 7, 900 - stain[1], stain[1], other[1]])
    planes = {
        "channel_name": np.array(["DNA", "GFP", "GFP", "DNA", "RFP"]),
        "site": np.array([1, 1, 2, 2, 2]),
        "z_index": np.array([0, 0, 0, 0, 0]),
    }
    nuclei = _nuclei()[None]
    _, table = measure_translocation(stack, nuclei, nuclear_channel="DNA", planes=planes)
    found = table["Correlation_Correlation"].reshape(5, 5)
    np.testing.assert_allclose(found[:4], np.repeat([[1], [1], [-1], [1]], 5, axis=1), atol=1e-9)
    assert np.abs(found[4]).max() < 0.3
    alone = {name: column[1:] for name, column in planes.items()}
    _, table = measure_translocation(stack[1:], nuclei, nuclear_channel="DNA", planes=alone)
    assert np.isnan(table["Correlation_Correlation"][:5]).all()


def test_no_nuclei_give_no_rows_but_all_columns():
    nuclei = np.zeros((3, 100, 100), np.uint32)
    stack = np.ones(nuclei.shape, np.uint16)
    _, empty = measure_translocation(stack, nuclei)
    assert {len(column) for column in empty.values()} == {0}
    nuclei[1] = _nuclei()
    _, table = measure_translocation(stack, nuclei)
    assert table["plane"].tolist() == [1] * 5
    assert {name: column.dtype for name, column in table.items()} == {
        name: column.dtype for name, column in empty.items()
    }
    assert table["label"].dtype == np.uint32


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 7), (1, 3, 2)])
def test_planes_of_any_size_work(shape):
    stack = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert len(measure_translocation(stack, np.ones(shape, np.uint8))[1]["label"]) == shape[0]


@pytest.mark.parametrize("use_cytoplasm", [True, False])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_the_gpu_gives_the_table_of_the_cpu(cupy_standin, dtype, use_cytoplasm):
    rng = np.random.default_rng(3)
    stack = rng.normal(1000, 100, (2, 100, 100)).astype(dtype)
    nuclei = np.repeat(_nuclei()[None], 2, axis=0)
    cytoplasm = segment_cytoplasm(stack, nuclei)[1] if use_cytoplasm else None
    parameters = {"nuclear_channel": "DNA", "planes": {"channel_name": np.array(["GFP", "DNA"])}}
    _, expected = measure_translocation(stack, nuclei, cytoplasm, **parameters)
    device = cupy_standin.asarray(stack)
    moved = None if cytoplasm is None else cupy_standin.asarray(cytoplasm)
    image, table = measure_translocation(device, cupy_standin.asarray(nuclei), moved, **parameters)
    assert image is device
    assert list(table) == list(expected)
    for name, column in table.items():
        assert isinstance(column, np.ndarray)
        np.testing.assert_allclose(column, expected[name], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"nuclei": None}, "needs the labels 'nuclei'"),
        ({"nuclei": np.ones((2, 8, 8), np.uint8)}, "nuclei of shape"),
        ({"cytoplasm": np.ones((1, 8, 9), np.uint8)}, "cytoplasm of shape"),
        ({"background": "magic"}, "Allowed: auto"),
        ({"background": float("nan")}, "finite"),
        ({"ring_width": 0}, "ring_width must be above 0"),
        ({"ring_gap": -1}, "ring_gap must not be negative"),
        ({"nuclear_channel": "DNA"}, "names of the channels"),
        ({"nuclear_channel": "DNA", "planes": {"channel_name": np.array(["GFP"])}}, "not among the channels"),
    ],
)
def test_impossible_parameters_are_refused(parameters, text):
    arguments = {"nuclei": np.ones((1, 8, 8), np.uint8), **parameters}
    with pytest.raises(ValueError, match=text):
        measure_translocation(np.zeros((1, 8, 8), np.uint8), **arguments)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("density", [12, 45])
@pytest.mark.parametrize("parameters", [{}, {"nuclear_channel": "DNA"}])
def test_peak_memory_stays_below_what_is_declared(parameters, density, count):
    nuclei = np.zeros((count, 600, 600), np.uint32)
    for number, (y, x) in enumerate(np.ndindex(600 // density, 600 // density), start=1):
        nuclei[:, y * density + 2 : y * density + 10, x * density + 2 : x * density + 10] = number
    stack = np.random.default_rng(0).integers(0, 1000, nuclei.shape).astype(np.uint16)
    parameters = {**parameters, "planes": {"channel_name": np.array(["DNA"] * count)}}
    measure_translocation(stack[:, :64, :64], nuclei[:, :64, :64], **parameters)
    tracemalloc.start()
    measure_translocation(stack, nuclei, **parameters)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(measure_translocation)
    declared = spec.cost().of(stack)
    assert peak <= declared <= 3 * peak, (peak / stack[0].size, declared / stack[0].size)


def test_declaration():
    spec = spec_of(measure_translocation)
    assert [(output.name, output.kind) for output in spec.outputs] == [("translocation", "table")]
    assert not spec.changes_image
    assert spec.devices == ("cpu", "gpu")
