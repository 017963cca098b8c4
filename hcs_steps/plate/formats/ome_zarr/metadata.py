"""OME-NGFF metadata of a plate, a well and an image, from JSON that may hold anything.

0.4 keeps them in ``.zattrs``, 0.5 under ``attributes.ome`` of ``zarr.json``; the rest is the same. 0.1 to 0.3,
whose axes are fixed or plain names and which have no transformations, are read as far as they go. What has a
wrong type counts as absent. Source: the specification at https://ngff.openmicroscopy.org/0.4 and /0.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.ome_zarr.store import Json, well_of
from hcs_steps.plate.inventory import NAN
from hcs_steps.plate.units import micrometres_in, seconds_in

AXES = "tczyx"
_NAMES_OF_TYPES = {"time": "t", "channel": "c"}
_ROWS_AND_COLUMNS = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))


class PlateIndex(NamedTuple):
    """What the plate's group lists: well folders, (rows, columns), acquisition -> name, name, version."""

    wells: tuple[str, ...]
    dimensions: tuple[int, int] | None
    acquisitions: Mapping[int, str]
    name: str
    version: str


class ListedImage(NamedTuple):
    """One entry of a well: the image's folder in the well, and its acquisition where one is given."""

    path: str
    acquisition: int | None


class Channel(NamedTuple):
    """How ``omero`` describes a channel; empty where it does not."""

    label: str
    color: str = ""
    window: str = ""


class OwnGrid(NamedTuple):
    """What each index of an image that hcs-steps wrote stands for, and its planes (channel, z, timepoint)."""

    channels: tuple[int, ...]
    z_indices: tuple[int, ...]
    timepoints: tuple[int, ...]
    planes: frozenset[tuple[int, int, int]]


@dataclass(frozen=True)
class ImageMetadata:
    """The first multiscale of an image.

    Attributes
    ----------
    dataset
        Folder of the full-resolution array in the image's folder.
    levels
        Folders of all resolution levels, the first of which is ``dataset``.
    axes
        Names of the array's axes (t, c, z, y, x and others), empty where they are not stated.
    units
        Micrometres or seconds per unit of each axis, NaN where none is stated.
    scale, translation
        Per axis, in the axis' unit; None where they are not stated (or not usable, which ``notes`` says).
    channels
        What ``omero`` says of them.
    own
        The numbers of an image that hcs-steps wrote.
    notes
        Sentences on what could not be used.
    """

    dataset: str
    levels: tuple[str, ...]
    axes: tuple[str, ...]
    units: tuple[float, ...]
    scale: tuple[float, ...] | None
    translation: tuple[float, ...] | None
    channels: tuple[Channel, ...]
    own: OwnGrid | None
    notes: tuple[str, ...]


def attributes(document: Json) -> Json:
    """The attributes of a group's file: those of ``zarr.json`` are in a part of their own."""
    return _map(document["attributes"]) if "node_type" in document and "attributes" in document else document


def ome(document: Json) -> Json:
    """The OME attributes of a group's file."""
    own = attributes(document)
    return _map(own["ome"]) if "ome" in own else own


def plate_index(document: Json) -> PlateIndex | None:
    """The plate's index, None if the group has none."""
    found = ome(document)
    plate = _map(found.get("plate"))
    if not plate:
        return None
    wells = (_text(_map(well).get("path")).strip("/") for well in _list(plate.get("wells")))
    rows, columns = (
        [_text(_map(each).get("name")) for each in _list(plate.get(key))] for key in ("rows", "columns")
    )
    acquisitions = {
        number: _text(_map(each).get("name"))
        for each in _list(plate.get("acquisitions"))
        if (number := _whole(_map(each).get("id"))) is not None
    }
    version = _text(found.get("version")) or _text(plate.get("version"))
    return PlateIndex(
        tuple(dict.fromkeys(filter(None, wells))),
        _dimensions(rows, columns),
        acquisitions,
        _text(plate.get("name")),
        version,
    )


def listed_images(document: Json) -> tuple[ListedImage, ...] | None:
    """The images of a well, each folder once; None if the group does not list any."""
    well = _map(ome(document).get("well"))
    found: dict[str, ListedImage] = {}
    for each in map(_map, _list(well.get("images"))):
        path = _text(each.get("path")).strip("/")
        if path:
            found.setdefault(path, ListedImage(path, _whole(each.get("acquisition"))))
    return tuple(found.values()) if well else None


