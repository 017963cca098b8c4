"""The joined tables of a screen: rows of all plates in one file, and what had to be done for that."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hcs_steps.errors import HcsError
from hcs_steps.report._disk import PLATE_COLUMNS
from hcs_steps.report._screen_plates import PlateSummary
from hcs_steps.storage import concat_tables
from hcs_steps.storage.tables import mixed_columns

NAMED_PLATES = 3
"""Plates that are named where several have the same; of more the number is told."""


@dataclass(frozen=True)
class JoinedTable:
    """One table of all plates that have it; ``error`` says why it could not be made, ``listing`` links to its CSV."""

    name: str
    link: str
    plates: int
    rows: int
    error: str = ""
    listing: str = ""


@dataclass(frozen=True)
class JoinedTables:
    """All joined tables. ``notes`` are sentences on the columns of plate maps that became text."""

    tables: tuple[JoinedTable, ...]
    notes: tuple[str, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for every table that could not be made."""
        return tuple(f"{table.name} was not joined: {table.error}" for table in self.tables if table.error)


def join_tables(plates: Sequence[PlateSummary], output: Path) -> JoinedTables:
    """Write ``screen/*.parquet`` and ``screen/wells.csv``; one that cannot be made, or that no plate has any more, is
    taken away.

    A column of plate maps with numbers on one plate and words on another becomes text in all joined tables.
    """
    parts = _parts(plates, output / "screen")
    mixed: dict[str, dict[str, str]] = {}
    for found in parts.values():
        try:
            columns = mixed_columns(found, _is_plate_map_column)
        except HcsError:
            continue  # joining the table says what is damaged
        for column, kinds in columns.items():
            mixed.setdefault(column, {}).update({found[path]: kind for path, kind in kinds.items()})
    tables = tuple(_joined(parts, output, as_text=list(mixed)))
    made = any(not table.error for table in tables)
    notes = tuple(_told(column, kinds) for column, kinds in sorted(mixed.items())) if made else ()
    return JoinedTables(tables, notes)


def _joined(
    parts: Mapping[str, Mapping[Path, str]], output: Path, *, as_text: Sequence[str]
) -> Iterator[JoinedTable]:
    for name, found in parts.items():
        target, listing = (output / "screen" / f"{name}{suffix}" for suffix in (".parquet", ".csv"))
        listed = name == "wells"
        rows, error = 0, ""
        if found:
            try:
                rows = concat_tables(found, target, listing if listed else None, as_text=as_text)
            except HcsError as problem:
                error = str(problem)
        if error or not found:  # an old table must not look like this one
            target.unlink(missing_ok=True)
            listing.unlink(missing_ok=True)
        if found:
            csv = link(listing, output) if listed and not error else ""
            yield JoinedTable(name, link(target, output), len(found), rows, error, csv)


def _parts(plates: Sequence[PlateSummary], folder: Path) -> dict[str, dict[Path, str]]:
    """Table -> file of every plate that has it -> the plate's name, the table of wells first."""
    names = {"wells"} | {path.stem for path in folder.glob("profiles_*.parquet")}
    for plate in plates:
        if plate.tables:
            names |= {path.stem for path in plate.path("wells").parent.glob("profiles_*.parquet")}
    return {
        name: {
            plate.path(name): plate.name for plate in plates if plate.tables and plate.path(name).is_file()
        }
        for name in sorted(names, key=lambda name: (name != "wells", name))
    }


def _is_plate_map_column(name: str) -> bool:
    return name.startswith("Metadata_") and name not in PLATE_COLUMNS


def _told(column: str, kinds: Mapping[str, str]) -> str:
    """What a column holds on which plates: ``numbers on PA and PB, text on PC``."""
    plates: dict[str, list[str]] = {}
    for plate, kind in kinds.items():
        plates.setdefault(kind, []).append(plate)
    held = ", ".join(f"{kind} on {_named(names)}" for kind, names in plates.items())
    return f"{column} is text in the joined tables, because plate maps differ: {held}."


def _named(names: Sequence[str]) -> str:
    if len(names) > NAMED_PLATES:
        return f"{len(names)} plates"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def link(path: Path, output: Path) -> str:
    """The address of a file relative to the page."""
    return quote(Path(os.path.relpath(path, output)).as_posix(), safe="/", errors="surrogateescape")
