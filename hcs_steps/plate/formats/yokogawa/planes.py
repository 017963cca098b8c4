"""Which image of the plate is which plane: file names and the index put together.

Names win over the index. A listed plane whose file is not where the index says is looked for by its name
alone; an image that the index does not list is still a plane if its name is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.yokogawa.index import PlaneIndex, Record
from hcs_steps.plate.formats.yokogawa.names import ImageName
from hcs_steps.plate.formats.yokogawa.numbers import PROJECTION, Taken
from hcs_steps.plate.inventory import Problem
from hcs_steps.plate.listing import FileEntry, FileListing, folder_of
from hcs_steps.plate.wells import well_name

NameParser = Callable[[str], ImageName | None]


class Image(NamedTuple):
    """A file that holds a plane, and its record if the index has one that can be trusted."""

    taken: Taken
    file: FileEntry
    record: Record | None
    plate: str = ""


@dataclass
class Matches:
    """All planes that have a file, those of the index first, and all planes that the index lists."""

    images: list[Image] = field(default_factory=list)
    listed: list[Taken] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)


NAMELESS = 0.25
"""A plate is not read without more images than this share of it, for want of the names of numbered wells."""


class WellNumbers:
    """The wells that a CQ1 numbers row by row: number -> name."""

    def __init__(self, rows: int, columns: int) -> None:
        self._rows, self._columns = rows, columns

    @property
    def known(self) -> bool:
        """Whether the number of columns is known, so that numbers have names."""
        return self._columns > 0

    def learn(self, number: int, row: int, column: int) -> None:
        """Take the columns from a well (row and column from 1) whose number is known, if they are not known."""
        if not self._columns and row > 1 and (number - column) % (row - 1) == 0:
            self._columns = (number - column) // (row - 1)

    def name(self, number: int) -> str:
        """The well's name; `PlateError` if the plate has none with this number."""
        if not self._columns:
            raise PlateError(
                f"Nothing says how many columns the plate has, so well number {number} has no name.",
                hint="Give the plate's metadata, or a `pattern` with `plate_columns`.",
            )
        row, column = divmod(number - 1, self._columns)
        if number < 1 or (self._rows and row >= self._rows):
            raise PlateError(
                f"A plate of {self._rows} x {self._columns} has no well number {number}.",
                hint="Check the plate's metadata.",
            )
        return well_name(row, column)


def match_images(
    listing: FileListing,
    images: Iterable[FileEntry],
    index: PlaneIndex,
    parse: NameParser,
    wells: WellNumbers,
) -> Matches:
    """Put the ``images`` of a plate and its index together."""
    matches = Matches()
    contradictions: list[str] = []
    unusable: list[str] = []
    known = _Known()
    for record, file in zip(index.records, _files_of(listing, index), strict=True):
        name = parse(file.name if file else record.path.rpartition("/")[2])
        if name and not name.well:
            wells.learn(name.well_number, record.row, record.column)
        try:
            taken = _taken(name, record, wells)
        except PlateError:
            unusable.append(record.path)
            continue
        matches.listed.append(taken)
        if name:
            known.add(name, taken)
        if file:
            differs = name is not None and _differs(taken, record)
            if differs:
                contradictions.append(file.path)
            trusted = not differs or (taken.well, taken.site) == (_well_of(record), record.site)
            matches.images.append(Image(taken, file, record if trusted else None, name.plate if name else ""))
            matches.used.add(file.path)
    unlisted = _unlisted(images, matches, parse, wells, known)
    matches.images += unlisted
    matches.disagreements += [
        *_sentence(len(unlisted), [each.file.path for each in unlisted], _UNLISTED, if_any=index.records),
        *_sentence(len(contradictions), contradictions, _CONTRADICTING),
        *_sentence(len(unusable), unusable, _UNUSABLE),
    ]
    return matches


class _Known:
    """The planes that the index lists, by name: what tells of a name without a record."""

    def __init__(self) -> None:
        self._planes: dict[ImageName, Taken] = {}
        self._alike: dict[tuple[int, int, int], Taken] = {}

    def add(self, name: ImageName, taken: Taken) -> None:
        self._planes.setdefault(name, taken)
        self._alike.setdefault((name.channel, name.action, name.z), taken)

    def taken(self, name: ImageName, well: str) -> Taken:
        """The plane of a name: the one that is listed under it, or one like those of its channel and action."""
        if listed := self._planes.get(name):
            return listed
        like = self._alike.get((name.channel, name.action, name.z))
        return Taken(
            well,
            name.site,
            name.channel,
            name.z,
            name.timepoint,
            name.timeline or (like.timeline if like else 0),
            name.action or (like.action if like else 0),
            like.processing if like else PROJECTION if name.z == 0 else "",
        )


