"""Tables and arrays: round trips, joining, and messages for what is no table."""

import csv
import string

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hcs_steps.errors import StorageError
from hcs_steps.storage import (
    as_columns,
    concat_tables,
    read_array,
    read_table,
    table_csv,
    tables,
    write_array,
    write_table,
)

DTYPES = ["?", "u1", "i2", "u4", "i8", "f4", "f8", "U5", "M8[us]"]
NAMES = st.text(string.ascii_letters + "_ /é", min_size=1, max_size=6)


@st.composite
def column_tables(draw):
    rows = draw(st.integers(0, 5))
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    elements = {"U5": st.text("abcé ", max_size=5)}
    return {
        name: draw(hnp.arrays(dtype, rows, elements=elements.get(dtype)))
        for name in names
        for dtype in [draw(st.sampled_from(DTYPES))]
    }


@given(column_tables())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tables_come_back_as_they_were_written(tmp_path, columns):
    write_table(tmp_path / "t.parquet", columns)
    first = (tmp_path / "t.parquet").read_bytes()
    back = read_table(tmp_path / "t.parquet")
    assert list(back) == list(columns)
    for name, column in columns.items():
        assert back[name].dtype == (object if column.dtype.kind == "U" else column.dtype)
        np.testing.assert_array_equal(back[name], column)
    write_table(tmp_path / "t.parquet", columns)
    assert (tmp_path / "t.parquet").read_bytes() == first


def test_rows_and_data_frames_are_tables():
    rows = as_columns([{"a": 1, "b": "x"}, {"b": "y", "c": True}, {"a": 3}])
    np.testing.assert_array_equal(rows["a"], [1, np.nan, 3])
    assert rows["b"].tolist() == ["x", "y", None]
    assert rows["c"].tolist() == [None, True, None]
    pandas = pytest.importorskip("pandas")
    frame = as_columns(pandas.DataFrame({"a": [1, 2], "s": ["x", "y"]}, index=[7, 8]))
    assert (frame["a"].tolist(), frame["s"].tolist()) == ([1, 2], ["x", "y"])
    assert as_columns([]) == {}
    assert as_columns({"a": [], "b": range(0)})["b"].shape == (0,)


def test_missing_values_survive(tmp_path):
    write_table(tmp_path / "t.parquet", [{"a": 1, "s": "x", "b": True}, {"a": None}])
    back = read_table(tmp_path / "t.parquet")
    np.testing.assert_array_equal(back["a"], [1, np.nan])
    assert (back["s"].tolist(), back["b"].tolist()) == (["x", None], [True, None])


def test_missing_values_of_data_frames_survive(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"s": ["x", None], "f": [1.5, None], "c": pandas.Categorical(["u", None])})
    write_table(tmp_path / "t.parquet", frame)
    back = read_table(tmp_path / "t.parquet")
    assert (back["s"].tolist(), back["c"].tolist()) == (["x", None], ["u", None])
    np.testing.assert_array_equal(back["f"], [1.5, np.nan])


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"a": [1, 2], "bee": [1]}, "'a' has 2, 'bee' has 1 rows"),
        ({"a": np.zeros((2, 2))}, r"'a' has shape \(2, 2\)"),
        ({"a": 5}, r"'a' has shape \(\)"),
        ({"a": "text"}, r"'a' has shape \(\)"),
        (7, "int is not a table"),
        ("text", "str is not a table"),
        ([1, 2], "list is not a table"),
        ({"mixed": [1, "x"]}, "'mixed'"),
        ({"objects": [object()]}, "'objects'"),
        ({"z": np.zeros(2, complex)}, "'z'"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, table, problem):
    with pytest.raises(StorageError, match=problem) as error:
        write_table(tmp_path / "t.parquet", table)
    assert error.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def three(tmp_path):
    contents = [
        {"Well": ["A01", "A01"], "Count": np.array([1, 2], "i8"), "Area": np.array([1, 2], "i4")},
        {"Well": ["A02"], "Area": np.array([0.5], "f4"), "Late": [True]},
        {"Area": np.empty(0), "Well": np.empty(0, "U1")},
    ]
    paths = [tmp_path / f"{number}.parquet" for number in range(3)]
    for path, content in zip(paths, contents, strict=True):
        write_table(path, content)
    return paths


