"""CSV in one style, for small tables and for those that are written batch by batch.

Nothing stands for a missing value and for NaN, infinities are ``inf``, whole numbers have no decimals, booleans are
``True`` and ``False``, and a field is in quotation marks only where it must be (RFC 4180).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from hcs_steps.errors import StorageError

VALUES_AT_ONCE = 2**20
"""Values that are text at the same time while a table is written."""

WHOLE = 2**53
"""Whole float64 below this are exact, and written as integers."""

_SPECIAL = '[",\r\n]'


def csv_line(values: Iterable[Any]) -> str:
    """One row of Python values, with its line end."""
    fields = [_quoted(_text(value)) for value in values]
    # An empty line would not be read as a row.
    return '""\n' if fields == [""] else ",".join(fields) + "\n"


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < WHOLE
    return str(int(value) if whole else value)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if re.search(_SPECIAL, text) else text


def csv_blocks(table: Any) -> Iterator[bytes]:
    """The rows of an Arrow table, a part at a time, without the header."""
    for batch in table.to_batches(max_chunksize=max(1, VALUES_AT_ONCE // max(table.num_columns, 1))):
        yield _block(batch)


def _block(batch: Any) -> bytes:
    import pyarrow.compute as pc

    fields = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            fields.append(_quoted_column(texts(column)))
        except StorageError as error:
            raise StorageError(f"Column {name!r}: {error.message}", hint=error.hint) from error
    if len(fields) == 1:
        fields = [pc.if_else(pc.equal(pc.fill_null(fields[0], ""), ""), '""', fields[0])]
    lines = pc.binary_join_element_wise(*fields, ",", null_handling="replace", null_replacement="")
    return "".join(f"{line}\n" for line in lines.to_pylist()).encode()


def _quoted_column(column: Any) -> Any:
    import pyarrow.compute as pc

    special = pc.match_substring_regex(column, _SPECIAL)
    if not pc.any(special).as_py():
        return column
    marked = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
    return pc.if_else(special, marked, column)


def texts(column: Any) -> Any:
    """An Arrow array as text, as people write its values: ``1``, not ``1.0``; NaN is null.

    Raises `StorageError` for what has no text, such as lists.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.types
    if kind.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kind.is_boolean(column.type):
        return pc.if_else(column, "True", "False")
    if kind.is_binary(column.type) or kind.is_fixed_size_binary(column.type):
        values = column.to_pylist()
        return pa.array(
            [v if v is None else v.decode(errors="backslashreplace") for v in values], pa.string()
        )
    try:
        if not kind.is_floating(column.type):
            return column.cast(pa.string())
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        text = column.cast(pa.string())
        if not pc.any(pc.match_substring(text, "e+")).as_py():
            return text
        whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), float(WHOLE)))
        integers = pc.if_else(whole, column, pa.scalar(None, column.type)).cast(pa.int64())
        return pc.if_else(whole, integers.cast(pa.string()), text)
    except pa.ArrowException as error:
        raise StorageError(
            f"Values of the type {column.type} cannot be text.",
            hint="Return numbers, booleans, strings or dates.",
        ) from error
