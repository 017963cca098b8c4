"""Checksums of published files and folders, to notice a result that was changed or damaged."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from hcs_steps.errors import MEND, StorageError

_BLOCK = 1 << 20
_DIGEST_BYTES = 16


def checksum_file(path: Path) -> str:
    """``blake2b:<hex, 16 bytes>`` over the bytes of a file."""
    return _checksum_file(Path(path))


def checksum_tree(path: Path) -> str:
    """``blake2b:<hex, 16 bytes>`` of a folder: over its files' sorted relative paths and checksums."""
    return measure(path)[1]


def measure(path: Path) -> tuple[int, str]:
    """Bytes and checksum of a file, or of all files of a folder."""
    path = Path(path)
    if not path.is_dir():
        return _size(path), _checksum_file(path)
    size = 0
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for relative in sorted(_files_below(path)):
        size += _size(path / relative)
        digest.update(f"{relative}\0{_checksum_file(path / relative)}\n".encode())
    return size, f"blake2b:{digest.hexdigest()}"


def _files_below(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield (Path(parent) / name).relative_to(folder).as_posix()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def _checksum_file(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    return f"blake2b:{digest.hexdigest()}"


def _unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"Cannot read {path} to compute its checksum: {error.strerror or error}.",
        hint=f"It was moved, removed or protected after it was published. {MEND}",
    )