def test_joined_tables_have_the_columns_of_all(three, tmp_path):
    assert concat_tables(three, tmp_path / "all.parquet", tmp_path / "all.csv") == 3
    back = read_table(tmp_path / "all.parquet")
    assert list(back) == ["Well", "Count", "Area", "Late"]
    assert back["Area"].dtype == np.float64
    np.testing.assert_array_equal(back["Area"], [1, 2, 0.5])
    np.testing.assert_array_equal(back["Count"], [1, 2, np.nan])
    assert back["Late"].tolist() == [None, None, True]
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[2] == {"Well": "A02", "Count": "", "Area": "0.5", "Late": "true"}
    first = (tmp_path / "all.parquet").read_bytes(), (tmp_path / "all.csv").read_bytes()
    concat_tables(three, tmp_path / "all.parquet", tmp_path / "all.csv")
    assert ((tmp_path / "all.parquet").read_bytes(), (tmp_path / "all.csv").read_bytes()) == first


def test_joining_holds_one_row_group_at_a_time(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.setattr(tables, "ROW_GROUP", 10)
    paths = []
    for number in range(7):
        paths.append(tmp_path / f"{number}.parquet")
        write_table(paths[-1], {"n": np.arange(4) + 4 * number})
    concat_tables(iter(paths), tmp_path / "all.parquet")
    np.testing.assert_array_equal(read_table(tmp_path / "all.parquet")["n"], np.arange(28))
    metadata = pq.read_metadata(tmp_path / "all.parquet")
    assert max(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)) <= 10


def test_joining_nothing_is_an_empty_table(tmp_path):
    assert concat_tables([], tmp_path / "all.parquet") == 0
    assert read_table(tmp_path / "all.parquet") == {}


def test_conflicting_types_are_named(tmp_path):
    write_table(tmp_path / "a.parquet", {"x": [1]})
    write_table(tmp_path / "b.parquet", {"x": ["one"]})
    with pytest.raises(StorageError, match=r"b\.parquet: its column 'x' is string, but int64"):
        concat_tables([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "all.parquet")
    assert not (tmp_path / "all.parquet").exists()


def test_large_unsigned_values_are_not_wrapped_when_joined(tmp_path):
    write_table(tmp_path / "a.parquet", {"x": np.array([-1])})
    write_table(tmp_path / "b.parquet", {"x": np.array([2**64 - 1], "u8")})
    with pytest.raises(StorageError, match=r"Cannot join .*b\.parquet"):
        concat_tables([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "all.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_unreadable_tables_are_named(tmp_path):
    (tmp_path / "bad.parquet").write_text("no")
    for action in (read_table, lambda path: concat_tables([path], tmp_path / "all.parquet")):
        with pytest.raises(StorageError, match=r"bad\.parquet is not a Parquet file"):
            action(tmp_path / "bad.parquet")
        with pytest.raises(StorageError, match=r"none\.parquet"):
            action(tmp_path / "none.parquet")


@given(
    hnp.arrays(
        st.sampled_from(["?", "u1", "u4", "f4", "c8"]), hnp.array_shapes(min_dims=0, min_side=0, max_side=4)
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrays_come_back_as_they_were_written(tmp_path, array):
    write_array(tmp_path / "a.npy", array)
    back = read_array(tmp_path / "a.npy")
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


def test_arrays_are_never_pickled(tmp_path):
    with pytest.raises(StorageError, match="Python objects"):
        write_array(tmp_path / "a.npy", np.array([{}]))
    np.save(tmp_path / "b.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(StorageError, match=r"b\.npy is not an array file"):
        read_array(tmp_path / "b.npy")


def test_a_small_table_as_csv_keeps_counts_whole_and_gaps_empty():
    text = table_csv({"n": np.array([3.0, np.nan]), "x": np.array([0.1, 1e300]), "t": ["a,b", None]})
    assert text == 'n,x,t\n3,0.1,"a,b"\n,1e+300,\n'
