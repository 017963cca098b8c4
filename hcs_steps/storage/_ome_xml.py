"""The OME-XML of a TIFF file, as a pure function.

Hand-built because it must not contain what changes between two writes of the same images (identifiers, dates).
Readers such as Bio-Formats and tifffile take channels, pixel size, z step, stage positions and the well from it.
Follows the schema 2016-06, https://www.openmicroscopy.org/Schemas/OME/2016-06.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from hcs_steps.storage._names import well_position
from hcs_steps.storage._ngff import Grid, is_known
from hcs_steps.storage.protocol import ImageMeta, PlaneKey

_NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_TYPES = {
    "bool": "bit", "int8": "int8", "int16": "int16", "int32": "int32", "uint8": "uint8", "uint16": "uint16",
    "uint32": "uint32", "float32": "float", "float64": "double",
}  # fmt: skip
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class OmePixels:
    """One image of a file: planes of one site with the page (IFD) each is in; ``shape`` is (Y, X)."""

    name: str
    shape: tuple[int, int]
    dtype: str
    pages: Mapping[PlaneKey, int]

    @property
    def site(self) -> int:
        """The site that all planes belong to."""
        return next(iter(self.pages)).site


@dataclass(frozen=True)
class OmePlate:
    """The plate that the images of a file are from: its name and its numbers of rows and columns."""

    name: str
    rows: int
    columns: int


def has_ome_type(dtype: str) -> bool:
    """Whether OME knows the dtype; it does not know 64-bit integers and half floats."""
    return dtype in _TYPES


def describe_file(
    images: Sequence[OmePixels], well: str, meta: ImageMeta, plate: OmePlate | None = None
) -> str | None:
    """ASCII OME-XML of a file's images, all of one well; None if OME does not know a dtype.

    With ``plate`` the images are samples of that plate's well. Planes that a grid of channels, z and
    timepoints has but the site has not are left out, so readers give blank ones.
    """
    if not all(has_ome_type(image.dtype) for image in images):
        return None
    root = ET.Element("OME", xmlns=_NAMESPACE, Creator="hcs-steps")
    if plate is not None:
        _add_plate(root, plate, well, [meta.positions_um.get(image.site, _NOWHERE) for image in images])
    for number, image in enumerate(images):
        _add_image(root, number, image, meta)
    annotations = ET.SubElement(root, "StructuredAnnotations")
    for number, image in enumerate(images):
        annotation = ET.SubElement(annotations, "MapAnnotation", ID=f"Annotation:{number}")
        values = ET.SubElement(annotation, "Value")
        for component, value in _components(well, image.pages).items():
            ET.SubElement(values, "M", K=component).text = _text(value)
    text: str = ET.tostring(root, encoding="us-ascii", xml_declaration=True).decode("ascii")
    return text


_NOWHERE = (math.nan, math.nan)


def _add_plate(
    root: ET.Element, plate: OmePlate, well: str, positions: Sequence[tuple[float, float]]
) -> None:
    size = _strings({"Rows": plate.rows, "Columns": plate.columns})
    naming = {"RowNamingConvention": "letter", "ColumnNamingConvention": "number"}
    attributes = {"ID": "Plate:0", "Name": _text(plate.name), **naming, **size}
    place = well_position(well)
    own = ET.SubElement(
        ET.SubElement(root, "Plate", attributes),
        "Well",
        {"ID": "Well:0", **_strings({"Row": place.row, "Column": place.column})},
    )
    for number, position in enumerate(positions):
        index = {"ID": f"WellSample:{number}", "Index": str(number), **_position(position)}
        ET.SubElement(ET.SubElement(own, "WellSample", index), "ImageRef", ID=f"Image:{number}")


def _add_image(root: ET.Element, number: int, image: OmePixels, meta: ImageMeta) -> None:
    grid = Grid.of(image.site, image.pages)
    element = ET.SubElement(root, "Image", ID=f"Image:{number}", Name=_text(image.name))
    height, width = image.shape
    frames, channels, slices = grid.shape
    sizes = {"SizeX": width, "SizeY": height, "SizeZ": slices, "SizeC": channels, "SizeT": frames}
    attributes = {"ID": f"Pixels:{number}", "DimensionOrder": "XYZCT", "Type": _TYPES[image.dtype]}
    pixels = ET.SubElement(element, "Pixels", {**attributes, **_strings(sizes), **_physical(meta)})
    for index, channel in enumerate(grid.channels):
        name = _text(meta.channels.get(channel, f"channel {channel}"))
        ET.SubElement(pixels, "Channel", ID=f"Channel:{number}:{index}", Name=name, SamplesPerPixel="1")
    _add_planes(pixels, grid, image.pages, _position(meta.positions_um.get(image.site, _NOWHERE)))
    ET.SubElement(element, "AnnotationRef", ID=f"Annotation:{number}")


def _add_planes(
    pixels: ET.Element, grid: Grid, pages: Mapping[PlaneKey, int], position: Mapping[str, str]
) -> None:
    places = [(page, grid.index(key)) for key, page in pages.items()]
    for page, (t, c, z) in places:
        first = {} if len(pages) == 1 else _strings({"FirstC": c, "FirstT": t, "FirstZ": z})
        ET.SubElement(pixels, "TiffData", {"IFD": str(page), **first, "PlaneCount": "1"})
    if position:
        for _, (t, c, z) in places:
            ET.SubElement(pixels, "Plane", {**_strings({"TheC": c, "TheZ": z, "TheT": t}), **position})


def _components(well: str, keys: Iterable[PlaneKey]) -> dict[str, str]:
    """Well, site, channels, z indices and timepoints of an image, as the plate calls them."""
    values = {name: sorted({getattr(key, name) for key in keys}) for name in PlaneKey._fields}
    return {"well": well} | {name: ",".join(map(str, own)) for name, own in values.items()}


def _physical(meta: ImageMeta) -> dict[str, str]:
    known = {"X": meta.pixel_size_um, "Y": meta.pixel_size_um, "Z": meta.z_step_um}
    attributes: dict[str, str] = {}
    for axis, size in known.items():
        if is_known(size):
            attributes[f"PhysicalSize{axis}"] = repr(float(size))
            attributes[f"PhysicalSize{axis}Unit"] = "µm"
    return attributes


def _position(position: tuple[float, float]) -> dict[str, str]:
    if not all(map(math.isfinite, position)):
        return {}
    place = {"PositionX": position[0], "PositionY": position[1]}
    return {**_strings(place), "PositionXUnit": "µm", "PositionYUnit": "µm"}


def _strings(values: Mapping[str, int] | Mapping[str, float]) -> dict[str, str]:
    return {
        name: repr(value) if isinstance(value, int) else repr(float(value)) for name, value in values.items()
    }


def _text(text: str) -> str:
    return _NOT_XML.sub("_", text)
