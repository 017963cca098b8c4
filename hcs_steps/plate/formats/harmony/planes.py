"""From the indexes and the images of a Harmony plate to its planes.

An index entry is the plane that its file's name says, where the name is a Harmony one (the files win), else the
one of its own numbers. An image that no entry names is a plane too, with what an entry of the same plane says.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.findings import Found, collect, plane_label
from hcs_steps.plate.formats.harmony.files import ImageFinder, bare_name
from hcs_steps.plate.formats.harmony.index import HarmonyIndex, IndexEntry
from hcs_steps.plate.formats.harmony.names import HarmonyName, parse_image_name
from hcs_steps.plate.inventory import PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry, folder_of
from hcs_steps.plate.wells import well_name


class Listed(NamedTuple):
    """One entry of an index with its plane and its file, None if it is not in the plate."""

    key: PlaneKey
    entry: IndexEntry
    file: FileEntry | None


class Planes(NamedTuple):
    """The planes of a plate, what is expected of it (None: unknown), and what was wrong."""

    found: Mapping[PlaneKey, Found]
    expected: set[PlaneKey] | None
    problems: Sequence[Problem]
    disagreements: Sequence[str]


def list_entries(index: HarmonyIndex, path: str, finder: ImageFinder) -> tuple[list[Listed], list[str]]:
    """The entries of the index at ``path`` with planes and files, and sentences on what they contradict."""
    folder = path[: path.rfind("/") + 1]
    named = [_name_of(entry.url) for entry in index.entries]
    shift = _first_timepoint(index.entries, named)
    listed: list[Listed] = []
    nameless: list[IndexEntry] = []
    other: list[Listed] = []
    files = finder.find_all((entry.url for entry in index.entries), folder)
    for entry, name, file in zip(index.entries, named, files, strict=True):
        own = _key(entry, shift)
        key = name.key if name else own
        if key is None:
            nameless.append(entry)
            continue
        listed.append(Listed(key, entry, file))
        if own is not None and own != key:
            other.append(listed[-1])
    sentences = []
    if nameless:
        sentences.append(f"{len(nameless)} entries of {path} name no plane (such as {nameless[0].url!r}).")
    if other:
        sentences.append(
            f"{len(other)} entries of {path} have other numbers than the names of their files (such as "
            f"{other[0].entry.url}); the names are used."
        )
    return listed, sentences


def combine(listed: Sequence[Listed], images: Iterable[FileEntry]) -> Planes:
    """All planes of ``listed`` and of the other ``images``; every image is a plane or has a problem.

    ``listed`` may be empty: then the names tell everything, and no plane is expected.
    """
    sorting = _Sorting(_clock_of(listed))
    for each in listed:
        sorting.add_listed(each)
    places = {folder_of(each.file) for each in listed if each.file}
    for image in images:
        if image.path not in sorting.claimed:
            sorting.add_image(image, is_elsewhere=bool(places) and folder_of(image) not in places)
    found, duplicates = collect(sorting.parsed)
    return Planes(
        found,
        expected={each.key for each in listed if _is_plane(each.entry)} if listed else None,
        problems=[*sorting.problems, *duplicates],
        disagreements=sorting.sentences(with_index=bool(listed)),
    )


@dataclass
class _Sorting:
    """Entries and images, sorted into planes and the rest; ``clock`` is the entries' field that tells the time."""

    clock: str
    parsed: list[tuple[PlaneKey, Found]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    claimed: set[str] = field(default_factory=set)
    _facts: dict[PlaneKey, IndexEntry] = field(default_factory=dict)
    _refused: dict[PlaneKey, str] = field(default_factory=dict)
    _twice: list[PlaneKey] = field(default_factory=list)
    _unlisted: list[str] = field(default_factory=list)
    _records: Counter[bool] = field(default_factory=Counter)

    def add_listed(self, listed: Listed) -> None:
        key, entry, file = listed
        why = _refusal(entry)
        if why:
            self.problems.append(Problem("excluded", file.path if file else plane_label(key), why))
            if _is_plane(entry):
                self._refused[key] = why
        elif key in self._facts or (file and file.path in self.claimed):
            self._twice.append(key)
            return
        else:
            self._facts[key] = entry
            if file:
                self.parsed.append((key, self._found(file, entry)))
        if file:
            self.claimed.add(file.path)

    def add_image(self, image: FileEntry, is_elsewhere: bool) -> None:
        """An image that no entry names; it is no plane where no image of the index is beside it."""
        name = parse_image_name(image.name)
        if name is None:
            self.problems.append(Problem("unparsed", image.path, "The name is not a Harmony one."))
        elif is_elsewhere:
            self.problems.append(Problem("excluded", image.path, "No image of the index is in its folder."))
        elif name.flim > 1:
            self.problems.append(Problem("excluded", image.path, _flim(name.flim)))
        elif name.key in self._refused and name.key not in self._facts:
            self.problems.append(Problem("excluded", image.path, self._refused[name.key]))
        else:
            self._records[name.record] += 1
            known = self._facts.get(name.key)
            self.parsed.append((name.key, self._found(image, known)))
            if known is None:
                self._unlisted.append(image.path)

    def sentences(self, with_index: bool) -> list[str]:
        sentences = []
        if self._twice:
            sentences.append(
                f"{len(self._twice)} entries of the index name a plane or a file that another entry names already "
                f"(such as {plane_label(self._twice[0])}); the first counts."
            )
        if with_index and self._unlisted:
            sentences.append(
                f"{len(self._unlisted)} images are not in the index (such as {self._unlisted[0]}); they are planes "
                "by their names."
            )
        if len(self._records) > 1:
            sentences.append(
                f"{self._records[True]} names state a record (p01rc1-ch1) and {self._records[False]} do not "
                "(p01-ch1): the plate seems to hold exports of two versions. A record is read as the channel."
            )
        return sentences

    def _found(self, file: FileEntry, entry: IndexEntry | None) -> Found:
        """The place of a plane and its facts. Its size in pixels is left to the file, which knows better."""
        if entry is None:
            return Found(file)
        return Found(
            file,
            pixel_size_um=entry.pixel_size_um,
            x_um=entry.x_um,
            y_um=entry.y_um,
            z_um=entry.z_um,
            time_s=getattr(entry, self.clock),
        )


def _is_plane(entry: IndexEntry) -> bool:
    return entry.flim <= 1


def _refusal(entry: IndexEntry) -> str:
    """Why the image of an entry is not used; empty if it is."""
    if not _is_plane(entry):
        return _flim(entry.flim)
    if entry.state and entry.state.lower() != "ok":
        return f"The index gives this image the state {entry.state!r}."
    return ""


def _flim(number: int) -> str:
    return f"Fluorescence lifetime image {number}; only the first is a plane."


def _clock_of(listed: Iterable[Listed]) -> str:
    """The time that the whole plate shares, if all entries state it; else that since each measurement began."""
    if any(math.isnan(each.entry.clock_s) for each in listed if not _refusal(each.entry)):
        return "offset_s"
    return "clock_s"


def _name_of(url: str) -> HarmonyName | None:
    """What the name in a URL says, if it is a plane's."""
    name = parse_image_name(bare_name(url))
    return name if name and name.flim == 1 else None


def _first_timepoint(entries: Sequence[IndexEntry], named: Sequence[HarmonyName | None]) -> int:
    """What to add to ``TimepointID`` to get the time in names: it counts from 0 up to V5, from 1 later."""
    shifts = Counter(
        name.key.timepoint - entry.timepoint
        for entry, name in zip(entries, named, strict=True)
        if name and entry.timepoint >= 0
    )
    if shifts:
        return shifts.most_common(1)[0][0]
    return int(any(entry.timepoint == 0 for entry in entries))


def _key(entry: IndexEntry, shift: int) -> PlaneKey | None:
    """The plane of an entry's own numbers; None if one of them is not there."""
    if min(entry.site, entry.channel, entry.z_index) < 0:
        return None
    try:
        well = well_name(entry.row - 1, entry.column - 1)
    except PlateError:
        return None
    timepoint = entry.timepoint + shift if entry.timepoint >= 0 else 1
    return PlaneKey(well, entry.site, entry.channel, entry.z_index, timepoint)
