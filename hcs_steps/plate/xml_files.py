"""XML metadata files, read without trusting them.

A vendor's file has no DOCTYPE, so one that does is refused before anything is expanded; a file is refused that
is larger than its plate can explain; names are compared without their namespace, which changes with every
release of the vendors' software.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO
from xml.etree.ElementTree import Element, ParseError, XMLPullParser
from xml.parsers import expat

from hcs_steps.errors import PlateError

SMALL_BYTES = 32_000_000
"""The most that a metadata file may have however small its plate."""
BYTES_PER_FILE = 20_000
"""The most that an index may have per file of its plate; real ones have up to 3,000."""
_CHUNK = 1 << 14
"""Bytes parsed at once. The elements of one piece live at the same time, and Python's garbage collector looks at
living ones again and again: pieces of 256 KiB take a quarter longer."""


def allowed_bytes(files: int) -> int:
    """The most bytes that the index of a plate with so many files may have."""
    return SMALL_BYTES + files * BYTES_PER_FILE


def read_xml(path: Path, *, max_bytes: int = SMALL_BYTES) -> Element:
    """The root of a small XML file. `PlateError` if it cannot be read, is too large, or is not safe."""
    with open_metadata(path, max_bytes) as file:
        return _last(_events(file, str(path)))


def parse_xml(text: str, *, source: str) -> Element:
    """The root of an XML text, such as one in a TIFF's description."""
    # Halves of characters are encoded as well, for the parser to refuse.
    return _last(_events(io.BytesIO(text.encode("utf-8", "surrogatepass")), source, encoding="utf-8"))


def iter_xml(path: Path, *names: str, max_bytes: int = SMALL_BYTES) -> Iterator[Element]:
    """Every element with one of the local ``names``, whole, in the order in which they end.

    An element is emptied after it was handed out, so a file of any length takes little memory. Elements
    inside another one with such a name are handed out as well.
    """
    wanted = frozenset(names)
    with open_metadata(path, max_bytes) as file:
        path_down: list[Element] = []
        for event, element in _events(file, str(path)):
            if event == "start":
                path_down.append(element)
                continue
            path_down.pop()
            if local(element.tag) in wanted:
                yield element
                element.clear()
                if path_down:
                    # Or the parent keeps one empty child for each.
                    path_down[-1].remove(element)


@lru_cache(maxsize=4096)  # a file has a few dozen names, and up to millions of elements
def local(name: str) -> str:
    """A tag or attribute without its namespace."""
    return name.rpartition("}")[2]


def children(element: Element) -> dict[str, str]:
    """Local name -> stripped text of an element's children; of several with one name the first counts."""
    texts: dict[str, str] = {}
    for child in element:
        texts.setdefault(local(child.tag), (child.text or "").strip())
    return texts


def attributes(element: Element) -> dict[str, str]:
    """Local name -> stripped value of an element's attributes."""
    return {local(name): value.strip() for name, value in element.attrib.items()}


def descendants(element: Element, name: str) -> Iterator[Element]:
    """All elements below ``element`` with the local ``name``, in document order."""
    return (each for each in element.iter() if each is not element and local(each.tag) == name)


def _last(events: Iterator[tuple[str, Element]]) -> Element:
    *_, (_, root) = events  # a text without a root element is not well-formed, so there is a last event
    return root


def open_metadata(path: Path, max_bytes: int) -> IO[bytes]:
    """A metadata file, opened; `PlateError` if it cannot be read or is larger than ``max_bytes``."""
    try:
        file = path.open("rb")
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
    except OSError as error:
        raise PlateError(
            f"The metadata file {path} cannot be read: {error.strerror}.", hint="Check its permissions."
        ) from error
    if size > max_bytes:
        file.close()
        raise PlateError(
            f"The metadata file {path} has {size:,} bytes, more than its plate can explain, and was not read.",
            hint="Copy it again from the microscope.",
        )
    return file


def _events(file: IO[bytes], source: str, encoding: str | None = None) -> Iterator[tuple[str, Element]]:
    """The start and end of every element; a DOCTYPE, where entities would be declared, ends it at once."""
    guard = expat.ParserCreate(encoding)
    in_prolog = True

    def refuse(*_: object) -> None:
        raise PlateError(
            f"{source} declares a DOCTYPE and was not read.", hint="A microscope's own metadata have none."
        )

    def leave_prolog(*_: object) -> None:
        nonlocal in_prolog
        in_prolog = False

    guard.StartDoctypeDeclHandler = refuse
    guard.StartElementHandler = leave_prolog
    parser: XMLPullParser[Element] = XMLPullParser(("start", "end"))
    try:
        while chunk := file.read(_CHUNK):
            # A DOCTYPE can only stand before the root element. Faults behind its start are the parser's to find,
            # which hands out what stands before them.
            if in_prolog:
                try:
                    guard.Parse(chunk, False)
                except expat.ExpatError:
                    if in_prolog:
                        raise
            parser.feed(chunk)
            yield from parser.read_events()  # type: ignore[misc]
        parser.close()
        yield from parser.read_events()  # type: ignore[misc]
    except (ParseError, expat.ExpatError, ValueError, LookupError) as error:  # LookupError: no such encoding
        raise PlateError(
            f"{source} is not well-formed XML: {error}.", hint="Copy it again from the microscope."
        ) from error
