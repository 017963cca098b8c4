"""Well profiles against SciPy and pandas: aggregates, names, counts, and what is no feature."""

import warnings

import numpy as np
import pytest

from hcs_steps.errors import ConfigError, PlateError
from hcs_steps.report._well_objects import is_feature
from hcs_steps.report.profiles import AGGREGATES, feature_name, normalize, well_profiles
from hcs_steps.storage import write_table


@pytest.fixture
def plate(tmp_path):
    """Parts of two tables: cells of four wells (A02 of two units, A03 empty, A04 failed), spots of two channels."""
    random = np.random.default_rng(0)

    def cells(well, count, site=1):
        values = random.normal(10, 2, count)
        values[: count // 4] = np.nan
        path = tmp_path / f"{well}_{site}.cells.parquet"
        write_table(
            path,
            {
                "Metadata_Well": np.full(count, well),
                "Metadata_Site": np.full(count, site),
                "Metadata_Channel": np.full(count, "DAPI"),
                "ObjectNumber": np.arange(count),
                "Nuclei_Number_Object_Number": np.arange(count),
                "Nuclei_Location_Center_X": random.random(count),
                "Nuclei_AreaShape_Area": random.integers(50, 90, count),
                "Nuclei_Intensity_Mean": values,
                "touches": random.random(count) < 0.3,
                "kind": ["round"] * count,
            },
        )
        return path

    def spots(well, counts):
        path = tmp_path / f"{well}.spots.parquet"
        channel = np.repeat(list(counts), list(counts.values()))
        write_table(
            path,
            {
                "Metadata_Channel": channel.astype(object),
                "label": np.arange(len(channel)),
                "centroid_y_px": np.ones(len(channel)),
                "radius_px": np.arange(len(channel), dtype=float),
            },
        )
        return path

    return {
        "cells": {
            "A01": [cells("A01", 21)],
            "A02": [cells("A02", 8), cells("A02", 13, site=2)],
            "A03": [cells("A03", 0)],
        },
        "spots": {"A01": [spots("A01", {"DAPI": 3, "GFP": 2})], "A02": [spots("A02", {"DAPI": 4})]},
    }


WELLS = ["A02", "A01", "A03", "A04"]


def test_profiles_equal_those_of_pandas(plate):
    pandas = pytest.importorskip("pandas")
    stats = pytest.importorskip("scipy.stats")
    found = well_profiles(plate, WELLS, plate="P", aggregates=AGGREGATES)
    for row, well in enumerate(WELLS[:2]):
        cells = pandas.concat([pandas.read_parquet(path) for path in plate["cells"][well]])
        for name in ("Nuclei_AreaShape_Area", "Nuclei_Intensity_Mean"):
            expected = {
                "median": cells[name].median(),
                "mean": cells[name].mean(),
                "sd": cells[name].std(),
                "mad": stats.median_abs_deviation(cells[name], nan_policy="omit"),
            }
            for aggregate, value in expected.items():
                assert found[aggregate][name][row] == pytest.approx(value, rel=1e-12)
        assert found["median"]["Cells_cells_touches"][row] == cells["touches"].mean()
        assert found["mean"]["Cells_cells_touches"][row] == cells["touches"].mean()
    assert "Cells_cells_touches" not in found["mad"]


def test_columns_are_the_features_and_counts_of_all_tables(plate):
    found = well_profiles(plate, WELLS, plate="P")["median"]
    assert list(found) == [
        "Metadata_Plate", "Metadata_Well", "Metadata_Object_Count",
        "Cells_cells_touches", "Cells_spots_radius_px_DAPI", "Cells_spots_radius_px_GFP",
        "Count_cells", "Count_spots_DAPI", "Count_spots_GFP", "Nuclei_AreaShape_Area", "Nuclei_Intensity_Mean",
    ]  # fmt: skip
    assert found["Metadata_Well"].tolist() == WELLS
    np.testing.assert_array_equal(found["Metadata_Object_Count"], [21, 21, 0, np.nan])
    np.testing.assert_array_equal(found["Count_spots_DAPI"], [4, 3, np.nan, np.nan])
    np.testing.assert_array_equal(found["Count_spots_GFP"], [0, 2, np.nan, np.nan])
    np.testing.assert_array_equal(found["Cells_spots_radius_px_GFP"], [np.nan, 3.5, np.nan, np.nan])
    assert np.isnan(found["Nuclei_Intensity_Mean"][2:]).all()
    assert all(found[name].dtype == np.float64 for name in list(found)[2:])


def test_known_channels_without_any_object_count_zero(plate):
    found = well_profiles(plate, WELLS, plate="P", channels={"spots": ["Cy5", "DAPI", "GFP"]})["median"]
    np.testing.assert_array_equal(found["Count_spots_Cy5"], [0, 0, np.nan, np.nan])


def test_the_same_feature_of_two_tables_is_told_apart(tmp_path):
    parts = {}
    for number, table in enumerate(("first", "second")):
        path = tmp_path / f"{table}.parquet"
        write_table(path, {"Nuclei_AreaShape_Area": [float(number)]})
        parts[table] = {"A01": [path]}
    found = well_profiles(parts, ["A01"], plate="P")["median"]
    assert found["Nuclei_AreaShape_Area"].tolist() == [0]
    assert found["second_Nuclei_AreaShape_Area"].tolist() == [1]


def test_a_plate_without_tables_has_wells():
    found = well_profiles({}, ["A01"], plate="P")["median"]
    assert found["Metadata_Well"].tolist() == ["A01"]
    assert np.isnan(found["Metadata_Object_Count"]).all()


def test_one_well_is_read_at_a_time(plate, monkeypatch):
    from hcs_steps.report import _well_objects

    read = []
    original = _well_objects.read_table
    monkeypatch.setattr(
        _well_objects, "read_table", lambda path: read.append(path.name[:3]) or original(path)
    )
    well_profiles(plate, ["A01", "A02", "A03"], plate="P", aggregates=("median", "mad"))
    assert read == ["A01", "A01", "A02", "A02", "A02", "A03"]


def test_unknown_aggregates_are_refused():
    with pytest.raises(ConfigError, match="'medain'") as error:
        well_profiles({}, [], plate="P", aggregates=["medain"])
    assert "median" in error.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "Metadata_Site", "ObjectNumber", "Nuclei_Number_Object_Number", "Cells_Parent_Nuclei", "label", "plane", "cell",
        "start_plane", "Nuclei_Location_Center_X", "Nuclei_Location_CenterMassIntensity_X_DAPI", "centroid_x_um",
        "start_y_px", "x_px", "Cells_AreaShape_BoundingBoxMinimum_X", "Cells_AreaShape_BoundingBoxMaximum_Y",
    ],
)  # fmt: skip
def test_identifiers_and_places_are_no_features(name):
    assert not is_feature(name)


