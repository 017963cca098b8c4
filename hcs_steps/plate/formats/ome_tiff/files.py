"""The files of an OME-TIFF plate: which there are, and which page of which file every plane is.

Files that an OME-XML lists are not opened: a plate that has one XML for all its files, in one of them or in a
``.companion.ome``, is known from that alone. A file that is opened is checked against its XML. Names in an XML
are only looked up among the files beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hcs_steps.plate.formats.ome_tiff.model import OmeDocument, OmeImage, Place, WellSample
from hcs_steps.plate.formats.ome_tiff.opened import OME_SUFFIXES, Opened, is_tiff, open_tiff
from hcs_steps.plate.formats.ome_tiff.pages import Page, Source, pages_of
from hcs_steps.plate.formats.ome_tiff.xml import read_document
from hcs_steps.plate.headers import read_files
from hcs_steps.plate.inventory import Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.tiff_header import is_plane
from hcs_steps.plate.xml_files import allowed_bytes

COMPANION_SUFFIX = ".companion.ome"
MOST_PLANES, PLANES_PER_FILE = 200_000, 200
"""An XML may state any number of planes: a plate has at most so many, and so many more per file."""
_GROWTH, _LARGEST = 4, 2048


@dataclass(frozen=True)
class StoredImage:
    """An image and where its planes are.

    Attributes
    ----------
    image, sample
        As in the XML.
    document
        The path of the file that holds the XML.
    alone
        Whether the XML lists no other image.
    pages
        Its planes that have a page.
    height, width, dtype
        As in the file where that was opened, else as in the XML.
    """

    image: OmeImage
    sample: WellSample | None
    document: str
    alone: bool
    pages: Mapping[Place, Page]
    height: int
    width: int
    dtype: str

    @property
    def file(self) -> FileEntry | None:
        """The file of its first plane that has one."""
        return next((page.file for page in self.pages.values()), None)

    @property
    def label(self) -> str:
        """What it is called in messages: its file, or the XML's, and its name if there are others."""
        path = self.file.path if self.file else self.document
        return path if self.alone else f"{path} image {self.image.name or self.image.id}"


@dataclass
class OmeFiles:
    """All images that the XML of a plate's files describe.

    ``broken`` are the files that could not be opened and that no XML lists; ``notes`` are sentences, each with
    the files that it is true of.
    """

    images: list[StoredImage] = field(default_factory=list)
    documents: dict[str, OmeDocument] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: list[FileEntry] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def note(self, sentence: str, path: str) -> None:
        """Add a file to a sentence."""
        self.notes.setdefault(sentence, []).append(path)


def image_files(listing: FileListing) -> tuple[FileEntry, ...]:
    """The files that are OME-TIFF by name; if there are none, all TIFF files."""
    named = listing.with_suffix(*OME_SUFFIXES)
    return tuple(sorted(named)) or listing.images


def companions(listing: FileListing) -> tuple[FileEntry, ...]:
    """The files that hold nothing but the OME-XML of others."""
    return listing.with_suffix(COMPANION_SUFFIX)


def read_ome_files(listing: FileListing) -> OmeFiles:
    """Read as many files as it takes to know all."""
    return _Reading(listing).all()


