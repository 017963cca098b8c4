"""Rows and typed columns of a delimited text file whose encoding, delimiter and decimal mark nobody states."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hcs_steps.errors import PlateError

MISSING = frozenset({"", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "<NA>"})
"""What stands for no value. ``none`` does not: it is what many maps call the treatment of untreated wells."""

_BOOLEANS = {"true": True, "false": False}
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+")


class Row(NamedTuple):
    """The fields of one row, stripped, and the line of the file that it begins on, from 1."""

    line: int
    fields: tuple[str, ...]


def read_rows(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    """(header, rows) of a CSV or TSV file; every row has as many fields as the header, empty rows are left out.

    The encoding is UTF-8 (with or without a mark), UTF-16 or Windows' Western one; the delimiter a tab, a semicolon
    or a comma, whichever divides the rows as it divides the header. Raises `PlateError` if the file cannot be read, is
    no text, has no header, two columns of one name, or a row with more fields than the header.
    """
    text = _decoded(path)
    start = 0
    if text[:4].lower() == "sep=" and text[4:5] in "\t;,":
        delimiter, start = text[4:5], 1  # how Excel is told
        text = text.partition("\n")[2]
    else:
        delimiter = _delimiter(text)
    rows = [Row(row.line + start, row.fields) for row in _parsed(path, text, delimiter)]
    if not rows:
        raise PlateError(f"{path} is empty.", hint="Write a header and one row per well.")
    header = rows[0].fields
    names = [name for name in header if name]
    for name in names:
        if names.count(name) > 1:
            raise PlateError(
                f"{path}, line {rows[0].line}: two columns are called {name!r}.", hint="Rename one of them."
            )
    return header, [_even(path, row, header) for row in rows[1:]]


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PlateError(
            f"Cannot read the plate map {path}: {error.strerror}.", hint="Check the path in the settings."
        ) from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif data[1:2] == b"\0":
        encodings = ["utf-16-le"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text and not data.startswith(b"PK\x03\x04"):
            return text
        break
    raise PlateError(f"{path} is not a text file.", hint="Save the plate map as CSV or tab-separated text.")


def _delimiter(text: str) -> str:
    def fit(delimiter: str) -> tuple[float, int]:
        widths = [
            len(fields)
            for fields in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            if any(fields)
        ]
        same = sum(width == widths[0] for width in widths) if widths and widths[0] > 1 else 0
        return same / max(len(widths), 1), widths[0] if widths else 0

    try:
        return max("\t;,", key=fit)
    except csv.Error:
        return ","


def _parsed(path: Path, text: str, delimiter: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows, line = [], 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                rows.append(Row(line, tuple(field.strip() for field in fields)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise PlateError(
            f"{path}, line {line}: {error}.", hint="Look for a quotation mark without its partner."
        ) from error
    return rows


def _even(path: Path, row: Row, header: Sequence[str]) -> Row:
    if any(row.fields[len(header) :]):
        raise PlateError(
            f"{path}, line {row.line}: {len(row.fields)} fields under a header of {len(header)}.",
            hint="Put a text with commas into quotation marks; with decimal commas, separate the columns by "
            "semicolons or tabs.",
        )
    return Row(row.line, (row.fields + ("",) * len(header))[: len(header)])


def typed(path: Path, name: str, values: Sequence[str], lines: Sequence[int]) -> list[Any]:
    """The values of a column as int, float, bool or text, one type for all; None where there is none.

    Numbers with leading zeros (``007``) and those of more than 18 digits stay text. A decimal comma counts as a
    point. Raises `PlateError` where points and commas are mixed, or a comma could be either mark (``1,500``).
    """
    present = [value for value in values if value not in MISSING]
    if present and all(value.lower() in _BOOLEANS for value in present):
        return [None if value in MISSING else _BOOLEANS[value.lower()] for value in values]
    if present and all(_INTEGER.fullmatch(value) for value in present):
        return [None if value in MISSING else int(value) for value in values]
    if any(value.isdigit() and len(value) > 18 for value in present):
        return [None if value in MISSING else value for value in values]
    if present and all(_NUMBER.fullmatch(value) or _GROUPED.fullmatch(value) for value in present):
        _require_one_decimal_mark(path, name, values, lines)
        return [None if value in MISSING else float(value.replace(",", ".")) for value in values]
    return [None if value in MISSING else value for value in values]


def _require_one_decimal_mark(path: Path, name: str, values: Sequence[str], lines: Sequence[int]) -> None:
    commas = [line for value, line in zip(values, lines, strict=True) if "," in value]
    points = [line for value, line in zip(values, lines, strict=True) if "." in value]
    if commas and points:
        raise PlateError(
            f"{path}: column {name!r} has a comma in line {commas[0]} and a point in line {points[0]}.",
            hint="Use one decimal mark, and no thousands separators.",
        )
    with_comma = [value for value in values if "," in value]
    if any(value.count(",") > 1 for value in with_comma) or (
        commas and all(_GROUPED.fullmatch(value) for value in with_comma)
    ):
        raise PlateError(
            f"{path}, line {commas[0]}: the comma in column {name!r} can be a decimal mark or separate thousands.",
            hint="Write the numbers without thousands separators and with a decimal point.",
        )
