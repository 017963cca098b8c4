"""Error records of a Yokogawa microscope: which planes it should have taken and has not.

A record of a failed autofocus names the well and the stage position, and seldom the field. The field is the one
that other records have at this position; its planes are those that it has in other wells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.yokogawa.index import PlaneIndex, Record
from hcs_steps.plate.formats.yokogawa.numbers import Numbering
from hcs_steps.plate.inventory import PlaneKey, Problem
from hcs_steps.plate.wells import parse_well, well_name

Place = tuple[str, int]


def planes_not_taken(
    index: PlaneIndex, listed: Collection[PlaneKey], found: Collection[PlaneKey], numbering: Numbering
) -> tuple[set[PlaneKey], list[Problem]]:
    """The planes that error records stand for, and the microscope's messages: one problem per well and field."""
    fields = {(record.x_um, record.y_um): record.site for record in index.records}
    channels: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
    for key in listed:
        channels[key.site].add((key.channel, key.z_index))
    planes: defaultdict[Place, set[PlaneKey]] = defaultdict(set)
    messages: defaultdict[Place, list[str]] = defaultdict(list)
    problems = []
    for record, message in index.errors:
        try:
            well = well_name(record.row - 1, record.column - 1)
        except PlateError:
            why = f"An error record that names no well of the plate: {message}"
            problems.append(Problem("excluded", index.path, why))
            continue
        site = record.site or fields.get((record.x_um, record.y_um), 0)
        messages[well, site].append(message)
        planes[well, site] |= _planes(well, site, record, channels[site], numbering)
    for place in sorted(messages, key=lambda place: (parse_well(place[0]), place[1])):
        problems.append(_problem(place, messages[place], planes[place], found))
    return set().union(*planes.values()), problems


def _planes(
    well: str, site: int, record: Record, channels: Iterable[tuple[int, int]], numbering: Numbering
) -> set[PlaneKey]:
    sources: Mapping[int, object] = {number: source.channel for number, source in numbering.sources.items()}
    timepoint = numbering.timepoint(record.timeline, record.timepoint or 1)
    return {
        PlaneKey(well, site, channel, z, timepoint)
        for channel, z in channels
        if record.channel in (0, sources[channel]) and record.z in (0, z)
    }


def _problem(
    place: Place, messages: Sequence[str], planes: Collection[PlaneKey], found: Collection[PlaneKey]
) -> Problem:
    well, site = place
    more = f" ({len(messages)} such records)" if len(messages) > 1 else ""
    said = f"The microscope reports: {messages[0]}{more}."
    if not planes:
        return Problem("missing", well, f"{said} It does not say which planes it could not take.")
    what = f"{well} s{site}"
    if all(key in found for key in planes):
        return Problem("excluded", what, f"{said} All planes are there nevertheless.")
    return Problem("missing", what, said)
