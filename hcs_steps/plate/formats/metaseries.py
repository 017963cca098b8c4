"""The MetaSeries XML that MetaMorph and MetaXpress put into each TIFF: where and how it was taken.

Its writers do not always escape the free text in it, so it is scanned for ``prop`` elements rather than
parsed: nothing is expanded, a stray character costs one value instead of all of them, and a text that
declares a DOCTYPE is refused.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from datetime import datetime

from hcs_steps.errors import PlateError
from hcs_steps.plate.inventory import NAN
from hcs_steps.plate.tiff_header import HeaderFacts
from hcs_steps.plate.units import micrometres_in, number

MAX_CHARACTERS = 1_000_000

_PROP = re.compile(r'<(?:custom-)?prop((?:\s+[\w-]+="[^"]*")+)\s*/?>')
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
_FORBIDDEN = re.compile(r"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)
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


def parse_metaseries(text: str, pixels_per_unit: float = 0.0) -> HeaderFacts | None:
    """Parse an ImageDescription; None if it is not MetaSeries, `PlateError` if it has a DOCTYPE or entity.

    Stage y grows with the image's rows (the sites of an exported row of a plate have increasing x, those of
    a column increasing y). ``pixels_per_unit`` is not used: the text states its own calibration.
    """
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
    return HeaderFacts(
        x_um=number(values.get("stage-position-x")),
        y_um=number(values.get("stage-position-y")),
        z_um=number(values.get("z-position")),
        pixel_size_um=_pixel_size(values),
        channel_name=values.get("_IllumSetting_", "")
        or values.get("image-name", "").removeprefix("Copy of "),
        acquired=_time(values.get("acquisition-time-local", "")),
        details={name: values[key] for key, name in _DETAILS.items() if values.get(key)},
    )


def _pixel_size(values: Mapping[str, str]) -> float:
    """Micrometres per pixel, NaN where the calibration is off or in units that are no length."""
    if values.get("spatial-calibration-state", "on").lower() == "off":
        return NAN
    unit = micrometres_in(values.get("spatial-calibration-units", ""))
    size = number(values.get("spatial-calibration-x")) * unit
    return size if size > 0 else NAN


def _time(text: str) -> datetime | None:
    for layout in ("%Y%m%d %H:%M:%S.%f", "%Y%m%d %H:%M:%S"):
        try:
            return datetime.strptime(text, layout)
        except ValueError:
            continue
    return None
