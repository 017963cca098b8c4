"""Tables as Parquet (and CSV) and arrays as .npy, written atomically, the same bytes for the same content."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.errors import MEND, StorageError
from hcs_steps.storage._csv import csv_blocks, csv_line
from hcs_steps.storage._joining import WellColumns, batches, common_schema, conflicts, damaged, regrouped
from hcs_steps.storage.atomic import publish_file, storage_errors

ROW_GROUP = 65_536
"""Rows per Parquet row group, and the most rows that `concat_tables` gathers before it writes them."""

CELLS_AT_ONCE = 2**22
"""Values that `concat_tables` gathers before it writes them: fewer rows of a wide table, 32 MiB of float64. They are in
memory several times while they are joined and compressed.
"""


def as_columns(obj: Any) -> dict[str, NDArray[Any]]:
    """Columns of equal length from a mapping of columns, a DataFrame or a list of row mappings.

    A DataFrame's index is dropped. Rows may lack keys: the gap is NaN in a column of numbers, else None.
    Raises `StorageError` for columns that are ragged or not one-dimensional.
    """
    if isinstance(obj, Mapping):
        columns = {str(name): _column(values) for name, values in obj.items()}
    elif hasattr(obj, "columns") and hasattr(obj, "iloc"):
        columns = {str(name): np.asarray(obj[name].to_numpy()) for name in obj.columns}
    elif isinstance(obj, Sequence) and all(isinstance(row, Mapping) for row in obj):
        names = dict.fromkeys(str(name) for row in obj for name in row)
        rows = [{str(name): value for name, value in row.items()} for row in obj]
        columns = {name: _column([row.get(name) for row in rows]) for name in names}
    else:
        raise StorageError(
            f"A {type(obj).__name__} is not a table.",
            hint="Return a mapping of columns, a DataFrame or a list of mappings, one per row.",
        )
    for name, column in columns.items():
        if column.ndim != 1:
            raise StorageError(
                f"Column {name!r} has shape {column.shape}.",
                hint="A column has one value per row: make it 1-D.",
            )
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{name!r} has {len(column)}" for name, column in columns.items())
        raise StorageError(
            f"The columns of a table differ in length: {lengths} rows.",
            hint="Give each column one value per row.",
        )
    return columns


def _column(values: Any) -> NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    values = list(values) if isinstance(values, Iterable) and not isinstance(values, str | bytes) else values
    if isinstance(values, list):
        present = [value for value in values if value is not None]
        numeric = all(
            isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in present
        )
        if present and numeric and len(present) < len(values):
            return np.array([np.nan if value is None else value for value in values], np.float64)
        if not numeric and not all(isinstance(value, bool | np.bool_) for value in values):
            # NumPy would turn a mix of numbers and words into words; kept as objects, writing it tells.
            column = np.empty(len(values), object)
            column[:] = values
            return column
        if not present:
            return np.array(values, object if values else np.float64)
    return np.asarray(values)


def write_table(path: Path, columns: Any) -> None:
    """Write a table (anything `as_columns` takes) as Parquet. For the path's owner only.

    What UTF-8 cannot hold in a text, such as a file name that is not UTF-8, is escaped as `write_text` does it.
    """
    path = Path(path)
    table = _to_arrow(path, as_columns(columns))
    with publish_file(path) as temporary, _parquet(temporary, table.schema) as parquet:
        parquet.write_table(table, row_group_size=ROW_GROUP)


def _parquet(path: Path, schema: Any) -> Any:
    """A writer of a Parquet file. Numbers hardly ever repeat: with a dictionary they take longer, and more room."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=texts)


def _to_arrow(path: Path, columns: Mapping[str, NDArray[Any]]) -> Any:
    import pyarrow as pa

    arrays = {}
    for name, column in columns.items():
        try:
            arrays[_escaped(name)] = _array(column)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise StorageError(
                f"Cannot write column {name!r} (dtype {column.dtype}) to {path}: {error}.",
                hint="Give all values of a column one type: numbers, booleans, strings or dates.",
            ) from error
    return pa.table(arrays)


def _array(column: NDArray[Any]) -> Any:
    import pyarrow as pa

    # Among objects NaN is how DataFrames mark a missing string; among floats it stays NaN.
    missing = column.dtype.kind == "O"
    try:
        return pa.array(np.ascontiguousarray(column), from_pandas=missing)
    except UnicodeError:  # a lone surrogate; looked for only now, as hardly any column has one
        return pa.array([_escaped(value) for value in column.tolist()], from_pandas=missing)


