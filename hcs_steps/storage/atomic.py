"""Publication: a file or folder appears complete under its name, or not at all.

Everything is built under a temporary sibling ``.<name>.tmp-<pid>-<random>``, flushed to disk, and renamed.
A kill at any instant leaves what was there before, or nothing, or the new content; never a part of it. What
a killed process leaves behind is only such a sibling, which readers ignore.

`publish_file` and `publish_dir` also sweep those leftovers, so only the one owner of a target may call them.
`write_bytes` and its relatives never sweep and may race: the last writer wins, and every reader sees a
whole file.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.errors import StorageError
from hcs_steps.storage._checksum import checksum_file, checksum_tree, measure

__all__ = [
    "checksum_file", "checksum_tree", "json_bytes", "measure", "publish_dir", "publish_file", "remove_path",
    "storage_errors", "sweep_leftovers", "write_bytes", "write_json", "write_text",
]  # fmt: skip

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


@contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turn any `OSError` inside into a `StorageError` that says what failed, where, and the fix."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"Cannot {action} {path}: {reason}.", hint=_fix(error, path)) from error


def _fix(error: OSError, path: Path) -> str:
    if error.errno in _FULL:
        return (
            f"Free space (or quota) where {path.parent} lies, or choose another output folder, and run again."
        )
    if error.errno in _DENIED:
        return f"Make {path.parent} writable for the user who runs this, or choose another output folder."
    if error.errno in _IN_THE_WAY:
        blocker = next((p for p in (path, *path.parents) if p.exists() and not p.is_dir()), path)
        return f"A file is in the place of a folder, or a folder in that of a file: move {blocker} away."
    if error.errno == errno.ENAMETOOLONG:
        return "Choose a shorter output folder or step name."
    if error.errno == errno.ENOENT:
        return "Run the step that writes it first."
    return "Check that the disk is mounted and healthy, and run again."


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
    with _published_file(path) as temporary, temporary.open("xb") as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Like `write_bytes`, as UTF-8 with the line ends given; what UTF-8 cannot hold is escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"))


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
    temporary = _sibling(path, "tmp")
    with storage_errors("write", path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
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
    temporary = _sibling(path, "tmp")
    with storage_errors("write", path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            _fsync_tree(temporary)
            _swap_in(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def remove_path(path: Path) -> None:
    """Take away a published file or folder as one, with its leftovers. Idempotent; for its owner only."""
    path = Path(path)
    sweep_leftovers(path)
    with storage_errors("remove", path):
        if os.path.lexists(path):
            # Deleting a folder in place would show readers half of it.
            doomed = _sibling(path, "old")
            os.rename(path, doomed)
            _fsync(path.parent)
            _delete(doomed)


def sweep_leftovers(path: Path, *, older_than: float = 0.0) -> None:
    """Remove what killed publications of exactly ``path`` left beside it.

    ``older_than`` (seconds) spares young siblings, for targets that several live processes may be writing.
    """
    path = Path(path)
    leftover = re.compile(rf"\.{re.escape(path.name)}\.(tmp|old)-\d+-[0-9a-f]+")
    with storage_errors("clean up beside", path):
        try:
            found = [path.parent / name for name in os.listdir(path.parent) if leftover.fullmatch(name)]
        except (FileNotFoundError, NotADirectoryError):
            return  # publishing will say what is wrong with the folder
        for sibling in found:
            if older_than <= 0 or _age(sibling) > older_than:
                _delete(sibling)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0  # its process finished meanwhile


def _sibling(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}-{os.getpid()}-{secrets.token_hex(4)}")


def _delete(path: Path) -> None:
    """Best effort: a leftover that cannot go yet (held open on a network disk) goes at the next sweep."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _swap_in(new: Path, path: Path) -> None:
    if not os.path.lexists(path):
        os.rename(new, path)
        _fsync(path.parent)
        return
    if path.is_symlink() or not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    old = new
    if not _exchange(new, path):
        old = _sibling(path, "old")
        os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            os.rename(old, path)
            raise
    _fsync(path.parent)
    _delete(old)


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
