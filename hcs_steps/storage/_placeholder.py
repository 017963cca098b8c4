"""Images that are announced but not there yet: valid metadata where a unit will publish, and no pixel.

Viewers open the first image of a plate to learn what all look like, so a plate of which half is missing opens
only if there is something in the place of each image. A placeholder has the levels that the image will have,
which read as zeros, and says ``"state": "expected"`` in the attribute ``hcs_steps``.

A placeholder never replaces a published image, whoever races: it is renamed onto a name that is free, or onto
an empty folder, which the file system refuses for anything else. An outdated placeholder is emptied first,
through a descriptor of its folder: a publication that takes its name meanwhile puts another folder there.
Placeholders are not flushed to disk, only the folders that they share with images: what a power failure takes of
them was nobody's result.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.storage import _ngff
from hcs_steps.storage._dialect import DIALECTS, Dialect
from hcs_steps.storage._display import full_window
from hcs_steps.storage._levels import level_files
from hcs_steps.storage._ngff import Grid
from hcs_steps.storage.atomic import make_folder, own_mark, storage_errors, sweep_leftovers
from hcs_steps.storage.protocol import ImageMeta, PlaneKey, StoreSpec

STATE = "expected"
"""What a placeholder says of itself."""

_TEMPORARY = "expected"

TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST})
"""Errors of a folder that is renamed onto one with something in it."""

Files = Mapping[str, bytes]
"""Contents by path below the image group."""


@dataclass(frozen=True)
class Outlook:
    """What the image of one site will look like. Equal for the many wells that look alike."""

    site: int
    planes: tuple[tuple[int, int, int], ...]
    height: int
    width: int
    dtype: str
    channels: tuple[tuple[int, str], ...]
    pixel_size_um: float
    """0 if unknown, which unlike NaN is equal to itself."""

    def describe(self) -> list[Any]:
        """Everything, as JSON."""
        return [
            self.site, self.planes, self.height, self.width, self.dtype, self.channels, self.pixel_size_um
        ]  # fmt: skip


def outlooks(spec: StoreSpec) -> dict[str, dict[int, Outlook]]:
    """Well -> site -> what is expected there, of declared sites."""
    known: dict[Any, dict[int, Outlook]] = {}
    found: dict[str, dict[int, Outlook]] = {}
    for well, units in spec.expected.items():
        sites = set(spec.wells.get(well, ()))
        for unit in units:
            channels = tuple(sorted(unit.channels.items()))
            pixel = float(unit.pixel_size_um) if _ngff.is_known(unit.pixel_size_um) else 0.0
            layout = (unit.planes, unit.height, unit.width, unit.dtype, channels, pixel)
            if layout not in known:
                known[layout] = dict(_of_unit(*layout))
            own = {site: outlook for site, outlook in known[layout].items() if site in sites}
            found.setdefault(well, {}).update(own)
    return found


def _of_unit(planes: tuple[PlaneKey, ...], *rest: Any) -> Iterator[tuple[int, Outlook]]:
    for site in sorted({key[0] for key in planes}):
        own = sorted((int(key[1]), int(key[2]), int(key[3])) for key in planes if key[0] == site)
        yield int(site), Outlook(int(site), tuple(own), *rest)


@dataclass(frozen=True)
class Placeholder:
    """The files of a placeholder: ``arrays`` those of its levels, ``group`` its own, which lie last in the folder.

    The arrays' files also lie in the folder ``source`` as long as many placeholders are made of them.
    """

    arrays: Files
    group: Files
    source: str


@contextmanager
def placeholders(
    spec: StoreSpec, dialect: Dialect, wanted: Iterable[Outlook]
) -> Iterator[dict[Outlook, Placeholder]]:
    """The placeholder of every outlook. Not even its name tells the well, so wells that look alike share it."""
    sweep_leftovers(spec.path / _TEMPORARY, shared=True)
    with _temporary(spec.path) as folder:
        yield {
            outlook: _placeholder(spec, dialect, outlook, f"{folder}/{number}")
            for number, outlook in enumerate(wanted)
        }


def _placeholder(spec: StoreSpec, dialect: Dialect, outlook: Outlook, source: str) -> Placeholder:
    grid = Grid.of(outlook.site, [PlaneKey(outlook.site, *czt) for czt in outlook.planes])
    meta = ImageMeta(dict(outlook.channels), outlook.pixel_size_um)
    size = (outlook.height, outlook.width)
    arrays = level_files(spec, dialect, grid.shape, size, outlook.dtype)
    for name, content in arrays.items():
        os.makedirs(os.path.dirname(f"{source}/{name}"), exist_ok=True)
        _write_file(f"{source}/{name}", content)
    paths = sorted({name.partition("/")[0] for name in arrays}, key=int)
    scales = _ngff.multiscales(f"site {outlook.site} (not there yet)", grid, meta, *size, paths)
    windows = dict.fromkeys(grid.channels, full_window(np.dtype(outlook.dtype)))
    digest = hashlib.blake2b(repr(list(arrays.items())).encode(), digest_size=8).hexdigest()
    own = _ngff.own_attributes(replace(grid, planes=()), meta) | {"state": STATE, "arrays": digest}
    group = dialect.group(_ngff.image_attributes(grid, meta, scales, windows), own)
    return Placeholder(arrays, group, source)


def is_published(content: bytes | None, dialect: Dialect) -> bool:
    """Whether an image group whose marker has this content was published. A damaged one was: its reader is told.

    A placeholder is not flushed to disk, so a power failure may leave its marker without content.
    """
    try:
        return bool(content) and dialect.own(content or b"").get("state") != STATE
    except (ValueError, KeyError, TypeError):
        return True


def put_placeholders(well: Path, dialect: Dialect, wanted: Mapping[int, Placeholder]) -> None:
    """Put placeholders into the folder of a well where neither they nor published images are. May race."""
    with storage_errors("write", well):
        wanted = {
            site: each
            for site, each in wanted.items()
            if content_of(well / str(site) / dialect.marker) != each.group[dialect.marker]
        }
        if not wanted:
            return
        sweep_leftovers(well / _TEMPORARY, shared=True)
        with _temporary(well) as temporary:
            for site, each in wanted.items():
                if _free(f"{well}/{site}", dialect, each):
                    _write(f"{temporary}/{site}", each)
                    _rename(f"{temporary}/{site}", f"{well}/{site}")


@contextmanager
def _temporary(parent: Path) -> Iterator[str]:
    folder = f"{parent}/.{_TEMPORARY}.tmp-{own_mark()}"
    try:
        make_folder(parent)
        os.mkdir(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(folder: str, each: Placeholder) -> None:
    os.mkdir(folder)
    for name, content in each.arrays.items():
        parent = f"{folder}/{name.rpartition('/')[0]}"
        if not os.path.isdir(parent):
            os.mkdir(parent)
        try:
            # Several times faster than a new file, of which a plate needs tens of thousands.
            os.link(f"{each.source}/{name}", f"{folder}/{name}")
        except OSError:
            _write_file(f"{folder}/{name}", content)
    for name, content in each.group.items():
        _write_file(f"{folder}/{name}", content)


def _write_file(path: str, content: bytes) -> None:
    with open(path, "xb", buffering=0) as file:
        file.write(content)


def _rename(new: str, target: str) -> None:
    try:
        os.rename(new, target)
    except OSError as error:
        if error.errno not in TAKEN:
            raise  # else it was published, or announced by another process, meanwhile


def _free(target: str, dialect: Dialect, each: Placeholder) -> bool:
    """Make a site's folder free for a placeholder; False if something is there that stays."""
    if not shutil.rmtree.avoids_symlink_attacks:  # a system without calls relative to a descriptor
        return not os.path.lexists(target)
    try:
        descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return True
    try:
        return _emptied(descriptor, dialect, each)
    finally:
        os.close(descriptor)


