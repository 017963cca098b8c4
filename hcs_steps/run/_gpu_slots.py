"""Slots of devices, held by locks of the operating system, and the queue of those that wait for one.

A slot is a file that is locked as long as its holder lives, however it dies. Who waits has a ticket: a locked file
whose name says when it was drawn, and whose content for which devices. A free slot is left to the oldest ticket that
could use it, so nobody waits for ever. Files stay when they are free; only tickets are removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hcs_steps.errors import ConfigError

FOLDER = "HCS_STEPS_GPU_LOCKS"
"""Environment variable that names the folder of the locks, for several users to share."""

SLOTS = "HCS_STEPS_GPU_SLOTS"
"""Environment variable that says how many jobs may use a device at a time."""

_TICKET = "ticket-"
_MOST_SLOTS = 64


class Slot:
    """A slot of a device that this process holds until `release`."""

    def __init__(self, number: int, handle: int) -> None:
        self.number = number
        self._handle = handle

    def release(self) -> None:
        """Leave it to others; once is enough."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def slots_per_device() -> int:
    """How many jobs may use a device at a time: `SLOTS`, 1 if it is not set. `ConfigError` for anything odd."""
    text = os.environ.get(SLOTS, "").strip() or "1"
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST_SLOTS):
        raise ConfigError(
            f"{SLOTS} is {text!r}.",
            hint=f"Set it to how many jobs may share a GPU, from 1 to {_MOST_SLOTS}, or leave it out: 1.",
        )
    return int(text)


def lock_folder() -> Path:
    """The folder of the locks, made if need be: `FOLDER`, open to all users, else one of this user's own.

    Not below TMPDIR, which differs from job to job on clusters. `ConfigError` if the folder is somebody else's.
    """
    shared = os.environ.get(FOLDER)
    folder = Path(shared) if shared else Path(f"/tmp/hcs-steps-gpu-{os.getuid()}")
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            # Anybody may add a file, nobody may remove another's. Not by mkdir, whose mode the umask narrows.
            folder.chmod(0o1777 if shared else 0o700)
        if not shared and folder.stat().st_uid != os.getuid():
            raise PermissionError(f"it belongs to user {folder.stat().st_uid}")
    except OSError as error:
        raise ConfigError(
            f"The folder {folder} for the locks of GPUs cannot be used: {error}.",
            hint=f"Set {FOLDER} to a folder that everybody who shares the GPUs may write to.",
        ) from error
    return folder


def take(folder: Path, key: str, number: int) -> Slot | None:
    """A slot of a device, or None if somebody has it. `ConfigError` for a lock that cannot be opened."""
    path = folder / f"{key.replace('/', '_')}.{number}.lock"
    while True:
        try:
            handle = _opened(path)
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        if _is_at(path, handle):
            with suppress(OSError):  # of file systems that refuse it; the lock holds without
                os.utime(handle)  # what clears old files out of /tmp goes by this
            return Slot(number, handle)
        # Removed between opening and locking: the next one would lock another file of this name.
        os.close(handle)


class Ticket:
    """A place in the queue for any of some devices; it is gone when its holder is, or after `withdraw`."""

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self.folder = folder
        self.keys = frozenset(keys)
        self.name = f"{_TICKET}{time.time_ns():020d}-{platform.node()}-{os.getpid()}"
        hidden = folder / f".{self.name}"
        try:
            self._handle = _created(hidden)
            # Nobody is to find it before it is locked: it would look left behind.
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            os.write(self._handle, json.dumps(sorted(keys)).encode())
            hidden.rename(folder / self.name)
        except OSError as error:
            raise _unusable(folder / self.name, error) from error

    def claimed(self) -> set[str]:
        """Those of the devices that somebody who came before would take."""
        claimed: set[str] = set()
        for name in sorted(n for n in os.listdir(self.folder) if n.startswith(_TICKET) and n < self.name):
            claimed |= self.keys & _wanted(self.folder / name)
            if claimed == self.keys:  # the oldest ticket is mostly all there is to read
                break
        return claimed

    def withdraw(self) -> None:
        """Leave the queue."""
        with suppress(OSError):
            (self.folder / self.name).unlink()
        os.close(self._handle)


def _wanted(path: Path) -> frozenset[str]:
    """The devices of a ticket; none if its holder is gone, and the ticket is then removed."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(ValueError, OSError):
            return frozenset(json.loads(os.read(handle, 1 << 16)))
    else:
        with suppress(OSError):  # another user's stays; it does not count
            path.unlink()
    finally:
        os.close(handle)
    return frozenset()


def _is_at(path: Path, handle: int) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _opened(path: Path) -> int:
    """A lock's file, open to read and write; made where it is not there."""
    # Not with O_CREAT where it may be there: Linux refuses that for another user's file in a shared folder.
    with suppress(FileNotFoundError):
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    hidden = path.with_name(f".{path.name}-{os.urandom(8).hex()}")
    os.close(_created(hidden))
    try:
        with suppress(FileExistsError):  # somebody else was faster
            os.link(hidden, path)
    finally:
        hidden.unlink()
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _created(path: Path) -> int:
    """A new file that every user may open, open to read and write."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    os.fchmod(handle, 0o666)  # whatever the umask
    return handle


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path}, which says who uses a GPU, cannot be opened: {error.strerror or error}.",
        hint=f"Everybody who shares the GPUs must be able to read and write the files in {path.parent} (chmod 666, the "
        f"folder 1777), or set {FOLDER} to another folder.",
    )
