"""The .HTD file of an ImageXpress plate: what was planned to be acquired.

An HTD is text (Windows code page, CRLF), one ``"Key", value, value ...`` per line. It states the plan, not
the outcome: files may be missing or belong to a shorter run, so the reader compares the two and lets the
files win.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hcs_steps.errors import PlateError
from hcs_steps.plate.wells import MAX_COLUMNS, MAX_ROWS, well_name

MAX_BYTES = 10_000_000
MAX_SITES = 1_000

_ESSENTIAL = frozenset({"xwells", "xsites", "nwavelengths"})


@dataclass(frozen=True)
class Htd:
    """The facts of an HTD file; None or empty where the file does not state one.

    Attributes
    ----------
    timepoints, z_series, z_steps, z_projection
        The plan in time and z; ``z_steps`` counts planes without the projection.
    rows, columns, wells
        Plate dimensions and the canonical names of the selected wells, row by row.
    site_grid, sites
        (rows, columns) of the site grid, and the grid cell of each acquired site. Sites are numbered from 1
        over the selected cells alone, row by row, so a grid with holes has fewer sites than cells: so number
        OME's MetamorphHTDFormat and Bio-Formats' CellWorxReader, and IDR's study 8, which selects 4 of 25
        cells, has the sites 1 to 4. Without ``Sites`` there is one site.
    waves, collected
        Wave number -> name, and the numbers of those waves that are collected.
    plate_id, description
        The unique identifier and the free text (lines joined by newlines).
    """

    timepoints: int | None = None
    z_series: bool = False
    z_steps: int = 0
    z_projection: bool = False
    rows: int | None = None
    columns: int | None = None
    wells: tuple[str, ...] = ()
    site_grid: tuple[int, int] | None = None
    sites: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    waves: Mapping[int, str] = field(default_factory=dict)
    collected: tuple[int, ...] = ()
    plate_id: str = ""
    description: str = ""


def read_htd(path: Path) -> Htd:
    """Read an HTD file; `PlateError` if it is unreadable, above 10 MB, or holds no or impossible values."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PlateError(
            f"The HTD file {path} cannot be read: {error.strerror}.", hint="Check its permissions."
        ) from error
    if len(content) > MAX_BYTES:
        raise PlateError(
            f"The HTD file {path} is larger than {MAX_BYTES // 1_000_000} MB and was not read.",
            hint="A real one has a few kB; copy it again from the microscope.",
        )
    # Latin-1 decodes any byte: names matter more here than the odd typographic character of Windows-1252.
    text = content.decode("latin-1")
    if _values(text).keys().isdisjoint(_ESSENTIAL):
        raise PlateError(
            f"The HTD file {path} states neither wells nor sites nor waves.",
            hint="It is empty, cut off or something else; copy it again from the microscope.",
        )
    return parse_htd(text, source=str(path))


def parse_htd(text: str, *, source: str = "HTD") -> Htd:
    """Parse the text of an HTD file; keys are matched in any case, unknown ones are ignored."""
    values = _values(text)
    rows, columns = _count(values, "ywells", MAX_ROWS, source), _count(values, "xwells", MAX_COLUMNS, source)
    y_sites, x_sites = (
        _count(values, "ysites", MAX_SITES, source),
        _count(values, "xsites", MAX_SITES, source),
    )
    site_grid = (y_sites, x_sites) if y_sites and x_sites else None
    if _unquoted(values.get("sites", "")).upper() == "FALSE":
        site_grid = (1, 1)
    wave_count = _count(values, "nwavelengths", 1_000, source) or 0
    waves = {
        number: _unquoted(values[f"wavename{number}"]) or f"w{number}"
        for number in range(1, wave_count + 1)
        if f"wavename{number}" in values
    }
    return Htd(
        timepoints=_count(values, "timepoints", 1_000_000, source),
        z_series=_flag(values.get("zseries", "")),
        z_steps=_count(values, "zsteps", 1_000_000, source) or 0,
        z_projection=_flag(values.get("zprojection", "")),
        rows=rows or None,
        columns=columns or None,
        wells=tuple(
            well_name(row, column)
            for row, column in _selected(values, "wellsselection", rows or 0, columns or 0, default=False)
        ),
        site_grid=site_grid,
        sites=_sites(values, site_grid),
        waves=waves,
        collected=tuple(
            number
            for number in waves
            if values.get(f"wavecollect{number}", "1").strip() not in ("0", "FALSE")
        ),
        plate_id=_unquoted(values.get("uniqueplateidentifier", "")),
        description=_lines(_unquoted(values.get("description", ""))),
    )


def _values(text: str) -> dict[str, str]:
    """Lower-case key -> raw rest of the line; the first of repeated keys counts."""
    values: dict[str, str] = {}
    for line in text.split("\n"):
        key, comma, value = line.partition(",")
        if comma:
            values.setdefault(key.strip().strip('"').lower(), value.strip())
    return values


def _sites(values: dict[str, str], grid: tuple[int, int] | None) -> dict[int, tuple[int, int]]:
    if grid is None:
        return {}
    if grid == (1, 1):
        return {1: (0, 0)}
    cells = _selected(values, "siteselection", *grid, default=True)
    return dict(enumerate(cells, 1))


def _selected(
    values: dict[str, str], key: str, rows: int, columns: int, *, default: bool
) -> list[tuple[int, int]]:
    """Cells that are TRUE in lines ``<key>1`` .. ``<key><rows>``; all if ``default`` and no such line."""
    lines = [values.get(f"{key}{row}") for row in range(1, rows + 1)]
    if default and not any(line is not None for line in lines):
        return [(row, column) for row in range(rows) for column in range(columns)]
    return [
        (row, column)
        for row, line in enumerate(lines)
        for column, cell in enumerate((line or "").split(",")[:columns])
        if _flag(cell)
    ]


def _count(values: dict[str, str], key: str, limit: int, source: str) -> int | None:
    raw = values.get(key)
    if raw is None:
        return None
    text = _unquoted(raw)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= limit):
        raise PlateError(
            f"{source}: {key} is {text[:40]!r}, expected a whole number up to {limit}.",
            hint="Repair or remove the HTD file; the images can be read without it.",
        )
    return int(text)


def _flag(text: str) -> bool:
    return _unquoted(text).upper() in ("TRUE", "1")


def _unquoted(text: str) -> str:
    """The value without the quotes around it; those inside are part of it."""
    text = text.strip()
    return (text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text).strip()


def _lines(text: str) -> str:
    """MetaXpress writes a line break inside a text as the two bytes 0x82 0x81."""
    return text.replace("\x82\x81", "\n")