def _emptied(folder: int, dialect: Dialect, each: Placeholder) -> bool:
    """Empty a folder that holds another placeholder, or an image of the other version; False if it holds
    anything else. What such a folder is never changes, for every publication is a folder of its own.
    """
    names = os.listdir(folder)
    markers = {each.marker for each in DIALECTS.values()}.intersection(names)
    if dialect.marker in markers:
        try:
            content = _read_in(folder, dialect.marker)
        except FileNotFoundError:
            return False  # another process is emptying it, for its own placeholder or as it removes it
        if content == each.group[dialect.marker] or is_published(content, dialect):
            return False
    elif not markers:
        return not names
    for name in sorted(names, key=markers.__contains__):  # as long as anything is there it says what it is
        _remove_in(folder, name)
    return True


def _read_in(folder: int, name: str) -> bytes:
    with open(name, "rb", opener=lambda name, flags: os.open(name, flags, dir_fd=folder)) as file:
        return file.read()


def _remove_in(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        shutil.rmtree(name, ignore_errors=True, dir_fd=folder)


def content_of(path: Path) -> bytes | None:
    """The bytes of a file, None if there is none."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def sweep_store(folder: Path) -> None:
    """Remove what killed declarations left in a store, once no process declares it any more."""
    for place in (folder, *folder.glob("[A-Z]*/[0-9]*")):
        sweep_leftovers(place / _TEMPORARY)
