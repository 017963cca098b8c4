"""The inventory: every plane of a plate, and every file that is not one.

The inventory is what a plate reader returns and what everything after it works from. It is a plain, immutable
value; `write_inventory` and `read_inventory_file` keep it as a Parquet file in the work folder, never in the
plate's own folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

NAN = float("nan")

GIANT = 100
"""An image of more than so many times the pixels of its channel's others is damaged: it is not planned with, and not
unpacked.
"""

PROBLEM_KINDS = (
    "missing",
    "zero-byte",
    "unreadable",
    "layout",
    "copy",
    "constant",
    "duplicate",
    "unparsed",
    "excluded",
)
"""Worst first: planes that are not there, files that cannot be used, images of another shape or
dtype than their neighbours', planes that hold nothing of their own (a
copy of another one, or a single value), and files that were left out."""


class PlaneKey(NamedTuple):
    """The five components that name a plane."""

    well: str
    site: int
    channel: int
    z_index: int
    timepoint: int


class Plane(NamedTuple):
    """One 2-D image of a plate.

    ``site``, ``z_index`` and ``timepoint`` are the numbers in the file names (usually from 1); ``z_index`` 0
    is a projection where a plate also has z planes, and a plate without z has ``z_index`` 1 throughout.
    ``channel`` is the channel's number; names are in `Inventory.channels`. ``path`` is relative to the plate
    folder, POSIX style, and names a file or a Zarr array; ``page`` counts 2-D planes inside it from 0.

    ``x_um`` and ``y_um`` are the stage position of the plane's centre in micrometres, x to the right and y
    *downwards*, as the image's columns and rows run, whichever way the microscope's stage counts. Their
    origin is the vendor's: the plate's corner or the well's centre. ``z_um`` is the focus position and
    ``time_s`` the seconds since the first plane of the plate. All are NaN where unknown.

    ``grid_row`` and ``grid_column`` are the cell of the site in its well's grid, from 0 at the upper left; -1
    where the sites are known to form no grid, or not known to form one.
    """

    well: str
    site: int
    channel: int
    z_index: int
    timepoint: int
    path: str
    page: int = 0
    size: int = 0
    mtime_ns: int = 0
    height: int = 0
    width: int = 0
    dtype: str = ""
    pixel_size_um: float = NAN
    x_um: float = NAN
    y_um: float = NAN
    z_um: float = NAN
    time_s: float = NAN
    grid_row: int = -1
    grid_column: int = -1


@dataclass(frozen=True)
class Problem:
    """A file that is not a plane, or a plane that is not there.

    ``kind`` is one of `PROBLEM_KINDS`; ``what`` the file (relative to the plate) or the plane (``B02 s1 c3 z1
    t1``); ``why`` one sentence.
    """

    kind: str
    what: str
    why: str


@dataclass(frozen=True)
class Inventory:
    """All planes of one plate, sorted by well, site, channel, z_index, timepoint.

    Attributes
    ----------
    plate_path
        Absolute path of the plate folder.
    name
        Name of the plate (its folder's name).
    format, evidence
        The reader's name, and the sentences that say why it was chosen.
    channels
        Channel number -> channel name, for every channel that has planes.
    rows, columns
        Dimensions of the plate (8 x 12, 16 x 24, 32 x 48): from metadata, else the smallest that holds all
        wells.
    grid_dimensions
        (rows, columns) of the sites of a well that has them all, or None when neither the configuration, nor
        metadata, nor positions tell.
    pixel_size_um, pixel_size_source
        Edge length of a pixel, NaN if unknown, and where it came from (``metadata``, ``config``,
        ``unknown``).
    missing
        Every plane that should be there and is not: the metadata
        list it, or other sites have that channel, z and timepoint. A site that a well lacks altogether counts
        only if the metadata list it, because wells may be meant to have different sites.
    problems
        Missing planes and files that were not used, each with its reason.
    disagreements
        Sentences on metadata that contradicts the files; the files win.
    digest
        Hash of the listing (path, size, mtime of every file) and of the reader's options: the inventory is
        current as long as it does not change.
    metadata
        Whatever else the reader learnt (plate id, description, objective, exposure ...), as strings.
    """

    plate_path: str
    name: str
    format: str
    evidence: tuple[str, ...]
    planes: tuple[Plane, ...]
    channels: Mapping[int, str]
    rows: int
    columns: int
    grid_dimensions: tuple[int, int] | None
    pixel_size_um: float
    pixel_size_source: str
    missing: tuple[PlaneKey, ...]
    problems: tuple[Problem, ...]
    disagreements: tuple[str, ...]
    digest: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def wells(self) -> tuple[str, ...]:
        """Names of all wells that have planes, row by row."""
        return tuple(dict.fromkeys(plane.well for plane in self.planes))

    def values(self, component: str) -> tuple[int, ...]:
        """All values of ``site``, ``channel``, ``z_index`` or ``timepoint`` on the plate, sorted."""
        return tuple(sorted({getattr(plane, component) for plane in self.planes}))
