"""The table of images: a row per field, counts from records, planes wide by channel."""

import numpy as np
import pytest

from hcs_steps.errors import StorageError
from hcs_steps.report.fields import Field, counts_in, field_rows
from hcs_steps.storage import write_table


def planes(path, well, rows, **columns):
    """A table of planes: ``rows`` are (site, channel, z, timepoint)."""
    site, channel, z, timepoint = zip(*rows, strict=True)
    metadata = {
        "Metadata_Plate": ["P"] * len(rows), "Metadata_Well": [well] * len(rows), "Metadata_Site": site,
        "Metadata_Channel": channel, "Metadata_Z": z, "Metadata_Timepoint": timepoint,
    }  # fmt: skip
    write_table(path, {name: list(values) for name, values in metadata.items()} | columns)
    return path


def test_every_field_has_one_row_with_counts_and_quality(tmp_path):
    quality = planes(
        tmp_path / "A01.parquet",
        "A01",
        [(1, "DAPI", 1, 1), (1, "GFP", 1, 1), (2, "DAPI", 1, 1)],
        ImageQuality_PowerLogLogSlope=[-2.0, -1.5, -3.0],
        focused=[True, True, False],
    )
    entry = {"planes": [[1, 1, 1, 1, 5], [2, 1, 1, 1, 0]], "channels": {"1": "DAPI"}}
    fields = [Field("B01", 1, 1, 1), Field("A01", 2, 1, 1), Field("A01", 1, 1, 1)]
    found = field_rows("P", fields, counts_in("cells", "A01", entry), {"image_quality": [quality]})
    assert {name: column.tolist() for name, column in found.items() if "Slope" not in name} == {
        "Metadata_Plate": ["P"] * 3,
        "Metadata_Well": ["A01", "A01", "B01"],
        "Metadata_Site": [1, 2, 1],
        "Metadata_Z": [1, 1, 1],
        "Metadata_Timepoint": [1, 1, 1],
        "Count_cells_DAPI": [5, 0, pytest.approx(np.nan, nan_ok=True)],
        "image_quality_focused_DAPI": [True, False, None],
        "image_quality_focused_GFP": [True, None, None],
    }
    np.testing.assert_array_equal(found["ImageQuality_PowerLogLogSlope_DAPI"], [-2, -3, np.nan])
    np.testing.assert_array_equal(found["ImageQuality_PowerLogLogSlope_GFP"], [-1.5, np.nan, np.nan])


def test_counts_of_several_steps_add_up_and_projections_get_rows():
    entry = {"planes": [[1, 2, 0, 1, 4]], "channels": {"2": "GFP"}}
    counts = [*counts_in("cells", "A10", entry), *counts_in("cells", "A10", entry)]
    found = field_rows("P", [Field("A02", 1, 1, 1), Field("A10", 1, 1, 1)], counts, {})
    assert found["Metadata_Well"].tolist() == ["A02", "A10", "A10"]
    assert found["Metadata_Z"].tolist() == [1, 0, 1]
    np.testing.assert_array_equal(found["Count_cells_GFP"], [np.nan, 8, np.nan])


def test_a_table_of_objects_is_not_one_of_planes(tmp_path):
    objects = planes(tmp_path / "a.parquet", "A01", [(3, "DAPI", 1, 1), (3, "DAPI", 1, 1)], area=[1, 2])
    with pytest.raises(StorageError, match="several rows for DAPI of well A01, site 3"):
        field_rows("P", [], [], {"cells": [objects]})


def test_two_tables_cannot_say_the_same(tmp_path):
    paths = [
        planes(tmp_path / f"{n}.parquet", "A01", [(1, "DAPI", 1, 1)], ImageQuality_Focus=[1.0])
        for n in range(2)
    ]
    with pytest.raises(StorageError, match="Two tables of planes have a column 'ImageQuality_Focus'"):
        field_rows("P", [], [], {"one": paths[:1], "two": paths[1:]})
