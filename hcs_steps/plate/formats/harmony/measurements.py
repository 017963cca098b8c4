"""The indexes of a plate's folder: which of them are read, and whether they are of one measurement.

A folder may hold an index twice (a copy, or the one that Harmony's script writes beside corrected images), or the
parts of one measurement, or several measurements. Planes that two measurements both have are an error, because
either could be meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.harmony.files import ImageFinder
from hcs_steps.plate.formats.harmony.index import HarmonyIndex, read_index
from hcs_steps.plate.formats.harmony.planes import Listed, list_entries
from hcs_steps.plate.inventory import PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.xml_files import allowed_bytes

INDEX_NAMES = ("index.xml", "index.idx.xml")
REFERENCE_NAME = "index.ref.xml"
"""An index of images that stay on the server; it is used where there is no other."""


def in_flex(entry: FileEntry) -> bool:
    """Whether a file lies in a folder ``flex``, where Harmony's script writes corrected images and their index."""
    return entry.path.lower().split("/")[-2:-1] == ["flex"]


def index_files(listing: FileListing, with_corrected: bool = True) -> list[FileEntry]:
    """The indexes of a plate, the outermost first; reference indexes only where there is no other.

    In an archive an index has the measurement's own name, in a folder ``index``.
    """
    files = [entry for entry in listing.with_suffix(".xml") if with_corrected or not in_flex(entry)]
    indexes = [
        entry
        for entry in files
        if entry.name.lower() in INDEX_NAMES or entry.path.lower().split("/")[-2:-1] == ["index"]
    ]
    return indexes or [entry for entry in files if entry.name.lower() == REFERENCE_NAME]


@dataclass
class Indexes:
    """The indexes that are used, by path, with their entries."""

    indexes: dict[str, HarmonyIndex] = field(default_factory=dict)
    listed: dict[str, list[Listed]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)

    def read(self, listing: FileListing, files: Sequence[FileEntry], finder: ImageFinder) -> None:
        """Read all ``files``; `PlateError` if two are of different measurements of the same planes."""
        for file in files:
            try:
                index = read_index(listing.root / file.path, max_bytes=allowed_bytes(len(listing.files)))
            except PlateError as error:
                why = f"{error.message} Nothing of it is used; names tell the planes."
                self.problems.append(Problem("unreadable", file.path, why))
                continue
            listed, sentences = list_entries(index, file.path, finder)
            listed = self._new_entries(listing, file.path, index, listed)
            if listed:
                self.indexes[file.path] = index
                self.listed[file.path] = listed
                self.disagreements += sentences

    def _new_entries(
        self, listing: FileListing, path: str, index: HarmonyIndex, listed: list[Listed]
    ) -> list[Listed]:
        """Those of an index's planes that no other one lists; `PlateError` if others are of another measurement."""
        for other, used in self.indexes.items():
            ids = used.plate.get("measurement_id", ""), index.plate.get("measurement_id", "")
            if all(ids) and ids[0] != ids[1] and any(each.file for each in listed):
                raise PlateError(
                    f"{listing.root} holds several measurements: in {_folder(other)} and in {_folder(path)}.",
                    hint="Give the folder of one measurement, and list the measurements one by one.",
                )
        known = {each.key: other for other, others in self.listed.items() for each in others}
        again = [each for each in listed if each.key in known]
        for other in dict.fromkeys(known[each.key] for each in again):
            if not self._is_same(listing, (path, index, again), other):
                raise PlateError(
                    f"{listing.root} holds several measurements of the same planes: in {_folder(other)} and in "
                    f"{_folder(path)}.",
                    hint="Give the folder of one measurement, and list the measurements one by one.",
                )
            self.disagreements.append(f"{path} lists images that {other} lists as well; {other} was used.")
        return [each for each in listed if each.key not in known]

    def _is_same(
        self, listing: FileListing, this: tuple[str, HarmonyIndex, Sequence[Listed]], other: str
    ) -> bool:
        """Whether two indexes that name the same planes are of one measurement, so that either will do.

        They are not if their ids differ; they are if they mean the same files, are copies of each other, or if
        only one of them has files: the other one of the same measurement lists them by other names.
        """
        path, index, again = this
        ids = {each.plate.get("measurement_id", "") for each in (index, self.indexes[other])}
        if len(ids) > 1 and "" not in ids:
            return False
        keys = {each.key for each in again}
        ours, theirs = _files(again), _files(each for each in self.listed[other] if each.key in keys)
        return (
            _folder(path) == _folder(other)
            or bool(ours and ours == theirs)
            or ("" not in ids and not (ours and theirs))
            or _digest(listing, path) == _digest(listing, other)
        )


def _folder(path: str) -> str:
    return path.rpartition("/")[0] or "the plate's own folder"


def _files(listed: Iterable[Listed]) -> set[tuple[PlaneKey, str]]:
    return {(each.key, each.file.path) for each in listed if each.file}


def _digest(listing: FileListing, path: str) -> bytes:
    with (listing.root / path).open("rb") as file:
        state = blake2b()
        while chunk := file.read(1 << 20):
            state.update(chunk)
    return state.digest()
