"""The OME-XML of a single-plane TIFF file, as a pure function.

Hand-built because it must not contain what changes between two writes of the same image (identifiers, dates).
Readers such as Bio-Formats and tifffile take pixel size, channel name and stage position from it.
"""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree as ET

import numpy as np

from hcs_steps.storage.protocol import Image, ImageMeta, PlaneKey

_NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_TYPES = {
    "bool": "bit", "int8": "int8", "int16": "int16", "int32": "int32", "uint8": "uint8", "uint16": "uint16",
    "uint32": "uint32", "float32": "float", "float64": "double",
}  # fmt: skip
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def describe_plane(name: str, plane: Image, well: str, key: PlaneKey, meta: ImageMeta) -> str | None:
    """ASCII OME-XML of one plane; None for dtypes that OME does not know (64-bit integers, half floats)."""
    ome_type = _TYPES.get(np.dtype(plane.dtype).name)
    if ome_type is None:
        return None
    root = ET.Element("OME", xmlns=_NAMESPACE, Creator="hcs-steps")
    image = ET.SubElement(root, "Image", ID="Image:0", Name=_text(name))
    height, width = plane.shape
    sizes = {"SizeX": width, "SizeY": height, "SizeZ": 1, "SizeC": 1, "SizeT": 1}
    pixels = ET.SubElement(
        image,
        "Pixels",
        {"ID": "Pixels:0", "DimensionOrder": "XYZCT", "Type": ome_type, **_strings(sizes), **_physical(meta)},
    )
    channel = _text(meta.channels.get(key.channel, f"channel {key.channel}"))
    ET.SubElement(pixels, "Channel", ID="Channel:0:0", Name=channel, SamplesPerPixel="1")
    ET.SubElement(pixels, "TiffData", IFD="0", PlaneCount="1")
    position = meta.positions_um.get(key.site, (math.nan, math.nan))
    if all(map(math.isfinite, position)):
        place = {"PositionX": position[0], "PositionY": position[1]}
        units = {"PositionXUnit": "µm", "PositionYUnit": "µm"}
        ET.SubElement(pixels, "Plane", {"TheC": "0", "TheZ": "0", "TheT": "0", **_strings(place), **units})
    ET.SubElement(image, "AnnotationRef", ID="Annotation:0")
    annotations = ET.SubElement(root, "StructuredAnnotations")
    values = ET.SubElement(ET.SubElement(annotations, "MapAnnotation", ID="Annotation:0"), "Value")
    for component, value in {"well": well, **key._asdict()}.items():
        ET.SubElement(values, "M", K=component).text = _text(str(value))
    text: str = ET.tostring(root, encoding="us-ascii", xml_declaration=True).decode("ascii")
    return text


def _physical(meta: ImageMeta) -> dict[str, str]:
    known = {"X": meta.pixel_size_um, "Y": meta.pixel_size_um, "Z": meta.z_step_um}
    attributes: dict[str, str] = {}
    for axis, size in known.items():
        if math.isfinite(size) and size > 0:
            attributes[f"PhysicalSize{axis}"] = repr(float(size))
            attributes[f"PhysicalSize{axis}Unit"] = "µm"
    return attributes


def _strings(values: dict[str, int] | dict[str, float]) -> dict[str, str]:
    return {
        name: repr(value) if isinstance(value, int) else repr(float(value)) for name, value in values.items()
    }


def _text(text: str) -> str:
    return _NOT_XML.sub("_", text)
