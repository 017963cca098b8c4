"""The ``.xdce`` of an InCell plate: every image with its well, indices, position and time.

Element names are those that Bio-Formats' InCellReader, TissueMAPS' ``incell`` reader and scMultipleX' reader of
InCell 6000 plates know. What is not obvious:

- ``OffsetFromWellCenter`` is in micrometres with y *upwards*: a Fiji macro that stitches IN Cell 2200 plates
  (Stitch-batch-BF-PC) turns it, and its authors report that all 280 wells of a plate then match.
- ``PlatePosition_um`` counts from the plate's corner, with y *downwards* as the rows of the plate: a field of well
  E03 of a MetaXpress export has x 30,477 and y 45,277, and scMultipleX takes it as it is.
- The offsets are used where every image has one, because they were checked against pixels.
- ``pixel_width`` is used as it is if the camera did not bin. Bio-Formats takes it so in any case, while that macro
  multiplies it by the binning, so with binning the pixel size is unknown.
- MetaXpress lists a wavelength that was taken in one plane once per plane of the others, always with the same
  file (Geneva's bioformats-to-incarta says so of a real export); the first of these entries counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.etree.ElementTree import Element

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.incell.names import wave_name
from hcs_steps.plate.inventory import NAN, PlaneKey
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.units import micrometres_in, number, whole
from hcs_steps.plate.wells import well_name
from hcs_steps.plate.xml_files import allowed_bytes, attributes, iter_xml, local

SUFFIX = ".xdce"
ANISOTROPY = 0.01
"""Share by which a pixel may be higher than wide before it is told."""

_BINNING = re.compile(r"\s*(\d+)\s*[xX]\s*(\d+)\s*")
_INDICES = ("field_index", "wave_index", "z_index", "time_index")
_WANTED = (
    "Image", "Wavelength", "ObjectiveCalibration", "Plate", "Creation", "Application", "Binning", "ImageStack"
)  # fmt: skip

Point = tuple[float, float]


class Listed(NamedTuple):
    """One image: the plane it holds, its stated path, and where and when it was taken (y as stated)."""

    key: PlaneKey
    path: str
    plate_um: Point
    offset_um: Point
    z_um: float
    time_s: float


@dataclass
class InCellIndex:
    """What one ``.xdce`` says.

    Attributes
    ----------
    path
        Of the index, empty if there is none.
    images
        Path of an image relative to the plate, in lower case -> the first entry with it.
    thumbnails
        Paths, likewise.
    waves
        Channel, from 1 -> name.
    dimensions
        (rows, columns) of the plate, None where not stated.
    pixel_um, binning
        Width and height of a pixel as stated, and how many of the camera's pixels are one of the image.
    facts
        For `Inventory.metadata`.
    unclear, repeated, opposed
        How many entries do not say which plane they are; name a file that another entry has; have positions whose
        two kinds contradict each other.
    damage
        Why the file could not be read to its end, empty if it could.
    """

    path: str = ""
    images: dict[str, Listed] = field(default_factory=dict)
    thumbnails: set[str] = field(default_factory=set)
    waves: dict[int, str] = field(default_factory=dict)
    dimensions: tuple[int, int] | None = None
    pixel_um: Point = (NAN, NAN)
    binning: int = 1
    facts: dict[str, str] = field(default_factory=dict)
    unclear: int = 0
    repeated: int = 0
    opposed: int = 0
    damage: str = ""

    @property
    def pixel_size_um(self) -> float:
        """Micrometres per pixel, NaN where not known for certain."""
        return self.pixel_um[0] if self.pixel_um[0] > 0 and self.binning == 1 else NAN

    def positions(self) -> dict[str, Point]:
        """Path of an image, in lower case -> its position in micrometres, y downwards."""
        offsets = {path: each.offset_um for path, each in self.images.items()}
        if all(x == x and y == y for x, y in offsets.values()):
            return {path: (x, -y) for path, (x, y) in offsets.items()}
        return {path: each.plate_um for path, each in self.images.items()}

    def sentences(self) -> tuple[str, ...]:
        """What is odd about the index itself."""
        width, height = self.pixel_um
        said = {
            f"{self.unclear} entries of the index do not say which plane they are and were not used.": self.unclear,
            f"{self.repeated} entries of the index name a file that another entry has, so they are no planes of "
            "their own.": self.repeated,
            f"PlatePosition_um and OffsetFromWellCenter of {self.opposed} images run in other directions than is "
            "known of this microscope. Check the sites' places, or give `grid`.": self.opposed,
            f"The camera binned {self.binning} x {self.binning} pixels, and the index does not say whether its "
            f"pixel size of {width:g} um is that of the image; it is not used. Give `pixel_size_um`: {width:g} "
            f"or {width * self.binning:g}.": self.binning > 1 and width > 0,
            f"Pixels are {width:g} um wide and {height:g} um high; the width is used.": abs(height - width)
            > ANISOTROPY * width,
        }
        return tuple(sentence for sentence, is_so in said.items() if is_so)


def read_index(listing: FileListing) -> InCellIndex:
    """Read the ``.xdce`` of a plate; of a damaged one, what stands before the damage.

    Raises `PlateError` if there are those of several plates.
    """
    files = listing.with_suffix(SUFFIX)
    if len({(entry.name.lower(), entry.size) for entry in files}) > 1:
        raise PlateError(
            f"{listing.root} holds {len(files)} indexes of images: {files[0].path}, {files[1].path}.",
            hint="Give the folder of one plate, and list the plates one by one.",
        )
    if not files:
        return InCellIndex()
    index = InCellIndex(path=files[0].path)
    try:
        _fill(index, listing, files[0])
    except PlateError as error:
        index.damage = error.message
    return index


def _fill(index: InCellIndex, listing: FileListing, file: FileEntry) -> None:
    folder = file.path[: file.path.rfind("/") + 1].lower()
    first: dict[str, Listed] = {}
    size = allowed_bytes(len(listing.files))
    for element in iter_xml(listing.root / file.path, *_WANTED, max_bytes=size):
        kind, values = local(element.tag), attributes(element)
        if kind == "Image":
            _add_image(index, folder, element, values, first)
        elif kind == "Wavelength":
            _add_wave(index, element, values)
        else:
            _add_fact(index, kind, values)


def _add_wave(index: InCellIndex, element: Element, values: Mapping[str, str]) -> None:
    filters = {local(child.tag): attributes(child).get("name", "") for child in element}
    channel = whole(values.get("index"), -1) + 1
    if channel:
        excitation, emission = filters.get("ExcitationFilter", ""), filters.get("EmissionFilter", "")
        index.waves.setdefault(channel, wave_name(excitation, emission))


def _add_fact(index: InCellIndex, kind: str, values: Mapping[str, str]) -> None:
    if kind == "ObjectiveCalibration":
        unit = micrometres_in(values.get("unit", "um"))
        index.pixel_um = number(values.get("pixel_width")) * unit, number(values.get("pixel_height")) * unit
        index.facts["objective"] = values.get("objective_name", "")
        index.facts["numerical_aperture"] = values.get("numerical_aperture", "")
        index.facts["magnification"] = values.get("magnification", "")
    elif kind == "Binning":
        match = _BINNING.fullmatch(values.get("value", ""))
        index.binning = max(map(whole, match.groups())) if match else index.binning
    elif kind == "Plate":
        size = whole(values.get("rows")), whole(values.get("columns"))
        index.dimensions = size if min(size) > 0 else None
        index.facts["plate_type"] = values.get("name", "")
    elif kind == "Creation":
        index.facts["acquired"] = f"{values.get('date', '')} {values.get('time', '')}".strip()
    elif kind == "Application":
        index.facts["microscope"] = values.get("name", "")
        index.facts["software_version"] = values.get("software_version", "")
    elif kind == "ImageStack":
        index.facts["plate_id"] = values.get("PlateID", "")


def _add_image(
    index: InCellIndex, folder: str, element: Element, values: Mapping[str, str], first: dict[str, Listed]
) -> None:
    """Add one image; ``first`` holds the first image of every well, which the others' positions are compared with."""
    if values.get("thumbnail"):
        index.thumbnails.add(folder + _relative(values["thumbnail"]))
    parts: dict[str, Mapping[str, str]] = {}
    for child in element.iter():
        parts.setdefault(local(child.tag), child.attrib)
    key, path = _key(parts), _relative(values.get("filename", ""))
    if key is None or not path:
        index.unclear += 1
        return
    milliseconds = number(values.get("acquisition_time_ms"))
    focus = parts.get("FocusPosition", {})
    listed = Listed(
        key,
        values["filename"],
        plate_um=_point(parts.get("PlatePosition_um", {})),
        offset_um=_point(parts.get("OffsetFromWellCenter", {})),
        z_um=number(focus.get("z")) * micrometres_in(focus.get("unit", "um")),
        time_s=milliseconds / 1000 if milliseconds == milliseconds else number(values.get("timestamp_sec")),
    )
    if index.images.setdefault(folder + path, listed) is not listed:
        index.repeated += 1
    index.opposed += _opposed(listed, first.setdefault(key.well, listed))


def _key(parts: Mapping[str, Mapping[str, str]]) -> PlaneKey | None:
    """The plane of an image, None unless it has a well of a plate and all four indices."""
    indices = parts.get("Identifier", {})
    site, channel, z_index, timepoint = (whole(indices.get(name), -1) + 1 for name in _INDICES)
    row, column = (whole(parts.get(name, {}).get("number")) - 1 for name in ("Row", "Column"))
    if not (site and channel and z_index and timepoint):
        return None
    try:
        return PlaneKey(well_name(row, column), site, channel, z_index, timepoint)
    except PlateError:
        return None


def _relative(path: str) -> str:
    return path.replace("\\", "/").removeprefix("./").lower()


def _point(values: Mapping[str, str]) -> Point:
    return number(values.get("x")), number(values.get("y"))


def _opposed(listed: Listed, first: Listed) -> bool:
    """Whether two images of a well lie in different directions by the one position and by the other.

    Products of less than 1 square micrometre are the stage's jitter.
    """
    plate_x, plate_y = (here - there for here, there in zip(listed.plate_um, first.plate_um, strict=True))
    x, y = (here - there for here, there in zip(listed.offset_um, first.offset_um, strict=True))
    return plate_x * x < -1 or plate_y * y > 1
