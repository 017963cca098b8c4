"""OME-XML, parsed.

Read by local names, so that the schemas of 2010 to 2016 are all one. The facts are those of the schema's own
documentation (``ome.xsd`` and "OME-TIFF specification", docs.openmicroscopy.org/ome-model):

- ``PhysicalSize`` is in micrometres and times are in seconds unless a unit is given; a position without a unit
  is in the "reference frame", which is no length, so it is not used.
- ``DeltaT`` counts from the beginning of the experiment.
- Rows and columns of wells, and ``TheC``, ``TheZ`` and ``TheT``, count from 0. Some writers count ``FirstC`` and
  the like from 1, which Bio-Formats' OMETiffReader notices by a value that is too large.
- ``TiffData`` without a ``PlaneCount`` stands for one page if it has an ``IFD``, else for all pages of the file;
  pages follow each other in ``DimensionOrder``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.ome_tiff.model import (
    OmeDocument,
    OmeImage,
    Place,
    PlaneFacts,
    TiffBlock,
    WellSample,
)
from hcs_steps.plate.inventory import NAN
from hcs_steps.plate.units import micrometres_in, number, seconds_in, whole
from hcs_steps.plate.xml_files import attributes, children, descendants, iter_xml, local, parse_xml

REFERENCE_FRAME = "reference frame"

_ROOT = re.compile(r"<(?:\w+:)?OME[\s>]")
_ROOT_WITHIN = 4096
"""A root element stands behind a comment at most."""
_TOP = ("Image", "Plate", "Instrument", "BinaryOnly")
_DTYPES = {
    "bit": "bool",
    "float": "float32",
    "double": "float64",
    **{name: name for name in ("int8", "int16", "int32", "uint8", "uint16", "uint32")},
}
_AXES = re.compile(r"[ZCT]{3}")
_DEFAULT_AXES = "ZCT"


def is_ome(text: str) -> bool:
    """Whether a TIFF's description is OME-XML."""
    return text.lstrip().startswith("<") and _ROOT.search(text, 0, _ROOT_WITHIN) is not None


def parse_document(text: str, *, source: str) -> OmeDocument:
    """The document in a TIFF's description; `PlateError` if it is not well-formed or not safe to read."""
    root = parse_xml(text[: text.rfind(">") + 1], source=source)
    return _document(root, attributes(root).get("UUID", ""))


def read_document(path: Path, *, max_bytes: int) -> OmeDocument:
    """The document in a file of its own; of a damaged one, all that stands before the damage."""
    damage: list[str] = []

    def elements() -> Iterator[Element]:
        try:
            yield from iter_xml(path, *_TOP, max_bytes=max_bytes)
        except PlateError as error:
            damage.append(error.message)

    document = _document(elements(), "")
    return replace(document, damage="".join(damage))


def _document(elements: Iterable[Element], uuid: str) -> OmeDocument:
    images: list[OmeImage] = []
    samples: dict[str, WellSample] = {}
    plate: dict[str, str] = {}
    objective = metadata_file = ""
    for element in elements:
        kind, stated = local(element.tag), attributes(element)
        if kind == "Image" and (image := _image(element)):
            images.append(image)
        elif kind == "Plate":
            plate = plate or stated
            for identifier, sample in _samples(element):
                samples.setdefault(identifier, sample)
        elif kind == "Instrument":
            objective = objective or _objective(element)
        elif kind == "BinaryOnly":
            metadata_file = stated.get("MetadataFile", "")
    return OmeDocument(
        uuid=uuid,
        images=tuple(images),
        samples=samples,
        plate_name=plate.get("Name", ""),
        rows=whole(plate.get("Rows")),
        columns=whole(plate.get("Columns")),
        objective=objective,
        metadata_file=metadata_file,
    )


def _image(element: Element) -> OmeImage | None:
    parts: dict[str, Element] = {}
    for child in element:
        parts.setdefault(local(child.tag), child)
    if "Pixels" not in parts:
        return None
    stated, pixels = attributes(element), attributes(parts["Pixels"])
    label = attributes(parts["StageLabel"]) if "StageLabel" in parts else {}
    sizes = tuple(max(1, whole(pixels.get(f"Size{axis}"), 1)) for axis in "CZT")
    channels, blocks, planes = [], [], []
    for child in parts["Pixels"]:
        kind = local(child.tag)
        if kind == "Plane":
            planes.append(attributes(child))
        elif kind == "TiffData":
            blocks.append(_block(child))
        elif kind == "Channel":
            channels.append(attributes(child))
    axes = pixels.get("DimensionOrder", "")[2:]
    return OmeImage(
        id=stated.get("ID", ""),
        name=stated.get("Name", ""),
        stage_label=label.get("Name", ""),
        height=whole(pixels.get("SizeY")),
        width=whole(pixels.get("SizeX")),
        dtype=_DTYPES.get(pixels.get("Type", pixels.get("PixelType", "")).lower(), ""),
        axes=axes if _AXES.fullmatch(axes) and len(set(axes)) == 3 else _DEFAULT_AXES,
        sizes=(sizes[0], sizes[1], sizes[2]),
        channels=tuple(channel.get("Name") or channel.get("Fluor", "") for channel in channels),
        samples=max((whole(channel.get("SamplesPerPixel"), 1) for channel in channels), default=1),
        pixel_size_um=_positive(_length(pixels, "PhysicalSizeX", "um")),
        pixel_height_um=_positive(_length(pixels, "PhysicalSizeY", "um")),
        z_step_um=_positive(_length(pixels, "PhysicalSizeZ", "um")),
        interval_s=_positive(_time(pixels, "TimeIncrement")),
        x_um=_length(label, "X", REFERENCE_FRAME),
        y_um=_length(label, "Y", REFERENCE_FRAME),
        unit_lost=any(map(_lacks_unit, planes)),
        blocks=_from_zero(blocks, (sizes[0], sizes[1], sizes[2])),
        planes={_place(plane, "The"): _facts(plane) for plane in planes},
    )


