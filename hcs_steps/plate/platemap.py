"""Plate maps: what is in which well, from the lab's own table or the barcode-to-platemap convention.

The convention is that of the Cell Painting community's profiling recipe (broadinstitute/profiling-recipe): a table
``barcode_platemap.csv`` with the columns ``Assay_Plate_Barcode`` and ``Plate_Map_Name``, and beside it
``platemap/<Plate_Map_Name>.txt``, tab separated, with a column ``well_position``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcs_steps.errors import PlateError, nearest
from hcs_steps.plate._delimited import MISSING, Row, Rows, read_rows, typed
from hcs_steps.plate._map_header import (
    MAP_NAMES,
    PLATE_NAMES,
    WELL_NAMES,
    plain_name,
    position,
    well_columns,
)
from hcs_steps.plate._map_places import MapProblem, rows_by_well
from hcs_steps.plate.wells import canonical_well, sort_wells

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MapProblem", "PlateMap", "bare_name", "column_name", "read_plate_map"]

OUR_COLUMNS = (
    "Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Channel", "Metadata_Z", "Metadata_Timepoint",
    "Metadata_Object_Count",
)  # fmt: skip
"""Columns of the tables that a plate map cannot set."""

SUFFIXES = (".txt", ".csv", ".tsv")


@dataclass(frozen=True)
class PlateMap:
    """What is in the wells of one plate.

    Attributes
    ----------
    path
        The file that the entries are from.
    files
        All files that were read, the barcode table first.
    digest
        Hash of their content.
    wells
        Canonical names, row by row, each once.
    columns
        Column -> one value per well: int, float, bool or text, None where there is none. Columns are called as in the
        tables: ``Metadata_`` and the name in the file, spaces as ``_``.
    texts
        The same as written in the file, empty where there is nothing.
    delimiter
        What divides the file's fields.
    lines
        The line of the file that each well is from.
    problems
        What was found on reading.
    """

    path: Path
    files: tuple[Path, ...]
    digest: str
    wells: tuple[str, ...]
    columns: Mapping[str, tuple[Any, ...]]
    texts: Mapping[str, tuple[str, ...]]
    delimiter: str
    lines: tuple[int, ...]
    problems: tuple[MapProblem, ...] = ()

    @cached_property
    def _places(self) -> dict[str, int]:
        return {well: place for place, well in enumerate(self.wells)}

    def match(self, wells: Iterable[str]) -> tuple[dict[str, NDArray[Any]], list[MapProblem]]:
        """The columns for these wells of the plate, and everything that did not match.

        Columns have one value per well in the order given and are as `hcs_steps.storage.read_table` gives them: int64,
        float64 or bool arrays, or objects for text. A well without an entry is NaN in numbers, else None; that and
        missing values make integers float64. The problems are those of reading, then every well without an
        entry, then every entry without a well.
        """
        asked = [canonical_well(well) for well in wells]
        places = [self._places.get(well) for well in asked]
        columns = {
            name: _array([None if place is None else values[place] for place in places], values)
            for name, values in self.columns.items()
        }
        problems = list(self.problems)
        for well in sort_wells(set(asked) - set(self.wells)):
            detail = f"{self.path.name} says nothing of well {well}."
            problems.append(MapProblem("well without entry", well, detail))
        for well in sort_wells(set(self.wells) - set(asked)):
            detail = (
                f"{self.path.name}, line {self.lines[self._places[well]]}: the plate has no images of {well}."
            )
            problems.append(MapProblem("entry without well", well, detail))
        return columns, problems


def read_plate_map(
    path: Path | str, *, plate: str, barcode: str | None = None, folder: Path | str | None = None
) -> PlateMap:
    """The plate map of one plate.

    Parameters
    ----------
    path
        A CSV or TSV file with a column for the well (``Well``, ``well_position``, ``Metadata_Well``, ...) or one for
        its row and one for its column, counted from 1 or A; or a table of barcodes and plate maps, or the folder
        of one. Wells are matched in any spelling (``A1``, ``A01``, ``a01``).
    plate, barcode
        The plate's id, and its barcode if that is another one. Of a file with several plates only the rows of this one
        count.
    folder
        Where the maps that the barcode table names are; by default ``platemap`` beside it, or its own folder.

    Raises
    ------
    PlateError
        For what cannot be a map of this plate: unreadable files, no well column, none of its rows, a plate that the
        barcode table lacks, or two different entries for one well. A wrong map spoils a screen silently, so nothing
        is guessed.
    """
    path = Path(path)
    names = list({name.casefold(): name for name in (plate, barcode) if name}.values())
    files = [path / "barcode_platemap.csv" if path.is_dir() else path]
    table = read_rows(files[0])
    if position(table.header, MAP_NAMES) is not None and not well_columns(table.header):
        files.append(_named_map(files[0], table, names, None if folder is None else Path(folder)))
        table = read_rows(files[1])
    state = hashlib.blake2b(digest_size=16)
    for file in files:
        state.update(hashlib.blake2b(file.read_bytes()).digest())
    return _plate_map(files, state.hexdigest(), table, names, plate)


def column_name(name: str) -> str:
    """What a column of a plate map is called in the tables: ``cell line`` -> ``Metadata_cell_line``."""
    bare = re.sub(r"\s+", "_", re.sub(r"^metadata[\s_]+", "", name.strip(), flags=re.IGNORECASE))
    return f"Metadata_{bare}"


def bare_name(column: str | None) -> str:
    """A column of the tables without ``Metadata_``; empty for None."""
    return (column or "").removeprefix("Metadata_")


def _named_map(table: Path, content: Rows, names: Sequence[str], folder: Path | None) -> Path:
    """The file of the plate map that a table of barcodes names for a plate."""
    header, rows, _ = content
    barcodes, maps = position(header, ("assayplatebarcode", *PLATE_NAMES)), position(header, MAP_NAMES)
    if barcodes is None or maps is None:
        raise PlateError(
            f"{table} has neither a column for the well nor one for the barcode.",
            hint="A plate map has a column 'well'; a table of plate maps has Assay_Plate_Barcode and Plate_Map_Name.",
        )
    wanted = {name.casefold() for name in names}
    found = [row for row in rows if row.fields[barcodes].casefold() in wanted]
    if not found:
        raise PlateError(
            f"{table} has no plate map for {' or '.join(repr(name) for name in names)}.",
            hint=nearest(names[0], (row.fields[barcodes] for row in rows)),
        )
    other = next((row for row in found if row.fields[maps] != found[0].fields[maps]), None)
    if other is not None:
        raise PlateError(
            f"{table}: line {found[0].line} gives the plate the map {found[0].fields[maps]!r}, line {other.line} "
            f"{other.fields[maps]!r}.",
            hint="Remove one of the lines.",
        )
    name = found[0].fields[maps]
    if not name or name in (".", "..") or re.search(r"[/\\\0:]", name):
        raise PlateError(
            f"{table}, line {found[0].line}: {name!r} is not the name of a plate map.",
            hint="Give the file's name without a folder.",
        )
    folders = [folder] if folder else [table.parent / "platemap", table.parent]
    places = [base / f"{name}{suffix}" for base in folders for suffix in ("", *SUFFIXES)]
    there = [place for place in places if os.path.isfile(place)]  # unlike Path.is_file, of any name
    if not there:
        raise PlateError(
            f"{table}, line {found[0].line}: there is no plate map {name!r} in {folders[0]}.",
            hint=f"Put {name}.txt (tab separated) or {name}.csv there.",
        )
    return there[0]


def _plate_map(files: Sequence[Path], digest: str, table: Rows, names: Sequence[str], plate: str) -> PlateMap:
    path, header = files[-1], table.header
    rows = _rows_of_plate(path, header, table.rows, names)
    found, problems = rows_by_well(path, header, rows)
    wells = sort_wells(found)
    lines = tuple(found[well].line for well in wells)
    columns: dict[str, tuple[Any, ...]] = {}
    written: dict[str, tuple[str, ...]] = {}
    for number, name in enumerate(header):
        if plain_name(name) in WELL_NAMES:
            continue
        texts = [found[well].fields[number] for well in wells]
        if not name:
            if any(texts):
                detail = f"{path.name}: column {number + 1} has values but no name."
                problems.append(MapProblem("ignored column", "", detail))
            continue
        final = column_name(name)
        if final.casefold() in {ours.casefold() for ours in OUR_COLUMNS}:
            if final.casefold() == "metadata_plate" and set(texts) <= {plate}:
                continue  # says what the table says itself
            final = f"Metadata_Map_{final.removeprefix('Metadata_')}"
            detail = f"{path.name}: column {name!r} is called {final} in the tables, which have their own."
            problems.append(MapProblem("renamed column", "", detail))
        if final in columns:
            raise PlateError(
                f"{path}: column {name!r} and another one would both be called {final}.", hint="Rename one."
            )
        columns[final] = tuple(typed(path, name, texts, lines, table.delimiter))
        written[final] = tuple(texts)
    return PlateMap(
        path, tuple(files), digest, wells, columns, written, table.delimiter, lines, tuple(problems)
    )


def _rows_of_plate(
    path: Path, header: Sequence[str], rows: Sequence[Row], names: Sequence[str]
) -> Sequence[Row]:
    """The rows of this plate: all of them where no column tells plates apart."""
    numbers = [number for number, name in enumerate(header) if plain_name(name) in PLATE_NAMES]
    numbers = [number for number in numbers if any(row.fields[number] not in MISSING for row in rows)]
    if not numbers:
        return rows
    wanted = {name.casefold() for name in names}
    own = [row for row in rows if any(row.fields[number].casefold() in wanted for number in numbers)]
    if not own:
        raise PlateError(
            f"No row of {path} is of plate {' or '.join(repr(name) for name in names)} "
            f"(column {' or '.join(repr(header[number]) for number in numbers)}).",
            hint=_other_plates(
                names[0], {row.fields[number] for row in rows for number in numbers} - MISSING
            ),
        )
    return own


def _other_plates(name: str, others: set[str]) -> str:
    found = f"It is of {next(iter(others))!r} only." if len(others) == 1 else nearest(name, others)
    return f"Write the name of the plate or of its folder into that column. {found}"


def _array(values: Sequence[Any], whole: Sequence[Any]) -> NDArray[Any]:
    import numpy as np

    kinds = {type(value) for value in whole if value is not None}
    if kinds == {bool} and None not in values:
        return np.array(values, bool)
    if kinds and kinds <= {int, float}:
        if kinds == {int} and None not in values:
            return np.array(values, np.int64)
        return np.array([np.nan if value is None else value for value in values], np.float64)
    column = np.empty(len(values), object)
    column[:] = values
    return column
