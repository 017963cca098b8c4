"""The index of a Harmony measurement: ``Index.idx.xml`` (Harmony 3 and 4) or ``Index.xml`` (Harmony 5).

The schemas HarmonyV1 to HarmonyV7 differ in their namespace (V7: ``43B2A954-.../HarmonyV7``), in the order of
elements and in where the facts of a channel are: up to V5 in every ``Image``, from V6 on once per channel in
``Maps/Map/Entry``, in whichever ``Map`` (Bio-Formats, pull request 3734). So elements are known by their local
names, in any order, and what an image says of itself counts before what its channel's entry says.

Rows, columns, fields, planes and channels count from 1. ``PositionX`` and ``PositionY`` are metres from the
well's centre with y *upwards* (the field with the largest y is the top one; ``OrientationMatrix``, which leads to
the stage, has a negative y), and are turned here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from hcs_steps.errors import PlateError
from hcs_steps.plate.inventory import NAN
from hcs_steps.plate.units import micrometres_in, number, seconds_in, whole
from hcs_steps.plate.xml_files import attributes, children, iter_xml, local

_CHANNEL_FACTS = {
    "ChannelName": "name",
    "ExposureTime": "exposure",
    "MainExcitationWavelength": "excitation",
    "MainEmissionWavelength": "emission",
    "ObjectiveMagnification": "objective",
    "ObjectiveNA": "numerical_aperture",
    "BinningX": "binning",
    "AcquisitionType": "acquisition",
}
_PLATE_FACTS = {
    "PlateID": "plate_id",
    "Name": "plate_name",
    "PlateTypeName": "plate_type",
    "MeasurementID": "measurement_id",
    "MeasurementStartTime": "started",
}
_IMAGE_FIELDS = frozenset(
    {
        *("URL", "State", "Row", "Col", "FieldID", "ChannelID", "PlaneID", "TimepointID", "FlimID"),
        *("PositionX", "PositionY", "PositionZ", "AbsPositionZ", "ImageResolutionX"),
        *("MeasurementTimeOffset", "AbsTime"),
        *_CHANNEL_FACTS,
    }
)


class IndexEntry(NamedTuple):
    """One image of an index; -1, empty or NaN where it does not say.

    ``row``, ``column``, ``site``, ``channel`` and ``z_index`` count from 1, ``timepoint`` from 0 or 1. ``x_um``
    and ``y_um`` are right and *down*; ``offset_s`` are seconds since the measurement of the well or the timepoint
    began, ``clock_s`` seconds since 1970.
    """

    url: str
    state: str
    row: int
    column: int
    site: int
    channel: int
    z_index: int
    timepoint: int
    flim: int
    pixel_size_um: float
    x_um: float
    y_um: float
    z_um: float
    offset_s: float
    clock_s: float


@dataclass(frozen=True)
class HarmonyIndex:
    """What one index says.

    Attributes
    ----------
    entries
        All images, in the file's order.
    channels
        Channel -> its facts as text: ``name``, ``exposure``, ``objective`` ...
    names
        Every (channel, name) that images or entries state; a channel may have been renamed on the way.
    profiles
        Channel -> text of its flat-field profile.
    plate
        Facts of the plate: ``plate_id``, ``plate_type``, ``started``, ``schema``, ``instrument`` ...
    dimensions
        (rows, columns) of the plate, or None.
    """

    entries: tuple[IndexEntry, ...]
    channels: Mapping[int, Mapping[str, str]]
    names: frozenset[tuple[int, str]]
    profiles: Mapping[int, str]
    plate: Mapping[str, str]
    dimensions: tuple[int, int] | None


def read_index(path: Path, *, max_bytes: int) -> HarmonyIndex:
    """Read an index. `PlateError` if it is damaged anywhere, is not safe, or lists no images."""
    reading = _Reading()
    for element in iter_xml(path, "InstrumentType", "Plate", "Entry", "Image", max_bytes=max_bytes):
        match local(element.tag):
            # A well lists its images once more, by an empty element each.
            case "Image" if len(element):
                reading.add_image(element)
            case "Entry":
                reading.add_channel(element)
            case "Plate":
                reading.plate = reading.plate or children(element)
            case "InstrumentType":
                reading.instrument = (element.text or "").strip()
    if not reading.entries:
        raise PlateError(f"{path} lists no images.", hint="Export the measurement again.")
    return reading.finished()


def read_profiles(path: Path) -> dict[int, str]:
    """Channel -> text of its flat-field profile, from an index or a file in ``FFC_Profile``."""
    reading = _Reading()
    for element in iter_xml(path, "Entry"):
        reading.add_channel(element)
    return reading.profiles


class _Fields(dict[str, str]):
    """Tag -> its local name if that is one of an image's fields, else empty; each tag is looked at once."""

    def __missing__(self, tag: str) -> str:
        name = local(tag)
        self[tag] = known = name if name in _IMAGE_FIELDS else ""
        return known