def _block(element: Element) -> TiffBlock:
    stated = attributes(element)
    uuid = next((child for child in element if local(child.tag) == "UUID"), None)
    return TiffBlock(
        _place(stated, "First"),
        whole(stated["IFD"]) if "IFD" in stated else None,
        whole(stated["PlaneCount"]) if "PlaneCount" in stated else None,
        "" if uuid is None else attributes(uuid).get("FileName", ""),
        "" if uuid is None else (uuid.text or "").strip(),
    )


def _from_zero(blocks: Sequence[TiffBlock], sizes: Place) -> tuple[TiffBlock, ...]:
    """The blocks, with an axis that they count from 1 turned to counting from 0."""
    if not blocks:
        return ()
    shifts = []
    for axis, size in enumerate(sizes):
        values = {block.first[axis] for block in blocks}
        shifts.append(1 if 0 not in values and max(values) == size else 0)
    if not any(shifts):
        return tuple(blocks)
    return tuple(
        block._replace(
            first=(block.first[0] - shifts[0], block.first[1] - shifts[1], block.first[2] - shifts[2])
        )
        for block in blocks
    )


def _place(stated: Mapping[str, str], prefix: str) -> Place:
    return (
        whole(stated.get(prefix + "C")),
        whole(stated.get(prefix + "Z")),
        whole(stated.get(prefix + "T")),
    )


def _facts(plane: Mapping[str, str]) -> PlaneFacts:
    return PlaneFacts(
        _length(plane, "PositionX", REFERENCE_FRAME),
        _length(plane, "PositionY", REFERENCE_FRAME),
        _length(plane, "PositionZ", REFERENCE_FRAME),
        _time(plane, "DeltaT"),
        _time(plane, "ExposureTime"),
    )


def _length(stated: Mapping[str, str], name: str, default_unit: str) -> float:
    if name not in stated:
        return NAN
    return number(stated[name]) * micrometres_in(stated.get(f"{name}Unit", default_unit))


def _time(stated: Mapping[str, str], name: str) -> float:
    return number(stated.get(name)) * seconds_in(stated.get(f"{name}Unit", "s")) if name in stated else NAN


def _positive(value: float) -> float:
    return value if value > 0 else NAN


def _lacks_unit(plane: Mapping[str, str]) -> bool:
    return any(
        number(plane.get(name)) not in (0.0, NAN)
        and name in plane
        and math.isnan(_length(plane, name, REFERENCE_FRAME))
        for name in ("PositionX", "PositionY")
    )


def _samples(plate: Element) -> Iterator[tuple[str, WellSample]]:
    """Identifier of its image and well sample, those of a well in the order of their indices."""
    for well in descendants(plate, "Well"):
        stated = attributes(well)
        if "Row" not in stated or "Column" not in stated:
            continue
        found = [
            (whole(attributes(child).get("Index")), child)
            for child in well
            if local(child.tag) == "WellSample"
        ]
        for rank, (_, sample) in enumerate(sorted(found, key=lambda pair: pair[0]), 1):
            reference = next((each for each in sample if local(each.tag) == "ImageRef"), None)
            if reference is None:
                continue
            place = attributes(sample)
            yield (
                attributes(reference).get("ID", ""),
                WellSample(
                    whole(stated["Row"]),
                    whole(stated["Column"]),
                    rank,
                    _length(place, "PositionX", REFERENCE_FRAME),
                    _length(place, "PositionY", REFERENCE_FRAME),
                ),
            )


def _objective(instrument: Element) -> str:
    """Model, or magnification and numerical aperture, of an instrument's first objective."""
    first = next(descendants(instrument, "Objective"), None)
    if first is None:
        return ""
    # Before 2010 these were child elements.
    stated = children(first) | attributes(first)
    magnification, aperture = number(stated.get("NominalMagnification")), number(stated.get("LensNA"))
    known = [f"{magnification:g}x"] * (magnification > 0) + [f"NA {aperture:g}"] * (aperture > 0)
    return stated.get("Model") or " ".join(known)
