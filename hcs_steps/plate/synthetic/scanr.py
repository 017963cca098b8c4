"""The layout of an Olympus ScanR: images in ``data/`` and ``experiment_descriptor.xml``."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from hcs_steps.plate.inventory import PlaneKey
from hcs_steps.plate.synthetic.model import Layout, SyntheticPlate, write_tiff
from hcs_steps.plate.wells import parse_well, row_name


def write_scanr(folder: Path, plate: SyntheticPlate, compression: str | None) -> None:
    """``data/A1--W00001--P00001--Z00000--T00000--DAPI.tif``; the descriptor is Latin-1 without saying so."""
    rows, columns = plate.dimensions
    pairs = {
        "plate name": plate.name,
        "Rows": rows,
        "Columns": columns,
        "conversion factor um/pixel": f"{plate.planes[0].pixel_size_um:.7f}",
    }
    lines = [f"<DBL><Name>{key}</Name><Val>{escape(str(value))}</Val></DBL>" for key, value in pairs.items()]
    channels = [
        f"<Cluster><String><Name>name</Name><Val>{escape(name)}</Val></String></Cluster>"
        for name in plate.channels.values()
    ]
    text = "\n".join(["<LVData><Cluster><Name>experiment</Name>", *lines, *channels, "</Cluster></LVData>"])
    (folder / "experiment_descriptor.xml").write_bytes(text.encode("latin-1", "xmlcharrefreplace"))
    for plane in plate.written:
        row, column = parse_well(plane.well)
        name = (
            f"{row_name(row)}{column + 1}--W{row * columns + column + 1:05d}--P{plane.site:05d}"
            f"--Z{plane.z_index - 1:05d}--T{plane.timepoint - 1:05d}--{plate.channels[plane.channel]}.tif"
        )
        write_tiff(folder / "data" / name, plate.pixels(PlaneKey(*plane[:5])), compression=compression)


SCANR = Layout(
    "scanr",
    write_scanr,
    frozenset({"site", "z_index", "timepoint", "pixel_size_um", "channel_names", "dimensions"}),
    any_channel_name=False,
)
