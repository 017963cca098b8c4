"""Well names and well filters, as pure functions.

A well is named by letters for the row (``A`` to ``Z``, then ``AA`` to ``AF``) and a number for the column (1
to 48). The canonical name has capital letters and a column of two digits: ``A01``, ``AF48``. Indices count
from 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from hcs_steps.errors import ConfigError, PlateError, nearest

PLATE_DIMENSIONS = ((8, 12), (16, 24), (32, 48))
MAX_ROWS, MAX_COLUMNS = PLATE_DIMENSIONS[-1]

WellFilter = int | str | Sequence["str | int"] | Mapping[str, "WellFilter"] | None

_NAME = re.compile(r"([A-Za-z]{1,2})([0-9]{1,3})")
_FILTER_KEYS = ("include", "exclude", "every")
_BAND = re.compile(r"(row|col|column)\s*:\s*([A-Za-z0-9]+)\s*(?:-\s*([A-Za-z0-9]+))?", re.IGNORECASE)


def row_index(letters: str) -> int:
    """Index of the row with these letters: ``A`` -> 0, ``AF`` -> 31. Raises `PlateError` beyond ``AF``."""
    index = 0
    for letter in letters.upper():
        index = index * 26 + ord(letter) - ord("A") + 1
    if not (letters.isascii() and letters.isalpha() and 1 <= index <= MAX_ROWS):
        raise PlateError(f"{letters!r} is not a plate row.", hint="Rows are A to Z, then AA to AF.")
    return index - 1


def row_name(row: int) -> str:
    """Letters of the row with index ``row``: 0 -> ``A``, 26 -> ``AA``. Raises `PlateError` outside 0..31."""
    if not 0 <= row < MAX_ROWS:
        raise PlateError(
            f"Row index {row} is not on a plate.", hint=f"Rows have indices 0 to {MAX_ROWS - 1}."
        )
    return chr(ord("A") + row) if row < 26 else "A" + chr(ord("A") + row - 26)


def well_name(row: int, column: int) -> str:
    """Canonical name of the well at indices (``row``, ``column``), both from 0."""
    if not 0 <= column < MAX_COLUMNS:
        raise PlateError(
            f"Column index {column} is not on a plate.", hint=f"Columns have indices 0 to {MAX_COLUMNS - 1}."
        )
    return f"{row_name(row)}{column + 1:02d}"


@lru_cache(maxsize=4096)
def parse_well(name: str) -> tuple[int, int]:
    """(row, column) indices of a well name in any spelling: ``a1``, ``A01``, ``AF48``.

    Raises `PlateError` if ``name`` is not a well of any plate up to 32 x 48.
    """
    match = _NAME.fullmatch(name.strip())
    if match:
        try:
            row, column = row_index(match[1]), int(match[2]) - 1
        except PlateError:
            row, column = -1, -1
        if row >= 0 and 0 <= column < MAX_COLUMNS:
            return row, column
    raise PlateError(f"{name!r} is not a well name.", hint="Wells are named A01 to AF48.")


@lru_cache(maxsize=4096)
def canonical_well(name: str) -> str:
    """The canonical spelling of a well name: ``a1`` -> ``A01``."""
    return well_name(*parse_well(name))


def sort_wells(wells: Iterable[str]) -> tuple[str, ...]:
    """Canonical names of all ``wells``, each once, row by row."""
    return tuple(sorted({canonical_well(well) for well in wells}, key=parse_well))


def plate_dimensions(wells: Iterable[str]) -> tuple[int, int]:
    """(rows, columns) of the smallest of the 96, 384 and 1536-well plates that holds all ``wells``."""
    indices = [parse_well(well) for well in wells]
    rows = max((row for row, _ in indices), default=0) + 1
    columns = max((column for _, column in indices), default=0) + 1
    return next(size for size in PLATE_DIMENSIONS if rows <= size[0] and columns <= size[1])


def expand_wells(well_filter: WellFilter, wells: Iterable[str]) -> tuple[str, ...]:
    """The ``wells`` of a plate that a filter selects, row by row, in canonical spelling.

    A filter is None or ``"all"`` (all wells), a number N (the first N wells), one term, several terms as a
    list or separated by commas, or a mapping with ``include`` and/or ``exclude``, each a filter itself, and ``every``:
    n, which takes each n-th of what these leave. A term is a well (``A1``), ``row:A``, ``row:A-C``, ``col:01``,
    ``col:01-06``, or a rectangle between two corners (``A01:C12``). Bands and rectangles select those of their wells
    that the plate has.

    Raises `ConfigError` for a malformed filter, a well that the plate lacks, or one that selects nothing.
    """
    present = sort_wells(wells)
    selected = _select(well_filter, present)
    if not selected:
        raise ConfigError(
            f"The well filter {well_filter!r} selects none of the plate's {len(present)} wells.",
            hint=f"The plate has {compact_wells(present) or 'no wells'}.",
        )
    return tuple(well for well in present if well in selected)


def compact_wells(wells: Iterable[str]) -> str:
    """Wells as a short text, runs within a row joined: ``A01-A12, B03, C01-C02``."""
    runs: list[list[str]] = []
    last = (-1, -1)
    for well in sort_wells(wells):
        row, column = parse_well(well)
        if (row, column - 1) == last:
            runs[-1][1:] = [well]
        else:
            runs.append([well])
        last = (row, column)
    return ", ".join("-".join(run) for run in runs)


def _select(well_filter: WellFilter, present: tuple[str, ...]) -> set[str]:
    if well_filter is None:
        return set(present)
    if isinstance(well_filter, bool) or not isinstance(well_filter, int | str | Mapping | Sequence):
        raise ConfigError(
            f"{well_filter!r} is not a well filter.",
            hint="Give a number, a text (A01, row:A, col:01-06, A01:C12), a list, or include/exclude.",
        )
    if isinstance(well_filter, int):
        if well_filter < 1:
            raise ConfigError(f"The well filter {well_filter} selects nothing.", hint="Give 1 or more wells.")
        return set(present[:well_filter])
    if isinstance(well_filter, Mapping):
        return _select_mapping(well_filter, present)
    if isinstance(well_filter, str):
        terms = [term.strip() for term in well_filter.split(",")]
        return set().union(*(_select_term(term, present) for term in terms))
    for item in well_filter:
        if not isinstance(item, str):
            raise ConfigError(
                f"{item!r} in a list of wells is not a well.",
                hint="Quote well names; a number alone (the first N wells) stands outside a list.",
            )
    return set().union(*(_select(item, present) for item in well_filter))


def _select_mapping(well_filter: Mapping[str, WellFilter], present: tuple[str, ...]) -> set[str]:
    for key in well_filter:
        if key not in _FILTER_KEYS:
            raise ConfigError(f"Unknown key {key!r} in a well filter.", hint=nearest(str(key), _FILTER_KEYS))
    chosen = _select(well_filter.get("include"), present)
    if well_filter.get("exclude") is not None:
        chosen = chosen - _select(well_filter["exclude"], present)
    every = well_filter.get("every", 1)
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ConfigError(f"'every' in a well filter is {every!r}.", hint="Give a whole number from 1 on.")
    return set([well for well in present if well in chosen][::every])


def _select_term(term: str, present: tuple[str, ...]) -> set[str]:
    """Wells of one term; `ConfigError` if it is malformed or the plate has none of its wells."""
    if term.lower() == "all":
        return set(present)
    indices = {well: parse_well(well) for well in present}
    band = _BAND.fullmatch(term)
    if band:
        axis = 0 if band[1].lower() == "row" else 1
        low, high = sorted(_band_index(part, axis, term) for part in (band[2], band[3] or band[2]))
        chosen = {well for well, index in indices.items() if low <= index[axis] <= high}
        return _not_empty(chosen, term, present)
    if term.count(":") == 1:
        first, second = (_term_well(part, term) for part in term.split(":"))
        rows, columns = sorted((first[0], second[0])), sorted((first[1], second[1]))
        chosen = {
            well
            for well, (row, column) in indices.items()
            if rows[0] <= row <= rows[1] and columns[0] <= column <= columns[1]
        }
        return _not_empty(chosen, term, present)
    name = well_name(*_term_well(term, term))
    if name not in indices:
        raise ConfigError(f"The plate has no images of well {name}.", hint=nearest(name, present))
    return {name}


def _not_empty(chosen: set[str], term: str, present: tuple[str, ...]) -> set[str]:
    if not chosen:
        raise ConfigError(
            f"The plate has no images of any well in {term!r}.", hint=f"It has {compact_wells(present)}."
        )
    return chosen


def _band_index(part: str, axis: int, term: str) -> int:
    try:
        return row_index(part) if axis == 0 else parse_well(f"A{part}")[1]
    except PlateError as error:
        example = "row:A or row:A-C" if axis == 0 else "col:01 or col:01-06"
        raise ConfigError(
            f"{part!r} in the well filter {term!r} is not a {('row', 'column')[axis]}.",
            hint=f"Write {example}.",
        ) from error


def _term_well(part: str, term: str) -> tuple[int, int]:
    try:
        return parse_well(part)
    except PlateError as error:
        where = "" if part == term else f" in {term!r}"
        raise ConfigError(
            f"{part!r}{where} is not a well filter.",
            hint="Terms are wells (A01), row:A, col:01-06 or rectangles (A01:C12).",
        ) from error
