"""A disk that loses power: what may be on it after every call, and whether that keeps the promises of records.

The rule is the strictest that POSIX allows. Of a file only what was there when it was last flushed is sure; of a
folder, the names that it had when it was last flushed. Any later change of a name may be on the disk or not, each by
itself; anything written later makes a file worthless. A record that may be on the disk therefore must not list
anything that may be missing, torn or of another content.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


class Event(NamedTuple):
    """A call that has ended: ``op`` is write, sync, rename, exchange, link, mkdir or remove; or a look at a file.

    ``stamp`` (size and time of the file, if the recorder knows them) tells that a file was written unseen.
    """

    op: str
    path: str
    other: str = ""
    stamp: tuple[int, int] | None = None


_numbers = itertools.count()


@dataclass(eq=False)
class Node:
    """A file or folder, whatever its name is by now. ``version`` counts what was written, ``synced`` what is sure."""

    is_folder: bool
    version: int = 0
    synced: int = -1
    stamp: tuple[int, int] | None = None
    names: dict[str, Node] = field(default_factory=dict)
    maybe: dict[str, set[Node | None]] = field(default_factory=dict)
    """For each name that the folder ever had, what the disk may have there."""
    number: int = field(default_factory=lambda: next(_numbers))

    def put(self, name: str, node: Node | None) -> None:
        """Give a name to a node, or take it away."""
        self.maybe.setdefault(name, {self.names.get(name)}).add(node)
        if node is None:
            self.names.pop(name, None)
        else:
            self.names[name] = node

    def flush(self) -> None:
        """Make content or names sure."""
        self.synced = self.version
        self.maybe = {name: {node} for name, node in self.names.items()}

    def is_sure(self) -> bool:
        """Whether the disk has this and everything in it."""
        if not self.is_folder:
            return self.synced == self.version
        return all(
            len(found) == 1 and (node is None or node.is_sure())
            for name, found in self.maybe.items()
            for node in found
        ) and all(name in self.maybe for name in self.names)

    def content(self) -> Any:
        """What tells whether this is still the same, with everything in it."""
        if not self.is_folder:
            return self.number, self.version
        return sorted((name, node.content()) for name, node in self.names.items())


class Disk:
    """The folder ``root`` and what is below it; what is there at first is sure."""

    def __init__(self, root: Path) -> None:
        self.path = root
        self.root = _loaded(root)

    def find(self, path: str) -> tuple[Node, str] | None:
        """The folder that holds a path below the root, and the name there."""
        relative = Path(path).relative_to(self.path).parts
        node = self.root
        for name in relative[:-1]:
            if name not in node.names:
                return None
            node = node.names[name]
        return (node, relative[-1]) if relative else None

    def node(self, path: str) -> Node | None:
        """What has this name now."""
        if Path(path) == self.path:
            return self.root
        found = self.find(path)
        return found[0].names.get(found[1]) if found else None

    def candidates(self, relative: str) -> set[Node | None]:
        """What the disk may have under a path, relative to the root."""
        possible: set[Node | None] = {self.root}
        for name in Path(relative).parts:
            below: set[Node | None] = set()
            for node in possible:
                below |= node.maybe.get(name, {node.names.get(name)}) if node is not None else {None}
            possible = below
        return possible

    def apply(self, event: Event) -> None:
        """Do what the call did."""
        if event.op == "sync":
            self._seen(event).flush()
        elif event.op == "write":
            self._seen(event).version += 1
        elif event.op == "look":
            self._seen(event)
        elif event.op == "mkdir":
            folder, name = self._place(event.path)
            folder.put(name, Node(is_folder=True))
        elif event.op == "remove":
            folder, name = self._place(event.path)
            folder.put(name, None)
        else:
            moved = self._seen(event)
            source, old = self._place(event.path)
            target, new = self._place(event.other)
            replaced = target.names.get(new)
            target.put(new, moved)
            if event.op == "rename":
                source.put(old, None)
            elif event.op == "exchange":
                source.put(old, replaced)

    def _place(self, path: str) -> tuple[Node, str]:
        found = self.find(path)
        assert found is not None, f"the recording lacks the folder of {path}"
        return found

    def _seen(self, event: Event) -> Node:
        """The node of an event's path; a file that was opened unseen is made now, one written unseen has changed."""
        node = self.node(event.path)
        if node is None:
            folder, name = self._place(event.path)
            node = Node(is_folder=False)
            folder.put(name, node)
        if event.stamp is not None and node.stamp != event.stamp and not node.is_folder:
            node.stamp = event.stamp
            node.version += 1
        return node