@pytest.mark.parametrize(
    "name",
    [
        "Nuclei_AreaShape_Area", "Cells_AreaShape_BoundingBoxArea", "area_px", "radius_um", "Translocation_Log2Ratio",
        "Nuclei_Children_Spots_Count", "Cells_Texture_Entropy_DAPI_3_00_256", "length_px", "max_intersections",
    ],
)  # fmt: skip
def test_measurements_are_features(name):
    assert is_feature(name)


def test_names_keep_their_compartment_or_get_the_tables():
    assert feature_name("objects", "Nuclei_AreaShape_Area") == "Nuclei_AreaShape_Area"
    assert feature_name("cell_counts", "area_px", "GFP") == "cell_counts_area_px_GFP"


def test_normalised_reference_wells_have_median_0_and_mad_of_one_sd():
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(1)
    values = random.lognormal(size=96)
    values[5] = np.nan
    reference = np.arange(96) < 30
    columns = {
        "Metadata_Well": np.full(96, "A01", object),
        "x": values,
        "flat": np.where(reference, 0.1 + 0.2, values),
    }
    found = normalize(columns, reference)
    assert (found.references, found.constant) == (30, ("flat",))
    assert found.columns["Metadata_Well"] is columns["Metadata_Well"]
    assert np.isnan(found.columns["flat"]).all()
    x = found.columns["x"]
    assert np.isnan(x[5])
    assert np.nanmedian(x[reference]) == pytest.approx(0, abs=1e-12)
    deviation = stats.median_abs_deviation(x[reference], nan_policy="omit", scale=1 / 1.4826)
    assert deviation == pytest.approx(1)
    np.testing.assert_array_equal(np.argsort(x), np.argsort(values))


def test_without_reference_wells_nothing_is_normalised():
    with pytest.raises(PlateError, match="no wells to normalise to"):
        normalize({"x": np.ones(3)}, np.zeros(3, bool))


def test_infinite_values_are_no_reference_and_stay_infinite():
    reference = np.array([True] * 5 + [False] * 3)
    values = np.array([1.0, 2.0, 4.0, np.inf, -np.inf, 8.0, np.inf, np.nan])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = normalize({"ratio": values, "never": np.full(8, np.inf)}, reference)
    # Of 1, 2 and 4 the median is 2 and the MAD 1.
    expected = [-1 / 1.4826, 0, 2 / 1.4826, np.inf, -np.inf, 6 / 1.4826, np.inf, np.nan]
    np.testing.assert_allclose(found.columns["ratio"], expected)
    assert found.constant == ("never",)
    assert np.isnan(found.columns["never"]).all()
