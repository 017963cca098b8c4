"""What a reader hands over: every plane it recognised, where it is, and what the vendor's metadata say of it.

A reader fills in what it knows; `hcs_steps.plate.assemble.build_inventory` adds what the image headers know
and works out the rest, so the formats differ in nothing but their own names and metadata files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.inventory import NAN, PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry


class Found(NamedTuple):
    """The place of one plane, and what is known of it without opening it; 0, empty or NaN where nothing is.

    ``file`` holds the plane, its size and time are what tells a changed plane; ``page`` counts 2-D planes in
    the file from 0. Positions are in micrometres, x to the right and y *downwards* in the image: a reader
    turns the vendor's axes. ``time_s`` is in seconds since any moment that the whole plate shares.
    """

    file: FileEntry
    page: int = 0
    height: int = 0
    width: int = 0
    dtype: str = ""
    pixel_size_um: float = NAN
    x_um: float = NAN
    y_um: float = NAN
    z_um: float = NAN
    time_s: float = NAN


Cell = tuple[int, int]


@dataclass(frozen=True)
class Findings:
    """What one reader learnt from names and from the vendor's own metadata files.

    Attributes
    ----------
    found
        Every plane that has a file.
    problems, disagreements
        Files that were not used, and sentences on metadata that contradict the files.
    expected
        The planes that the metadata list one by one; None where there is no such list, and what is missing
        is told by the neighbours.
    channel_names
        Names with authority (metadata, config pattern); `build_inventory` makes them unique.
    dimensions
        (rows, columns) of the plate, where metadata state them.
    site_cells
        Site -> (row, column) in the grid of sites, the same in all wells, where metadata state it.
    grid_dimensions
        (rows, columns) of that grid, which may have holes.
    metadata
        Facts for `Inventory.metadata`.
    pixel_size_um
        Micrometres per pixel that the configuration states for all planes.
    """

    found: Mapping[PlaneKey, Found]
    problems: tuple[Problem, ...] = ()
    disagreements: tuple[str, ...] = ()
    expected: Collection[PlaneKey] | None = None
    channel_names: Mapping[int, str] = field(default_factory=dict)
    dimensions: Cell | None = None
    site_cells: Mapping[int, Cell] = field(default_factory=dict)
    grid_dimensions: Cell | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    pixel_size_um: float | None = None


FEW = 2
CROWD = 0.25
"""Number and share of the planes that may have a second file beside the first: more are several plates."""


def collect(parsed: Iterable[tuple[PlaneKey, Found]]) -> tuple[dict[PlaneKey, Found], list[Problem]]:
    """One file per plane and a problem for every further one.

    Of several files the one in the fewest folders counts, then the first by path: a folder of masks or results
    with the same names lies below its plate. Raises `PlateError` where files beside each other, in one folder or
    in two of the same depth, claim many of the planes: they are two plates, or nothing tells them apart.
    """
    kept: dict[PlaneKey, Found] = {}
    rivals: list[tuple[PlaneKey, Found]] = []
    for key, found in parsed:
        first = kept.setdefault(key, found)
        if first is not found:
            better = _order(found) < _order(first)
            kept[key] = found if better else first
            rivals.append((key, first if better else found))
    beside = [(key, found) for key, found in rivals if _depth(found) == _depth(kept[key])]
    if len(beside) > max(FEW, CROWD * len(kept)):
        key, found = beside[0]
        raise PlateError(
            f"{len(beside)} files claim planes that another file beside them has: {kept[key].file.path} and "
            f"{found.file.path} are both {plane_label(key)}.",
            hint="Give the folder of one plate; if it is one, a `pattern` must tell its files apart.",
        )
    return kept, [
        Problem(
            "duplicate",
            found.file.path,
            f"A second file of {plane_label(key)}; {kept[key].file.path} is used.",
        )
        for key, found in rivals
    ]


def _depth(found: Found) -> int:
    return found.file.path.count("/")


def _order(found: Found) -> tuple[int, str, int]:
    return _depth(found), found.file.path, found.page


def plane_label(key: PlaneKey) -> str:
    """The short name of a plane in reports: ``B02 s1 c3 z1 t1``."""
    return f"{key.well} s{key.site} c{key.channel} z{key.z_index} t{key.timepoint}"
