"""The layouts of Harmony exports: all images and one index in a folder ``Images``.

``harmony`` is Harmony 4 (schema V5, ``Index.idx.xml``, every image states its channel's facts), ``harmony-v7``
Harmony 5 (schema V7, ``Index.xml``, channels state them once in ``Maps``, timepoints count from 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from uuid import NAMESPACE_OID, UUID, uuid5
from xml.sax.saxutils import escape

from hcs_steps.plate.formats.harmony.names import format_image_name
from hcs_steps.plate.inventory import Plane, PlaneKey
from hcs_steps.plate.synthetic.model import START, Fact, Layout, SyntheticPlate, write_tiff
from hcs_steps.plate.wells import parse_well, sort_wells

_UM_PER_METRE = 1e6


@dataclass(frozen=True)
class _Schema:
    """What differs between the schemas; ``channel_maps`` says where a channel's facts are."""

    index: str
    namespace: str
    version: int
    first_timepoint: int
    channel_maps: bool


V5 = _Schema("Index.idx.xml", "http://www.perkinelmer.com/PEHH/HarmonyV5", 1, 0, channel_maps=False)
V7 = _Schema("Index.xml", "43B2A954-E3C3-47E1-B392-6635266B0DD3/HarmonyV7", 2, 1, channel_maps=True)


def write_harmony(folder: Path, plate: SyntheticPlate, compression: str | None, schema: _Schema = V5) -> None:
    """``Images/r01c01f01p01-ch1sk1fk1fl1.tiff`` and the index beside it, with a byte order mark."""
    images = folder / "Images"
    images.mkdir()
    (images / schema.index).write_text(index_text(plate, schema), encoding="utf-8-sig", newline="\r\n")
    for plane in plate.written:
        key = PlaneKey(*plane[:5])
        write_tiff(images / format_image_name(key), plate.pixels(key), compression=compression)


def index_text(plate: SyntheticPlate, schema: _Schema = V5) -> str:
    """The index of all planes, lost ones included."""
    planes = sorted(plate.planes, key=lambda plane: (parse_well(plane.well), *plane[1:5]))
    wells = sort_wells({plane.well for plane in planes})
    firsts = {plane.channel: plane for plane in reversed(planes)}
    channels = {channel: _channel(plate.channels[channel], firsts[channel]) for channel in sorted(firsts)}
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<EvaluationInputData xmlns:xsd="http://www.w3.org/2001/XMLSchema" Version="{schema.version}" '
        f'xmlns="{schema.namespace}">',
        "<User>synthetic</User>",
        "<InstrumentType>Phenix</InstrumentType>",
        "<Plates>",
        "<Plate>",
        _element("PlateID", escape(plate.name)),
        _element("MeasurementID", uuid5(NAMESPACE_OID, plate.name)),
        _element("MeasurementStartTime", f"{START.isoformat()}.0000000+00:00"),
        _element("Name", escape(plate.name)),
        _element("PlateTypeName", "synthetic"),
        _element("PlateRows", plate.dimensions[0]),
        _element("PlateColumns", plate.dimensions[1]),
        *(f'<Well id="{_well_id(well)}" />' for well in wells),
        "</Plate>",
        "</Plates>",
        "<Wells>",
        *(line for well, own in groupby(planes, lambda plane: plane.well) for line in _well(well, own)),
        "</Wells>",
        "<Maps>",
        *_profiles(plate.channels),
        *(_channel_map(channels) if schema.channel_maps else ()),
        "</Maps>",
        "<Images>",
    ]
    for well, own in groupby(planes, lambda plane: plane.well):
        lines += _images(well, list(own), schema, channels)
    return "\n".join([*lines, "</Images>", "</EvaluationInputData>", ""])


def _well(well: str, planes: Iterable[Plane]) -> list[str]:
    row, column = parse_well(well)
    return [
        "<Well>",
        _element("id", _well_id(well)),
        _element("Row", row + 1),
        _element("Col", column + 1),
        *(f'<Image id="{_image_id(plane)}" />' for plane in planes),
        "</Well>",
    ]


