"""Plate-map columns on every row while tables are joined: right, typed, and never the whole plate in memory."""

import csv

import numpy as np
import pytest

from hcs_steps.errors import StorageError
from hcs_steps.storage import _joining as joining
from hcs_steps.storage import concat_tables, read_table, tables, write_table


@pytest.fixture
def units(tmp_path):
    """Three units' tables, the last without rows, whose columns therefore have no type of their own."""
    paths = []
    for well, rows in (("A01", 3), ("A02", 2), ("A03", 0)):
        paths.append(tmp_path / f"{well}.parquet")
        columns = {
            "Metadata_Plate": np.full(rows, "P"),
            "Metadata_Well": np.full(rows, well),
            "Area": np.arange(rows),
            "Kind": ["x"] * rows,
        }
        write_table(paths[-1], columns)
    return paths


WELLS = {
    "Metadata_Well": np.array(["A02", "A03", "A01"], object),
    "Metadata_Dose": np.array([2.0, 3.0, np.nan]),
    "Metadata_Compound": np.array(["b", "c", None], object),
    "Metadata_Rank": np.array([2, 3, 1]),
    "Metadata_Used": np.array([True, False, True]),
    "Metadata_Note": np.array([None, None, None], object),
}


def test_rows_get_their_wells_columns_behind_the_metadata(units, tmp_path):
    assert concat_tables(units, tmp_path / "all.parquet", tmp_path / "all.csv", wells=WELLS) == 5
    back = read_table(tmp_path / "all.parquet")
    assert list(back) == [
        "Metadata_Plate", "Metadata_Well", "Metadata_Dose", "Metadata_Compound", "Metadata_Rank", "Metadata_Used",
        "Metadata_Note", "Area", "Kind",
    ]  # fmt: skip
    np.testing.assert_array_equal(back["Metadata_Dose"], [np.nan] * 3 + [2, 2])
    assert back["Metadata_Compound"].tolist() == [None] * 3 + ["b"] * 2
    assert back["Metadata_Rank"].tolist() == [1, 1, 1, 2, 2]
    assert back["Metadata_Rank"].dtype == np.int64
    assert back["Metadata_Used"].dtype == bool
    assert back["Kind"].tolist() == ["x"] * 5
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[-1]["Metadata_Compound"] == "b"
    assert [row["Metadata_Dose"] for row in rows] == ["", "", "", "2", "2"]


def test_rows_of_other_wells_are_null(units, tmp_path):
    wells = {"Metadata_Well": ["A02"], "Metadata_Rank": [7]}
    concat_tables(units, tmp_path / "all.parquet", wells=wells)
    np.testing.assert_array_equal(
        read_table(tmp_path / "all.parquet")["Metadata_Rank"], [np.nan] * 3 + [7, 7]
    )


def test_a_column_without_values_is_text(units, tmp_path):
    import pyarrow.parquet as pq

    concat_tables(units, tmp_path / "all.parquet", wells=WELLS)
    assert str(pq.read_schema(tmp_path / "all.parquet").field("Metadata_Note").type) == "string"


def test_a_table_without_rows_keeps_its_columns(units, tmp_path):
    assert concat_tables(units[2:], tmp_path / "all.parquet", tmp_path / "all.csv", wells=WELLS) == 0
    back = read_table(tmp_path / "all.parquet")
    assert list(back)[-2:] == ["Area", "Kind"]
    assert all(len(column) == 0 for column in back.values())
    assert (tmp_path / "all.csv").read_text().count("\n") == 1


@pytest.mark.parametrize("order", [[0, 2], [2, 0]])
def test_types_in_files_without_rows_do_not_count(units, tmp_path, order):
    concat_tables([units[number] for number in order], tmp_path / "all.parquet")
    assert read_table(tmp_path / "all.parquet")["Kind"].tolist() == ["x"] * 3


@pytest.mark.parametrize(
    ("wells", "problem"),
    [
        ({"Metadata_Well": ["A01", "A01"], "Metadata_x": [1, 2]}, "each well has one row"),
        ({"Metadata_x": [1]}, "each well has one row"),
        ({"Metadata_Well": ["A01"], "Area": [1]}, "has a column 'Area' already"),
    ],
)
def test_columns_that_cannot_be_added_are_refused(units, tmp_path, wells, problem):
    with pytest.raises(StorageError, match=problem):
        concat_tables(units, tmp_path / "all.parquet", wells=wells)
    assert not (tmp_path / "all.parquet").exists()


def test_a_table_without_wells_cannot_be_joined_to_them(tmp_path):
    write_table(tmp_path / "a.parquet", {"x": [1]})
    with pytest.raises(StorageError, match="no column 'Metadata_Well'"):
        concat_tables([tmp_path / "a.parquet"], tmp_path / "all.parquet", wells=WELLS)


def test_no_more_than_a_row_group_is_held(units, tmp_path, monkeypatch):
    seen = []
    original = joining.regrouped

    def watched(pieces, most):
        for table in original(pieces, most):
            seen.append((table.num_rows, table.num_rows * table.num_columns))
            yield table

    monkeypatch.setattr(tables, "regrouped", watched)
    monkeypatch.setattr(tables, "ROW_GROUP", 64)
    monkeypatch.setattr(tables, "CELLS_AT_ONCE", 360)
    paths = []
    for number in range(20):
        paths.append(tmp_path / f"{number}.parquet")
        write_table(
            paths[-1], {"Metadata_Well": np.full(50, "A01"), **{f"f{n}": np.ones(50) for n in range(6)}}
        )
    assert concat_tables(paths, tmp_path / "all.parquet", wells=WELLS) == 1000
    assert max(rows for rows, _ in seen) == 360 // 12
    assert sum(rows for rows, _ in seen) == 1000


def test_a_failure_half_way_leaves_the_earlier_table(units, tmp_path, monkeypatch):
    concat_tables(units, tmp_path / "all.parquet", tmp_path / "all.csv")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken(pieces, most):
        yield from joining.regrouped(pieces, 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(tables, "regrouped", broken)
    with pytest.raises(KeyboardInterrupt):
        concat_tables(units, tmp_path / "all.parquet", tmp_path / "all.csv", wells=WELLS)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_only_the_asked_columns_are_read(units):
    back = read_table(units[0], columns=["Area", "Metadata_Well", "Missing"])
    assert list(back) == ["Metadata_Well", "Area"]
    assert back["Area"].tolist() == [0, 1, 2]
