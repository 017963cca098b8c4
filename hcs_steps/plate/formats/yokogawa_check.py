"""A Yokogawa plate's metadata against its files."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hcs_steps.plate.formats.yokogawa_detail import MeasurementDetail
from hcs_steps.plate.formats.yokogawa_numbers import ChannelSource
from hcs_steps.plate.formats.yokogawa_planes import Image
from hcs_steps.plate.inventory import Inventory
from hcs_steps.plate.wells import compact_wells, parse_well


def check_counts(detail: MeasurementDetail, images: Collection[Image], complete: bool) -> tuple[str, ...]:
    """Sentences on fields, z planes, timepoints and wells that differ from what the ``.mrf`` states.

    Fewer than stated are not one where the index is ``complete``: it lists what is missing, and what was left
    out on purpose has no record. Projections are no z planes.
    """
    seen = {
        "fields": {each.taken.site for each in images},
        "z planes": {each.taken.z for each in images if not each.taken.processing},
        "timepoints": {each.taken.timepoint for each in images},
    }
    sentences = []
    for what, numbers in seen.items():
        stated = detail.counts.get(what, 0)
        if stated and numbers and (len(numbers) > stated or (len(numbers) < stated and not complete)):
            sentences.append(f"The measurement details state {stated} {what}, the files have {len(numbers)}.")
    outside = {
        well
        for well in {each.taken.well for each in images}
        if detail.rows and (parse_well(well)[0] >= detail.rows or parse_well(well)[1] >= detail.columns)
    }
    if outside:
        size = f"{detail.rows} x {detail.columns}"
        sentences.append(f"The metadata state {size} wells, but {compact_wells(outside)} lie outside.")
    return tuple(sentences)


def check_sizes(
    inventory: Inventory, detail: MeasurementDetail, sources: Mapping[int, ChannelSource]
) -> tuple[str, ...]:
    """Sentences on channels whose images have another size than the metadata state: binned or cropped since."""
    shapes: dict[int, set[tuple[int, int]]] = {}
    for plane in inventory.planes:
        if plane.height:
            shapes.setdefault(plane.channel, set()).add((plane.height, plane.width))
    sentences = []
    for channel, own in sorted(shapes.items()):
        stated = detail.channels.get(sources[channel].channel)
        others = own - {(stated.height, stated.width)} if stated and stated.height and stated.width else set()
        if stated and others:
            height, width = min(others)
            sentences.append(
                f"The metadata state {stated.height} x {stated.width} pixels for channel {channel}, files have "
                f"{height} x {width}; if they were binned, the pixel size is not right either."
            )
    return tuple(sentences)