_UNLISTED = "{} images are not in the index and were read by their names, for example {}."
_CONTRADICTING = (
    "{} images are listed with other numbers than their names have, for example {}; the names are used."
)
_UNUSABLE = "{} records of the index name no well of the plate, for example {}, and were not used."


def _sentence(number: int, examples: list[str], text: str, if_any: object = True) -> list[str]:
    return [text.format(number, examples[0])] if number and if_any else []


def _files_of(listing: FileListing, index: PlaneIndex) -> list[FileEntry | None]:
    """Each record's file: the one at its place; if no record has one, the one of its name anywhere.

    Images that were moved, moved together: a lost one must not be taken for a file of the same name elsewhere. A
    file belongs to one record only.
    """
    claimed: set[str] = set()

    def claim(entries: Iterable[FileEntry]) -> FileEntry | None:
        entry = next((each for each in entries if each.is_image and each.path not in claimed), None)
        if entry:
            claimed.add(entry.path)
        return entry

    by_path, folder = listing.by_path, index.folder
    paths = [(folder + record.path).lower() for record in index.records]
    files = [claim([by_path[path]]) if path in by_path else None for path in paths]
    if any(files):
        return files
    return [claim(listing.by_name.get(path.rpartition("/")[2], ())) for path in paths]


def _unlisted(
    images: Iterable[FileEntry], matches: Matches, parse: NameParser, wells: WellNumbers, known: _Known
) -> list[Image]:
    """Images whose names are planes' though no record names them; the rest is reported as not parsed."""
    found = []
    nameless: list[PlateError] = []
    places = {folder_of(image.file) for image in matches.images}
    for entry in images:
        if entry.path in matches.used:
            continue
        name = parse(entry.name)
        if name is None:
            matches.problems.append(Problem("unparsed", entry.path, "The name is not a Yokogawa one."))
            continue
        if places and folder_of(entry) not in places:
            matches.problems.append(
                Problem("excluded", entry.path, "No image of the index is in its folder.")
            )
            continue
        try:
            well = name.well or wells.name(name.well_number)
        except PlateError as error:
            nameless.append(error)
            matches.problems.append(Problem("unparsed", entry.path, error.message))
            continue
        found.append(Image(known.taken(name, well), entry, None, name.plate))
        matches.used.add(entry.path)
    if not wells.known and len(nameless) > NAMELESS * len(matches.images):
        raise nameless[0]
    return found


def _taken(name: ImageName | None, record: Record, wells: WellNumbers) -> Taken:
    """The plane by its name, or by its record if the name is no plane's; `PlateError` if neither has a well."""
    if name is None:
        well = _well_of(record)
        if not well or not record.channel:
            raise PlateError("A record names no plane.", hint="Copy the index again from the microscope.")
        return Taken(
            well,
            record.site,
            record.channel,
            record.z,
            record.timepoint,
            record.timeline,
            record.action,
            record.processing,
        )
    return Taken(
        name.well or _numbered_well(name.well_number, record, wells),
        name.site,
        name.channel,
        name.z,
        name.timepoint,
        name.timeline or record.timeline,
        name.action or record.action,
        record.processing or (PROJECTION if name.z == 0 else ""),
    )


def _numbered_well(number: int, record: Record, wells: WellNumbers) -> str:
    try:
        return wells.name(number)
    except PlateError:
        well = _well_of(record)
        if not well:
            raise
        return well


def _well_of(record: Record) -> str:
    """The record's well, or an empty text if it names none that a plate can have."""
    try:
        return well_name(record.row - 1, record.column - 1)
    except PlateError:
        return ""


def _differs(taken: Taken, record: Record) -> bool:
    """Whether a plane's name has other numbers than its record; a projection's z means nothing."""
    return (
        taken.well != _well_of(record)
        or taken[1:3] != (record.site, record.channel)
        or taken.timepoint != record.timepoint
        or (taken.z != record.z and not taken.processing)
    )