def _profiles(names: Mapping[int, str]) -> list[str]:
    """The map of flat-field profiles."""
    lines = ["<Map>"]
    for channel, name in names.items():
        text = f"{{Background: {{Character: Flat}}, Channel: {channel}, ChannelName: {name}, Version: synthetic}}"
        entry = _element("FlatfieldProfile", escape(text))
        lines += [f'<Entry ChannelID="{channel}">', entry, "</Entry>"]
    return [*lines, "</Map>"]


def _channel_map(channels: Mapping[int, Sequence[str]]) -> list[str]:
    """The map of the channels' facts."""
    lines = ["<Map>"]
    for channel, facts in channels.items():
        lines += [f'<Entry ChannelID="{channel}">', *facts, "</Entry>"]
    return [*lines, "</Map>"]


def _images(
    well: str, planes: Sequence[Plane], schema: _Schema, channels: Mapping[int, Sequence[str]]
) -> Iterator[str]:
    """The images of a well; positions count from its centre, y upwards."""
    row, column = parse_well(well)
    centre_x, centre_y = (
        (min(values) + max(values)) / 2
        for values in ([plane.x_um for plane in planes], [plane.y_um for plane in planes])
    )
    for plane in planes:
        taken = START + timedelta(seconds=plane.time_s)
        yield from (
            '<Image Version="1">',
            _element("id", _image_id(plane)),
            _element("State", "Ok"),
            _element("URL", format_image_name(PlaneKey(*plane[:5]))),
            _element("Row", row + 1),
            _element("Col", column + 1),
            _element("FieldID", plane.site),
            _element("PlaneID", plane.z_index),
            _element("TimepointID", plane.timepoint - 1 + schema.first_timepoint),
            _element("ChannelID", plane.channel),
            _element("FlimID", 1),
            *(() if schema.channel_maps else channels[plane.channel]),
            _element("PositionX", _metres(plane.x_um - centre_x), "m"),
            _element("PositionY", _metres(centre_y - plane.y_um), "m"),
            _element("PositionZ", _metres(plane.z_um), "m"),
            _element("AbsPositionZ", _metres(plane.z_um), "m"),
            _element("MeasurementTimeOffset", f"{plane.time_s:g}", "s"),
            _element("AbsTime", f"{taken.isoformat(timespec='milliseconds')}+00:00"),
            "</Image>",
        )


def _channel(name: str, plane: Plane) -> list[str]:
    """What is the same for all images of the channel of ``plane``."""
    size = _metres(plane.pixel_size_um)
    return [
        _element("ChannelName", escape(name)),
        _element("ImageType", "Signal"),
        _element("ImageResolutionX", size, "m"),
        _element("ImageResolutionY", size, "m"),
        _element("ImageSizeX", plane.width),
        _element("ImageSizeY", plane.height),
        _element("BinningX", 2),
        _element("BinningY", 2),
        _element("ObjectiveMagnification", 20, ""),
        _element("ObjectiveNA", 0.8, ""),
        _element("ExposureTime", 0.1, "s"),
    ]


def _element(name: str, text: str | float | UUID, unit: str | None = None) -> str:
    """One element; ``text`` is escaped already."""
    stated = "" if unit is None else f' Unit="{unit}"'
    return f"<{name}{stated}>{text}</{name}>"


def _metres(micrometres: float) -> str:
    return f"{micrometres / _UM_PER_METRE:.12G}"


def _well_id(well: str) -> str:
    row, column = parse_well(well)
    return f"{row + 1:02d}{column + 1:02d}"


def _image_id(plane: Plane) -> str:
    return f"{_well_id(plane.well)}K{plane.timepoint}F{plane.site}P{plane.z_index}R{plane.channel}"


def _writer(schema: _Schema) -> Callable[[Path, SyntheticPlate, str | None], None]:
    def write(folder: Path, plate: SyntheticPlate, compression: str | None) -> None:
        write_harmony(folder, plate, compression, schema)

    return write


_STATES: frozenset[Fact] = frozenset(
    {
        *("site", "z_index", "timepoint", "positions", "z_um", "time_s", "pixel_size_um"),
        *("channel_names", "dimensions", "listed"),
    }
)
HARMONY = Layout("harmony", _writer(V5), _STATES)
HARMONY_V7 = Layout("harmony", _writer(V7), _STATES)
