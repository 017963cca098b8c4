"""The listing: every file below a plate folder with its size and time, read once and never written.

Everything else in this package works from the listing, so a plate is walked and stat'ed exactly once. Folders
that are reached through symbolic links are not entered (a link to a parent would never end); linked *files*
are listed like any other, with the size and time of the file they point to.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import NamedTuple

from hcs_steps.errors import PlateError

IMAGE_SUFFIXES = (".tif", ".tiff")
SAMPLE = 300


class FileEntry(NamedTuple):
    """One file: POSIX path relative to the plate folder, size in bytes, modification time in nanoseconds."""

    path: str
    size: int
    mtime_ns: int

    @property
    def name(self) -> str:
        """The file's name without its folders."""
        return self.path.rpartition("/")[2]

    @property
    def is_image(self) -> bool:
        """Whether the name has a TIFF extension (any case)."""
        return self.path.lower().endswith(IMAGE_SUFFIXES)


def folder_of(entry: FileEntry) -> str:
    """The folder of a file, relative to the plate; empty for the plate's own."""
    return entry.path.rpartition("/")[0]


@dataclass(frozen=True)
class FileListing:
    """All files of a plate folder, sorted by path.

    ``skipped`` names what was seen but cannot be used, with the reason: linked folders, pipes and devices, and names
    that are not valid Unicode. A dangling link is listed with size 0.
    """

    root: Path
    files: tuple[FileEntry, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    @cached_property
    def images(self) -> tuple[FileEntry, ...]:
        """The files with a TIFF extension; hidden ones (``._A01.tif`` of macOS) are left out."""
        return tuple(entry for entry in self.files if entry.is_image and not entry.name.startswith("."))

    @cached_property
    def image_sample(self) -> tuple[FileEntry, ...]:
        """A few hundred of the images, the same ones every time: enough to tell that a naming is another."""
        return tuple(Random(0).sample(self.images, min(SAMPLE, len(self.images))))

    @cached_property
    def by_path(self) -> Mapping[str, FileEntry]:
        """Path in lower case -> file: metadata written on Windows do not keep to a name's case."""
        return {entry.path.lower(): entry for entry in self.files}

    @cached_property
    def by_name(self) -> Mapping[str, tuple[FileEntry, ...]]:
        """Name without folders, in lower case -> files; hidden ones are left out."""
        names: defaultdict[str, list[FileEntry]] = defaultdict(list)
        for entry in self.files:
            if not entry.name.startswith("."):
                names[entry.name.lower()].append(entry)
        return {name: tuple(entries) for name, entries in names.items()}

    def with_suffix(self, *suffixes: str) -> tuple[FileEntry, ...]:
        """Files whose name ends in one of ``suffixes`` (any case), the outermost first; not the hidden ones."""
        found = [
            entry
            for entry in self.files
            if entry.path.lower().endswith(suffixes) and not entry.name.startswith(".")
        ]
        return tuple(sorted(found, key=lambda entry: (entry.path.count("/"), entry.path)))

    @cached_property
    def digest(self) -> str:
        """Hex hash of every path, size and modification time; the plate's own location is not part of it."""
        state = blake2b(digest_size=16)
        for path, size, mtime_ns in self.files:
            state.update(f"{path}\0{size}\0{mtime_ns}\n".encode())
        return state.hexdigest()


def list_files(plate: Path | str) -> FileListing:
    """List a plate folder.

    Raises `PlateError` if ``plate`` is missing, is not a folder, is empty, or it or one of its sub-folders
    cannot be read: a part of the plate that silently stays away would pass for a smaller plate.
    """
    root = Path(plate).expanduser().absolute()
    if not root.exists():
        raise PlateError(
            f"The plate folder {root} does not exist.",
            hint="Check the spelling of `plate` and that the drive or share is mounted.",
        )
    if not root.is_dir():
        raise PlateError(
            f"{root} is a file, not a plate folder.", hint=f"Give the folder that holds it: {root.parent}."
        )
    skipped: list[tuple[str, str]] = []
    try:
        files = sorted(_walk(str(root), "", skipped))
    except PermissionError as error:
        raise PlateError(
            f"{error.filename or root} cannot be read: permission denied.",
            hint="Ask for read (and, for folders, execute) permission; nothing is ever written there.",
        ) from error
    except OSError as error:
        raise PlateError(
            f"{error.filename or root} cannot be listed: {error.strerror or error}.",
            hint="Check the drive or the network share, then run again.",
        ) from error
    if not files:
        raise PlateError(
            f"The plate folder {root} holds no files.",
            hint="Give the folder that contains the images, or wait until the export has finished.",
        )
    return FileListing(root, tuple(files), tuple(sorted(skipped)))


def _walk(folder: str, prefix: str, skipped: list[tuple[str, str]]) -> Iterator[FileEntry]:
    """Yield the files below ``folder``, whose path relative to the plate is ``prefix`` (ends in a slash)."""
    below: list[tuple[str, str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if not _is_unicode(path):
                shown = path.encode("utf-8", "backslashreplace").decode()
                skipped.append((shown, "The name is not valid Unicode."))
            elif entry.is_dir(follow_symlinks=False):
                below.append((entry.path, path + "/"))
            elif entry.is_symlink() and os.path.isdir(entry.path):
                skipped.append((path, "A link to a folder; linked folders are not followed."))
            else:
                found = _stat(entry, path)
                if found is not None:
                    yield found
                else:
                    skipped.append((path, "A pipe, a socket or a device, not a file."))
    for child, child_prefix in below:
        yield from _walk(child, child_prefix, skipped)


def _stat(entry: os.DirEntry[str], path: str) -> FileEntry | None:
    """The entry of a file, None for what is none: reading it may never end."""
    try:
        status = entry.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        # A dangling link, or a file that vanished since: kept, so that its plane fails visibly.
        return FileEntry(path, 0, 0)
    if not stat.S_ISREG(status.st_mode):
        return None
    return FileEntry(path, status.st_size, status.st_mtime_ns)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
