"""What the header of one image file says: shape, dtype and, from MetaSeries XML, where and how it was taken.

MetaMorph and MetaXpress put an XML text into each TIFF's ImageDescription. Its writers do not always escape
the free text in it, so it is scanned for ``prop`` elements rather than parsed: nothing is expanded, a stray
character costs one value instead of all of them, and a text that declares a DOCTYPE is refused.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hcs_steps.errors import PlateError
from hcs_steps.plate.inventory import NAN

MAX_CHARACTERS = 1_000_000

_PROP = re.compile(r'<(?:custom-)?prop((?:\s+[\w-]+="[^"]*")+)\s*/?>')
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
_FORBIDDEN = re.compile(r"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_MICROMETRES = {"um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "nm": 1e-3, "mm": 1e3}
_DETAILS = {
    "_MagSetting_": "objective",
    "_MagNA_": "numerical_aperture",
    "wavelength": "wavelength_nm",
    "Exposure Time": "exposure",
    "camera-binning-x": "binning",
    "Z Projection Method": "z_projection_method",
    "Z Projection Step Size": "z_projection_step_um",
    "ApplicationVersion": "software_version",
}


@dataclass(frozen=True)
class MetaSeries:
    """The facts of a MetaSeries text; NaN, empty or None where it does not state one.

    Positions and the pixel size are in micrometres, ``acquired`` is the local time of the acquisition,
    ``illumination`` and ``image_name`` both name the channel, and ``details`` holds ``objective``,
    ``exposure``, ``wavelength_nm``, ``z_projection_method``, ``z_projection_step_um`` and the like as text.
    """

    x_um: float
    y_um: float
    z_um: float
    pixel_size_um: float
    illumination: str
    image_name: str
    stage_label: str
    acquired: datetime | None
    details: Mapping[str, str]


@dataclass(frozen=True)
class Header:
    """The first page of a TIFF: pixels per axis, NumPy dtype name, pages in the file, colour table or not."""

    height: int
    width: int
    dtype: str
    pages: int = 1
    palette: bool = False
    metaseries: MetaSeries | None = None
    note: str = ""


def read_header(path: Path) -> Header:
    """Read a TIFF's header, no pixels. `PlateError` if the file is not a TIFF of 2-D grey planes.

    A MetaSeries text that is refused leaves ``metaseries`` None and its reason in ``note``.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            shape, dtype = tuple(page.shape), page.dtype
            pages, palette = len(tiff.pages), page.photometric == tifffile.PHOTOMETRIC.PALETTE
            description = page.description
    except Exception as error:
        # tifffile raises many unrelated types on damaged files; whichever it is, the plane cannot be read.
        raise PlateError(
            f"{path} cannot be read as TIFF: {error or type(error).__name__}.", hint="Copy the file again."
        ) from error
    if len(shape) != 2 or dtype is None:
        raise PlateError(
            f"{path} is not a grey image: its shape is {shape}.", hint="Export one file per plane."
        )
    metaseries, note = None, ""
    try:
        metaseries = parse_metaseries(description)
    except PlateError as error:
        note = error.message
    return Header(shape[0], shape[1], dtype.name, pages, palette, metaseries, note)


def parse_metaseries(text: str) -> MetaSeries | None:
    """Parse an ImageDescription; None if it is not MetaSeries, `PlateError` if it has a DOCTYPE or entity."""
    text = text[:MAX_CHARACTERS]
    if "<MetaData" not in text or "prop" not in text:
        return None
    if _FORBIDDEN.search(text):
        raise PlateError(
            "The MetaSeries text declares a DOCTYPE or an entity and was not read.",
            hint="Real microscope files have none.",
        )
    values: dict[str, str] = {}
    for element in _PROP.finditer(text):
        attributes = dict(_ATTRIBUTE.findall(element[1]))
        if "id" in attributes and "value" in attributes:
            values.setdefault(html.unescape(attributes["id"]), html.unescape(attributes["value"]).strip())
    return MetaSeries(
        x_um=_number(values, "stage-position-x"),
        y_um=_number(values, "stage-position-y"),
        z_um=_number(values, "z-position"),
        pixel_size_um=_pixel_size(values),
        illumination=values.get("_IllumSetting_", ""),
        image_name=values.get("image-name", "").removeprefix("Copy of "),
        stage_label=values.get("stage-label", ""),
        acquired=_time(values.get("acquisition-time-local", "")),
        details={name: values[key] for key, name in _DETAILS.items() if values.get(key)},
    )


def _pixel_size(values: Mapping[str, str]) -> float:
    """Micrometres per pixel, NaN where the calibration is off or in units that are no length."""
    unit = _MICROMETRES.get(values.get("spatial-calibration-units", "").lower())
    if unit is None or values.get("spatial-calibration-state", "on").lower() == "off":
        return NAN
    size = _number(values, "spatial-calibration-x") * unit
    return size if size > 0 else NAN


def _number(values: Mapping[str, str], key: str) -> float:
    try:
        number = float(values.get(key, ""))
    except ValueError:
        return NAN
    return number if math.isfinite(number) else NAN


def _time(text: str) -> datetime | None:
    for layout in ("%Y%m%d %H:%M:%S.%f", "%Y%m%d %H:%M:%S"):
        try:
            return datetime.strptime(text, layout)
        except ValueError:
            continue
    return None
