"""The XML that BioTek's Gen5 puts into each TIFF of a Cytation or Lionheart: ``<BTIImageMetaData>``.

Elements and the format of dates are those that bioformats2raw's BioTekReader reads. Offsets are from the
centre of the well. In published descriptions the first field of a montage, whose ``HorizontalIndex`` and
``VerticalIndex`` are 1, has a negative horizontal and a positive vertical offset: x grows to the right and
the vertical offset upwards, so its sign is turned.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from hcs_steps.plate.inventory import NAN
from hcs_steps.plate.tiff_header import HeaderFacts
from hcs_steps.plate.units import number
from hcs_steps.plate.xml_files import attributes, children, descendants, local, parse_xml

MAX_CHARACTERS = 1_000_000

_ROOT = "BTIImageMetaData"
_DETAILS = {
    "NumericalAperture": "numerical_aperture",
    "Binning": "binning",
    "CameraGain": "camera_gain",
    "LEDIntensity": "led_intensity",
}


def parse_gen5(text: str, pixels_per_unit: float = 0.0) -> HeaderFacts | None:
    """The facts of a Gen5 text, None if it is none; `PlateError` if it is not safe or not well-formed.

    The pixel size is the image's width in micrometres, which Gen5 rounds to whole ones, over its pixels.
    ``pixels_per_unit`` is not used: the text states its own calibration.
    """
    text = text[:MAX_CHARACTERS]
    if f"<{_ROOT}" not in text:
        return None
    # Some files have bytes after the text's end.
    root = parse_xml(text[: text.rfind(">") + 1], source="The Gen5 text")
    # In an OME-TIFF of Gen5, the text is an annotation.
    element = root if local(root.tag) == _ROOT else next(descendants(root, _ROOT), root)
    parts = {local(part.tag): part for part in element}
    place = children(parts["ImageReference"]) if "ImageReference" in parts else {}
    taken = children(parts["ImageAcquisition"]) if "ImageAcquisition" in parts else {}
    channel = next(descendants(element, "Channel"), None)
    return HeaderFacts(
        pixel_size_um=_pixel_size(taken),
        x_um=number(place.get("HorizontalOffsetMicrons")),
        y_um=0.0 - number(place.get("VerticalOffsetMicrons")),
        z_um=number(taken.get("FocalHeightMicrons")),
        channel_name="" if channel is None else attributes(channel).get("Color", ""),
        acquired=_time(place),
        details=_details(place, taken) | _wavelength({} if channel is None else children(channel)),
    )


def _pixel_size(taken: Mapping[str, str]) -> float:
    """Micrometres per pixel, NaN where they are not stated."""
    width, pixels = number(taken.get("ImageWidthMicrons")), number(taken.get("PixelWidth"))
    return width / pixels if width > 0 and pixels > 0 else NAN


def _time(place: Mapping[str, str]) -> datetime | None:
    try:
        return datetime.strptime(f"{place['Date']} {place['Time']}", "%m/%d/%y %H:%M:%S")
    except (KeyError, ValueError):
        return None


def _details(place: Mapping[str, str], taken: Mapping[str, str]) -> dict[str, str]:
    details = {name: taken[key] for key, name in _DETAILS.items() if taken.get(key)}
    objective = " ".join(filter(None, (taken.get("DisplayedObjectiveSize"), taken.get("ObjectiveMfg"))))
    if objective:
        details["objective"] = objective
    if taken.get("ShutterSpeedMS"):
        details["exposure"] = f"{taken['ShutterSpeedMS']} ms"
    if place.get("Plate"):
        details["plate"] = place["Plate"]
    if place.get("PlateType"):
        details["plate_type"] = place["PlateType"]
    return details


def _wavelength(channel: Mapping[str, str]) -> dict[str, str]:
    emission = channel.get("EmissionWavelength", "")
    return {"wavelength_nm": emission} if emission else {}
