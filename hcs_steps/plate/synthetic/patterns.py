"""Layouts of instruments whose file names say it all: ArrayScan, Cytation, and the BBBC sets' names.

An ArrayScan counts fields and dyes from 0; here they have the plate's own numbers, from 1, so that a plate
is the same in all layouts.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from hcs_steps.plate.inventory import Plane, PlaneKey
from hcs_steps.plate.synthetic.model import START, Layout, SyntheticPlate, write_tiff
from hcs_steps.plate.wells import parse_well, row_name


def write_cellomics(folder: Path, plate: SyntheticPlate, compression: str | None) -> None:
    """``<plate>_A01f01d1.TIF``, and ``<plate>i3t001A01f01d1.TIF`` for several timepoints."""
    kinetic = len(plate.values("timepoint")) > 1
    for plane in plate.written:
        separator = f"i3t{plane.timepoint:03d}" if kinetic else "_"
        name = f"{plate.name}{separator}{plane.well}f{plane.site:02d}d{plane.channel}.TIF"
        _write(folder / name, plate, plane, compression)


def write_gen5(folder: Path, plate: SyntheticPlate, compression: str | None) -> None:
    """``A1_01_1_1_DAPI_001.tif``, or ``A1_01_1_1Z0_DAPI_001.tif`` of a stack, with Gen5's XML in each."""
    stack = len(plate.values("z_index")) > 1
    centres = _well_centres(plate)
    for plane in plate.written:
        row, column = parse_well(plane.well)
        z = f"Z{plane.z_index - 1}" if stack else ""
        channel = plate.channels[plane.channel]
        name = f"{row_name(row)}{column + 1}_01_{plane.channel}_{plane.site}{z}_{channel}_{plane.timepoint:03d}.tif"
        _write(folder / name, plate, plane, compression, gen5_text(plane, channel, centres[plane.well]))


def write_bbbc(folder: Path, plate: SyntheticPlate, compression: str | None) -> None:
    """``Channel1-14-B-02.tif``, where 14 counts the wells row by row."""
    for plane in plate.written:
        row, column = parse_well(plane.well)
        count = row * plate.dimensions[1] + column + 1
        name = f"Channel{plane.channel}-{count:02d}-{row_name(row)}-{column + 1:02d}.tif"
        _write(folder / name, plate, plane, compression)


def gen5_text(plane: Plane, channel: str, centre: tuple[float, float]) -> str:
    """The XML of one image; positions are offsets from the well's ``centre`` (x, y), and y points upwards."""
    row, column = parse_well(plane.well)
    moment = START + timedelta(seconds=plane.time_s)
    reference = {
        "Date": f"{moment:%m/%d/%y}",
        "Time": f"{moment:%H:%M:%S}",
        "Well": f"{row_name(row)}{column + 1}",
        "HorizontalOffsetMicrons": f"{plane.x_um - centre[0]:.9g}",
        "VerticalOffsetMicrons": f"{centre[1] - plane.y_um:.9g}",
    }
    acquisition = {
        "PixelWidth": plane.width,
        "PixelHeight": plane.height,
        "ImageWidthMicrons": f"{plane.width * plane.pixel_size_um:.9g}",
        "ImageHeightMicrons": f"{plane.height * plane.pixel_size_um:.9g}",
        "FocalHeightMicrons": f"{plane.z_um:.9g}",
    }
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>',
            '<BTIImageMetaData Version="34">',
            "<ImageReference>",
            *(f"<{name}>{escape(str(value))}</{name}>" for name, value in reference.items()),
            "</ImageReference>",
            "<ImageAcquisition>",
            *(f"<{name}>{value}</{name}>" for name, value in acquisition.items()),
            f"<Channel Color={quoteattr(channel)}><BrightField>FALSE</BrightField></Channel>",
            "</ImageAcquisition>",
            "</BTIImageMetaData>",
        ]
    )


def _well_centres(plate: SyntheticPlate) -> dict[str, tuple[float, float]]:
    """The middle (x, y) of the positions of each well."""
    places: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for plane in plate.planes:
        places[plane.well].append((plane.x_um, plane.y_um))
    return {
        well: (_middle([x for x, _ in own]), _middle([y for _, y in own])) for well, own in places.items()
    }


def _middle(values: list[float]) -> float:
    return (min(values) + max(values)) / 2


def _write(path: Path, plate: SyntheticPlate, plane: Plane, compression: str | None, text: str = "") -> None:
    write_tiff(path, plate.pixels(PlaneKey(*plane[:5])), compression=compression, description=text)


CELLOMICS = Layout("cellomics", write_cellomics, frozenset({"site", "timepoint"}))
GEN5 = Layout(
    "gen5",
    write_gen5,
    frozenset({"site", "z_index", "timepoint", "positions", "pixel_size_um", "channel_names"}),
    any_channel_name=False,
)
BBBC = Layout("bbbc", write_bbbc, frozenset())
