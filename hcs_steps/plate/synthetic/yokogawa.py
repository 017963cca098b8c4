"""The layouts of a CellVoyager measurement (``.mlf``, ``.mrf``, ``.mes``, ``.wpi``) and of a CQ1's (OME-XML)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from hcs_steps.plate.inventory import Plane, PlaneKey
from hcs_steps.plate.synthetic.model import START, Layout, SyntheticPlate, write_tiff
from hcs_steps.plate.wells import parse_well

_BTS = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'
_OME = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2013-06"'
_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'
SHADING = "SC_BP445-45_20x_M01_CH01.tif"
DARK = "DC_DCAM#1_CAM1.tif"


def write_yokogawa(folder: Path, plate: SyntheticPlate, compression: str | None) -> None:
    """``<plate>_A01_T0001F001L01A01Z01C01.tif`` and the metadata files; one dark and one shading image."""
    (folder / "MeasurementData.mlf").write_text(_mlf(plate), encoding="utf-8")
    texts = {
        "MeasurementDetail.mrf": _mrf(plate),
        "settings.mes": _mes(plate),
        f"{plate.name}.wpi": _wpi(plate),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8-sig")
    for plane in plate.written:
        pixels = plate.pixels(PlaneKey(*plane[:5]))
        write_tiff(folder / cellvoyager_name(plate.name, plane), pixels, compression=compression)
    first = PlaneKey(*plate.planes[0][:5])
    for name in (SHADING, DARK):
        write_tiff(folder / name, plate.pixels(first), compression=compression)


def write_cq1(folder: Path, plate: SyntheticPlate, compression: str | None) -> None:
    """``Image/W0001F0001T0001Z001C1.tif`` and ``MeasurementResult.ome.xml``."""
    (folder / "MeasurementResult.ome.xml").write_text(_ome(plate), encoding="utf-8")
    for plane in plate.written:
        pixels = plate.pixels(PlaneKey(*plane[:5]))
        write_tiff(folder / cq1_name(plane, plate.dimensions[1]), pixels, compression=compression)


def cellvoyager_name(plate: str, plane: Plane) -> str:
    """The file name of a plane; each channel is an action of its own."""
    return (
        f"{plate}_{plane.well}_T{plane.timepoint:04d}F{plane.site:03d}L01A{plane.channel:02d}"
        f"Z{plane.z_index:02d}C{plane.channel:02d}.tif"
    )


def cq1_name(plane: Plane, columns: int) -> str:
    """The path of a plane, whose well is numbered row by row over so many ``columns``."""
    row, column = parse_well(plane.well)
    numbers = f"F{plane.site:04d}T{plane.timepoint:04d}Z{plane.z_index:03d}C{plane.channel}"
    return f"Image/W{row * columns + column + 1:04d}{numbers}.tif"


def _bts(name: str, attributes: Mapping[str, object], content: str = "") -> str:
    """An element, whose attributes all have the prefix that Yokogawa gives them."""
    stated = "".join(f" bts:{key}={quoteattr(str(value))}" for key, value in attributes.items())
    return f"<bts:{name}{stated}>{content}</bts:{name}>" if content else f"<bts:{name}{stated} />"


def _document(name: str, attributes: Mapping[str, object], lines: Iterable[str] = ()) -> str:
    stated = "".join(f" bts:{key}={quoteattr(str(value))}" for key, value in attributes.items())
    return (
        f"{_HEAD}<bts:{name}{stated} {_BTS}>\n" + "".join(f"{line}\n" for line in lines) + f"</bts:{name}>\n"
    )


def _mlf(plate: SyntheticPlate) -> str:
    action = "3D" if len(plate.values("z_index")) > 1 else "2D"
    return _document(
        "MeasurementData", {"Version": "1.0"}, (_record(plate, plane, action) for plane in plate.planes)
    )


def _record(plate: SyntheticPlate, plane: Plane, action: str) -> str:
    row, column = parse_well(plane.well)
    stated = {
        "Type": "IMG",
        "Time": _time(plane.time_s),
        "Column": column + 1,
        "Row": row + 1,
        "TimePoint": plane.timepoint,
        "FieldIndex": plane.site,
        "ZIndex": plane.z_index,
        "TimelineIndex": 1,
        "ActionIndex": plane.channel,
        "Action": action,
        "X": f"{plane.x_um:.4f}",
        "Y": f"{-plane.y_um:.4f}",
        "Z": f"{plane.z_um:.4f}",
        "Ch": plane.channel,
    }
    return _bts("MeasurementRecord", stated, escape(cellvoyager_name(plate.name, plane)))


def _mrf(plate: SyntheticPlate) -> str:
    plane = plate.planes[0]
    stated = {
        "Version": "1.0",
        "OperatorName": "synthetic",
        "Title": plate.name,
        "BeginTime": _time(0),
        "EndTime": _time(max(each.time_s for each in plate.planes)),
        "MeasurementSettingFileName": "settings.mes",
        "ColumnCount": plate.dimensions[1],
        "RowCount": plate.dimensions[0],
        "TimePointCount": len(plate.values("timepoint")),
        "FieldCount": len(plate.values("site")),
        "ZCount": len(plate.values("z_index")),
        "TargetSystem": "CV8000",
    }
    names = {"Name": plate.name, "WellPlateFileName": f"{plate.name}.wpi", "WellPlateProductFileName": ""}
    channels = [
        {
            "Ch": channel,
            "HorizontalPixelDimension": plane.pixel_size_um,
            "VerticalPixelDimension": plane.pixel_size_um,
            "CameraNumber": 1,
            "InputBitDepth": 16,
            "HorizontalPixels": plane.width,
            "VerticalPixels": plane.height,
            "ShadingCorrectionSource": SHADING if channel == 1 else "",
        }
        for channel in plate.channels
    ]
    lines = [_bts("MeasurementSamplePlate", names), *(_bts("MeasurementChannel", each) for each in channels)]
    return _document("MeasurementDetail", stated, lines)


def _mes(plate: SyntheticPlate) -> str:
    sources = [
        _bts("LightSource", {"Name": f"{length}nm", "Type": "Laser", "WaveLength": length, "Power": 50})
        for length in (405, 488)
    ]
    channels = [
        _bts(
            "Channel",
            {
                "Ch": channel,
                "Target": 405,
                "Objective": "20x",
                "Magnification": 20,
                "Acquisition": "BP445/45",
                "ExposureTime": 100,
                "Binning": 1,
                "Fluorophore": name,
            },
            _bts("LightSourceName", {}, "405nm"),
        )
        for channel, name in plate.channels.items()
    ]
    lists = [_bts("LightSourceList", {}, "".join(sources)), _bts("ChannelList", {}, "".join(channels))]
    return _document("MeasurementSetting", {"Version": "1.0"}, lists)


def _wpi(plate: SyntheticPlate) -> str:
    rows, columns = plate.dimensions
    return _document("WellPlate", {"Version": "1.0", "Name": plate.name, "Columns": columns, "Rows": rows})


def _time(seconds: float) -> str:
    moment: datetime = START.replace(tzinfo=UTC) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds")


def _ome(plate: SyntheticPlate) -> str:
    fields: defaultdict[tuple[str, int], list[Plane]] = defaultdict(list)
    for plane in plate.planes:
        fields[plane.well, plane.site].append(plane)
    title = '<Image ID="Image:0" Name="TitleImage"><Pixels ID="Pixels:0" Type="uint16" SizeX="16" SizeY="16"/></Image>'
    images = [
        _ome_image(plate, number, well, site, planes)
        for number, ((well, site), planes) in enumerate(fields.items(), 1)
    ]
    rows, columns = plate.dimensions
    end = f'<Plate ID="Plate:0" Name={quoteattr(plate.name)} Rows="{rows}" Columns="{columns}"/>'
    return "\n".join([f"{_HEAD}<OME {_OME}>", title, *images, end, "</OME>", ""])


def _ome_image(plate: SyntheticPlate, number: int, well: str, site: int, planes: list[Plane]) -> str:
    (row, column), columns = parse_well(well), plate.dimensions[1]
    name = f"W{row * columns + column + 1}(R{row + 1}C{column + 1}),A1,F{site}"
    channels = [
        f'<Channel ID="Channel:{number}:{channel - 1}" Name={quoteattr(name)}/>'
        for channel, name in plate.channels.items()
    ]
    files, positions = [], []
    for plane in planes:
        c, z, t = plane.channel - 1, plane.z_index - 1, plane.timepoint - 1
        files.append(
            f'<TiffData IFD="0" FirstC="{c}" FirstZ="{z}" FirstT="{t}" PlaneCount="1">'
            f'<UUID FileName="{cq1_name(plane, columns)}"/></TiffData>'
        )
        positions.append(
            f'<Plane TheC="{c}" TheZ="{z}" TheT="{t}" PositionX="{plane.x_um:.4f}" '
            f'PositionY="{-plane.y_um:.4f}" PositionZ="{plane.z_um:.4f}"/>'
        )
    size = planes[0].pixel_size_um
    pixels = (
        f'<Pixels ID="Pixels:{number}" Type="uint16" SizeX="{planes[0].width}" SizeY="{planes[0].height}" '
        f'PhysicalSizeX="{size}" PhysicalSizeY="{size}">'
    )
    lines = [f'<Image ID="Image:{number}" Name="{name}">{pixels}', *channels, *files, *positions]
    return "\n".join([*lines, "</Pixels></Image>"])


YOKOGAWA = Layout(
    "yokogawa",
    write_yokogawa,
    frozenset(
        {
            *("site", "z_index", "timepoint", "positions", "z_um", "time_s"),
            *("pixel_size_um", "channel_names", "dimensions", "listed"),
        }
    ),
)
CQ1 = Layout(
    "cq1",
    write_cq1,
    frozenset(
        {
            *("site", "z_index", "timepoint", "positions", "z_um"),
            *("pixel_size_um", "channel_names", "dimensions", "listed"),
        }
    ),
)
