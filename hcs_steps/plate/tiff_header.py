"""What the header of one TIFF says: shape, dtype, pages and, from its description, where and how it was taken.

The pixel size comes from a description that states it with its unit. TIFF's own resolution tags do not count:
they are the printer's dots per inch, 1, or the camera's pixels in about half of all microscope files. What
they say is kept in ``tag_pixel_um``, for people to judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from hcs_steps.errors import PlateError
from hcs_steps.plate.inventory import NAN

CENTIMETRE = 3


@dataclass(frozen=True)
class HeaderFacts:
    """The facts of an image description; NaN, empty or None where it does not state one.

    Positions (x right, y down in the image) and the pixel size are in micrometres, ``acquired`` is the local
    time of the acquisition, ``details`` holds ``objective``, ``exposure``, ``wavelength_nm`` and the like as
    text.
    """

    pixel_size_um: float = NAN
    x_um: float = NAN
    y_um: float = NAN
    z_um: float = NAN
    channel_name: str = ""
    acquired: datetime | None = None
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Header:
    """A TIFF: pixels per axis, NumPy dtype name, 2-D pages like the first, colour table or not, its facts.

    ``note`` says why a description was not used.
    """

    height: int
    width: int
    dtype: str
    pages: int = 1
    palette: bool = False
    facts: HeaderFacts = field(default_factory=HeaderFacts)
    tag_pixel_um: float = NAN
    note: str = ""


def read_header(path: Path) -> Header:
    """Read a TIFF's header, no pixels. `PlateError` if the file is not a TIFF of 2-D grey planes."""
    import tifffile

    from hcs_steps.plate.formats.descriptions import read_description

    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            shape, dtype = tuple(page.shape), page.dtype
            pages, palette = len(tiff.pages), page.photometric == tifffile.PHOTOMETRIC.PALETTE
            description = page.description
            per_unit, unit = _resolution(page)
    except Exception as error:
        # tifffile raises many unrelated types on damaged files; whichever it is, the plane cannot be read.
        raise PlateError(
            f"{path} cannot be read as TIFF: {error or type(error).__name__}.", hint="Copy the file again."
        ) from error
    if len(shape) != 2 or dtype is None:
        raise PlateError(
            f"{path} is not a grey image: its shape is {shape}.", hint="Export one file per plane."
        )
    facts, note = HeaderFacts(), ""
    try:
        facts = read_description(description, per_unit)
    except PlateError as error:
        note = error.message
    return Header(
        height=shape[0],
        width=shape[1],
        dtype=dtype.name,
        pages=pages,
        palette=palette,
        facts=facts,
        tag_pixel_um=1e4 / per_unit if unit == CENTIMETRE and per_unit > 0 else NAN,
        note=note,
    )


def _resolution(page: object) -> tuple[float, int]:
    """Pixels per unit along x, and the unit's TIFF code; zeros where there are no tags."""
    tags = page.tags  # type: ignore[attr-defined]
    resolution, unit = tags.get("XResolution"), tags.get("ResolutionUnit")
    numerator, denominator = resolution.value if resolution else (0, 1)
    return numerator / denominator if denominator else 0.0, int(unit.value) if unit else 0
