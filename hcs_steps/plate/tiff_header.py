"""What the header of one TIFF says: shape, dtype, pages and, from its description, where and how it was taken.

The pixel size comes from a description that states it with its unit. TIFF's own resolution tags do not count:
they are the printer's dots per inch, 1, or the camera's pixels in about half of all microscope files. What
they say is kept in ``tag_pixel_um``, for people to judge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

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
    return _first_header(path, *_read(path, first_only=True))


def read_pages(path: Path) -> tuple[Header, *tuple[Header | None, ...]]:
    """The header of every page of a TIFF, None for a page after the first that is no grey plane.

    `PlateError` as in `read_header`, and if the file (some large ones of ImageJ) has fewer pages than images.
    """
    pages, count = _read(path, first_only=False)
    first = _first_header(path, pages, count)
    images = re.search(r"^images=(\d{1,9})$", pages[0].description, re.MULTILINE)
    if images and pages[0].description.startswith("ImageJ=") and int(images[1]) > count:
        raise PlateError(
            f"{path} holds {images[1]} images, but lists only {count} of them as pages.",
            hint="Save them again as separate files, or as OME-TIFF.",
        )
    return first, *(_header(page, count) for page in pages[1:])


def _first_header(path: Path, pages: Sequence[_Page], count: int) -> Header:
    header = _header(pages[0], count)
    if header is None:
        raise PlateError(
            f"{path} is not a grey image: it is {pages[0].shape} {pages[0].dtype}.",
            hint="Export one file per plane.",
        )
    return header


class _Page(NamedTuple):
    """What one page of a TIFF states."""

    shape: tuple[int, ...]
    dtype: Any
    palette: bool
    description: str
    per_unit: float
    unit: int


def _read(path: Path, *, first_only: bool) -> tuple[list[_Page], int]:
    """The first page of a TIFF or all of them, and how many there are."""
    import tifffile

    try:
        # Opened here, because tifffile would resolve the path's links first, folder by folder.
        with path.open("rb") as file, tifffile.TiffFile(file) as tiff:
            palette, first = tifffile.PHOTOMETRIC.PALETTE, tiff.pages.first
            pages = [
                _Page(
                    tuple(page.shape),
                    page.dtype,
                    page.photometric == palette,
                    page.description,
                    *_resolution(page),
                )
                for page in ([first] if first_only else tiff.pages)
            ]
            return pages, len(tiff.pages)
    except Exception as error:
        # tifffile raises many unrelated types on damaged files; whichever it is, the plane cannot be read.
        raise PlateError(
            f"{path} cannot be read as TIFF: {error or type(error).__name__}.", hint="Copy the file again."
        ) from error


def _header(page: _Page, pages: int) -> Header | None:
    """The header of one of ``pages``, None if it is no grey plane."""
    from hcs_steps.plate.formats.descriptions import read_description

    if not is_plane(page.shape) or page.dtype is None or page.dtype.kind not in "uif":
        return None
    facts, note = HeaderFacts(), ""
    try:
        facts = read_description(page.description, page.per_unit)
    except PlateError as error:
        note = error.message
    return Header(
        height=page.shape[0],
        width=page.shape[1],
        dtype=page.dtype.name,
        pages=pages,
        palette=page.palette,
        facts=facts,
        tag_pixel_um=1e4 / page.per_unit if page.unit == CENTIMETRE and page.per_unit > 0 else NAN,
        note=note,
    )


def is_plane(shape: Sequence[Any]) -> bool:
    """Whether this is the shape of a 2-D image; a damaged tag of the size can be any number, or several."""
    return len(shape) == 2 and all(isinstance(edge, int) and edge > 0 for edge in shape)


def _resolution(page: object) -> tuple[float, int]:
    """Pixels per unit along x, and the unit's TIFF code; zeros where there are no tags."""
    tags = page.tags  # type: ignore[attr-defined]
    resolution, unit = tags.get("XResolution"), tags.get("ResolutionUnit")
    numerator, denominator = resolution.value if resolution else (0, 1)
    return numerator / denominator if denominator else 0.0, int(unit.value) if unit else 0
