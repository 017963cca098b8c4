"""File names of Yokogawa plates.

A CellVoyager (CV7000, CV8000) names its files ``<plate>_D08_T0001F001L01A01Z01C01.tif``: time, field, timeline,
action, z, channel. In a 1536-well plate the well is a place of a 96-well plate and a place in it, ``D08.a1`` to
``D08.d4`` (fractal-tasks-core, ``cellvoyager/metadata.py``). A CQ1 or CQ3000 numbers the wells row by row and
names neither plate, timeline nor action: ``W0029F0001T0001Z001C1.tif``; ``Z000`` is a projection.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.wells import canonical_well, parse_well, well_name

_CELLVOYAGER = re.compile(
    r"(?:(.*)_)?([A-Z]{1,2}[0-9]{1,2}(?:\.[A-D][1-4])?)"
    r"_T([0-9]{1,6})F([0-9]{1,6})L([0-9]{1,4})A([0-9]{1,4})Z([0-9]{1,6})C([0-9]{1,4})\.tiff?",
    re.IGNORECASE | re.DOTALL,
)
_CQ1 = re.compile(r"W([0-9]{1,6})F([0-9]{1,6})T([0-9]{1,6})Z([0-9]{1,6})C([0-9]{1,4})\.tiff?", re.IGNORECASE)
_CORRECTION = re.compile(r"(DC|SC)_.*\.tiff?", re.IGNORECASE | re.DOTALL)
_CAMERA = re.compile(r"DC_.*CAM([0-9]{1,4})\.tiff?", re.IGNORECASE | re.DOTALL)

CORRECTION = "A correction image."
SUBWELLS = 4
"""A 1536-well plate has this many rows and columns of wells in each place of a 96-well plate."""


class ImageName(NamedTuple):
    """What a file name says: the well as its canonical name or as its number, the other is empty or 0.

    ``timeline`` and ``action`` are 0 where the name has none.
    """

    plate: str
    well: str
    well_number: int
    timepoint: int
    site: int
    timeline: int
    action: int
    z: int
    channel: int


def parse_cellvoyager_name(name: str) -> ImageName | None:
    """Parse a file name (no folders, with its extension); None if it is not a CellVoyager plane's."""
    match = _CELLVOYAGER.fullmatch(name)
    if match is None:
        return None
    plate, well, *numbers = match.groups()
    try:
        return ImageName(plate or "", _well(well), 0, *map(int, numbers))
    except PlateError:
        return None


def parse_cq1_name(name: str) -> ImageName | None:
    """Parse a file name (no folders, with its extension); None if it is not a CQ1 plane's."""
    match = _CQ1.fullmatch(name)
    if match is None:
        return None
    well, site, timepoint, z, channel = map(int, match.groups())
    return ImageName("", "", well, timepoint, site, 0, 0, z, channel)


def by_product(name: str) -> str:
    """What a TIFF is that is no plane: a dark (``DC_``) or shading image (``SC_``), a CQ1's title page, or nothing."""
    if _CORRECTION.fullmatch(name):
        return CORRECTION
    return "The title page of a CQ1's index." if name.lower().endswith((".ome.tif", ".ome.tiff")) else ""


def dark_camera(name: str) -> int:
    """The number of the camera whose dark image has this name: 3 for ``DC_DCAM#1_CAM3.tif``, 0 for others."""
    match = _CAMERA.fullmatch(name)
    return int(match[1]) if match else 0


@lru_cache(maxsize=4096)
def _well(text: str) -> str:
    place, _, within = text.partition(".")
    if not within:
        return canonical_well(place)
    row, column = parse_well(place)
    row, column = row * SUBWELLS + ord(within[0].lower()) - ord("a"), column * SUBWELLS + int(within[1]) - 1
    return well_name(row, column)
