"""Multi-page TIFFs whose pages are planes of their own: z planes, timepoints or channels.

How many pages a file has is in the file alone, so every one is opened. What a page's own description says
counts for its plane; pixel size and position are taken from the first page where later ones have none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from hcs_steps.plate.findings import Found
from hcs_steps.plate.headers import read_files
from hcs_steps.plate.inventory import NAN, Problem
from hcs_steps.plate.listing import FileEntry
from hcs_steps.plate.tiff_header import Header, read_pages

_ZERO = datetime(2000, 1, 1)


def expand_pages(
    root: Path, files: Sequence[tuple[FileEntry, Mapping[str, str]]], component: str
) -> tuple[list[tuple[Mapping[str, str], Found]], list[Problem]]:
    """One plane per page: its tokens, with the page's number from 1 as ``component``, and what it states.

    Pages unlike the first one (thumbnails, overlays) are left out with a reason. A file that is empty or
    damaged gets as many planes as the others have, so that it fails visibly and is not missed silently.
    """
    planes: list[tuple[Mapping[str, str], Found]] = []
    problems: list[Problem] = []
    broken: list[tuple[FileEntry, Mapping[str, str]]] = []
    layouts: Counter[tuple[int, int, int, str]] = Counter()
    opened = read_files(root, [entry for entry, _ in files], read_pages)
    for (entry, tokens), pages in zip(files, opened, strict=True):
        if isinstance(pages, str):
            broken.append((entry, tokens))
            if entry.size:  # an empty one is reported as such
                problems.append(Problem("unreadable", entry.path, pages))
            continue
        first, kept = pages[0], 0
        for number, page in enumerate(pages):
            if page is None or _layout(page) != _layout(first):
                what = "no grey image" if page is None else _text(page)
                why = f"The page is {what}, the file's first one {_text(first)}."
                problems.append(Problem("excluded", f"{entry.path} page {number + 1}", why))
                continue
            kept += 1
            planes.append(({**tokens, component: str(number + 1)}, _found(entry, number, page, first)))
        layouts[(kept, *_layout(first))] += 1
    count, height, width, dtype = layouts.most_common(1)[0][0] if layouts else (1, 0, 0, "")
    for entry, tokens in broken:
        planes += [
            ({**tokens, component: str(number + 1)}, Found(entry, number, height, width, dtype))
            for number in range(count)
        ]
    return planes, problems


def _layout(page: Header) -> tuple[int, int, str]:
    return page.height, page.width, page.dtype


def _text(page: Header) -> str:
    return f"{page.height} x {page.width} {page.dtype}"


def _found(entry: FileEntry, number: int, page: Header, first: Header) -> Found:
    facts, general = page.facts, first.facts

    def known(own: float, other: float) -> float:
        return other if math.isnan(own) else own

    return Found(
        entry,
        page=number,
        height=page.height,
        width=page.width,
        dtype=page.dtype,
        pixel_size_um=known(facts.pixel_size_um, general.pixel_size_um),
        x_um=known(facts.x_um, general.x_um),
        y_um=known(facts.y_um, general.y_um),
        z_um=facts.z_um,
        time_s=(facts.acquired - _ZERO).total_seconds() if facts.acquired else NAN,
    )
