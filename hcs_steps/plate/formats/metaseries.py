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

_PROP = re.compile(r'<(?:custom-)?(prop)(?=\s)|\s(id|value)="([^"]*)"')
"""The beginning of an element, or one of its two attributes that matter."""
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
_USED = frozenset(
    {
        *_DETAILS,
        "stage-position-x",
        "stage-position-y",
        "z-position",
        "spatial-calibration-state",
        "spatial-calibration-units",
        "spatial-calibration-x",
        "acquisition-time-local",
        "_IllumSetting_",
        "image-name",
    }
)


def parse_metaseries(text: str, pixels_per_unit: float = 0.0) -> HeaderFacts | None:
    """Parse an ImageDescription; None if it is not MetaSeries, `PlateError` if it has a DOCTYPE or entity.

    Stage y grows downwards, with the image's rows, and so it is taken as it stands. Real samples: B02's centre
    (``stage-position`` less ``OffsetFromWellCenterUm``) is at (23300, 20200) um, where ANSI/SLAS 4 puts B02 at
    (23380, 20240) from the corner of A01, and the upper row of sites (``SiteY`` 1) lies at the smaller y;
    faim-ipa and OpenHCS stitch ImageXpress sites with y down. ``pixels_per_unit`` is not used: the text states
    its own calibration.
    """
    text = text[:MAX_CHARACTERS]
    if "<MetaData" not in text or "prop" not in text:
        return None
    if _FORBIDDEN.search(text):
        raise PlateError(
            "The MetaSeries text declares a DOCTYPE or an entity and was not read.",
            hint="Real microscope files have none.",
        )
    values = _properties(text)
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


def _properties(text: str) -> dict[str, str]:
    """The properties that are used, by their id; of several with one id the first counts."""
    values: dict[str, str] = {}
    name = value = ""
    for begin, attribute, content in _PROP.findall(text):
        if begin:
            name = value = ""
        elif attribute == "id":
            name = content
        else:
            value = content
        if name in _USED and value:
            values.setdefault(name, html.unescape(value).strip())
    return values


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
