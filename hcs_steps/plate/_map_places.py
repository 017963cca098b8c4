"""Where the rows of a plate map say that they are: which columns tell the well, and one row per well."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate._delimited import Row
from hcs_steps.plate._map_header import (
    COLUMN_NAMES,
    ROW_NAMES,
    WELL_NAMES,
    no_header,
    plain_name,
    position,
    well_columns,
)
from hcs_steps.plate.wells import canonical_well, row_index, well_name


class MapProblem(NamedTuple):
    """One thing that did not match. ``well`` is empty where none is concerned.

    ``kind`` is ``well without entry``, ``entry without well``, ``duplicate``, ``unreadable well``, ``contradiction``,
    ``unreadable concentration``, ``renamed column`` or ``ignored column``.
    """

    kind: str
    well: str
    detail: str


def rows_by_well(
    path: Path, header: Sequence[str], rows: Sequence[Row]
) -> tuple[dict[str, Row], list[MapProblem]]:
    """One row per well, and what was found on the way."""
    problems: list[MapProblem] = []
    found: dict[str, Row] = {}
    places = _Places(path, header, rows)
    for row in rows:
        try:
            well = places.well(row)
        except PlateError as error:
            text = places.text(row)
            problems.append(
                MapProblem("unreadable well", text, f"{path.name}, line {row.line}: {error.message}")
            )
            continue
        if places.contradicts(row, well):
            detail = f"{path.name}, line {row.line}: row and column say another well than {well}."
            problems.append(MapProblem("contradiction", well, detail))
        before = found.setdefault(well, row)
        if before is row:
            continue
        differ = [
            name for name, one, two in zip(header, before.fields, row.fields, strict=True) if one != two
        ]
        differ = [name for name in differ if plain_name(name) not in WELL_NAMES]
        if differ:
            raise PlateError(
                f"{path} has two entries for well {well}, in lines {before.line} and {row.line}, that differ in "
                f"{', '.join(repr(name) for name in differ[:5])}.",
                hint="Keep one entry per well; if the file is of several plates, add a column 'plate'.",
            )
        detail = f"{path.name}: lines {before.line} and {row.line} say the same of {well}."
        problems.append(MapProblem("duplicate", well, detail))
    if not found:
        detail = f" ({problems[0].detail})" if problems else ""
        raise PlateError(f"{path} has no entry for any well{detail}.", hint="Name wells as A01 or a1.")
    return found, problems


class _Places:
    """Where the rows of a map say that they are: in a column of wells, or in one of rows and one of columns."""

    def __init__(self, path: Path, header: Sequence[str], rows: Sequence[Row]) -> None:
        self.row, self.column = position(header, ROW_NAMES), position(header, COLUMN_NAMES)
        wells = [
            number for number in well_columns(header) if any(_is_well(row.fields[number]) for row in rows)
        ]
        self.by = wells[0] if wells else None
        for other in wells[1:]:
            for row in rows:
                one, two = row.fields[wells[0]], row.fields[other]
                if _is_well(one) and _is_well(two) and _spelled(one) != _spelled(two):
                    raise PlateError(
                        f"{path}, line {row.line}: column {header[wells[0]]!r} says {one}, {header[other]!r} {two}.",
                        hint="Keep the column with the wells of the assay plate.",
                    )
        if self.by is None and (self.row is None or self.column is None):
            named = well_columns(header)
            if named:
                self.by = named[0]
                return
            raise no_header(path, header, ())

    def text(self, row: Row) -> str:
        """The place of a row as written."""
        if self.by is not None:
            return row.fields[self.by]
        return f"{row.fields[self.row or 0]} {row.fields[self.column or 0]}".strip()

    def well(self, row: Row) -> str:
        """The canonical well of a row; `PlateError` if there is none."""
        if self.by is not None:
            return _spelled(row.fields[self.by])
        return self._of_row_and_column(row)

    def contradicts(self, row: Row, well: str) -> bool:
        """Whether row and column can be read and say another well."""
        if self.by is None or self.row is None or self.column is None:
            return False
        try:
            return self._of_row_and_column(row) != well
        except PlateError:
            return False

    def _of_row_and_column(self, row: Row) -> str:
        first, second = row.fields[self.row or 0], row.fields[self.column or 0]
        if not (second.isascii() and second.isdigit()):
            raise PlateError(f"{second!r} is not a plate column.", hint="Columns are 1 to 48.")
        index = int(first) - 1 if first.isascii() and first.isdigit() else row_index(first)
        return well_name(index, int(second) - 1)


def _spelled(text: str) -> str:
    """The canonical well of ``A1``, ``a01``, ``A-1``, ``A 1`` or ``A:01``."""
    return canonical_well(re.sub(r"^([A-Za-z]+)[\s_:-]+([0-9]+)$", r"\1\2", text))


def _is_well(text: str) -> bool:
    try:
        return bool(_spelled(text))
    except PlateError:
        return False
