"""File names of Harmony exports (Operetta, Opera Phenix, Sonata), parsed and formatted.

A name is ``r<row>c<column>f<field>p<plane>-ch<channel>sk<time>fk1fl<flim>.tiff``, all counted from 1. Two
variants carry the same facts:

* Harmony 3 wrote ``p01rc2-ch1``: the channel is the *record* ``rc``, while ``ch`` is always 1 (both namings side
  by side: sbandara/ht-icrp, regpath.m; "rc = record (channel), second part not in use": the Operetta plugin of
  HCS-Analyzer).
* Harmony 5 writes ``-ch2t01`` for flat-field corrected images and in archives (Revvity's script
  Export_Flatfielded_Images, note of 2024-03-20).

Corrected images have the prefix ``flex_``, or lie in a folder ``flex`` (same script).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.inventory import PlaneKey
from hcs_steps.plate.wells import parse_well, well_name

_NAME = re.compile(
    r"(flex_)?r(\d{1,3})c(\d{1,3})f(\d{1,6})p(\d{1,6})(?:rc(\d{1,4}))?-ch(\d{1,4})"
    r"(?:sk(\d{1,9})fk\d{1,4}fl(\d{1,4})|t(\d{1,9}))?\.tiff?",
    re.IGNORECASE | re.ASCII,
)


class HarmonyName(NamedTuple):
    """What a name says: its plane, FLIM image (1 in all but lifetime imaging), rc style, corrected or not."""

    key: PlaneKey
    flim: int
    record: bool
    corrected: bool


@lru_cache(maxsize=65536)
def parse_image_name(name: str) -> HarmonyName | None:
    """Parse a file name (no folders, with its extension); None if it is not a Harmony one.

    A name whose record and channel are both above 1 is none: which of them is the channel is not known.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    corrected, row, column, site, z_index, record, channel, time, flim, short_time = match.groups()
    number = int(channel)
    if record is not None and number == 1:
        number = int(record)
    elif record is not None and int(record) != 1:
        return None
    well = _well(int(row), int(column))
    if not well:
        return None
    key = PlaneKey(well, int(site), number, int(z_index), int(time or short_time or 1))
    return HarmonyName(key, int(flim or 1), record is not None, corrected is not None)


def format_image_name(key: PlaneKey) -> str:
    """The name of a plane as Harmony 4 and 5 export it."""
    row, column = parse_well(key.well)
    return (
        f"r{row + 1:02d}c{column + 1:02d}f{key.site:02d}p{key.z_index:02d}"
        f"-ch{key.channel}sk{key.timepoint}fk1fl1.tiff"
    )


@lru_cache(maxsize=4096)
def _well(row: int, column: int) -> str:
    """The well at a row and column from 1; empty if no plate has it."""
    try:
        return well_name(row - 1, column - 1)
    except PlateError:
        return ""
