"""A Yokogawa plate's metadata against its files."""

from __future__ import annotations

from collections.abc import Collection

from hcs_steps.plate.formats.yokogawa.detail import MeasurementDetail
from hcs_steps.plate.formats.yokogawa.planes import Image
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
