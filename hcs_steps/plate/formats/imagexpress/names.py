"""File names of ImageXpress plates, parsed and formatted.

An export names its files ``<plate>_<well>[_s<site>][_w<wave>].TIF``, in folders ``TimePoint_<t>/ZStep_<z>``.
A database (``<plate>/2023-02-21/1334/[TimePoint_<t>/][ZStep_<z>/]``) adds a GUID without a separator (``_w1`` +
``E94C24BD-...``) and a ``_thumb`` twin per file; older ones wrote ``_[<GUID>]`` (IDR's studies 5, 6 and 8). The
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
_TOKENS = frozenset("swtz")
_FOLDER = re.compile(r"(?:(?P<time>timepoint)|zstep)_(?P<number>[0-9]{1,9})", re.IGNORECASE)


class ImageName(NamedTuple):
    """What a file name says; ``site`` and ``wave`` are None where the name has no such token."""

    plate: str
    well: str
    site: int | None
    wave: int | None
    guid: str
    thumbnail: bool


class FolderNumbers(NamedTuple):
    """What the folders of a path say; None where no folder is a ``TimePoint_`` or ``ZStep_`` one.

    ``base`` are the folders above these: one acquisition of a plate has one base.
    """

    timepoint: int | None
    z_step: int | None
    base: str


def parse_image_name(name: str) -> ImageName | None:
    """Parse a file name (no folders, with its extension); None if it is not an ImageXpress name."""
    stem, guid = _without_guid(name.rpartition(".")[0])
    thumbnail = stem.lower().endswith("_thumb")
    if thumbnail:
        stem = stem[: -len("_thumb")]
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    site, wave = match["site1"] or match["site2"], match["wave1"] or match["wave2"]
    if match["well"][0].lower() in _TOKENS and _is_token(match["well"], site, wave):
        return None
    try:
        well = canonical_well(match["well"])
    except PlateError:
        return None
    return ImageName(
        plate=match["plate"] or "",
        well=well,
        site=int(site) if site else None,
        wave=int(wave) if wave else None,
        guid=guid,
        thumbnail=thumbnail,
    )


def _without_guid(stem: str) -> tuple[str, str]:
    """The stem without its GUID, and the GUID, which may stand in brackets after an underscore."""
    bracketed = stem.endswith("]") and stem[-GUID_LENGTH - 2 : -GUID_LENGTH - 1] == "["
    guid = stem[-GUID_LENGTH - 1 : -1] if bracketed else stem[-GUID_LENGTH:]
    if not _GUID.fullmatch(guid):
        return stem, ""
    return (stem[: -GUID_LENGTH - 2].removesuffix("_") if bracketed else stem[:-GUID_LENGTH]), guid


def _is_token(well: str, site: str | None, wave: str | None) -> bool:
    """Whether ``w1``, ``s2`` is a wave or a site of a name that has no well: ``shading_w1.tif``, ``a_w1_s2.tif``.

    MetaXpress writes wells in capitals and with two digits; in a name that was put into lower case, ``w01`` is
    a well if the token that it would otherwise be follows.
    """
    letter = well.rstrip("0123456789")
    if letter.lower() not in _TOKENS:
        return False
    if len(well) == 2:
        return True
    own = {"s": site, "w": wave}.get(letter, site or wave)
    return letter.islower() and own is None


def format_image_name(name: ImageName, extension: str = ".TIF") -> str:
    """The file name of ``name`` in the order of MetaXpress: plate, well, site, wave, thumbnail, GUID."""
    plate = f"{name.plate}_" if name.plate else ""
    site = "" if name.site is None else f"_s{name.site}"
    wave = "" if name.wave is None else f"_w{name.wave}"
    return f"{plate}{name.well}{site}{wave}{'_thumb' if name.thumbnail else ''}{name.guid}{extension}"


@lru_cache(maxsize=65536)
def parse_folders(folders: str) -> FolderNumbers:
    """Timepoint and z step in a POSIX path of folders, each from the innermost folder that states it."""
    timepoint = z_step = base = None
    parts = folders.split("/")
    for depth, folder in enumerate(parts):
        match = _FOLDER.fullmatch(folder)
        if match is None:
            continue
        if base is None:
            base = "/".join(parts[:depth])
        if match["time"]:
            timepoint = int(match["number"])
        else:
            z_step = int(match["number"])
    return FolderNumbers(timepoint, z_step, folders if base is None else base)
