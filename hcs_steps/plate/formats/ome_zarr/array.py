"""A Zarr array: shape, dtype and chunk files, from its own JSON and the listing.

Only the files of chunks are looked at: with shards, these are the shards, whose inner chunks do not matter
here. Sources: the Zarr v2 and v3 specifications at https://zarr-specs.readthedocs.io.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.ome_zarr.store import Json
from hcs_steps.plate.listing import FileEntry, FileListing

MAX_LENGTH = 2**31 - 1
_V2_DTYPE = re.compile(r"[<>|=]([biuf])([1248])")
_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float"}
_DTYPES = frozenset(("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)))) | {
    "float16",
    "float32",
    "float64",
}


@dataclass(frozen=True)
class ArrayMetadata:
    """An array: lengths of its axes and of its chunks, NumPy dtype name, fill value, names of chunk files.

    A chunk at grid position (i, j) is the file ``<lead>i<separator>j``.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    fill: str
    lead: str
    separator: str

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        return tuple(-(-length // chunk) for length, chunk in zip(self.shape, self.chunks, strict=True))

    def position(self, name: str) -> tuple[int, ...] | None:
        """The grid position of the chunk in a file, None if the name is none of a chunk of this array."""
        if not name.startswith(self.lead):
            return None
        parts = name[len(self.lead) :].split(self.separator)
        # A number of more digits than the grid has chunks is a number outside it, and may be without end.
        if len(parts) != len(self.grid) or not all(
            p.isascii() and p.isdigit() and len(p) < 11 for p in parts
        ):
            return None
        position = tuple(map(int, parts))
        return position if all(i < n for i, n in zip(position, self.grid, strict=True)) else None


class Stored(NamedTuple):
    """The chunk files that hold the planes of one block: their number, bytes, and newest time."""

    files: int
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class StoredChunks:
    """What is stored of an array: position along the leading axes -> its chunk files; empty and odd files."""

    blocks: Mapping[tuple[int, ...], Stored]
    empty: tuple[FileEntry, ...]
    odd: tuple[FileEntry, ...]


def array_metadata(document: Json) -> ArrayMetadata:
    """An array's ``.zarray`` or ``zarr.json``; `PlateError` if it is no array of grey values."""
    third = document.get("zarr_format") == 3
    try:
        if third:
            chunks = document["chunk_grid"]["configuration"]["chunk_shape"]
            dtype, naming = document["data_type"], document.get("chunk_key_encoding") or {"name": "default"}
            first = naming["name"] == "default"
            separator = (naming.get("configuration") or {}).get("separator", "/" if first else ".")
        else:
            chunks, dtype, first = document["chunks"], _v2_dtype(document["dtype"]), False
            separator = document.get("dimension_separator", ".")
        shape = document["shape"]
    except (KeyError, TypeError, AttributeError) as error:
        raise PlateError("It does not describe an array.", hint="Copy it again.") from error
    if not (_lengths(shape) and _lengths(chunks) and len(shape) == len(chunks) and separator in ("/", ".")):
        raise PlateError("Its shape, chunks or separator are not possible.", hint="Copy it again.")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise PlateError(f"Its dtype {str(dtype)[:40]!r} is not one of grey values.", hint="Convert it.")
    lead = f"c{separator}" if first else ""
    fill = str(document.get("fill_value"))[:20]
    return ArrayMetadata(tuple(shape), tuple(chunks), dtype, fill, lead, separator)


def stored_chunks(
    listing: FileListing, paths: Sequence[str], folder: str, array: ArrayMetadata, leading: Sequence[int]
) -> StoredChunks:
    """The chunk files of the array in ``folder``; ``paths`` are those of the listing, in its order.

    ``leading`` are the numbers of the axes that number planes: files that differ only along the others, the
    plane's own, belong together.
    """
    prefix = f"{folder}/"
    begin, end = bisect_left(paths, prefix), bisect_left(paths, f"{folder}0")  # "0" follows "/"
    blocks: dict[tuple[int, ...], Stored] = {}
    empty, odd = [], []
    nothing = Stored(0, 0, 0)
    for entry in listing.files[begin:end]:
        path, size, mtime_ns = entry
        position = array.position(path[len(prefix) :])
        if position is None:
            if not entry.name.startswith((".", "zarr.json")):
                odd.append(entry)
            continue
        if not size:
            empty.append(entry)
        key = tuple(position[axis] for axis in leading)
        files, total, newest = blocks.get(key, nothing)
        blocks[key] = Stored(files + 1, total + size, max(newest, mtime_ns))
    return StoredChunks(blocks, tuple(empty), tuple(odd))


def chunks_per_plane(array: ArrayMetadata, leading: Sequence[int]) -> int:
    """How many chunk files a plane has when all are stored."""
    return prod(count for axis, count in enumerate(array.grid) if axis not in leading)


def _v2_dtype(code: Any) -> Any:
    match = _V2_DTYPE.fullmatch(code) if isinstance(code, str) else None
    if match is None:
        return code
    bits = "" if match[1] == "b" else str(8 * int(match[2]))
    return f"{_KINDS[match[1]]}{bits}"


def _lengths(values: Any) -> bool:
    """Whether this is a list of possible lengths of axes."""
    return isinstance(values, list) and all(
        isinstance(each, int) and not isinstance(each, bool) and 0 < each <= MAX_LENGTH for each in values
    )
