"""What the OME-XML of a plate says of all of it, and what in it does not fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from hcs_steps.plate.findings import Cell
from hcs_steps.plate.formats.ome_tiff.files import OmeFiles, StoredImage

ANISOTROPY = 0.01
"""Share by which a pixel may be higher than wide before it is told."""


def sentences(files: OmeFiles) -> Iterator[str]:
    """What contradicts, each with the first file that it is true of and the number of others."""
    for stored in files.images:
        image = stored.image
        width, height = image.pixel_size_um, image.pixel_height_um
        if abs(height - width) > ANISOTROPY * width:
            sentence = f"Pixels are {width:g} um wide and {height:g} um high; the width is used."
            files.note(sentence, stored.label)
        if image.unit_lost:
            files.note("Stage positions have no unit of length and are not used.", stored.label)
    for sentence, paths in files.notes.items():
        others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        yield f"{sentence} ({paths[0]}{others})"


def shared_pages(images: Sequence[StoredImage]) -> tuple[str, ...]:
    """A sentence on pages that are more than one plane."""
    pages = Counter((page.file.path, page.number) for image in images for page in image.pages.values())
    shared = [page for page, count in pages.items() if count > 1]
    if not shared:
        return ()
    path, number = shared[0]
    return (f"{len(shared)} pages are named for more than one plane, such as page {number + 1} of {path}.",)


def plate_size(files: OmeFiles) -> Cell | None:
    """(rows, columns) of the plate, where the XML states them."""
    stated = {(each.rows, each.columns) for each in files.documents.values() if each.rows and each.columns}
    return max(stated) if stated else None


def plate_facts(files: OmeFiles, numbers: Sequence[Sequence[int]]) -> dict[str, str]:
    """Facts for `Inventory.metadata`; ``numbers`` are the channels' of every image."""
    documents = files.documents
    facts = {
        "ome_xml": next(iter(documents), ""),
        "plate_name": next((each.plate_name for each in documents.values() if each.plate_name), ""),
        "objective": next((each.objective for each in documents.values() if each.objective), ""),
        "exposure": _exposure(files.images, numbers),
    }
    return {key: value for key, value in facts.items() if value}


def _exposure(images: Sequence[StoredImage], numbers: Sequence[Sequence[int]]) -> str:
    """The exposure times of the first image that states them, by channel."""
    for image, channels in zip(images, numbers, strict=False):
        by_channel: dict[int, float] = {}
        for place, facts in image.image.planes.items():
            if not math.isnan(facts.exposure_s) and place[0] < len(channels):
                by_channel.setdefault(channels[place[0]], facts.exposure_s)
        if by_channel:
            return _per_channel(by_channel)
    return ""


def _per_channel(values: Mapping[int, float]) -> str:
    texts = {channel: f"{value:g} s" for channel, value in sorted(values.items())}
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return ", ".join(f"{channel}: {text}" for channel, text in texts.items())
