"""Layouts of MetaXpress: its exports (TimePoint and ZStep folders, an HTD file) and its database's own folders.

Either has MetaSeries XML in each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from hcs_steps.plate.formats.imagexpress.names import ImageName, format_image_name
from hcs_steps.plate.inventory import Plane, PlaneKey
from hcs_steps.plate.synthetic.model import START, Layout, SyntheticPlate, write_tiff
from hcs_steps.plate.wells import parse_well, plate_dimensions, sort_wells


def write_imagexpress(folder: Path, plate: SyntheticPlate, compression: str | None) -> None:
    """``TimePoint_<t>/[ZStep_<z>/]<plate>_A01_s1_w1.TIF`` and ``<plate>.HTD``."""
    depth = len(plate.values("z_index"))
    plan = htd_text(
        sort_wells(plane.well for plane in plate.planes),
        sites=plate.site_grid,
        channels=list(plate.channels.values()),
        z=depth,
        timepoints=len(plate.values("timepoint")),
        dimensions=plate.dimensions,
    )
    (folder / f"{plate.name}.HTD").write_bytes(plan.encode("latin-1"))
    for plane in plate.written:
        place = folder / f"TimePoint_{plane.timepoint}" / (f"ZStep_{plane.z_index}" if depth > 1 else "")
        name = ImageName(plate.name, plane.well, plane.site, plane.channel, guid="", thumbnail=False)
        pixels = plate.pixels(PlaneKey(*plane[:5]))
        write_tiff(
            place / format_image_name(name), pixels, compression=compression, description=_text(plate, plane)
        )


def write_database(folder: Path, plate: SyntheticPlate, compression: str | None) -> None:
    """``2024-01-01/1334/[TimePoint_<t>/][ZStep_<z>/]<plate>_A01_s1_w1<GUID>.tif``, each with a ``_thumb`` twin."""
    acquisition = folder / f"{START:%Y-%m-%d}" / "1334"
    depth, times = len(plate.values("z_index")), len(plate.values("timepoint"))
    for plane in plate.written:
        place = acquisition / (f"TimePoint_{plane.timepoint}" if times > 1 else "")
        place /= f"ZStep_{plane.z_index}" if depth > 1 else ""
        pixels = plate.pixels(PlaneKey(*plane[:5]))
        for thumbnail in (False, True):
            identity = f"{plate.name} {plane[:5]} {thumbnail}"
            guid = str(uuid5(NAMESPACE_URL, identity)).upper()
            name = ImageName(plate.name, plane.well, plane.site, plane.channel, guid, thumbnail)
            write_tiff(
                place / format_image_name(name, ".tif"),
                pixels[::4, ::4] if thumbnail else pixels,
                compression=compression,
                description=_text(plate, plane),
            )


def _text(plate: SyntheticPlate, plane: Plane) -> str:
    return metaseries_text(
        plane.well,
        plane.site,
        plate.channels[plane.channel],
        position_um=(plane.x_um, plane.y_um, plane.z_um),
        pixel_size_um=plane.pixel_size_um,
        shape=(plane.height, plane.width),
        acquired=START + timedelta(seconds=plane.time_s),
    )


def htd_text(
    wells: Sequence[str],
    *,
    sites: tuple[int, int],
    channels: Sequence[str],
    z: int = 1,
    timepoints: int = 1,
    dimensions: tuple[int, int] | None = None,
) -> str:
    """The text of an HTD file with CRLF line ends; all cells of the site grid are selected."""
    rows, columns = dimensions or plate_dimensions(wells)
    selected = {parse_well(well) for well in wells}
    lines = ['"HTSInfoFile", Version 1.0', '"Description", "synthetic"', '"PlateType", 2']
    lines += [f'"TimePoints", {timepoints}', f'"ZSeries", {_flag(z > 1)}', f'"ZSteps", {z if z > 1 else 0}']
    lines += ['"ZProjection", FALSE', f'"XWells", {columns}', f'"YWells", {rows}']
    for row in range(rows):
        flags = ", ".join(_flag((row, column) in selected) for column in range(columns))
        lines.append(f'"WellsSelection{row + 1}", {flags}')
    lines += [f'"Sites", {_flag(sites != (1, 1))}', f'"XSites", {sites[1]}', f'"YSites", {sites[0]}']
    lines += [f'"SiteSelection{row + 1}", {", ".join(["TRUE"] * sites[1])}' for row in range(sites[0])]
    lines += [f'"Waves", {_flag(len(channels) > 1)}', f'"NWavelengths", {len(channels)}']
    lines += [f'"WaveName{number}", "{name}"' for number, name in enumerate(channels, 1)]
    lines += [f'"WaveCollect{number}", 1' for number in range(1, len(channels) + 1)]
    return "\r\n".join([*lines, '"UniquePlateIdentifier", "synthetic"', '"EndFile"', ""])


def metaseries_text(
    well: str,
    site: int,
    channel: str,
    *,
    position_um: tuple[float, float, float],
    pixel_size_um: float,
    shape: tuple[int, int],
    acquired: datetime = START,
) -> str:
    """The MetaSeries XML of one image; ``position_um`` is (x, y, z) of the stage at the field's centre."""
    x, y, z = position_um
    properties = [
        ("pixel-size-x", "int", shape[1]),
        ("pixel-size-y", "int", shape[0]),
        ("bits-per-pixel", "int", 16),
        ("spatial-calibration-state", "bool", "on"),
        ("spatial-calibration-x", "float", f"{pixel_size_um:.6g}"),
        ("spatial-calibration-y", "float", f"{pixel_size_um:.6g}"),
        ("spatial-calibration-units", "string", "um"),
        ("image-name", "string", channel),
        ("acquisition-time-local", "time", f"{acquired:%Y%m%d %H:%M:%S}.{acquired.microsecond // 1000:03d}"),
        ("stage-position-x", "float", f"{x:.9g}"),
        ("stage-position-y", "float", f"{y:.9g}"),
        ("stage-label", "string", f"{well} : Site {site}"),
        ("z-position", "float", f"{z:.9g}"),
        ("_IllumSetting_", "string", channel),
    ]
    lines = [
        f'<prop id="{name}" type="{kind}" value="{escape(str(value))}"/>' for name, kind, value in properties
    ]
    return "\n".join(["<MetaData>", "<PlaneInfo>", *lines, "</PlaneInfo>", "</MetaData>"])


def _flag(value: bool) -> str:
    return "TRUE" if value else "FALSE"


IMAGEXPRESS = Layout(
    "imagexpress",
    write_imagexpress,
    frozenset(
        {
            "site",
            "z_index",
            "timepoint",
            "positions",
            "pixel_size_um",
            "channel_names",
            "dimensions",
            "site_list",
        }
    ),
)

IMAGEXPRESS_DATABASE = Layout("imagexpress", write_database, IMAGEXPRESS.states - {"dimensions", "site_list"})
