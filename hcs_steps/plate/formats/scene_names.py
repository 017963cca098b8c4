r"""The well and the site in the names of images, scenes, stage positions and files.

The rules are strict, because most names hold other letters with numbers: a text is read only if nothing of it
is left over, or if it has the word "well".

====================================  ==============================================================
``Well B2, Field #1``                 a word for the well and one for the site, anywhere
``B02``, ``B02 : Site 1``             a well, and a word for the site (MetaXpress, and many others)
``A1-Site_0``                         positions of Micro-Manager's high-content plugin
``P3-B02``, ``Scene B02-B02``         scenes of ZEN: position or tile region, and well; the position is no
                                      number of a site, as ZEN counts through the plate
``plate_B02_s1``, ``B-02_f03``        names of files: anything, then the well, then the site
``WellA01_PointA01_0000_...``         names that NIS-Elements JOBS writes, with the point's number
``A01_0000``, ``PointA01_0000``       and its points
====================================  ==============================================================
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.wells import canonical_well

MAX_TEXT = 300
"""A longer text is no name."""
AMBIGUOUS_ROWS = frozenset("PSTVWXYZ")
"""Rows whose letters also stand for position, site, time, view, well or wave, and the axes."""

_WELL = r"([A-Z]{1,2})[ ]?-?[ ]?([0-9]{1,2})"
_TIGHT = r"([A-Z]{1,2})-?([0-9]{1,2})"
_SITE = r"(?:site|field|fov|position|pos|point|s|f)[ _]?#?[ ]?([0-9]{1,6})"
_SUFFIX = re.compile(r"\.(?:ome\.(?:tiff?|tf2|tf8|btf)|tiff?|nd2|czi)$", re.IGNORECASE)
_WORD = re.compile(
    rf"(?:.*[^A-Za-z])?well[ _:#]{{0,2}}{_WELL}(?![0-9A-Za-z])"
    r"(?:[ _,;:-]{0,3}(?:site|field|fov|position|pos|point)[ _:#]{0,3}([0-9]{1,6})(?![0-9]))?.*",
    re.IGNORECASE,
)
_JOBS = re.compile(
    r"(?:.*_)?Well([A-Z]{1,2})([0-9]{1,2})(?:_Point[A-Z]{1,2}[0-9]{1,2}_([0-9]{1,6}))?(?:_.*)?", re.IGNORECASE
)
_POINT = re.compile(r"(?:Point)?([A-Z]{1,2})([0-9]{1,2})_([0-9]{4})")
_LABEL = re.compile(rf"{_WELL}(?:[ ]*[ _,;:-][ ]*{_SITE})?", re.IGNORECASE)
_SCENE = re.compile(rf"(?:Scene[ _])?(?:(?:P|TR)[0-9]{{1,6}}|([A-Z]{{1,2}}[0-9]{{1,2}}))-{_TIGHT}")
_FILE = re.compile(rf"(.*[_ .-])?{_TIGHT}[_ .-]{_SITE}", re.IGNORECASE)
_FILE_WELL = re.compile(rf"(.*[_ .-])?{_TIGHT}")
_WELL_LIKE = re.compile(r"(?<![A-Za-z0-9])[A-Z]{1,2}[0-9]{1,2}(?![A-Za-z0-9])")


class NamedPlace(NamedTuple):
    """What a name tells: the canonical well; the site, None if it has none; whether it could mean another thing.

    ``certain`` is False for a well whose row could be another word's letter (``P01``, position 1): such a name
    counts only beside others.
    """

    well: str
    site: int | None
    certain: bool


@lru_cache(maxsize=65536)
def place_in(text: str) -> NamedPlace | None:
    """The well and the site in a name, with or without the extension of a file; None if it has no well."""
    if len(text) > MAX_TEXT:
        return None
    text = _SUFFIX.sub("", text.strip())
    if match := _JOBS.fullmatch(text) or _WORD.fullmatch(text):
        return _place(match[1], match[2], match[3], certain=True)
    if match := _POINT.fullmatch(text):
        return _place(match[1], match[2], match[3])
    if (match := _LABEL.fullmatch(text)) and match[1].isupper():
        return _place(match[1], match[2], match[3])
    if (match := _SCENE.fullmatch(text)) and (match[1] is None or _same(match[1], f"{match[2]}{match[3]}")):
        return _place(match[2], match[3], None, certain=True)
    if (match := _FILE.fullmatch(text)) and match[2].isupper():
        return _place(match[2], match[3], match[4])
    if (match := _FILE_WELL.fullmatch(text)) and not _WELL_LIKE.search(match[1] or ""):
        return _place(match[2], match[3], None)
    return None


def _place(row: str, column: str, site: str | None, *, certain: bool = False) -> NamedPlace | None:
    try:
        well = canonical_well(row + column)
    except PlateError:
        return None
    certain = certain or row not in AMBIGUOUS_ROWS
    return NamedPlace(well, None if site is None else int(site), certain)


def _same(first: str, second: str) -> bool:
    try:
        return canonical_well(first) == canonical_well(second)
    except PlateError:
        return False
