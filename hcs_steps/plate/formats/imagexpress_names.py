"""File names of ImageXpress plates, parsed and formatted.

An export names its files ``<plate>_<well>[_s<site>][_w<wave>].TIF``, in folders ``TimePoint_<t>/ZStep_<z>``.
A database adds a GUID without a separator (``_w1`` + ``E94C24BD-...``) and a ``_thumb`` twin per file. The
GUID's length is fixed, so it is cut off the end first: ``_w427CCB2E4-...`` is wave 4 and the GUID
``27CCB2E4-...``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.wells import canonical_well

GUID_LENGTH = 36

_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_NAME = re.compile(
    r"(?:(?P<plate>.*?)_)??(?P<well>[A-Za-z]{1,2}[0-9]{1,2})"
    r"(?:_s(?P<site1>[0-9]{1,6})(?:_w(?P<wave1>[0-9]{1,4}))?|_w(?P<wave2>[0-9]{1,4})(?:_s(?P<site2>[0-9]{1,6}))?)?",
    re.IGNORECASE | re.DOTALL,
)
_TIMEPOINT = re.compile(r"timepoint_([0-9]{1,9})", re.IGNORECASE)
_ZSTEP = re.compile(r"zstep_([0-9]{1,9})", re.IGNORECASE)


class ImageName(NamedTuple):
    """What a file name says; ``site`` and ``wave`` are None where the name has no such token."""

    plate: str
    well: str
    site: int | None
    wave: int | None
    guid: str
    thumbnail: bool


class FolderNumbers(NamedTuple):
    """What the folders of a path say; None where no folder is a ``TimePoint_`` or ``ZStep_`` one."""

    timepoint: int | None
    z_step: int | None


def parse_image_name(name: str) -> ImageName | None:
    """Parse a file name (no folders, with its extension); None if it is not an ImageXpress name."""
    stem = name.rpartition(".")[0]
    guid = ""
    if _GUID.fullmatch(stem[-GUID_LENGTH:]):
        stem, guid = stem[:-GUID_LENGTH], stem[-GUID_LENGTH:]
    thumbnail = stem.lower().endswith("_thumb")
    if thumbnail:
        stem = stem[: -len("_thumb")]
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    try:
        well = canonical_well(match["well"])
    except PlateError:
        return None
    site, wave = match["site1"] or match["site2"], match["wave1"] or match["wave2"]
    return ImageName(
        plate=match["plate"] or "",
        well=well,
        site=int(site) if site else None,
        wave=int(wave) if wave else None,
        guid=guid,
        thumbnail=thumbnail,
    )


def format_image_name(name: ImageName, extension: str = ".TIF") -> str:
    """The file name of ``name`` in the order of MetaXpress: plate, well, site, wave, thumbnail, GUID."""
    plate = f"{name.plate}_" if name.plate else ""
    site = "" if name.site is None else f"_s{name.site}"
    wave = "" if name.wave is None else f"_w{name.wave}"
    return f"{plate}{name.well}{site}{wave}{'_thumb' if name.thumbnail else ''}{name.guid}{extension}"


@lru_cache(maxsize=65536)
def parse_folders(folders: str) -> FolderNumbers:
    """Timepoint and z step in a POSIX path of folders, each from the innermost folder that states it."""
    timepoint = z_step = None
    for folder in folders.split("/"):
        if match := _TIMEPOINT.fullmatch(folder):
            timepoint = int(match[1])
        elif match := _ZSTEP.fullmatch(folder):
            z_step = int(match[1])
    return FolderNumbers(timepoint, z_step)