def image_metadata(document: Json) -> ImageMetadata:
    """The first multiscale of an image; `PlateError` if the group has none."""
    found = ome(document)
    scales = _map(next(iter(_list(found.get("multiscales"))), None))
    levels = [level for level in map(_map, _list(scales.get("datasets"))) if _text(level.get("path"))]
    if not levels:
        raise PlateError("It has no `multiscales` with a dataset.", hint="Write the image again.")
    axes, units = _axes(scales)
    notes: list[str] = []
    chain = [
        *_list(levels[0].get("coordinateTransformations")),
        *_list(scales.get("coordinateTransformations")),
    ]
    scale, translation = _affine([_map(each) for each in chain], len(axes), notes)
    return ImageMetadata(
        dataset=levels[0]["path"].strip("/"),
        levels=tuple(level["path"].strip("/") for level in levels),
        axes=axes,
        units=units,
        scale=scale,
        translation=translation,
        channels=tuple(_channel(_map(each)) for each in _list(_map(found.get("omero")).get("channels"))),
        own=_own(_map(attributes(document).get("hcs_steps"))),
        notes=tuple(notes),
    )


def image_axes(document: Json, dataset: str) -> tuple[str, ...]:
    """The axes of the array ``dataset`` of an image, empty if it is none of its levels or they are unknown."""
    for scales in map(_map, _list(ome(document).get("multiscales"))):
        if any(_text(_map(each).get("path")).strip("/") == dataset for each in _list(scales.get("datasets"))):
            return _axes(scales)[0]
    return ()


def _dimensions(rows: Sequence[str], columns: Sequence[str]) -> tuple[int, int] | None:
    """(rows, columns) if they are those of a plate from A and 1 on: some list only what was acquired."""
    whole = all(
        well_of(f"{row}/{column}") == well_of(f"{_letters(number)}/{place}")
        for number, row in enumerate(rows)
        for place, column in enumerate(columns, 1)
    )
    size = (len(rows), len(columns))
    return size if size in _ROWS_AND_COLUMNS and whole else None


def _letters(row: int) -> str:
    return chr(ord("A") + row) if row < 26 else "A" + chr(ord("A") + row - 26)


def _axes(scales: Json) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Names and units; a name that is not the usual one gives way to the axis' type."""
    names, units = [], []
    for axis in _list(scales.get("axes")):
        described = {"name": axis} if isinstance(axis, str) else _map(axis)
        name = _text(described.get("name")).strip().lower()
        if name not in AXES or len(name) != 1:
            name = _NAMES_OF_TYPES.get(_text(described.get("type")), name)
        unit = _text(described.get("unit"))
        names.append(name)
        units.append(seconds_in(unit) if name == "t" else micrometres_in(unit))
    return tuple(names), tuple(units)


def _affine(
    chain: Sequence[Json], axes: int, notes: list[str]
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """One scale and one translation for transformations that are applied in order; None where none is given."""
    scale: tuple[float, ...] | None = None
    shift: tuple[float, ...] | None = None
    for each in chain:
        kind = _text(each.get("type"))
        values = tuple(_number(value) for value in _list(each.get(kind)))
        if kind == "identity":
            continue
        if kind not in ("scale", "translation") or len(values) != axes or any(map(math.isnan, values)):
            notes.append("A coordinate transformation cannot be used; sizes and positions are unknown.")
            return None, None
        if kind == "scale":
            scale = tuple(a * b for a, b in zip(scale or (1.0,) * axes, values, strict=True))
            shift = None if shift is None else tuple(a * b for a, b in zip(shift, values, strict=True))
        else:
            shift = tuple(a + b for a, b in zip(shift or (0.0,) * axes, values, strict=True))
    return scale, shift


def _channel(described: Json) -> Channel:
    window = _map(described.get("window"))
    ends = [_number(window.get(key)) for key in ("start", "end")]
    shown = "" if any(map(math.isnan, ends)) else f"{ends[0]:g} to {ends[1]:g}"
    return Channel(_text(described.get("label")).strip(), _text(described.get("color")), shown)


def _own(described: Json) -> OwnGrid | None:
    """The numbers in the attribute ``hcs_steps`` of an image, None unless they are all there."""
    axes = [_wholes(described.get(key)) for key in ("channels", "z_indices", "timepoints")]
    planes = [_wholes(plane) for plane in _list(described.get("planes"))]
    channels, z_indices, timepoints = axes
    if channels is None or z_indices is None or timepoints is None or "planes" not in described:
        return None
    stored = frozenset((plane[0], plane[1], plane[2]) for plane in planes if plane and len(plane) == 3)
    return OwnGrid(channels, z_indices, timepoints, stored) if len(stored) == len(planes) else None


def _map(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float:
    """A finite number, else NaN; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NAN
    try:
        return float(value) if math.isfinite(value) else NAN
    except OverflowError:
        return NAN


def _whole(value: Any) -> int | None:
    """A whole number from 0 to nine digits, else None."""
    ok = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9
    return value if ok else None


def _wholes(value: Any) -> tuple[int, ...] | None:
    """A list of such numbers, else None."""
    numbers = [_whole(each) for each in value] if isinstance(value, list) else [None]
    known = tuple(each for each in numbers if each is not None)
    return known if len(known) == len(numbers) else None