def _escaped(value: Any) -> Any:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def table_csv(columns: Mapping[str, Iterable[Any]]) -> str:
    """A small table as CSV text, in the style of `hcs_steps.storage._csv`: NaN and None are empty, numbers the shortest
    text that is the same number, so that counts stay whole where one is missing.
    """
    plain = (values.tolist() if isinstance(values, np.ndarray) else values for values in columns.values())
    return "".join(map(csv_line, [columns, *zip(*plain, strict=True)]))


def read_table(path: Path, columns: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Columns of a Parquet file. Strings come as objects; a missing value is NaN in numbers, else None.

    With ``columns`` only those of them that the file has are read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    with storage_errors("read", path):
        try:
            # Opened as one file: a folder name such as "Plate=1" is not a column.
            with pq.ParquetFile(path) as file:
                names = [name for name in file.schema_arrow.names if columns is None or name in columns]
                table = file.read(columns=names)
        except pa.ArrowInvalid as error:
            raise damaged(path, error) from error
    return {name: table.column(name).to_numpy() for name in names}


def mixed_columns(paths: Iterable[Path], chosen: Callable[[str], bool]) -> dict[str, dict[Path, str]]:
    """The ``chosen`` columns of Parquet files that have types which `concat_tables` refuses to join.

    Returns column -> file -> ``numbers``, ``text``, ``true or false``, or the name of another type; files that lack
    the column, or have no value in it, are left out.
    """
    return conflicts([Path(path) for path in paths], chosen)


def concat_tables(
    paths: Iterable[Path],
    out_parquet: Path,
    out_csv: Path | None = None,
    *,
    wells: Any = None,
    as_text: Collection[str] = (),
) -> int:
    """Join Parquet files row-wise in the order given; returns the number of rows.

    Memory does not grow with the number of files or rows. The columns are those of all files in order of
    first appearance; where a file lacks one its rows are null. Integers and floats in one column become
    float64; other conflicts of types are a `StorageError` that names the file and the column. The types in files
    without rows count only where no other file has the column. The CSV is in the style of `table_csv`.

    ``wells`` is a table (anything `as_columns` takes) with the column ``Metadata_Well`` and one row per well: its other
    columns are added to every row of that well, behind the first columns that are called ``Metadata_...``; in rows
    of other wells they are null. A `StorageError` if the files have one of them already, or no ``Metadata_Well``.

    ``as_text`` names columns of the files that become text, whatever their types: numbers the shortest text that is the
    same number (``1``, not ``1.0``), NaN null, booleans ``True`` and ``False``.
    """
    sources = [Path(path) for path in paths]
    schema = common_schema(sources, as_text)
    added = WellColumns(
        Path(out_parquet), _to_arrow(Path(out_parquet), as_columns({} if wells is None else wells))
    )
    target = added.schema(schema)
    rows = 0
    with ExitStack() as outputs:
        temporary = outputs.enter_context(publish_file(Path(out_parquet)))
        parquet = outputs.enter_context(_parquet(temporary, target))
        listing = None
        if out_csv is not None:
            temporary = outputs.enter_context(publish_file(Path(out_csv)))
            listing = outputs.enter_context(temporary.open("xb"))
            listing.write(csv_line(target.names).encode())
        most = max(1, min(ROW_GROUP, CELLS_AT_ONCE // max(len(target), 1)))
        for table in regrouped(batches(sources, schema, most), most):
            table = added.joined(table, target)
            parquet.write_table(table, row_group_size=most)
            if listing is not None:
                listing.writelines(csv_blocks(table))
            rows += table.num_rows
    return rows


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a numeric array as ``.npy``, replacing an older file. For the path's owner only."""
    array = np.asarray(array)
    if array.dtype.hasobject:
        raise StorageError(
            f"Cannot write {path}: the array holds Python objects.", hint="Return numbers or booleans."
        )
    with publish_file(Path(path)) as temporary, temporary.open("xb") as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


def read_array(path: Path) -> NDArray[Any]:
    """An array as `write_array` wrote it; never unpickles."""
    with storage_errors("read", Path(path)):
        try:
            array: NDArray[Any] = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise StorageError(f"{path} is not an array file: {error}.", hint=MEND) from error
    return array
