"""The ImageDescription that ImageJ and Fiji write: ``key=value`` lines after ``ImageJ=<version>``.

ImageJ gives the unit in this text and the pixels per unit in TIFF's resolution tag, as ImageJ's
``ij.io.TiffEncoder`` and ``FileInfo.getDescriptionString`` do.
"""

from __future__ import annotations

from hcs_steps.plate.inventory import NAN
from hcs_steps.plate.tiff_header import HeaderFacts
from hcs_steps.plate.units import micrometres_in


def parse_imagej(text: str, pixels_per_unit: float) -> HeaderFacts | None:
    """The pixel size of an ImageJ text, NaN if its unit is no length; None if the text is not ImageJ's."""
    if not text.startswith("ImageJ="):
        return None
    values = dict(line.partition("=")[::2] for line in text.splitlines())
    unit = micrometres_in(values.get("unit", "").replace("\\u00B5", "µ"))
    return HeaderFacts(pixel_size_um=unit / pixels_per_unit if unit == unit and pixels_per_unit > 0 else NAN)
