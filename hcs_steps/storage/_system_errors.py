"""What the operating system refuses, said so that a user can act on it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hcs_steps.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
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