class _Reading:
    """What was read so far."""

    def __init__(self) -> None:
        self.entries: list[IndexEntry] = []
        self.images: dict[int, dict[str, str]] = {}
        self.maps: dict[int, dict[str, str]] = {}
        self.map_sizes: dict[int, float] = {}
        self.names: set[tuple[int, str]] = set()
        self.profiles: dict[int, str] = {}
        self.plate: dict[str, str] = {}
        self.instrument = ""
        self.schema = ""
        self._fields = _Fields()

    def add_image(self, image: Element) -> None:
        fields = self._named(image)
        text = {name: child.text for name, child in fields.items()}
        channel = whole(text.get("ChannelID"), -1)
        if channel not in self.images:
            self.images[channel] = _channel_facts(fields)
            self.schema = self.schema or image.tag.rpartition("}")[0].rpartition("/")[2]
        if name := text.get("ChannelName"):
            self.names.add((channel, name.strip()))
        focus = _micrometres(fields.get("AbsPositionZ"))
        self.entries.append(
            IndexEntry(
                url=(text.get("URL") or "").strip(),
                state=(text.get("State") or "").strip(),
                row=whole(text.get("Row"), -1),
                column=whole(text.get("Col"), -1),
                site=whole(text.get("FieldID"), -1),
                channel=channel,
                z_index=whole(text.get("PlaneID"), -1),
                timepoint=whole(text.get("TimepointID"), -1),
                flim=whole(text.get("FlimID"), -1),
                pixel_size_um=_positive(_micrometres(fields.get("ImageResolutionX"))),
                x_um=_micrometres(fields.get("PositionX")),
                y_um=0.0 - _micrometres(fields.get("PositionY")),
                z_um=_micrometres(fields.get("PositionZ")) if math.isnan(focus) else focus,
                offset_s=_seconds(fields.get("MeasurementTimeOffset")),
                clock_s=_clock(text.get("AbsTime")),
            )
        )

    def add_channel(self, entry: Element) -> None:
        channel = whole(attributes(entry).get("ChannelID"), -1)
        fields = self._named(entry)
        for name, value in _channel_facts(fields).items():
            self.maps.setdefault(channel, {}).setdefault(name, value)
            if name == "name":
                self.names.add((channel, value))
        size = _positive(_micrometres(fields.get("ImageResolutionX")))
        if not math.isnan(size):
            self.map_sizes.setdefault(channel, size)
        profile = children(entry).get("FlatfieldProfile")
        if profile:
            self.profiles.setdefault(channel, profile)

    def finished(self) -> HarmonyIndex:
        rows, columns = whole(self.plate.get("PlateRows")), whole(self.plate.get("PlateColumns"))
        facts = {fact: self.plate.get(name, "") for name, fact in _PLATE_FACTS.items()}
        facts |= {"schema": self.schema, "instrument": self.instrument}
        return HarmonyIndex(
            entries=tuple(map(self._with_channel, self.entries)),
            channels={
                channel: self.maps.get(channel, {}) | self.images[channel] for channel in sorted(self.images)
            },
            names=frozenset(self.names),
            profiles=self.profiles,
            plate={fact: value for fact, value in facts.items() if value},
            dimensions=(rows, columns) if rows and columns else None,
        )

    def _with_channel(self, entry: IndexEntry) -> IndexEntry:
        if math.isnan(entry.pixel_size_um) and entry.channel in self.map_sizes:
            return entry._replace(pixel_size_um=self.map_sizes[entry.channel])
        return entry

    def _named(self, element: Element) -> dict[str, Element]:
        fields: dict[str, Element] = {}
        for child in element:
            name = self._fields[child.tag]
            if name:
                fields.setdefault(name, child)
        return fields


def _channel_facts(fields: Mapping[str, Element]) -> dict[str, str]:
    """The facts of a channel as text, numbers with their unit."""
    facts = {}
    for name, fact in _CHANNEL_FACTS.items():
        if name in fields and (text := (fields[name].text or "").strip()):
            facts[fact] = f"{text} {fields[name].get('Unit', '')}".strip()
    if "objective" in facts:
        facts["objective"] += "x"
    return facts


def _micrometres(element: Element | None) -> float:
    """A length; metres where it has no unit."""
    return NAN if element is None else number(element.text) * micrometres_in(element.get("Unit") or "m")


def _seconds(element: Element | None) -> float:
    return NAN if element is None else number(element.text) * seconds_in(element.get("Unit") or "s")


def _clock(text: str | None) -> float:
    """Seconds since 1970 of a moment; without a time zone it counts as UTC. NaN if there is none."""
    try:
        moment = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return NAN
    # Harmony's software writes the year 1 for a moment that it does not know.
    if moment.year < 1970:
        return NAN
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _positive(value: float) -> float:
    return value if value > 0 else NAN
