"""Names that come from metadata, made into names that are safe in any folder of any operating system."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from hcs_steps.errors import StorageError

MAX_BYTES = 120
"""Longest file name stem; leaves room for the extension and for the temporary name's prefix and suffix."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\:*?"<>|]+')
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_WELL = re.compile(r"([A-Z]{1,2})0*([1-9]\d{0,2})")

K = TypeVar("K", bound=Hashable)


class WellPosition(NamedTuple):
    """A well's row letters, and its 0-based row and column."""

    letters: str
    row: int
    column: int

    @property
    def row_folder(self) -> str:
        """Name of the row: ``A`` to ``AF``."""
        return self.letters

    @property
    def column_folder(self) -> str:
        """Name of the column: two digits, as in the well's name."""
        return column_name(self.column)


def well_position(well: str) -> WellPosition:
    """Row and column of a well name such as ``A01`` or ``AF48``; `StorageError` for anything else."""
    match = _WELL.fullmatch(well)
    if match is None:
        raise StorageError(f"{well!r} is not a well name.", hint="Wells are called like A01 or AF48.")
    letters, number = match.groups()
    row = 0
    for letter in letters:
        row = row * 26 + ord(letter) - ord("A") + 1
    return WellPosition(letters, row - 1, int(number) - 1)


def row_name(row: int) -> str:
    """Letters of a 0-based row: 0 is ``A``, 26 is ``AA``."""
    return chr(ord("A") + row) if row < 26 else chr(ord("A") + row // 26 - 1) + chr(ord("A") + row % 26)


def column_name(column: int) -> str:
    """Number of a 0-based column with at least two digits: 0 is ``01``."""
    return f"{column + 1:02d}"


def safe_name(name: str) -> str:
    """``name`` where possible, else the nearest file name that is one visible component and not too long."""
    safe = _UNSAFE.sub("_", name).rstrip(". ")
    if safe.startswith("."):
        safe = "_" + safe.lstrip(".")
    if not safe or _DEVICE.fullmatch(safe):
        safe = f"_{safe}"
    encoded = safe.encode()
    if len(encoded) > MAX_BYTES:
        # The hash keeps two long names apart that differ only in what is cut off.
        suffix = "-" + hashlib.blake2b(name.encode(errors="replace"), digest_size=4).hexdigest()
        safe = encoded[: MAX_BYTES - len(suffix)].decode(errors="ignore") + suffix
    return safe


def unique_names(wanted: Mapping[K, str], order: Iterable[K]) -> dict[K, str]:
    """`safe_name` of every wanted name, made unique by ``_2``, ``_3`` ... in ``order``, ignoring case."""
    taken: set[str] = set()
    result: dict[K, str] = {}
    for key in order:
        base = name = safe_name(wanted[key])
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name.casefold())
        result[key] = name
    return result
