"""Rows and typed columns of a delimited text file whose encoding, delimiter and decimal mark nobody states."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate._map_header import DELIMITERS, is_comment, is_header, no_header

MISSING = frozenset({"", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "<NA>"})
"""What stands for no value. ``none`` does not: it is what many maps call the treatment of untreated wells."""

_BOOLEANS = {"true": True, "false": False}
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+")
_GROUPED_BY_POINTS = re.compile(r"[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+")
_ZERO = re.compile(r"0[.,]0*")


class Row(NamedTuple):
    """The fields of one row, stripped, and the line of the file that it begins on, from 1."""

    line: int
    fields: tuple[str, ...]


class Rows(NamedTuple):
    """A header, the rows under it, each as wide, and the delimiter between their fields."""

    header: tuple[str, ...]
    rows: list[Row]
    delimiter: str


def read_rows(path: Path) -> Rows:
    """The rows of a CSV or TSV file; every row has as many fields as the header, empty rows are left out.

    The encoding is UTF-8 (with or without a mark), UTF-16 or Windows' Western one; the delimiter a tab, a semicolon
    or a comma, whichever divides the rows as it divides the header. Lines above the header that begin with ``#`` are
    left out. Raises `PlateError` if the file cannot be read, is no text, has no header, two columns of one name, or a
    row with more fields than the header.
    """
    whole = text = _decoded(path)
    start = 0
    told = text[4:5] if text[:4].lower() == "sep=" and text[4:5] in DELIMITERS else ""
    if told:
        text, start = text.partition("\n")[2], 1  # how Excel is told
    for _, line in _lines(text):
        if line.strip() and not is_comment(line):
            break
        text, start = text[len(line) :], start + 1
    delimiter = told or _delimiter(text)
    rows = [Row(row.line + start, row.fields) for row in _parsed(path, text, delimiter)]
    if not rows:
        raise PlateError(f"{path} is empty.", hint="Write a header and one row per well.")
    header = rows[0].fields
    if not is_header(header):
        raise no_header(path, header, _lines(whole))
    names = [name for name in header if name]
    for name in names:
        if names.count(name) > 1:
            raise PlateError(
                f"{path}, line {rows[0].line}: two columns are called {name!r}.", hint="Rename one of them."
            )
    return Rows(header, [_even(path, row, header) for row in rows[1:]], delimiter)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines with their ends, divided as `csv` divides them."""
    return enumerate(io.StringIO(text, newline=""), 1)


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
        return max(DELIMITERS, key=fit)
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


def typed(path: Path, name: str, values: Sequence[str], lines: Sequence[int], delimiter: str) -> list[Any]:
    """The values of a column as int, float, bool or text, one type for all; None where there is none.

    Numbers with leading zeros (``007``) and those of more than 18 digits stay text. A decimal comma counts as a
    point. Raises `PlateError` as `require_one_decimal_mark` does.
    """
    present = [value for value in values if value not in MISSING]
    if present and all(value.lower() in _BOOLEANS for value in present):
        return [None if value in MISSING else _BOOLEANS[value.lower()] for value in values]
    if present and all(_INTEGER.fullmatch(value) for value in present):
        return [None if value in MISSING else int(value) for value in values]
    if any(value.isdigit() and len(value) > 18 for value in present):
        return [None if value in MISSING else value for value in values]
    if present and all(_NUMBER.fullmatch(value) or _GROUPED.fullmatch(value) for value in present):
        require_one_decimal_mark(path, name, values, lines, delimiter)
        return [None if value in MISSING else float(value.replace(",", ".")) for value in values]
    return [None if value in MISSING else value for value in values]


def require_one_decimal_mark(
    path: Path, name: str, numbers: Sequence[str], lines: Sequence[int], delimiter: str
) -> None:
    """Raise `PlateError` where the marks in the numbers of a column have no one meaning.

    That is where points and commas are mixed, where every comma could as well separate thousands (``1,500``), and
    where in a file that semicolons divide, as those with decimal commas are, every point could (``1.500``).
    """
    commas = [line for value, line in zip(numbers, lines, strict=True) if "," in value]
    points = [line for value, line in zip(numbers, lines, strict=True) if "." in value]
    if commas and points:
        raise PlateError(
            f"{path}: column {name!r} has a comma in line {commas[0]} and a point in line {points[0]}.",
            hint="Use one decimal mark, and no thousands separators.",
        )
    marks = (
        ("comma", ",", _GROUPED, True),
        ("point", ".", _GROUPED_BY_POINTS, delimiter == ";"),
    )
    for what, mark, grouped, unclear in marks:
        marked = {
            line: value
            for value, line in zip(numbers, lines, strict=True)
            if mark in value and not _ZERO.fullmatch(value)
        }
        if any(value.count(mark) > 1 for value in marked.values()) or (
            unclear and marked and all(grouped.fullmatch(value) for value in marked.values())
        ):
            raise PlateError(
                f"{path}, line {min(marked)}: the {what} in column {name!r} can be a decimal mark or separate "
                "thousands.",
                hint="Write the numbers without thousands separators and with a decimal point: 1500 or 1.5.",
            )
