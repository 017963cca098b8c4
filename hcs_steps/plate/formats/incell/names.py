"""File names of InCell plates, parsed.

Real names of IN Cell 1000 to 6500 instruments, collected from public code that parses them::

    A - 01(fld 1 wv 390 - Blue).tif              Plate1_A - 01(fld 1 wv 390 - Blue).tif
    A - 1(fld 1 wv UV - DAPI z 1 time 1 - 0ms).tif
    B - 4(fld 1 wv DsRed - DsRed- time 2 - 300000 ms).tif
    B - 02(fld 01 wv FITC - FITC2 wix 6).tif

``fld`` is the field, ``wv`` the excitation and emission filters, and ``wix`` the wavelength's number, which newer
software adds because two wavelengths may have the same filters. MetaXpress writes ``.xdce`` indexes too, for
IN Carta, beside names like ``t1_B03_s1_w1_z1.tif``. All numbers count from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.wells import canonical_well

_INCELL = re.compile(
    r"(?:(?P<prefix>.*)_)?(?P<row>[A-Z]{1,2}) - (?P<column>\d{1,2})\("
    r"(?:fld (?P<field>\d{1,6})\s*)?(?:wv (?P<wave>[^()]*?))?(?:\s*wix (?P<number>\d{1,3}))?"
    r"(?:\s*-?\s*z (?P<z>\d{1,6}))?"
    r"(?:\s*-?\s*time (?P<time>\d{1,6})(?:\s*-\s*[\d.]+\s*m?s)?)?\s*\)\.tiff?",
    re.IGNORECASE | re.DOTALL,
)
_METAXPRESS = re.compile(
    r"t(?P<time>\d{1,6})_(?P<well>[A-Z]{1,2}\d{1,2})_s(?P<field>\d{1,6})_w(?P<number>\d{1,3})_z(?P<z>\d{1,6})\.tiff?",
    re.IGNORECASE,
)


class InCellName(NamedTuple):
    """What a file name says; a part that it lacks is 1, an empty ``wave`` or ``prefix``, or ``number`` 0."""

    well: str
    site: int
    wave: str
    number: int
    z_index: int
    timepoint: int
    prefix: str = ""


def parse_incell_name(name: str) -> InCellName | None:
    """Parse a name that an InCell gave; None for any other."""
    match = _INCELL.fullmatch(name)
    if match is None:
        return None
    try:
        well = canonical_well(match["row"] + match["column"])
    except PlateError:
        return None
    return InCellName(
        well,
        int(match["field"] or 1),
        (match["wave"] or "").strip(),
        int(match["number"] or 0),
        int(match["z"] or 1),
        int(match["time"] or 1),
        match["prefix"] or "",
    )


def parse_indexed_name(name: str) -> InCellName | None:
    """Parse a name that may stand in an ``.xdce``: an InCell's or MetaXpress'; None for any other."""
    match = _METAXPRESS.fullmatch(name)
    if match is None:
        return parse_incell_name(name)
    try:
        well = canonical_well(match["well"])
    except PlateError:
        return None
    return InCellName(
        well, int(match["field"]), "", int(match["number"]), int(match["z"]), int(match["time"])
    )


def wave_name(excitation: str, emission: str) -> str:
    """The channel of two filters: ``DAPI`` where both are called so, else ``UV - DAPI`` as in file names."""
    return emission if excitation in ("", emission) else f"{excitation} - {emission}"


def number_waves(names: Iterable[InCellName], known: Mapping[int, str]) -> dict[tuple[str, int], int]:
    """``wave`` and ``number`` of every name -> channel.

    A number in the name counts, then the only one of the ``known`` channels that is called so; others are numbered
    after all of those, in the alphabet.
    """
    waves = sorted({(name.wave, name.number) for name in names})
    by_name = {name: number for number, name in known.items() if list(known.values()).count(name) == 1}
    channels = {wave: number for wave in waves if (number := wave[1] or by_name.get(short_wave(wave[0]), 0))}
    free = max([*known, *channels.values()], default=0)
    rest = [wave for wave in waves if wave not in channels]
    return channels | {wave: free + place for place, wave in enumerate(rest, 1)}


def short_wave(wave: str) -> str:
    """The channel of a ``wv`` in a file name."""
    excitation, dash, emission = wave.partition(" - ")
    return wave_name(excitation, emission) if dash else wave
