"""Layouts of GE InCell Analyzers: one folder of images whose names hold spaces, and an ``.xdce`` index.

A later instrument states positions on the plate, an IN Cell 2000 those from the well's centre with y upwards; its
software also writes the wavelength's number into names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import quoteattr

from hcs_steps.plate.inventory import Plane, PlaneKey
from hcs_steps.plate.synthetic.model import Layout, SyntheticPlate, write_tiff
from hcs_steps.plate.wells import parse_well, row_name

Naming = Callable[[Plane, str, bool, bool], str]
"""Plane, its channel's name, whether the plate has stacks, whether it has several timepoints -> file name."""


def write_incell(folder: Path, plate: SyntheticPlate, compression: str | None) -> None:
    """``A - 01(fld 1 wv DAPI - DAPI z 1 time 1).tif`` and ``<plate>.xdce`` with positions on the plate."""
    positions = {
        (plane.well, plane.site): f'<PlatePosition_um x="{plane.x_um:.4f}" y="{plane.y_um:.4f}"/>'
        for plane in plate.planes
    }
    _write(folder, plate, compression, "IN Cell Analyzer 6000", _name, positions)


def write_incell_2000(folder: Path, plate: SyntheticPlate, compression: str | None) -> None:
    """``A - 1(fld 1 wv DAPI - DAPI wix 1 z 1 time 1 - 0ms).tif``, and an index with offsets in the well."""
    wells: defaultdict[str, dict[int, tuple[float, float]]] = defaultdict(dict)
    for plane in plate.planes:
        wells[plane.well][plane.site] = plane.x_um, plane.y_um
    positions = {}
    for well, sites in wells.items():
        middle_x, middle_y = (sum(values) / len(sites) for values in zip(*sites.values(), strict=True))
        for site, (x, y) in sites.items():
            offset = f'<OffsetFromWellCenter x="{x - middle_x:.4f}" y="{middle_y - y:.4f}"/>'
            positions[well, site] = offset
    _write(folder, plate, compression, "IN Cell Analyzer 2000", _numbered_name, positions)


def _write(
    folder: Path,
    plate: SyntheticPlate,
    compression: str | None,
    microscope: str,
    naming: Naming,
    positions: dict[tuple[str, int], str],
) -> None:
    stacks, series = (len(plate.values(component)) > 1 for component in ("z_index", "timepoint"))
    names = {
        PlaneKey(*plane[:5]): naming(plane, plate.channels[plane.channel], stacks, series)
        for plane in plate.planes
    }
    first = plate.planes[0]
    wavelengths = [
        f'<Wavelength fusion_wave="false" index="{number - 1}"><ExcitationFilter name={quoteattr(name)}/>'
        f"<EmissionFilter name={quoteattr(name)}/></Wavelength>"
        for number, name in plate.channels.items()
    ]
    images = [
        _image(plane, names[PlaneKey(*plane[:5])], positions[plane.well, plane.site])
        for plane in plate.planes
    ]
    text = "\n".join(
        [
            '<?xml version="1.0" encoding="ISO-8859-1" standalone="no"?>',
            f'<ImageStack><Application name="{microscope}" software_version="3.0.0.5"/>',
            '<Creation date="2024-01-01" time="12:00:00"/>',
            '<AutoLeadAcquisitionProtocol name="synthetic" version="99.9">',
            '<ObjectiveCalibration magnification="20.0" numerical_aperture="0.45" objective_name="20X" '
            f'pixel_height="{first.pixel_size_um:.7g}" pixel_width="{first.pixel_size_um:.7g}" unit="\u00b5m"/>',
            f'<Camera><Size height="{first.height}" width="{first.width}"/><Binning value="1 X 1"/></Camera>',
            f'<Plate name="synthetic" rows="{plate.dimensions[0]}" columns="{plate.dimensions[1]}"/>',
            f"<Wavelengths>{''.join(wavelengths)}</Wavelengths></AutoLeadAcquisitionProtocol>",
            f'<Images number="{len(images)}">',
            *images,
            "</Images></ImageStack>",
        ]
    )
    (folder / f"{plate.name}.xdce").write_bytes(text.encode("latin-1", "xmlcharrefreplace"))
    for plane in plate.written:
        key = PlaneKey(*plane[:5])
        write_tiff(folder / names[key], plate.pixels(key), compression=compression)


def _name(plane: Plane, wave: str, stacks: bool, series: bool) -> str:
    row, column = parse_well(plane.well)
    depth = f" z {plane.z_index}" if stacks else ""
    time = f" time {plane.timepoint}" if series else ""
    return f"{row_name(row)} - {column + 1:02d}(fld {plane.site} wv {wave} - {wave}{depth}{time}).tif"


def _numbered_name(plane: Plane, wave: str, stacks: bool, series: bool) -> str:
    row, column = parse_well(plane.well)
    depth = f" z {plane.z_index}" if stacks else ""
    time = f" time {plane.timepoint} - {1000 * plane.time_s:.0f}ms" if series else ""
    place = f"{row_name(row)} - {column + 1}(fld {plane.site}"
    return f"{place} wv {wave} - {wave} wix {plane.channel}{depth}{time}).tif"


def _image(plane: Plane, name: str, position: str) -> str:
    row, column = parse_well(plane.well)
    return (
        f'<Image acquisition_time_ms="{1000 * plane.time_s:.0f}" filename={quoteattr(name)}>'
        f'<Well label="{row_name(row)} - {column + 1}"><Row number="{row + 1}"/><Column number="{column + 1}"/></Well>'
        f'<FocusPosition unit="um" z="{plane.z_um:.4f}"/>{position}'
        f'<Identifier field_index="{plane.site - 1}" time_index="{plane.timepoint - 1}" '
        f'wave_index="{plane.channel - 1}" z_index="{plane.z_index - 1}"/></Image>'
    )


INCELL = Layout(
    "incell",
    write_incell,
    frozenset(
        {
            "site", "z_index", "timepoint", "positions", "z_um", "time_s", "pixel_size_um", "channel_names",
            "dimensions", "listed",
        }
    ),
    any_channel_name=False,
)  # fmt: skip

INCELL_2000 = Layout("incell", write_incell_2000, INCELL.states, any_channel_name=False)
