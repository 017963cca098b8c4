"""Folders of small JSON files, read again and again: only what is new or changed is opened."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from hcs_steps.run.records import read_json

Item = TypeVar("Item")
Parse = Callable[[dict[str, Any] | None, Path], Item | None]
_SETTLED_S = 3.0
"""A folder whose time is older than this when it is listed has changed since if and only if its time has; file systems
count in steps of up to 2 s.
"""


class JsonFolder(Generic[Item]):
    """What the files ``<unit>.json`` of a folder hold, by unit, as ``parse`` makes it of a file's content and path.

    Every file appears by a rename, so a folder whose time has not changed holds the same files: it is not even listed.
    In one that is listed, a file of the same time, size and inode is not opened again. ``parse`` is given None for a
    file that is not a mapping; what it makes nothing of counts as absent.
    """

    def __init__(self, folder: Path, parse: Parse[Item]) -> None:
        self.folder = folder
        self.items: dict[str, Item] = {}
        self.times: dict[str, float] = {}
        self.version = 0
        self._parse = parse
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._stamp: tuple[int, int] | None = None

    def refresh(self) -> bool:
        """Look again; whether anything has changed, which also counts ``version`` up."""
        try:
            status = os.stat(self.folder)
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return False
            settled = time.time() - status.st_mtime > _SETTLED_S
            with os.scandir(self.folder) as entries:
                found = {entry.name: entry for entry in entries if _is_unit(entry.name)}
                changed = self._update(found)
        except OSError:  # no such folder, or it goes away just now
            stamp, settled, changed = None, False, bool(self._seen)
            self.items, self.times, self._seen = {}, {}, {}
        self._stamp = stamp if settled else None
        self.version += changed
        return changed

    def _update(self, found: Mapping[str, os.DirEntry[str]]) -> bool:
        changed = False
        for name in [name for name in self._seen if name not in found]:
            self._forget(name)
            changed = True
        for name, entry in found.items():
            try:
                status = entry.stat()
            except OSError:  # removed since it was listed
                continue
            key = (status.st_mtime_ns, status.st_size, status.st_ino)
            if self._seen.get(name) == key:
                continue
            self._forget(name)
            changed = True
            self._seen[name] = key
            path = self.folder / name
            item = self._parse(read_json(path), path)
            if item is not None:
                unit = name.removesuffix(".json")
                self.items[unit] = item
                self.times[unit] = status.st_mtime
        return changed

    def _forget(self, name: str) -> None:
        unit = name.removesuffix(".json")
        self._seen.pop(name, None)
        self.items.pop(unit, None)
        self.times.pop(unit, None)


def _is_unit(name: str) -> bool:
    """Whether a file is that of a unit: not a leftover, not a failure that is resolved."""
    return name.endswith(".json") and not name.endswith(".resolved.json") and not name.startswith(".")
