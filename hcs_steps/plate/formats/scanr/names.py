"""File names of ScanR plates, parsed.

``A1--W00001--P00001--Z00000--T00000--DAPI.tif``; older software wrote ``--W00001--...`` without the well's name, and
there may be other text before it. W and P count from 1, Z and T from 0, so a plane's ``z_index`` is Z + 1 (0 would
be a projection) and its timepoint T + 1.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.wells import canonical_well

_NAME = re.compile(
    r"(?:(?P<prefix>.*?)--)??(?:(?P<well>[A-Z]{1,2}\d{1,2})--)?"
    r"W(?P<number>\d{5})--P(?P<site>\d{5})--Z(?P<z>\d{5})--T(?P<time>\d{5})--(?P<channel>.+?)(?:\.ome)?\.tiff?",
    re.IGNORECASE | re.DOTALL,
)


class ScanRName(NamedTuple):
    """What a file name says: the well's name (or empty) and number, and Z and T as they are, from 0."""

    well: str
    number: int
    site: int
    z: int
    time: int
    channel: str
    prefix: str = ""


def parse_scanr_name(name: str) -> ScanRName | None:
    """Parse a file name; None if it is not a ScanR one."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    well, prefix = match["well"] or "", match["prefix"] or ""
    try:
        well = canonical_well(well) if well else ""
    except PlateError:
        well, prefix = "", f"{prefix}--{well}" if prefix else well
    number, site, z, time = (int(match[group]) for group in ("number", "site", "z", "time"))
    return ScanRName(well, number, site, z, time, match["channel"], prefix)
