"""OME-XML as the description of one TIFF, for plates that are read by the names of their files."""

from __future__ import annotations

from hcs_steps.plate.formats.ome_tiff.model import OmeDocument, OmeImage, PlaneFacts
from hcs_steps.plate.formats.ome_tiff.xml import is_ome, parse_document
from hcs_steps.plate.inventory import NAN
from hcs_steps.plate.tiff_header import HeaderFacts

MAX_CHARACTERS = 1_000_000
"""A longer text describes a whole plate in every one of its files, and is not parsed for each of them."""


def parse_ome(text: str, pixels_per_unit: float = 0.0) -> HeaderFacts | None:
    """The facts of a file's first plane, None if the text is no OME-XML; `PlateError` if it cannot be read.

    Of a text on several images or files, the part that is about the file at hand counts, if it can be told.
    ``pixels_per_unit`` is not used: the text states its own units. Positions are taken as
    `hcs_steps.plate.formats.ome_tiff.reader` says.
    """
    if not is_ome(text):
        return None
    if len(text) > MAX_CHARACTERS:
        return HeaderFacts()
    document = parse_document(text, source="The OME-XML")
    images = _own_images(document)
    sizes = {image.pixel_size_um for image in images or document.images if image.pixel_size_um > 0}
    pixel_size = sizes.pop() if len(sizes) == 1 else NAN
    details = {"objective": document.objective} if document.objective else {}
    if len(images) != 1:
        return HeaderFacts(pixel_size_um=pixel_size, details=details)
    image = images[0]
    first = min((block for block in image.blocks), key=lambda block: block.ifd or 0, default=None)
    own = [block for block in image.blocks if block.uuid == document.uuid] if document.uuid else []
    if own:
        first = min(own, key=lambda block: block.ifd or 0)
    place = first.first if first else (0, 0, 0)
    facts = image.planes.get(place, PlaneFacts())
    named = place[0] < len(image.channels) and (image.sizes[0] == 1 or len(own) == 1)
    return HeaderFacts(
        pixel_size_um=pixel_size,
        x_um=facts.x_um if facts.x_um == facts.x_um else image.x_um,
        y_um=facts.y_um if facts.y_um == facts.y_um else image.y_um,
        z_um=facts.z_um,
        channel_name=image.channels[place[0]] if named else "",
        details=details,
    )


def _own_images(document: OmeDocument) -> list[OmeImage]:
    """The images that the file at hand holds, as far as UUIDs tell; all if there are none."""
    own = [
        image
        for image in document.images
        if any(not block.uuid or block.uuid == document.uuid for block in image.blocks)
    ]
    return own or list(document.images)
