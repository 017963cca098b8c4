"""The kinds of text that microscopes put into a TIFF's ImageDescription, each with its parser."""

from __future__ import annotations

from collections.abc import Callable

from hcs_steps.plate.formats.gen5 import parse_gen5
from hcs_steps.plate.formats.imagej import parse_imagej
from hcs_steps.plate.formats.metaseries import parse_metaseries
from hcs_steps.plate.formats.ome_tiff.description import parse_ome
from hcs_steps.plate.tiff_header import HeaderFacts

PARSERS: tuple[Callable[[str, float], HeaderFacts | None], ...] = (
    parse_metaseries,
    parse_gen5,
    parse_ome,
    parse_imagej,
)
"""Each takes the text and the TIFF's pixels per unit, and returns None if the text is not of its kind."""


def read_description(text: str, pixels_per_unit: float) -> HeaderFacts:
    """The facts of the first parser that knows the text; empty ones if none does.

    Raises `PlateError` if a text is of a known kind but not safe to read.
    """
    for parse in PARSERS:
        facts = parse(text, pixels_per_unit)
        if facts is not None:
            return facts
    return HeaderFacts()
