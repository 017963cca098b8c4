"""Joining Parquet files batch by batch: one schema for all, and columns that a row gets by its well."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hcs_steps.errors import MEND, StorageError
from hcs_steps.storage._csv import texts
from hcs_steps.storage.atomic import storage_errors


class WellColumns:
    """Columns that a row gets by its well, as Arrow arrays of one value per well."""

    def __init__(self, path: Path, table: Any) -> None:
        import pyarrow as pa

        self.path = path
        known = "Metadata_Well" in table.column_names
        names = table.column("Metadata_Well").to_pylist() if known else []
        self.rows = {well: row for row, well in enumerate(names)}
        if len(self.rows) < len(names) or (table.num_columns and not known):
            raise StorageError(
                f"Cannot add columns to {path}: each well has one row of them, under Metadata_Well.",
                hint="Give one row per well.",
            )
        others = [name for name in table.column_names if name != "Metadata_Well"]
        self.table = pa.table({name: _without_nan(table.column(name)) for name in others})

    def schema(self, schema: Any) -> Any:
        """``schema`` with these columns behind its first ``Metadata_`` ones."""
        import pyarrow as pa

        if not self.table.num_columns:
            return schema
        taken = [name for name in self.table.column_names if name in schema.names]
        if taken or (len(schema) and "Metadata_Well" not in schema.names):
            raise StorageError(
                f"Cannot add columns by well to {self.path}: "
                + (
                    f"it has a column {taken[0]!r} already." if taken else "it has no column 'Metadata_Well'."
                ),
                hint="Rename the column in the plate map or in the function's table.",
            )
        fields = list(schema)
        first = next(
            (n for n, field in enumerate(fields) if not field.name.startswith("Metadata_")), len(fields)
        )
        # A column without any value is one of texts: files of other plates may have some.
        own = [
            pa.field(field.name, pa.string() if pa.types.is_null(field.type) else field.type)
            for field in self.table.schema
        ]
        return pa.schema([*fields[:first], *own, *fields[first:]])

    def joined(self, table: Any, schema: Any) -> Any:
        """A table's rows with their wells' columns, as ``schema`` has them."""
        import pyarrow as pa

        if not self.table.num_columns:
            return table
        # Few wells stand in many rows: each is looked up once.
        codes = table.column("Metadata_Well").combine_chunks().dictionary_encode()
        found = pa.array([self.rows.get(well) for well in codes.dictionary.to_pylist()], pa.int64())
        places = found.take(codes.indices)
        columns = [
            self.table.column(field.name).combine_chunks().take(places).cast(field.type)
            if field.name in self.table.column_names
            else table.column(field.name)
            for field in schema
        ]
        return pa.table(columns, schema=schema)


def _without_nan(column: Any) -> Any:
    """NaN as null: in a plate map it stands for no value, and a CSV would say ``nan``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def common_schema(paths: Sequence[Path], as_text: Collection[str] = ()) -> Any:
    """The columns of all files, each with a type that holds the values of all; those ``as_text`` are strings."""
    import pyarrow as pa

    types: dict[str, Any] = {}
    vacant: set[str] = set()
    for path, schema, filled in _schemas(paths):
        for column in schema:
            if column.name in as_text:
                types[column.name] = pa.string()
                continue
            if column.name not in types or (filled and column.name in vacant):
                types[column.name] = column.type
                vacant.discard(column.name)
                if not filled:
                    vacant.add(column.name)
            if not filled:
                continue
            merged = _merge(types[column.name], column.type)
            if merged is None:
                raise StorageError(
                    f"Cannot join {path}: its column {column.name!r} is {column.type}, "
                    f"but {types[column.name]} in the files before it.",
                    hint="Return one type for a column from all units.",
                )
            types[column.name] = merged
    return pa.schema(list(types.items()))


