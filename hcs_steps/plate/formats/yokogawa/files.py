"""The index files of a Yokogawa plate: which there are, which one counts, and where its other metadata lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.yokogawa.cq1_ome import OME_SUFFIX, read_ome
from hcs_steps.plate.formats.yokogawa.index import INDEX_NAME, PlaneIndex, Record, read_mlf
from hcs_steps.plate.inventory import Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.xml_files import allowed_bytes

_DETAIL_SUFFIXES = (".mrf", ".wpi", ".wpp", ".mes")


def index_files(listing: FileListing) -> tuple[FileEntry, ...]:
    """All ``MeasurementData.mlf``, or else all OME-XML files, the outermost first."""
    named = [each for each in listing.with_suffix(INDEX_NAME) if each.name.lower() == INDEX_NAME]
    return tuple(named) or listing.with_suffix(OME_SUFFIX)


def read_index(listing: FileListing) -> tuple[PlaneIndex, list[Problem]]:
    """The plate's index, empty if there is none, and what is wrong with it.

    Raises `PlateError` if there are several that are no copies of each other: they are several plates.
    """
    files = index_files(listing)
    if not files:
        return PlaneIndex(), []
    if files[0].name.lower() == INDEX_NAME:
        return _read_mlf(listing, files)
    return _read_ome(listing, files)


def detail_folder(listing: FileListing, index: PlaneIndex) -> str:
    """The folder of the other metadata files: the index's, or else that of the outermost of them."""
    folders = [entry.path[: entry.path.rfind("/") + 1] for entry in listing.with_suffix(*_DETAIL_SUFFIXES)]
    return (
        index.folder if index.path and (index.folder in folders or not folders) else next(iter(folders), "")
    )


def _read_mlf(listing: FileListing, files: Sequence[FileEntry]) -> tuple[PlaneIndex, list[Problem]]:
    """Several that are damaged or empty do not stand for a plate each."""
    read = [
        read_mlf(listing.root, entry.path, max_bytes=_allowed(listing)) for entry in _distinct(listing, files)
    ]
    useful = [index for index in read if index.records or index.errors]
    _refuse_several(listing, useful)
    problems = [_damaged(index) for index in read if index.damage]
    return (useful or read)[0], problems


def _read_ome(listing: FileListing, files: Sequence[FileEntry]) -> tuple[PlaneIndex, list[Problem]]:
    """Stacks and projections have an index each in one folder; together they are the plate's."""
    read = [
        read_ome(listing.root, entry.path, max_bytes=_allowed(listing)) for entry in _distinct(listing, files)
    ]
    useful = [index for index in read if index.records]
    folders = {index.folder: index for index in reversed(useful)}
    _refuse_several(listing, list(folders.values()))
    problems = [_damaged(index) for index in read if index.damage]
    if not useful:
        return read[0], problems
    records: dict[str, Record] = {}
    for index in useful:
        for record in index.records:
            records.setdefault(record.path.lower(), record)
    whole = next((index for index in useful if index.rows), useful[0])
    damage = next((index.damage for index in read if index.damage), "")
    names = next((index.channel_names for index in useful if index.channel_names), {})
    combined = replace(
        useful[0],
        records=tuple(records.values()),
        damage=damage,
        rows=whole.rows,
        columns=whole.columns,
        channel_names=names,
    )
    return combined, problems


def _allowed(listing: FileListing) -> int:
    return allowed_bytes(len(listing.files))


def _damaged(index: PlaneIndex) -> Problem:
    rest = (
        f"The {len(index.records)} records before the damage were used, the rest of the plate was read by names."
        if index.records
        else "The plate was read by its names."
    )
    return Problem("unreadable", index.path, f"{index.damage} {rest}")


def _refuse_several(listing: FileListing, indexes: Sequence[PlaneIndex]) -> None:
    if len(indexes) > 1:
        paths = " and ".join(sorted(index.path for index in indexes)[:2])
        raise PlateError(
            f"{listing.root} holds {len(indexes)} measurements, each with its own index: {paths}.",
            hint="Give the folder of one measurement, and list the plates one by one.",
        )


def _distinct(listing: FileListing, files: Sequence[FileEntry]) -> list[FileEntry]:
    """The files without copies of earlier ones; only files of one size are compared."""
    if len(files) == 1:
        return list(files)
    seen: dict[tuple[int, str], FileEntry] = {}
    sizes = [entry.size for entry in files]
    for entry in files:
        content = _content(listing, entry) if sizes.count(entry.size) > 1 else ""
        seen.setdefault((entry.size, content), entry)
    return list(seen.values())


def _content(listing: FileListing, entry: FileEntry) -> str:
    """Hash of a file; its path if it cannot be read or is too large to be an index."""
    if entry.size > _allowed(listing):
        return entry.path
    state = blake2b(digest_size=16)
    try:
        with (listing.root / entry.path).open("rb") as file:
            while chunk := file.read(1 << 20):
                state.update(chunk)
    except OSError:
        return entry.path
    return state.hexdigest()
