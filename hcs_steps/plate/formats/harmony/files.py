"""Which file is meant by a URL in a Harmony index.

URLs are foreign text: paths of the microscope's Windows computer, addresses of a server, names with escapes. They
are only ever looked up among the plate's own images, so nothing outside the plate can be reached.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import unquote

from hcs_steps.plate.listing import FileEntry


class ImageFinder:
    """Finds images by what an index calls them, whatever the case of their letters."""

    def __init__(self, images: Iterable[FileEntry]) -> None:
        self._by_path: dict[str, FileEntry] = {}
        names: defaultdict[str, list[FileEntry]] = defaultdict(list)
        for entry in images:
            path = entry.path.lower()
            self._by_path.setdefault(path, entry)
            names[path.rpartition("/")[2]].append(entry)
        self._by_name = dict(names)

    def find_all(self, urls: Iterable[str], folder: str) -> list[FileEntry | None]:
        """The images that an index in ``folder`` (relative to the plate, empty or ending in a slash) names.

        They are where the URLs say, read as paths relative to the index; else they have the URLs' bare names and
        lie beside the index or in ``Images`` beside it. Only if none of them is there, each is the image of that
        name anywhere in the plate, if there is only one: images that were moved, moved together, and a lost one
        must not be taken for a mask or another measurement of the same name.
        """
        urls = list(urls)
        found = [self._near(url, folder) if url else None for url in urls]
        return found if any(found) else [self._anywhere(url) if url else None for url in urls]

    def _near(self, url: str, folder: str) -> FileEntry | None:
        direct = self._by_path.get(f"{folder}{url}".lower())
        if direct is not None:
            return direct
        for spelling in dict.fromkeys((url, unquote(url))):
            path = _resolved(folder, spelling)
            name = bare_name(spelling)
            for place in (path, f"{folder}{name}", f"{folder}Images/{name}"):
                if place and (entry := self._by_path.get(place.lower())):
                    return entry
        return None

    def _anywhere(self, url: str) -> FileEntry | None:
        for spelling in dict.fromkeys((url, unquote(url))):
            same_name = self._by_name.get(bare_name(spelling).lower(), ())
            if len(same_name) == 1:
                return same_name[0]
        return None


def bare_name(url: str) -> str:
    """The last part of a URL or path, without a server's ``?query``."""
    path = url.replace("\\", "/")
    if "://" in path:
        path = path.partition("?")[0].partition("#")[0]
    return path.rpartition("/")[2]


def _resolved(folder: str, url: str) -> str:
    """The path from the plate's folder that a relative URL means; empty if it is not relative, or leads out."""
    path = url.replace("\\", "/")
    if path.startswith("/") or ":" in path.partition("/")[0]:
        return ""
    parts: list[str] = []
    for part in f"{folder}{path}".split("/"):
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
