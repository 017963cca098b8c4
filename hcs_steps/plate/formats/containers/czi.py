"""Zeiss CZI files, read with aicspylibczi, on which bioio-czi itself is built.

bioio-czi opens a file several times for each scene, and leaves out scenes that the metadata do not name. With 400
scenes it takes 70 s to know the shapes of all and 0.34 s for a plane, where aicspylibczi takes 0.05 s for either.

The scenes of a plate carry their well in ``Scene/Shape/@Name`` or ``Scene/ArrayName``, and their own names are like
``P1`` (position), ``TR1`` (tile region) or ``B2``. The tiles of a scene are fields of their own. Positions are those
of the tiles in the file's own plane of pixels, so they run as the image's rows and columns do. Each plane is a
subblock of the file; one without is missing, though the library would make one up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.containers.facts import ContainerFacts, FieldFacts, PlaneIndex, Sizes, positive
from hcs_steps.plate.inventory import NAN
from hcs_steps.plate.units import number, whole
from hcs_steps.plate.xml_files import attributes, children, descendants, local

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AXES = "SMTCZ"
"""The axes of a `PlaneIndex`."""
_OTHER_AXES = {
    "A": "colours",
    "B": "blocks",
    "V": "views",
    "I": "illuminations",
    "R": "rotations",
    "H": "phases",
}
_DTYPES = {"gray8": "uint8", "gray16": "uint16", "gray32": "uint32", "gray32float": "float32"}


def read_czi(path: Path) -> ContainerFacts:
    """What a CZI file holds; `PlateError` for colour images and for axes that a plate does not have."""
    from aicspylibczi import CziFile

    file = CziFile(str(path))
    for shape in file.get_dims_shape():
        for axis, name in _OTHER_AXES.items():
            first, end = shape.get(axis, (0, 1))
            if end - first > 1:
                raise PlateError(
                    f"{path} has {end - first} {name}; planes of a plate are grey and have none of these.",
                    hint="Export it as grey planes.",
                )
    boxes = _boxes(file)
    if not boxes:
        raise PlateError(f"{path} holds no image.", hint="Copy it again from the microscope.")
    sizes = _sizes(boxes)
    pixel_size = positive(_scaling(file.meta, "X") * 1e6)
    planes: defaultdict[tuple[int, int], set[tuple[int, int, int]]] = defaultdict(set)
    places: dict[tuple[int, int], Any] = {}
    for index, box in boxes.items():
        planes[index[:2]].add(index[2:])
        places.setdefault(index[:2], box)
    return ContainerFacts(
        sizes=sizes,
        scene_names=_scene_names(file.meta, sizes.scenes),
        fields={
            field: FieldFacts(
                box.h,
                box.w,
                (box.x + box.w / 2) * pixel_size,
                (box.y + box.h / 2) * pixel_size,
                frozenset(planes[field]),
            )
            for field, box in places.items()
        },
        channels=_channels(file.meta, sizes.channels),
        dtype=_DTYPES.get(file.pixel_type, ""),
        pixel_size_um=pixel_size,
        z_step_um=positive(_scaling(file.meta, "Z") * 1e6),
    )


def read_czi_plane(path: Path, page: int) -> NDArray[Any]:
    """The pixels (Y, X) of one plane."""
    from aicspylibczi import CziFile

    file = CziFile(str(path))
    boxes = _boxes(file)
    index = _sizes(boxes).place(page)
    if index not in boxes:
        raise PlateError(f"{path} has no plane {page}.", hint="Copy it again from the microscope.")
    stated = {axis: place for axis, place in zip(_AXES, index, strict=True) if axis in file.dims}
    image, axes = file.read_image(**stated)
    lengths = dict(axes)
    plane: NDArray[Any] = image.reshape(lengths["Y"], lengths["X"])
    return plane


def _boxes(file: Any) -> dict[PlaneIndex, Any]:
    """The rectangle of every plane in the file's plane of pixels."""
    found: dict[PlaneIndex, Any] = {}
    for tile, box in file.get_all_tile_bounding_boxes().items():
        at = tile.dimension_coordinates
        found.setdefault(PlaneIndex(*(at.get(axis, 0) for axis in _AXES)), box)
    return found


def _sizes(indices: Iterable[PlaneIndex]) -> Sizes:
    return Sizes(*(1 + max(places) for places in zip(*indices, strict=True)))


def _dimensions(metadata: Element) -> Mapping[str, Element]:
    """``Channels``, ``S`` and the other parts of ``Information/Image/Dimensions``."""
    information = next(descendants(metadata, "Information"), metadata)
    dimensions = next(descendants(information, "Dimensions"), None)
    return {} if dimensions is None else {local(part.tag): part for part in dimensions}


def _scene_names(metadata: Element, count: int) -> tuple[tuple[str, ...], ...]:
    names: list[tuple[str, ...]] = [()] * count
    scenes = _dimensions(metadata).get("S")
    for scene in () if scenes is None else descendants(scenes, "Scene"):
        stated = attributes(scene)
        place = whole(stated.get("Index"), count)
        if place < count:
            shape = next((attributes(part) for part in scene if local(part.tag) == "Shape"), {})
            texts = (shape.get("Name", ""), children(scene).get("ArrayName", ""), stated.get("Name", ""))
            names[place] = tuple(filter(None, texts))
    return tuple(names)


def _channels(metadata: Element, count: int) -> tuple[str, ...]:
    parts = _dimensions(metadata).get("Channels")
    stated = [] if parts is None else [attributes(part).get("Name", "") for part in parts]
    return (*stated[:count], *[""] * (count - len(stated)))


def _scaling(metadata: Element, axis: str) -> float:
    """Metres per pixel along an axis."""
    for scaling in descendants(metadata, "Scaling"):
        for distance in descendants(scaling, "Distance"):
            if attributes(distance).get("Id") == axis:
                return number(children(distance).get("Value"))
    return NAN
