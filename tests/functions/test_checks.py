"""Checks of arguments that all functions share: one clear sentence instead of an error from deep inside."""

from __future__ import annotations

import numpy as np
import pytest

from hcs_steps import functions
from hcs_steps.functions._checks import plane_column, require_labels

STACK = np.random.default_rng(0).integers(0, 60000, (2, 40, 50)).astype(np.uint16)
NUCLEI = np.zeros(STACK.shape, np.int64)
NUCLEI[:, 5:12, 5:12], NUCLEI[:, 20:30, 25:40] = 1, 2


def table(**columns):
    count = len(next(iter(columns.values())))
    base = {
        "site": np.arange(count),
        "channel": np.arange(1, count + 1),
        "channel_name": np.array(["DAPI", "GFP"]),
    }
    return {**base, **{name: np.array(values, float) for name, values in columns.items()}}


@pytest.mark.parametrize("size", [0.0, -1.0, np.inf, np.nan])
def test_a_pixel_size_that_cannot_be_is_unknown(size):
    assert np.isnan(plane_column(table(pixel_size_um=[0.5, size]), "pixel_size_um", 2)[1])
    measured = functions.measure_objects(STACK, nuclei=NUCLEI, planes=table(pixel_size_um=[size, size]))[1]
    assert np.isnan(measured["Nuclei_Location_Center_X_um"]).all()


@pytest.mark.parametrize(
    "function", ["gaussian", "tophat", "median", "rescale", "segment_nuclei", "segment_log_std"]
)
@pytest.mark.parametrize("value", ["5", 10**7, float("inf")])
def test_what_is_no_number_or_far_too_large_is_told_by_its_name(function, value):
    name = {
        "gaussian": "sigma", "tophat": "selem_radius", "median": "radius", "rescale": "factor",
        "segment_nuclei": "gaussian_sigma", "segment_log_std": "opening_radius",
    }[function]  # fmt: skip
    with pytest.raises(ValueError, match=name):
        getattr(functions, function)(STACK, **{name: value})


@pytest.mark.parametrize(
    "wrong", [-NUCLEI, NUCLEI * 2.0, NUCLEI + (NUCLEI > 0) * 2**33, NUCLEI > 0, NUCLEI[:, :9]]
)
@pytest.mark.parametrize(
    "call",
    [
        lambda labels: functions.segment_spots(STACK, cells=labels),
        lambda labels: functions.sholl(STACK, axon_skeleton=NUCLEI, nuclei=labels, centre="labels"),
        lambda labels: functions.segment_cells(STACK, labels),
        lambda labels: functions.measure_translocation(STACK, labels),
    ],
    ids=["segment_spots", "sholl", "segment_cells", "measure_translocation"],
)
def test_what_are_no_labels_is_refused_everywhere(call, wrong):
    with pytest.raises(ValueError, match=r"nuclei|cells"):
        call(wrong)


def test_one_plane_of_labels_stands_for_all():
    labels = require_labels(NUCLEI[:1], STACK, "nuclei", "f")
    np.testing.assert_array_equal(labels, NUCLEI)


def test_columns_do_not_depend_on_the_order_of_the_planes():
    one_field = {"site": np.zeros(2), "pixel_size_um": np.array([np.nan, 0.5])}
    planes = {**one_field, "channel": np.array([1, 2]), "channel_name": np.array(["DAPI", "GFP"])}
    turned = {name: column[::-1] for name, column in planes.items()}
    first = functions.measure_objects(STACK, nuclei=NUCLEI, planes=planes)[1]
    second = functions.measure_objects(STACK[::-1], nuclei=NUCLEI, planes=turned)[1]
    assert set(first) == set(second)
    assert "Nuclei_Correlation_Correlation_DAPI_GFP" in first
    for name in set(first) - {"plane"}:
        np.testing.assert_array_equal(first[name], second[name])
    assert np.isfinite(first["Nuclei_Location_Center_X_um"]).all()


def test_tiles_of_different_pixel_size_are_not_stitched():
    planes = table(pixel_size_um=[0.5, 0.7], x_um=[0, 22], y_um=[0, 0])
    with pytest.raises(ValueError, match="different pixel size"):
        functions.compute_tile_positions(STACK, planes=planes)
