"""A TIFF file that may hold OME-XML: its first page, without its pixels."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.ome_tiff.model import OmeDocument
from hcs_steps.plate.formats.ome_tiff.xml import is_ome, parse_document
from hcs_steps.plate.listing import IMAGE_SUFFIXES, FileEntry

BIG_SUFFIXES = (".tf2", ".tf8", ".btf")
"""Suffixes that only BigTIFF files have, and only those of OME-TIFF here."""
OME_SUFFIXES = tuple(f".ome{suffix}" for suffix in (*IMAGE_SUFFIXES, *BIG_SUFFIXES))


class Opened(NamedTuple):
    """A TIFF's first page, its number of pages and its document, None if it has no OME-XML."""

    shape: tuple[int, ...]
    dtype: str
    pages: int
    document: OmeDocument | None


def is_tiff(entry: FileEntry) -> bool:
    """Whether the file is a TIFF by its name."""
    return entry.path.lower().endswith((*IMAGE_SUFFIXES, *BIG_SUFFIXES))


def open_tiff(path: Path, max_characters: int) -> Opened:
    """Read a TIFF's first page without its pixels, and count its pages; `PlateError` if that fails."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            first = tiff.pages.first
            text, pages = first.description, len(tiff.pages)
            shape, dtype = tuple(first.shape), first.dtype
    except Exception as error:
        # tifffile raises many unrelated types on damaged files; whichever it is, the file cannot be read.
        raise PlateError(
            f"{path} cannot be read as TIFF: {error or type(error).__name__}.", hint="Copy the file again."
        ) from error
    if not is_ome(text):
        return Opened(shape, "", pages, None)
    if len(text) > max_characters:
        raise PlateError(
            f"The OME-XML in {path} has {len(text):,} characters, more than its plate can explain.",
            hint="Copy the file again.",
        )
    document = parse_document(text, source=f"The OME-XML in {path}")
    return Opened(shape, "" if dtype is None else dtype.name, pages, document)
