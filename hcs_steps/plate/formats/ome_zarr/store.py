"""A Zarr store as its listing shows it: which folders are groups or arrays, and their JSON, read without trust.

A folder is a node if it holds one of `NODE_FILES`. Paths in metadata are only ever looked up among the nodes,
so ``..``, absolute paths and URLs lead nowhere.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

from hcs_steps.errors import PlateError
from hcs_steps.plate.headers import read_files
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.wells import canonical_well

ZARR_3 = "zarr.json"
NODE_FILES = (ZARR_3, ".zattrs", ".zgroup", ".zarray")
MAX_BYTES = 16_000_000
"""The most that a metadata file may have."""
CONSOLIDATED_BYTES_PER_FILE = 4_000
"""What the root's file may have more per file of the store: Zarr 3 may repeat all other metadata in it."""

_SMALL_BYTES = 20_000

Json = Mapping[str, Any]


@dataclass(frozen=True)
class ZarrStore:
    """The store whose root is the folder ``root`` of a listing (``""`` for the plate's own folder).

    All folders are relative to the plate's folder, POSIX style, without a slash at the end.
    """

    listing: FileListing
    root: str

    @cached_property
    def files(self) -> Mapping[str, FileEntry]:
        """Path -> file, of all files that make a folder a node."""
        prefix = self.inside("")
        return {
            entry.path: entry
            for entry in self.listing.files
            if entry.path.endswith(NODE_FILES)
            and entry.path.startswith(prefix)
            and entry.path.rpartition("/")[2] in NODE_FILES
        }

    @cached_property
    def below(self) -> Mapping[str, frozenset[str]]:
        """Folder -> names of the folders directly in it that are nodes or lead to some."""
        names: defaultdict[str, set[str]] = defaultdict(set)
        known: set[str] = set()
        for path in self.files:
            folder = path.rpartition("/")[0]
            while folder and folder not in known:
                known.add(folder)
                folder, _, name = folder.rpartition("/")
                names[folder].add(name)
        return {folder: frozenset(own) for folder, own in names.items()}

    def inside(self, path: str) -> str:
        """A path in the store, relative to the plate's folder."""
        return f"{self.root}/{path}" if self.root else path

    def group_file(self, folder: str) -> FileEntry | None:
        """The file with the attributes of a group."""
        return self.files.get(_join(folder, ZARR_3)) or self.files.get(_join(folder, ".zattrs"))

    def array_file(self, folder: str) -> FileEntry | None:
        """The file with the shape of an array."""
        return self.files.get(_join(folder, ZARR_3)) or self.files.get(_join(folder, ".zarray"))

    def wells(self) -> tuple[str, ...]:
        """Every folder ``<row>/<column>`` of the store that is a well by its name, whatever metadata list."""
        paths = (
            f"{row}/{column}"
            for row in sorted(self.below.get(self.root, ()))
            for column in sorted(self.below.get(self.inside(row), ()))
        )
        return tuple(path for path in paths if well_of(path))

    def read(self, entries: Sequence[FileEntry]) -> list[Json | str]:
        """The JSON object in each file, or why it cannot be used; several at once if the disk is slow."""
        return list(read_files(self.listing.root, entries, read_json))

    def read_root(self) -> Json | str:
        """The JSON object in the root's file, empty if there is none, or why it cannot be used."""
        entry = self.group_file(self.root)
        limit = MAX_BYTES + CONSOLIDATED_BYTES_PER_FILE * len(self.listing.files)
        read = partial(read_json, limit=limit)
        return next(read_files(self.listing.root, [entry], read)) if entry else {}


def read_json(path: Path, limit: int = MAX_BYTES) -> Json:
    """The object in a JSON file. `PlateError` if the file is no file, larger than ``limit``, or holds none."""
    hint = "Copy it again."
    if not path.is_file():  # a pipe would never end
        raise PlateError("It is a dangling link, or no file.", hint=hint)
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise PlateError(f"It cannot be read: {error.strerror}.", hint=hint) from error
    if len(data) > limit:
        raise PlateError(f"It has more than {limit:,} bytes.", hint=hint)
    return _parsed(data) if len(data) < _SMALL_BYTES else _parsed.__wrapped__(data)


@lru_cache(maxsize=256)
def _parsed(data: bytes) -> Json:
    """The object in a JSON text. Most arrays of a plate are described by the same bytes."""
    hint = "Copy it again."
    try:
        # NaN and Infinity are not JSON, but written by some; as None they count as unknown.
        document = json.loads(data, parse_constant=lambda _: None)
    except RecursionError as error:
        raise PlateError("It is nested too deeply.", hint=hint) from error
    except ValueError as error:  # also a wrong encoding, and a number with thousands of digits
        raise PlateError(f"It is not JSON: {error}.", hint=hint) from error
    if not isinstance(document, dict):
        raise PlateError("It is not a JSON object.", hint=hint)
    return document


def roots(listing: FileListing) -> tuple[str, ...]:
    """The folders that are Zarr plates by their names: the plate's own folder, else those directly in it.

    A plate is a node with nodes ``<row>/<column>`` below it.
    """
    nodes = set()
    for entry in listing.files:
        if entry.path.endswith(NODE_FILES) and entry.path.count("/") < 4 and entry.name in NODE_FILES:
            nodes.add(entry.path.rpartition("/")[0])
    holders = set()
    for node in nodes:
        *above, row, column = ("", "", *node.split("/"))
        if well_of(f"{row}/{column}"):
            holders.add("/".join(above[2:]))
    plates = sorted(holders & nodes)
    return ("",) if "" in plates else tuple(plate for plate in plates if "/" not in plate)


def well_of(path: str) -> str:
    """The well of a path ``<row>/<column>``, empty if it is none: ``B/03`` -> ``B03``."""
    row, _, column = path.partition("/")
    if not (row.isalpha() and column.isascii() and column.isdigit()):
        return ""
    try:
        return canonical_well(row + column)
    except PlateError:
        return ""


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
