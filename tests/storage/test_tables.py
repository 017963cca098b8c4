"""Tables and arrays: round trips, joining, and messages for what is no table."""

import csv
import io
import string

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hcs_steps.errors import StorageError
from hcs_steps.storage import _csv as csv_style
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
from hcs_steps.storage.tables import mixed_columns

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
    assert rows[2] == {"Well": "A02", "Count": "", "Area": "0.5", "Late": "True"}
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


@pytest.fixture
def batches_of_three_plates(tmp_path):
    """A number in two files, text in the third, and none in the last, which has no rows."""
    batches = [
        np.array([1.0, np.nan, 1e15, 0.5, 1e-7]),
        np.array([2, 1234]),
        np.array(["2b", "BRD-1", None], object),
        np.array([True, False]),
        np.empty(0),
    ]
    paths = [tmp_path / f"{number}.parquet" for number in range(len(batches))]
    for path, values in zip(paths, batches, strict=True):
        write_table(path, {"Batch": values, "Area": np.arange(len(values))})
    return paths


@pytest.mark.parametrize("turned", [False, True])
def test_columns_of_several_types_become_text_where_that_is_asked(batches_of_three_plates, tmp_path, turned):
    paths = batches_of_three_plates[::-1] if turned else batches_of_three_plates
    with pytest.raises(StorageError, match="column 'Batch'"):
        concat_tables(paths, tmp_path / "all.parquet")
    concat_tables(paths, tmp_path / "all.parquet", tmp_path / "all.csv", as_text=["Batch", "Missing"])
    back = read_table(tmp_path / "all.parquet")
    parts = [
        ["1", None, "1000000000000000", "0.5", "1e-7"], ["2", "1234"], ["2b", "BRD-1", None], ["True", "False"]
    ]  # fmt: skip
    assert back["Batch"].tolist() == [text for part in (parts[::-1] if turned else parts) for text in part]
    assert back["Area"].dtype == np.int64


def test_columns_whose_types_do_not_fit_are_found_with_what_each_file_holds(
    batches_of_three_plates, tmp_path
):
    paths = batches_of_three_plates
    found = mixed_columns(paths, lambda name: name == "Batch")
    kinds = ["numbers", "numbers", "text", "true or false"]
    assert found == {"Batch": dict(zip(paths[:4], kinds, strict=True))}
    assert mixed_columns(paths, lambda name: name == "Area") == {}
    assert mixed_columns([*paths[:2], paths[4]], lambda name: True) == {}


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


def test_a_lone_carriage_return_does_not_end_a_row():
    text = table_csv({"error": ["10 %\r20 %", "a\nb", 'say "no"', " as is"], "n": [1, 2, 3, 4]})
    assert text == 'error,n\n"10 %\r20 %",1\n"a\nb",2\n"say ""no""",3\n as is,4\n'
    assert table_csv({"only": [None, "x"]}) == 'only\n""\nx\n'


@pytest.mark.parametrize("at_once", [1, 2**20])
def test_joined_tables_have_the_csv_of_small_ones(tmp_path, monkeypatch, at_once):
    """Both are what Python's own writer makes of the same values."""
    monkeypatch.setattr(csv_style, "VALUES_AT_ONCE", at_once)
    columns = {
        "Well": np.array(["A01", "a,b", 'say "no"', "two\nlines", None], object),
        "Area, px": np.array([2.0, np.nan, np.inf, -np.inf, 0.25]),
        "Small": np.array([1, 2, 3, np.nan, 0.5], np.float32),
        "Count": np.arange(5),
        "Big": np.array([1e15, 2.0**53 - 1, -0.5, 1 / 3, 0.0]),
        "Used": np.array([True, False, None, True, None], object),
    }
    write_table(tmp_path / "a.parquet", columns)
    concat_tables([tmp_path / "a.parquet"], tmp_path / "all.parquet", tmp_path / "all.csv")
    text = (tmp_path / "all.csv").read_text()
    assert text == table_csv(columns)
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(
        [
            ["A01", "2", "1", 0, 10**15, True],
            ["a,b", "", "2", 1, 2**53 - 1, False],
            ['say "no"', "inf", "3", 2, -0.5, ""],
            ["two\nlines", "-inf", "", 3, 1 / 3, True],
            ["", 0.25, 0.5, 4, 0, ""],
        ]
    )
    assert text == lines.getvalue()
    np.testing.assert_array_equal(read_table(tmp_path / "all.parquet")["Area, px"], columns["Area, px"])
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(tmp_path / "all.csv")
    for name in ("Area, px", "Small", "Count", "Big"):
        np.testing.assert_array_equal(frame[name].to_numpy(), columns[name])


def test_a_table_of_lists_has_no_csv(tmp_path):
    lists = np.empty(2, object)
    lists[:] = [[1], [2, 3]]
    write_table(tmp_path / "a.parquet", {"points": lists})
    with pytest.raises(StorageError, match=r"'points'.*list"):
        concat_tables([tmp_path / "a.parquet"], tmp_path / "all.parquet", tmp_path / "all.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize("dtype", [object, "U"])
def test_a_file_name_that_is_not_utf_8_is_escaped(tmp_path, dtype):
    name = b"cell\xff.tif".decode("utf-8", "surrogateescape")
    values = ["fine", name] if dtype == "U" else ["fine", f"Cannot read {name}", None]
    write_table(tmp_path / "t.parquet", {"error": np.array(values, dtype), name: np.arange(len(values))})
    back = read_table(tmp_path / "t.parquet")
    escaped = name.encode(errors="backslashreplace").decode()
    assert escaped == "cell\\udcff.tif"
    assert back["error"].tolist() == [value and value.replace(name, escaped) for value in values]
    assert list(back) == ["error", escaped]
    wells = {"Metadata_Well": ["A01"], "Metadata_File": [name]}
    write_table(tmp_path / "a.parquet", {"Metadata_Well": ["A01"]})
    concat_tables([tmp_path / "a.parquet"], tmp_path / "all.parquet", tmp_path / "all.csv", wells=wells)
    assert read_table(tmp_path / "all.parquet")["Metadata_File"].tolist() == [escaped]
