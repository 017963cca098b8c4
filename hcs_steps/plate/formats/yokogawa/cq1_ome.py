"""``MeasurementResult.ome.xml``: the index of a CQ1 or CQ3000 measurement, an OME-XML of its own kind.

One ``Image`` per field, named ``W29(R3C5),A1,F1`` (well number, row and column from 1, area, field), lists its
files in ``TiffData/UUID`` (``Image/W0029F0001T0001Z001C1.tif``) and their stage positions in ``Plane``; a first
``Image`` without files is a title page. Projections have an index of their own, such as
``MeasurementResultMIP.ome.xml``. Positions are micrometres from the well's centre with Y upwards. Not checked
against a file of the instrument, only against public code that reads them: cytomancer (names, plate, files), a
CQ1 stitching toolkit (names, sizes, channels called ``CH1``) and a CQ3000 viewer's test data (the positions'
unit, origin and direction).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.yokogawa.index import PlaneIndex, Record
from hcs_steps.plate.inventory import NAN
from hcs_steps.plate.units import micrometres_in, number, whole
from hcs_steps.plate.xml_files import attributes, descendants, iter_xml, local

OME_SUFFIX = ".ome.xml"

_FIELD = re.compile(r"W([0-9]{1,6})\(R([0-9]{1,3})C([0-9]{1,3})\)\s*,\s*A[^,]*,\s*F([0-9]{1,6})")
_GENERIC = re.compile(r"(?:ch|channel)[ _#]*[0-9]+", re.IGNORECASE)
_PROJECTIONS = {"mip": "Maximum", "sum": "Sum"}


def read_ome(root: Path, path: str, *, max_bytes: int) -> PlaneIndex:
    """Read the index at ``path`` below ``root``; of a damaged one, all that stands before the damage."""
    records: list[Record] = []
    rows = columns = 0
    names: dict[int, str] = {}
    damage = ""
    processing = _processing(path)
    try:
        for element in iter_xml(root / path, "Image", "Plate", max_bytes=max_bytes):
            stated = attributes(element)
            if local(element.tag) == "Plate":
                rows, columns = whole(stated.get("Rows")), whole(stated.get("Columns"))
            elif match := _FIELD.fullmatch(stated.get("Name", "")):
                _, row, column, field = map(int, match.groups())
                records += _records(element, row, column, field, processing)
                names = names or _names(element)
    except PlateError as error:
        damage = error.message
    return PlaneIndex(path, tuple(records), damage=damage, rows=rows, columns=columns, channel_names=names)


def _processing(path: str) -> str:
    stem = path.rpartition("/")[2][: -len(OME_SUFFIX)].lower()
    return next((name for ending, name in _PROJECTIONS.items() if stem.endswith(ending)), "")


def _records(image: Element, row: int, column: int, field: int, processing: str) -> Iterator[Record]:
    pixels = next(descendants(image, "Pixels"), None)
    if pixels is None:
        return
    size = _micrometres(attributes(pixels), "PhysicalSizeX")
    planes = {_place(stated, "The"): stated for stated in map(attributes, descendants(pixels, "Plane"))}
    for data in descendants(pixels, "TiffData"):
        name = next((attributes(each).get("FileName", "") for each in descendants(data, "UUID")), "")
        place = _place(attributes(data), "First")
        channel, z, timepoint = place
        stated = planes.get(place, {})
        yield Record(
            name.replace("\\", "/"),
            row,
            column,
            timepoint + 1,
            field,
            timeline=0,
            action=0,
            z=0 if processing else z + 1,
            channel=channel + 1,
            processing=processing,
            x_um=_micrometres(stated, "PositionX"),
            y_um=0.0 - _micrometres(stated, "PositionY"),
            z_um=_micrometres(stated, "PositionZ"),
            pixel_size_um=size if size > 0 else NAN,
        )


def _place(stated: Mapping[str, str], prefix: str) -> tuple[int, int, int]:
    """Channel, z and timepoint, from 0."""
    channel, z, timepoint = (whole(stated.get(prefix + axis)) for axis in "CZT")
    return channel, z, timepoint


def _micrometres(stated: Mapping[str, str], name: str) -> float:
    """A length; without a unit it is in micrometres, as positions of this instrument are."""
    return number(stated.get(name)) * micrometres_in(stated.get(f"{name}Unit", "um"))


def _names(image: Element) -> dict[int, str]:
    """Channel -> its name, or its wavelengths if that is a mere number (``CH1``)."""
    channels = [attributes(each) for each in descendants(image, "Channel")]
    return {place: name for place, stated in enumerate(channels, 1) if (name := _name(stated))}


def _name(stated: Mapping[str, str]) -> str:
    name = stated.get("Name", "")
    if name and not _GENERIC.fullmatch(name):
        return name
    lengths = (stated.get("ExcitationWavelength"), stated.get("EmissionWavelength"))
    return "/".join(f"{length}nm" for length in lengths if length) or stated.get("ContrastMethod") or name
