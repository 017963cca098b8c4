"""The layout of an Olympus ScanR: images in ``data/``, ``experiment_descriptor.xml`` and ``AcquisitionLog.dat``."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from hcs_steps.plate.inventory import Plane, PlaneKey
from hcs_steps.plate.synthetic.model import Layout, SyntheticPlate, write_tiff
from hcs_steps.plate.wells import parse_well, row_name, sort_wells


def write_scanr(folder: Path, plate: SyntheticPlate, compression: str | None) -> None:
    """``data/A1--W00001--P00001--Z00000--T00000--DAPI.tif``; the log's y runs upwards."""
    (folder / "experiment_descriptor.xml").write_bytes(
        _descriptor(plate).encode("latin-1", "xmlcharrefreplace")
    )
    (folder / "AcquisitionLog.dat").write_bytes(_log(plate).encode("latin-1"))
    for plane in plate.written:
        label, number = _well(plate, plane.well)
        name = (
            f"{label}--W{number:05d}--P{plane.site:05d}--Z{plane.z_index - 1:05d}--T{plane.timepoint - 1:05d}"
            f"--{plate.channels[plane.channel]}.tif"
        )
        write_tiff(folder / "data" / name, plate.pixels(PlaneKey(*plane[:5])), compression=compression)


def _well(plate: SyntheticPlate, well: str) -> tuple[str, int]:
    """The well's label and number."""
    row, column = parse_well(well)
    return f"{row_name(row)}{column + 1}", row * plate.dimensions[1] + column + 1


def _descriptor(plate: SyntheticPlate) -> str:
    """LabVIEW's XML, in Latin-1 without saying so."""
    rows, columns = plate.dimensions
    wells = [_well(plate, well) for well in sort_wells(plane.well for plane in plate.planes)]
    table = [
        f"<String><Name></Name><Val>{value}</Val></String>"
        for label, number in wells
        for value in (number, label)
    ]
    channels = [
        "<Cluster><Name></Name><NumElts>2</NumElts>"
        f"<String><Name>name</Name><Val>{escape(name)}</Val></String>"
        "<Boolean><Name>idle</Name><Val>0</Val></Boolean></Cluster>"
        for name in plate.channels.values()
    ]
    return "\n".join(
        [
            "<LVData><Cluster><Name>experiment</Name>",
            f"<String><Name>plate name</Name><Val>{escape(plate.name)}</Val></String>",
            "<Cluster><Name>format typedef</Name>",
            f"<I32><Name>Rows</Name><Val>{rows}</Val></I32><I32><Name>Columns</Name><Val>{columns}</Val></I32>",
            "</Cluster>",
            f"<Array><Name>well selection table + cDNA</Name><Dimsize>{len(wells)}</Dimsize><Dimsize>2</Dimsize>",
            *table,
            "</Array>",
            "<DBL><Name>conversion factor um/pixel</Name>"
            f"<Val>{plate.planes[0].pixel_size_um:.7f}</Val></DBL>",
            *channels,
            "</Cluster></LVData>",
        ]
    )


def _log(plate: SyntheticPlate) -> str:
    """One line per well, site, z plane and timepoint, whatever its channels."""
    first: dict[tuple[str, int, int, int], Plane] = {}
    for plane in plate.planes:
        first.setdefault((plane.well, plane.site, plane.z_index, plane.timepoint), plane)
    lines = [
        f"IMAGEPOS\tW={_well(plate, plane.well)[1]}\tP={plane.site}\tT={plane.timepoint - 1}\tZ={plane.z_index - 1}"
        f"\tIMAGEX={plane.x_um:.4f}\tIMAGEY={-plane.y_um:.4f}\tIMAGEZ={plane.z_um:.4f}\tTIME={plane.time_s:.3f}"
        for plane in first.values()
    ]
    return "\r\n".join(["BEGINACQUISITION", *lines, "ENDACQUISITION", ""])


SCANR = Layout(
    "scanr",
    write_scanr,
    frozenset(
        {
            "site", "z_index", "timepoint", "positions", "z_um", "time_s", "pixel_size_um", "channel_names",
            "dimensions",
        }
    ),
    any_channel_name=False,
)  # fmt: skip