def _loaded(path: Path) -> Node:
    if not path.is_dir():
        status = path.stat()
        return Node(is_folder=False, synced=0, stamp=(status.st_size, status.st_mtime_ns))
    node = Node(is_folder=True, names={each.name: _loaded(each) for each in path.iterdir()})
    node.flush()
    return node


@dataclass
class _Claim:
    """A record or marker: the node that it is, and what it lists, as that was when it was published."""

    path: str
    node: Node
    listed: dict[str, Any]


class Checker:
    """Replays a recording call by call and collects what a power failure could break.

    Made before the calls, with what is there then; documents are read when they are replayed, after them.
    """

    def __init__(self, root: Path) -> None:
        self.disk = Disk(root)
        self.problems: list[str] = []
        self.claims = [
            self._claim(path.relative_to(root).as_posix(), json.loads(path.read_bytes()))
            for path in sorted(root.glob("records/*/*.json"))
        ]

    def replay(self, events: Iterable[Event]) -> list[str]:
        """What is wrong, in the order of the calls; nothing is said twice."""
        for event in events:
            if event.op in ("rename", "exchange"):
                self._check_published(event)
            self.disk.apply(event)
            if event.op in ("rename", "exchange") and self._is_claim(event.other):
                name = self._relative(event.other)
                self.claims.append(self._claim(name, json.loads(Path(event.other).read_bytes())))
            if event.op not in ("write", "sync", "look"):
                self.problems += self._broken()
        self.problems += [f"{name} is not sure at the end" for name in self._unsure(self.disk.root, "")]
        return list(dict.fromkeys(self.problems))

    def _relative(self, path: str) -> str:
        return Path(path).relative_to(self.disk.path).as_posix()

    def _is_claim(self, path: str) -> bool:
        parts = Path(self._relative(path)).parts
        return parts[0] in ("records", "jobs") and len(parts) == 3 and not parts[2].startswith(".")

    def _claim(self, name: str, document: dict[str, Any]) -> _Claim:
        node = self.disk.node(str(self.disk.path / name))
        assert node is not None
        listed = [item["path"] for item in document.get("published", ())]
        if name.startswith("jobs/"):
            listed = [f"records/{document['stage']}/{unit}.json" for unit in document.get("done", ())]
        nodes = {item: self.disk.node(str(self.disk.path / item)) for item in listed}
        return _Claim(name, node, {item: found and found.content() for item, found in nodes.items()})

    def _check_published(self, event: Event) -> None:
        """What is given a name that people see must be on the disk, whole, before it gets the name."""
        name = self._relative(event.other)
        node = self.disk.node(event.path)
        if is_kept(name) and ".expected." not in event.path and (node is None or not node.is_sure()):
            self.problems.append(f"{name} is published before it is flushed")

    def _broken(self) -> Iterator[str]:
        """Records and markers that may be on the disk while something that they list may not."""
        for claim in list(self.claims):
            if claim.node not in self.disk.candidates(claim.path):
                self.claims.remove(claim)
                continue
            for item, content in claim.listed.items():
                for node in self.disk.candidates(item):
                    if node is None or not node.is_sure() or node.content() != content:
                        yield f"{claim.path} may outlive {item}"

    def _unsure(self, folder: Node, prefix: str) -> Iterator[str]:
        for name, node in folder.names.items():
            path = f"{prefix}{name}"
            if not is_kept(path) or _is_placeholder(self.disk.path / path):
                continue
            if (
                path == "jobs"
            ):  # Snakemake makes the folders of markers; to lose them costs a look at the records
                continue
            if folder.maybe.get(name) != {node} or not (node.is_folder or node.is_sure()):
                yield path
            yield from self._unsure(node, f"{path}/") if node.is_folder else ()


def is_kept(name: str) -> bool:
    """Whether a path below the results is one that must outlast a power failure."""
    first = name.partition("/")[0]
    return not (first in ("logs", "running") or any(part.startswith(".") for part in Path(name).parts))


def _is_placeholder(path: Path) -> bool:
    marker = path / "zarr.json"
    return marker.is_file() and b'"state": "expected"' in marker.read_bytes()
