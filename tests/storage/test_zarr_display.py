"""How channels and labels are shown: ranges of grey values and colours."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hcs_steps.storage import PlaneKey
from hcs_steps.storage._display import LABEL_COLORS, MOST_LABELS, contrast_window, full_window, label_colors


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int64", "float16", "float32", "float64"]
)
def test_a_window_spans_the_percentiles_of_all_planes(dtype):
    rng = np.random.default_rng(1)
    low, high = (-100, 100) if np.dtype(dtype).kind in "if" else (0, 200)
    planes = [rng.integers(low, high, (90, 70)).astype(dtype) for _ in range(3)]
    window = contrast_window(planes)
    pixels = np.stack(planes).astype(float)
    start, end = np.percentile(pixels, [1, 99.8])
    assert window == pytest.approx({"min": pixels.min(), "max": pixels.max(), "start": start, "end": end})


def test_a_window_of_a_large_stack_is_that_of_a_grid_of_its_pixels(monkeypatch):
    monkeypatch.setattr("hcs_steps.storage._display._WINDOW_SAMPLES", 10_000)
    rng = np.random.default_rng(2)
    planes = [rng.poisson(50, (600, 500)).astype("u2") for _ in range(2)]
    planes[0][0, 1] = 9000
    window = contrast_window(planes)
    assert (window["min"], window["max"]) == (min(p.min() for p in planes), 9000)
    start, end = np.percentile(np.stack(planes), [1, 99.8])
    assert (window["start"], window["end"]) == pytest.approx((start, end), abs=4)


def test_a_window_leaves_out_what_is_not_finite():
    plane = np.linspace(0, 1, 10_000, dtype="f4").reshape(100, 100)
    spoilt = plane.copy()
    spoilt[0, :3] = np.nan, np.inf, -np.inf
    rest = spoilt[np.isfinite(spoilt)].astype(float)
    window = contrast_window([spoilt, np.full((3, 3), np.nan, "f4")])
    expected = {"min": rest.min(), "max": 1.0}
    expected |= dict(zip(("start", "end"), np.percentile(rest, [1, 99.8]), strict=True))
    assert window == pytest.approx(expected)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_window_of_one_value_still_has_a_width(value):
    window = contrast_window([np.full((50, 50), value, "u1")])
    assert (window["min"], window["max"], window["start"], window["end"]) == (value, value, value, value + 1)


def test_a_few_bright_pixels_are_within_the_window():
    plane = np.zeros((1000, 100), bool)
    plane[3, 3] = True
    assert contrast_window([plane]) == {"min": 0, "max": 1, "start": 0, "end": 1}


@given(
    arrays.arrays(
        st.sampled_from(["u1", "i2", "u2", "f4"]), arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)
    )
)
@settings(max_examples=60, deadline=None)
def test_every_window_is_a_range_that_json_can_hold(plane):
    window = contrast_window([plane])
    assert json.loads(json.dumps(window, allow_nan=False)) == window
    assert window["start"] < window["end"]
    assert window["min"] <= window["start"]


def test_the_window_of_images_to_come_is_that_of_their_dtype():
    assert full_window(np.dtype("u1")) == {"min": 0, "max": 255, "start": 0, "end": 255}
    assert full_window(np.dtype("f4"))["end"] == full_window(np.dtype(bool))["end"] == 1.0


def test_labels_that_occur_have_the_colour_of_their_value():
    one = np.array([[0, 1, 2], [9, 9, 300]], "u4")
    two = np.array([[2, 2**32 - 1]], "u4")
    found = {each["label-value"]: each["rgba"] for each in label_colors([one, two])}
    assert list(found) == [1, 2, 9, 300, 2**32 - 1]
    assert found[2] == found[9]
    assert found[1] != found[2]
    alone = label_colors([np.array([[9]], "u4")])
    assert alone == [{"label-value": 9, "rgba": found[9]}]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "int64"])
def test_label_values_of_any_dtype_are_exact(dtype):
    info = np.iinfo(dtype)
    values = {int(info.min), 0, 1, int(info.max)}
    found = label_colors([np.array([sorted(values)], dtype)])
    assert [each["label-value"] for each in found] == sorted(values - {0})


def test_the_list_of_colours_is_bounded():
    labels = np.arange(64 * 64, dtype="u4").reshape(64, 64)
    found = label_colors([labels])
    assert [each["label-value"] for each in found] == list(range(1, MOST_LABELS + 1))
    assert label_colors([np.zeros((5, 5), "u4")]) == []


def luminance(rgb):
    """Relative luminance by WCAG 2.1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(rgb) / 255]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


# Machado, Oliveira and Fernandes (2009), doi:10.1109/TVCG.2009.113, severity 1, on linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def test_label_colours_stand_out_from_black_and_from_the_next():
    assert len(set(LABEL_COLORS)) == len(LABEL_COLORS)
    for color in LABEL_COLORS:
        assert (luminance(color) + 0.05) / 0.05 >= 3  # what WCAG asks of graphics
    cycle = [*LABEL_COLORS, LABEL_COLORS[0]]
    for matrix in BLINDNESS.values():
        seen = [np.clip(np.array(matrix) @ (np.array(c) / 255) ** 2.2, 0, 1) ** (1 / 2.2) for c in cycle]
        assert min(np.abs(a - b).max() for a, b in itertools.pairwise(seen)) > 0.2


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_published_labels_carry_colours_and_their_source(open_store, plate, version):
    pytest.importorskip("ome_zarr_models", reason="ome-zarr-models is not installed")
    import zarr
    from ome_zarr_models import v04, v05

    store = open_store("zarr", ngff_version=version)
    key = PlaneKey(1, 1, 1, 1)
    cells = np.zeros((40, 50), "u4")
    cells[3:9, 3:9] = 5
    store.publish("A01", {key: cells.astype("u2")}, {"cells": {key: cells}}, plate.META)
    group = zarr.open_group(store.spec.path / "A/01/1/labels/cells", mode="r")
    if version == "0.5":
        found = v05.ImageLabel.from_zarr(group).attributes.ome.image_label
    else:
        found = v04.ImageLabel.from_zarr(group).attributes.image_label
    assert [(color.label_value, tuple(color.rgba)) for color in found.colors] == [
        (5, (*LABEL_COLORS[5], 255))
    ]
    assert (found.source.image, found.version) == ("../../", version)
