"""Tables between functions and files."""

from typing import Any

import numpy as np
import pytest

from hcs_steps.errors import StepError
from hcs_steps.run.calls import CallResult, NamedOutput
from hcs_steps.run.tables import unit_table
from hcs_steps.storage.protocol import PlaneKey

CHANNELS = {1: "DAPI", 2: "GFP"}
METADATA = [
    "Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Channel", "Metadata_Z", "Metadata_Timepoint",
]  # fmt: skip


def result(
    table: Any, *keys: tuple[int, int, int, int], name: str = "spots", kind: str = "table"
) -> CallResult:
    return CallResult({}, {name: NamedOutput(kind, table, tuple(PlaneKey(*key) for key in keys))})


def rows(table: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].tolist() for name in names), strict=True))


def test_the_plane_column_becomes_the_planes_components() -> None:
    table = {"plane": np.array([1, 0, 1]), "area": np.array([5.0, 6.0, 7.0])}
    found = unit_table("P1", "B02", [result(table, (1, 1, 3, 1), (2, 2, 3, 5))], CHANNELS)["spots"]
    assert list(found) == [*METADATA, "area"]
    assert rows(found, *METADATA[1:], "area") == [
        ("B02", 1, "DAPI", 3, 1, 6.0),
        ("B02", 2, "GFP", 3, 5, 5.0),
        ("B02", 2, "GFP", 3, 5, 7.0),
    ]
    assert set(found["Metadata_Plate"]) == {"P1"}


def test_without_a_plane_column_rows_belong_to_the_first_plane() -> None:
    found = unit_table("P", "A01", [result({"n": [3, 4]}, (7, 2, 1, 1), (8, 2, 1, 1))], CHANNELS)["spots"]
    assert rows(found, "Metadata_Site", "n") == [(7, 3), (7, 4)]


def test_rows_of_all_calls_are_joined_in_the_order_of_planes() -> None:
    calls = [
        result({"plane": [0], "n": [1]}, (2, 1, 1, 1)),
        result({"plane": [0], "n": [2]}, (1, 2, 1, 1)),
        result({"plane": [0], "n": [3]}, (1, 1, 2, 1)),
        result({"plane": [0], "n": [4]}, (1, 1, 1, 2)),
        result({"plane": [0], "n": [5]}, (1, 1, 1, 1)),
    ]
    assert unit_table("P", "A01", calls, CHANNELS)["spots"]["n"].tolist() == [5, 4, 3, 2, 1]


def test_a_column_that_one_call_lacks_is_nan_there() -> None:
    calls = [
        result({"plane": [0], "a": [1.0]}, (1, 1, 1, 1)),
        result({"plane": [0], "b": [2.0]}, (2, 1, 1, 1)),
    ]
    found = unit_table("P", "A01", calls, CHANNELS)["spots"]
    assert np.isnan(found["b"][0])
    assert np.isnan(found["a"][1])


def test_a_table_without_rows_keeps_its_columns() -> None:
    table = {"plane": np.empty(0, int), "area": np.empty(0)}
    found = unit_table("P", "A01", [result(table, (1, 1, 1, 1))], CHANNELS)["spots"]
    assert list(found) == [*METADATA, "area"]
    assert {len(column) for column in found.values()} == {0}


def test_a_data_frame_is_a_table() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"plane": [1, 0], "area": [5.0, 6.0]})
    found = unit_table("P", "A01", [result(frame, (1, 1, 1, 1), (2, 1, 1, 1))], CHANNELS)["spots"]
    assert rows(found, "Metadata_Site", "area") == [(1, 6.0), (2, 5.0)]


def test_a_row_of_a_plane_that_the_stack_does_not_have_is_an_error() -> None:
    for plane in (2, -1, 0.5):
        with pytest.raises(StepError, match="integers from 0 to 1"):
            unit_table("P", "A01", [result({"plane": [plane]}, (1, 1, 1, 1), (2, 1, 1, 1))], CHANNELS)


def test_only_tables_become_tables_each_by_its_name() -> None:
    calls = [
        result({"n": [1]}, (1, 1, 1, 1), name="a"),
        result({"n": [1]}, (1, 1, 1, 1), name="b"),
        result([1, 2], (1, 1, 1, 1), name="c", kind="value"),
    ]
    assert set(unit_table("P", "A01", calls, CHANNELS)) == {"a", "b"}
