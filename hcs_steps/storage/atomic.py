"""Publication: a file or folder appears complete under its name, or not at all.

Everything is built under a temporary sibling ``.<name>.tmp-<pid>-<random>``, flushed to disk, and renamed.
A kill at any instant leaves what was there before, or nothing, or the new content; never a part of it. What
a killed process leaves behind is only such a sibling, which readers ignore.

`publish_file` and `publish_dir` also sweep those leftovers, so only the one owner of a target may call them.
`write_bytes` and its relatives may race: they sweep only what no live process can still be writing, the last
writer wins, and every reader sees a whole file.

When a function returns, what it did outlasts a power failure, too: content, name, and folders made for it.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.storage._checksum import checksum_file, checksum_tree, measure
from hcs_steps.storage._leftovers import delete, own_mark, sibling_of, sweep_leftovers
from hcs_steps.storage._system_errors import storage_errors

__all__ = [
    "checksum_file", "checksum_tree", "json_bytes", "make_folder", "measure", "own_mark", "publish_dir", "publish_file",
    "remove_path", "rename_file", "storage_errors", "sweep_leftovers", "write_bytes", "write_json", "write_text",
]  # fmt: skip


def json_bytes(obj: Any) -> bytes:
    """JSON that is the same for equal content: sorted keys, indent 1, UTF-8, trailing newline.

    NumPy scalars and arrays become numbers and lists, paths become strings, and NaN and infinities, which
    JSON cannot hold, become null. A file name that is not UTF-8 is escaped and reads back as it was.
    """
    text = json.dumps(_plain(obj), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    # Of what UTF-8 cannot hold only lone surrogates come up, whose escape in Python is that of JSON.
    return f"{text}\n".encode(errors="backslashreplace")


def _plain(obj: Any) -> Any:
    if isinstance(obj, np.generic | np.ndarray):
        obj = obj.tolist()
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    if isinstance(obj, Mapping):
        return {str(key): _plain(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [_plain(value) for value in obj]
    return str(obj) if isinstance(obj, Path) else obj


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file atomically, creating its folder. May race with other writers of the same path."""
    path = Path(path)
    sweep_leftovers(path, shared=True)
    with _published_file(path) as temporary, temporary.open("xb") as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Like `write_bytes`, as UTF-8 with the line ends given; what UTF-8 cannot hold is escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def update_text(path: Path, text: str) -> None:
    """Like `write_text`, but a file that holds the text already is left alone."""
    data = text.encode(errors="backslashreplace")
    try:
        if Path(path).read_bytes() == data:
            return
    except OSError:  # not there, or not readable, which writing will tell
        pass
    write_bytes(path, data)


def write_json(path: Path, obj: Any) -> None:
    """Like `write_bytes`, of `json_bytes`."""
    write_bytes(path, json_bytes(obj))


@contextmanager
def publish_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; when the block ends well, it becomes ``path``, else it is removed.

    For the owner of ``path`` only: leftovers of its killed predecessors are swept first.
    """
    path = Path(path)
    sweep_leftovers(path)
    with _published_file(path) as temporary:
        yield temporary


@contextmanager
def _published_file(path: Path) -> Iterator[Path]:
    temporary = sibling_of(path, "tmp")
    with storage_errors("write", path):
        try:
            make_folder(path.parent)
            yield temporary
            _fsync(temporary)
            os.replace(temporary, path)
            _fsync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def publish_dir(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder to fill; when the block ends well, it replaces ``path`` as a whole.

    For the owner of ``path`` only: leftovers of its killed predecessors are swept first. Where the system can
    exchange two names, the old folder is never missing in between; elsewhere it is moved aside just before.
    """
    path = Path(path)
    sweep_leftovers(path)
    temporary = sibling_of(path, "tmp")
    with storage_errors("write", path):
        try:
            make_folder(temporary.parent)
            temporary.mkdir()
            yield temporary
            _fsync_tree(temporary)
            _swap_in(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def make_folder(folder: Path) -> None:
    """Create a folder, and those above it that are missing, so that their names outlast a power failure."""
    missing = []
    while not folder.is_dir() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _fsync(each.parent)


def rename_file(path: Path, target: Path) -> None:
    """Give a published file another name in its folder; what had that name is replaced."""
    with storage_errors("rename", path):
        os.replace(path, target)
        _fsync(target.parent)


def remove_path(path: Path) -> None:
    """Take away a published file or folder as one, with its leftovers. Idempotent; for its owner only."""
    path = Path(path)
    sweep_leftovers(path)
    with storage_errors("remove", path):
        if not os.path.lexists(path):
            return
        # Deleting a folder in place would show readers half of it.
        doomed = sibling_of(path, "old")
        os.rename(path, doomed)
        _fsync(path.parent)
        delete(doomed)


def _swap_in(new: Path, path: Path) -> None:
    if not os.path.lexists(path):
        os.rename(new, path)
        _fsync(path.parent)
        return
    if path.is_symlink() or not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    old = new
    if not _exchange(new, path):
        old = sibling_of(path, "old")
        os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            os.rename(old, path)
            raise
    _fsync(path.parent)
    delete(old)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one atomic operation; False where system or file system cannot."""
    rename = _renameat2()
    return rename is not None and rename(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0


@cache
def _renameat2() -> Any:
    import ctypes

    # -100 and 2 above are AT_FDCWD and RENAME_EXCHANGE of Linux, the only system with this call.
    return getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None


def _fsync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            _fsync(Path(parent) / name)
        _fsync(Path(parent))


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot flush a folder; the rename itself is then all there is.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)