def conflicts(paths: Sequence[Path], chosen: Callable[[str], bool]) -> dict[str, dict[Path, str]]:
    """Column -> file -> what it holds there, for the ``chosen`` columns that no type holds in all files."""
    import pyarrow as pa

    merged: dict[str, Any] = {}
    held: dict[str, dict[Path, str]] = {}
    for path, schema, filled in _schemas(paths):
        for column in schema:
            if not filled or not chosen(column.name) or pa.types.is_null(column.type):
                continue
            held.setdefault(column.name, {})[path] = _kind(column.type)
            before = merged.get(column.name, column.type)
            merged[column.name] = None if before is None else _merge(before, column.type)
    return {name: files for name, files in held.items() if merged[name] is None}


def _kind(type_: Any) -> str:
    import pyarrow as pa

    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return "numbers"
    if pa.types.is_boolean(type_):
        return "true or false"
    return "text" if pa.types.is_string(type_) or pa.types.is_large_string(type_) else str(type_)


def _schemas(paths: Iterable[Path]) -> Iterator[tuple[Path, Any, bool]]:
    """Every file with its columns, and whether it has rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        with storage_errors("read", path):
            try:
                with pq.ParquetFile(path) as file:
                    schema, filled = file.schema_arrow, file.metadata.num_rows > 0
            except pa.ArrowInvalid as error:
                raise damaged(path, error) from error
        yield path, schema, filled


def _merge(one: Any, other: Any) -> Any:
    """The type that holds both, None if there is none."""
    import pyarrow as pa

    kinds = pa.types
    if one == other or kinds.is_null(other):
        return one
    if kinds.is_null(one):
        return other
    floating = [kinds.is_floating(kind) for kind in (one, other)]
    if any(floating) and all(kinds.is_integer(kind) or kinds.is_floating(kind) for kind in (one, other)):
        # float32 holds only integers of up to 24 bits, so a mix with integers is float64.
        return max(one, other, key=lambda kind: kind.bit_width) if all(floating) else pa.float64()
    schemas = [pa.schema([("column", kind)]) for kind in (one, other)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def batches(paths: Sequence[Path], schema: Any, most: int) -> Iterator[Any]:
    """Tables of up to ``most`` rows, none of them empty."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        with storage_errors("read", path), pq.ParquetFile(path) as file:
            try:
                if (
                    file.metadata.num_rows <= most
                ):  # much quicker than as a batch, where there are many columns
                    tables = iter([file.read()])
                else:
                    found = file.iter_batches(batch_size=most)
                    tables = (pa.Table.from_batches([batch]) for batch in found)
                yield from (_fitted(table, schema) for table in tables if table.num_rows)
            except pa.ArrowInvalid as error:
                hint = "Return one type for a column from all units."
                raise StorageError(f"Cannot join {path}: {error}.", hint=hint) from error


def _fitted(table: Any, schema: Any) -> Any:
    import pyarrow as pa

    columns = []
    there = set(table.column_names)  # a list that Arrow makes anew every time
    for column in schema:
        if column.name in there:
            # Large integers lose digits as floats, which is not worth failing for; wrapping would be.
            safe = not pa.types.is_floating(column.type)
            own = table.column(column.name)
            if pa.types.is_string(column.type):
                own = texts(own.combine_chunks())
            columns.append(own.cast(column.type, safe=safe))
        else:
            columns.append(pa.nulls(table.num_rows, column.type))
    return pa.table(columns, schema=schema)


def regrouped(tables: Iterable[Any], most: int) -> Iterator[Any]:
    """Many small tables as few of about ``most`` rows: a unit's table may have no more than one row."""
    import pyarrow as pa

    held: list[Any] = []
    rows = 0
    for table in tables:
        if held and rows + table.num_rows > most:
            joined = pa.concat_tables(held).combine_chunks()
            held, rows = [], 0
            yield joined
        held.append(table)
        rows += table.num_rows
    if held:
        yield pa.concat_tables(held).combine_chunks()


def damaged(path: Path, error: Exception) -> StorageError:
    return StorageError(f"{path} is not a Parquet file: {error}.", hint=MEND)
