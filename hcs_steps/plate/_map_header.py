"""The header of a plate map: which names of columns tell places, and what stands where a header should be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from hcs_steps.errors import PlateError

WELL_NAMES = (
    "well", "wellid", "wellposition", "wellname", "wellpos", "assaywell", "platewell", "wells", "vertiefung", "kavität",
    "kavitaet", "kavitat", "puits",
)  # fmt: skip
PLATE_NAMES = (
    "plate", "plateid", "platename", "platebarcode", "barcode", "assayplatebarcode", "assayplate",
)  # fmt: skip
MAP_NAMES = ("platemapname", "platemap", "platemapfile")
ROW_NAMES, COLUMN_NAMES = (
    ("row", "wellrow", "platerow"),
    ("column", "col", "wellcolumn", "wellcol", "platecolumn"),
)
"""Names of columns as `plain_name` has them, the likelier first."""

DELIMITERS = "\t;,"

_SEARCHED = 200
"""Lines of a file without a header that are searched for one."""


def plain_name(name: str) -> str:
    """A column's name without case, ``Metadata_`` and anything but letters and digits: ``Well ID`` -> ``wellid``."""
    return re.sub(r"[\W_]+", "", re.sub(r"^metadata[\s_]*", "", name.strip().casefold()))


def position(header: Sequence[str], names: Sequence[str]) -> int | None:
    plain = [plain_name(name) for name in header]
    return next((plain.index(name) for name in names if name in plain), None)


def well_columns(header: Sequence[str]) -> list[int]:
    return [number for number, name in enumerate(header) if plain_name(name) in WELL_NAMES]


def is_header(fields: Sequence[str]) -> bool:
    """Whether a row has names of columns that tell wells, or plate maps by barcode."""
    return (
        bool(well_columns(fields))
        or position(fields, MAP_NAMES) is not None
        or (position(fields, ROW_NAMES) is not None and position(fields, COLUMN_NAMES) is not None)
    )


def is_comment(line: str) -> bool:
    """Whether a line begins with ``#`` and is not a header that does (``#well,compound``)."""
    return line.lstrip('" ').startswith("#") and not any(is_header(fields) for fields in _splits(line))


def no_header(path: Path, header: Sequence[str], lines: Iterable[tuple[int, str]]) -> PlateError:
    """What to say of a file whose first row is no header of a plate map; ``lines`` are its numbered lines."""
    for number, line in islice(lines, _SEARCHED):
        for fields in _splits(line):
            columns = _grid_columns(fields)
            if columns:
                return PlateError(
                    f"{path}, line {number}: a grid of the plate's columns (1 to {columns}) was found, not a table "
                    "of wells.",
                    hint=f"Write one row per well. {_HINT}",
                )
            if is_header(fields):
                above = next((name for name in header if name), "")
                return PlateError(
                    f"{path}: {above!r} was found in the first row, above what looks like the header in line "
                    f"{number}.",
                    hint=f"Remove what is above, or begin those lines with '#'. {_HINT}",
                )
    return PlateError(
        f"{path} has no column for the well; it has {', '.join(repr(name) for name in header if name)}.",
        hint=_HINT,
    )


_HINT = (
    "The header must be the first row, with one row per well under it, divided by commas, semicolons or tabs; the "
    "column for the well may be called 'Well', 'Well ID', 'well_position' or 'Metadata_Well', or there may be two, "
    "'Row' and 'Column'."
)


def _splits(line: str) -> list[list[str]]:
    return [[field.strip(' "\r\n') for field in line.split(delimiter)] for delimiter in DELIMITERS]


def _grid_columns(fields: Sequence[str]) -> int:
    """How many plate columns a row counts, ``,1,2,3`` as well as ``;01;02;03;;``; 0 if it does something else."""
    numbers = [field.lstrip("0") for field in fields if field]
    if numbers and not numbers[0].isdigit():
        numbers = numbers[1:]
    counted = [str(number) for number in range(1, len(numbers) + 1)]
    return len(numbers) if len(numbers) > 1 and numbers == counted else 0