class _Reading:
    """The state of reading a plate: which files are known already."""

    def __init__(self, listing: FileListing) -> None:
        self._listing = listing
        self._result = OmeFiles()
        self._known: set[str] = set()
        self._used: set[str] = set()
        self._stubs: dict[str, str] = {}
        self._planes = 0
        self._budget = MOST_PLANES + PLANES_PER_FILE * len(listing.files)
        self._max_characters = allowed_bytes(len(listing.files))

    def all(self) -> OmeFiles:
        for entry in companions(self._listing):
            self._add_metadata_file(entry)
        files = image_files(self._listing)
        pending = [entry for entry in files if entry.path not in self._known]
        size = 1
        while pending:
            # The first file may list all others; where it does not, more are read at once.
            batch, pending = pending[:size], pending[size:]
            for entry, opened in zip(batch, self._open(batch), strict=True):
                if entry.path not in self._known:
                    self._add(entry, opened)
            pending = [entry for entry in pending if entry.path not in self._known]
            size = min(size * _GROWTH, _LARGEST)
        self._follow_stubs()
        self._leave_out_others()
        return self._result

    def _open(self, entries: Sequence[FileEntry]) -> Iterator[Opened | str]:
        def read(path: Path) -> Opened:
            return open_tiff(path, self._max_characters)

        return read_files(self._listing.root, entries, read)

    def _add(self, entry: FileEntry, opened: Opened | str) -> None:
        if isinstance(opened, str):
            self._result.broken.append(entry)
            if entry.size:  # an empty one is reported as such
                self._problem("unreadable", entry.path, opened)
        elif opened.document is None:
            self._problem("unparsed", entry.path, "The file holds no OME-XML.")
        elif opened.document.metadata_file:
            self._stubs[entry.path] = opened.document.metadata_file
        else:
            self._known.add(entry.path)
            self._add_images(Source(opened.document, entry.path, entry, opened))

    def _add_metadata_file(self, entry: FileEntry) -> None:
        self._known.add(entry.path)
        document = read_document(self._listing.root / entry.path, max_bytes=self._max_characters)
        if document.damage:
            rest = f"The {len(document.images)} images before the damage were used."
            self._problem("unreadable", entry.path, f"{document.damage} {rest}")
        self._add_images(Source(document, entry.path))

    def _add_images(self, source: Source) -> None:
        self._result.documents[source.path] = source.document
        for image in source.document.images:
            if self._planes + image.count > self._budget:
                why = f"Its OME-XML states {image.count:,} planes, more than a plate of this many files has."
                self._problem("unreadable", source.path, why)
                continue
            self._planes += image.count
            pages = pages_of(image, source, self._listing.by_path, self._result.note)
            held = {page.file.path for page in pages.values()}
            self._known |= held
            self._used |= held
            self._add_image(image, source, pages)

    def _add_image(self, image: OmeImage, source: Source, pages: Mapping[Place, Page]) -> None:
        """Keep the image if its planes are grey, with the shape and dtype of its file if that was opened."""
        shape, dtype, samples = (image.height, image.width), image.dtype, image.samples
        if source.opened and any(page.file is source.home for page in pages.values()):
            opened = source.opened
            if not is_plane(opened.shape):
                samples = max(samples, 3)
            elif samples == 1:
                if (opened.shape, opened.dtype) != (shape, dtype):
                    stated = f"{shape[0]} x {shape[1]} {dtype}"
                    real = f"{opened.shape[0]} x {opened.shape[1]} {opened.dtype}"
                    self._result.note(f"The OME-XML states {stated}, the file is {real}.", source.path)
                shape, dtype = (opened.shape[0], opened.shape[1]), opened.dtype
        document = source.document
        alone = len(document.images) == 1
        sample = document.samples.get(image.id)
        stored = StoredImage(image, sample, source.path, alone, pages, *shape, dtype)
        if samples > 1:
            self._problem("unparsed", stored.label, "It is a colour image, not grey planes.")
        elif not dtype or dtype.startswith("complex"):
            self._problem("unparsed", stored.label, "Its pixels are complex numbers.")
        else:
            self._result.images.append(stored)

    def _follow_stubs(self) -> None:
        """Read the metadata files that image files name, and report the image files that none lists."""
        named = {}
        for path, name in self._stubs.items():
            place = path[: path.rfind("/") + 1] + name.replace("\\", "/")
            named[path] = self._listing.by_path.get(place.lower())
        for entry in dict.fromkeys(named.values()):
            if entry and entry.path not in self._known and entry.path not in self._stubs:
                self._add_metadata_file(entry)
        for path, name in self._stubs.items():
            if path not in self._known:
                state = "does not list it" if named[path] else "is not there"
                self._known.add(path)
                self._problem("unparsed", path, f"Its metadata are in {name!r}, which {state}.")

    def _leave_out_others(self) -> None:
        told = {problem.what for problem in self._result.problems}
        told.update(entry.path for entry in self._result.broken)
        for entry in self._listing.files:
            if entry.path in self._used or entry.path in told or not is_tiff(entry):
                continue
            if entry.name.startswith("."):
                self._problem("excluded", entry.path, "A hidden file.")
            elif entry.path in self._known:
                self._problem("unparsed", entry.path, "Its OME-XML does not say that it holds any plane.")
            else:
                why = "The name is not an OME-TIFF's, and no OME-XML lists the file."
                self._problem("unparsed", entry.path, why)

    def _problem(self, kind: str, what: str, why: str) -> None:
        self._result.problems.append(Problem(kind, what, why))
