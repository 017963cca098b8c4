"""The layout of an OME-TIFF plate: a ``.companion.ome`` for all, and a file of many pages for every site.

The files hold references to the companion alone, as the OME-TIFF specification recommends for file sets of many
files. A plane that is lost has no ``TiffData``; a site that lost all its planes has no file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5
from xml.sax.saxutils import quoteattr

from hcs_steps.plate.inventory import Plane, PlaneKey
from hcs_steps.plate.synthetic.model import START, Layout, SyntheticPlate
from hcs_steps.plate.wells import parse_well

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"

Site = tuple[str, int]


def write_ome_tiff(folder: Path, plate: SyntheticPlate, compression: str | None) -> None:
    """``<plate>_B02_s1.ome.tif`` for every site, pages in the order z, channel, time; ``<plate>.companion.ome``."""
    pages: dict[Site, list[Plane]] = {}
    for plane in plate.planes:
        pages.setdefault((plane.well, plane.site), [])
    for _, planes in groupby(plate.written, key=lambda plane: plane.well):
        pictures: defaultdict[Site, list[tuple[Plane, NDArray[Any]]]] = defaultdict(list)
        for plane in planes:
            pictures[plane.well, plane.site].append((plane, plate.pixels(PlaneKey(*plane[:5]))))
        for site, stored in pictures.items():
            stored.sort(key=lambda pair: (pair[0].timepoint, pair[0].channel, pair[0].z_index))
            pages[site] += [plane for plane, _ in stored]
            _write_file(folder, plate, site, [picture for _, picture in stored], compression)
    (folder / _companion(plate)).write_text("\n".join(_document(plate, pages)), encoding="utf-8")


def _write_file(
    folder: Path, plate: SyntheticPlate, site: Site, pages: Sequence[NDArray[Any]], compression: str | None
) -> None:
    import tifffile

    stub = (
        f'<OME xmlns="{_NAMESPACE}" UUID="{_uuid(plate, *site)}">'
        f'<BinaryOnly MetadataFile={quoteattr(_companion(plate))} UUID="{_uuid(plate)}"/></OME>'
    )
    with tifffile.TiffWriter(folder / _file(plate, site)) as writer:
        for number, page in enumerate(pages):
            writer.write(
                page,
                description=None if number else stub.encode(),
                metadata=None,
                compression=compression,
                software=False,
                photometric="minisblack",
            )


def _document(plate: SyntheticPlate, pages: dict[Site, list[Plane]]) -> Iterator[str]:
    yield f'<?xml version="1.0" encoding="UTF-8"?>\n<OME xmlns="{_NAMESPACE}" UUID="{_uuid(plate)}">'
    rows, columns = plate.dimensions
    yield f'<Plate ID="Plate:0" Name={quoteattr(plate.name)} Rows="{rows}" Columns="{columns}">'
    numbers = {site: number for number, site in enumerate(pages)}
    for number, (well, sites) in enumerate(groupby(pages, key=lambda site: site[0])):
        row, column = parse_well(well)
        yield f'<Well ID="Well:0:{number}" Row="{row}" Column="{column}">'
        for site in sites:
            yield f'<WellSample ID="WellSample:0:{number}:{site[1] - 1}" Index="{numbers[site]}">'
            yield f'<ImageRef ID="Image:{numbers[site]}"/></WellSample>'
        yield "</Well>"
    yield "</Plate>"
    counts = {"C": plate.channels, "Z": plate.values("z_index"), "T": plate.values("timepoint")}
    sizes = " ".join(f'Size{axis}="{len(values)}"' for axis, values in counts.items())
    for site, number in numbers.items():
        yield from _image(plate, site, number, pages[site], sizes)
    yield "</OME>"


def _image(
    plate: SyntheticPlate, site: Site, number: int, pages: Sequence[Plane], sizes: str
) -> Iterator[str]:
    first = plate.planes[0]
    name = quoteattr(f"Well {site[0]}, Field {site[1]}")
    yield f'<Image ID="Image:{number}" Name={name}><AcquisitionDate>{START.isoformat()}</AcquisitionDate>'
    yield (
        f'<Pixels ID="Pixels:{number}" DimensionOrder="XYZCT" Type="uint16" SizeX="{first.width}" '
        f'SizeY="{first.height}" {sizes} PhysicalSizeX="{first.pixel_size_um}" '
        f'PhysicalSizeY="{first.pixel_size_um}">'
    )
    for index, channel in enumerate(plate.channels.values()):
        yield f'<Channel ID="Channel:{number}:{index}" Name={quoteattr(channel)} SamplesPerPixel="1"/>'
    file = quoteattr(_file(plate, site))
    for page, plane in enumerate(pages):
        place = f'FirstC="{plane.channel - 1}" FirstZ="{plane.z_index - 1}" FirstT="{plane.timepoint - 1}"'
        yield f'<TiffData IFD="{page}" PlaneCount="1" {place}>'
        yield f"<UUID FileName={file}>{_uuid(plate, *site)}</UUID></TiffData>"
    for plane in pages:
        yield (
            f'<Plane TheC="{plane.channel - 1}" TheZ="{plane.z_index - 1}" TheT="{plane.timepoint - 1}" '
            f'DeltaT="{plane.time_s}" PositionX="{plane.x_um}" PositionXUnit="µm" '
            f'PositionY="{plane.y_um}" PositionYUnit="µm" PositionZ="{plane.z_um}" PositionZUnit="µm"/>'
        )
    yield "</Pixels></Image>"


def _companion(plate: SyntheticPlate) -> str:
    return f"{plate.name}.companion.ome"


def _file(plate: SyntheticPlate, site: Site) -> str:
    return f"{plate.name}_{site[0]}_s{site[1]}.ome.tif"


def _uuid(plate: SyntheticPlate, *site: object) -> str:
    return uuid5(NAMESPACE_URL, "/".join(map(str, (plate.name, *site)))).urn


OME_TIFF = Layout(
    "ome-tiff",
    write_ome_tiff,
    frozenset(
        {
            "site",
            "z_index",
            "timepoint",
            "positions",
            "z_um",
            "time_s",
            "pixel_size_um",
            "channel_names",
            "dimensions",
            "listed",
        }
    ),
)
