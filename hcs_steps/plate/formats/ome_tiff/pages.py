"""Which page of which file every plane of an image is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hcs_steps.plate.formats.ome_tiff.model import OmeDocument, OmeImage, Place, TiffBlock
from hcs_steps.plate.formats.ome_tiff.opened import Opened, is_tiff
from hcs_steps.plate.listing import FileEntry


class Page(NamedTuple):
    """One page of a file, from 0."""

    file: FileEntry
    number: int


@dataclass(frozen=True)
class Source:
    """A document, and the file at ``path`` that holds it: ``home`` and ``opened`` if that is a TIFF itself."""

    document: OmeDocument
    path: str
    home: FileEntry | None = None
    opened: Opened | None = None

    def file_of(self, block: TiffBlock, files: Mapping[str, FileEntry]) -> FileEntry | None:
        """The file that a ``TiffData`` is about, None if it is not there; ``files`` go by path in lower case.

        An XML that names one file is about the file that holds it, whatever that was renamed to, unless its
        UUID is another's.
        """
        document, home = self.document, self.home
        maybe_own = not block.uuid or not document.uuid or block.uuid == document.uuid
        if not block.file_name:
            return home if maybe_own else None
        single = len(document.file_names) == 1
        if home and single and maybe_own:
            return home
        folder, name = self.path[: self.path.rfind("/") + 1], block.file_name.replace("\\", "/")
        for place in (folder + name, folder + name.rpartition("/")[2]):
            entry = files.get(place.lower())
            if entry and is_tiff(entry):
                return entry
        return home if single or (block.uuid and block.uuid == document.uuid) else None


def pages_of(
    image: OmeImage, source: Source, files: Mapping[str, FileEntry], note: Callable[[str, str], None]
) -> dict[Place, Page]:
    """Where every plane of the image is; a later ``TiffData`` counts over an earlier one.

    ``note`` takes sentences on what does not fit, each with the file that it is true of.
    """
    blocks: Sequence[TiffBlock] = image.blocks
    if not blocks and source.home and len(source.document.images) == 1:
        blocks = [TiffBlock((0, 0, 0), None, None, "", "")]
    pages: dict[Place, Page] = {}
    for block in blocks:
        if any(value >= size for value, size in zip(block.first, image.sizes, strict=True)):
            note("The OME-XML names planes beyond its own sizes; they are not used.", source.path)
            continue
        file = source.file_of(block, files)
        if file is None:
            continue
        first, start = image.index(block.first), block.ifd or 0
        count = image.count - first
        if block.pages is not None:
            count = min(count, block.pages)
        elif block.ifd is not None:
            count = 1
        if source.opened is not None and file == source.home:
            if block.pages is not None and start + count > source.opened.pages:
                note("The file has fewer pages than its OME-XML names.", file.path)
            count = min(count, max(0, source.opened.pages - start))
        for step in range(count):
            pages[image.place(first + step)] = Page(file, start + step)
    return pages
