"""Reader of Olympus/Evident ScanR plates: ``A1--W00001--P00001--Z00000--T00000--DAPI.tif``, often in ``data/``.

W counts the wells row by row over the plate's columns, from 1 (real images of well B2 of a 96-well plate, those in
the tests of Fractal's converter, have W00014), and P is the site. Where names lack the well's name, the descriptor
must have a table of wells or the plate's columns, because they are not guessed. A plane's ``z_index`` is Z + 1 and its
timepoint T + 1, because Z and T count from 0, and z 0 would be a projection. Channels are numbered in the order of
the descriptor or the OME-XML, others after them in the alphabet.

Which metadata are used, and where their keys are from, is in `hcs_steps.plate.formats.scanr.metadata`. The stage's y is
turned; on a microscope whose camera is mounted otherwise, give `grid`.

Pixels are handed on as they are. Images of older software (its TIFFs name "National Instruments IMAQ") hold signed
numbers with an offset of 32,768, as Bio-Formats' ScanrReader and CellProfiler's issue 976 say; that is told.

`Inventory.metadata` gets, where known: ``plate_name``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from hcs_steps.errors import PlateError
from hcs_steps.plate.assemble import build_inventory
from hcs_steps.plate.findings import Findings, Found, collect
from hcs_steps.plate.formats.scanr.metadata import (
    DESCRIPTOR,
    Descriptor,
    OmeFacts,
    Place,
    Taken,
    descriptors,
    read_descriptor,
    read_log,
    read_ome,
)
from hcs_steps.plate.formats.scanr.names import ScanRName, parse_scanr_name
from hcs_steps.plate.inventory import Inventory, PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.reader import Evidence, ReadOptions
from hcs_steps.plate.wells import well_name

DESCRIPTOR_BONUS = 0.4
SHOWN = 5
PATTERN_HINT = (
    "Copy the descriptor from the microscope, or give a `pattern` with the number of columns: {regex: "
    r"'.*W(?P<well_index>\d+)--P(?P<site>\d+)--Z(?P<z>\d+)--T(?P<time>\d+)--(?P<channel>.+)\.tif', "
    "constants: {plate_columns: 12, first_z: 0}}."
)

Named = tuple[FileEntry, ScanRName]


@dataclass(frozen=True)
class ScanRReader:
    """A plate of a ScanR."""

    name: str = "scanr"

    def evidence(self, listing: FileListing) -> Evidence:
        """Share of fitting names, plus the experiment's descriptor."""
        if not any(parse_scanr_name(entry.name) for entry in listing.image_sample):
            return Evidence(0.0)
        fitting = sum(parse_scanr_name(entry.name) is not None for entry in listing.images)
        sentences = [
            f"{fitting} of {len(listing.images)} TIFF names are like A1--W00001--P00001--Z00000--T00000--DAPI.tif."
        ]
        descriptor = descriptors(listing)
        if descriptor:
            sentences.append(f"There is an experiment descriptor: {descriptor[0].path}.")
        return Evidence(fitting / len(listing.images) + DESCRIPTOR_BONUS * bool(descriptor), tuple(sentences))

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Read the plate; `PlateError` if it has no planes, holds several, or its wells have no names."""
        descriptor, problems = read_descriptor(listing)
        log, log_problems = read_log(listing, descriptor.path)
        ome, ome_problems = read_ome(listing)
        named, left_out = _named(listing, descriptor, problems)
        channels = _in_order((name.channel for _, name in named), descriptor, ome)
        size = descriptor.pixel_size_um if descriptor.pixel_size_um > 0 else ome.pixel_size_um
        sites = {(well, site): taken for (well, site, _, _), taken in reversed(log.items())}
        found, duplicates = collect(
            (_key(name, channels), _found(entry, name, size, log, sites, ome)) for entry, name in named
        )
        rows, columns = descriptor.rows, descriptor.columns
        findings = Findings(
            found,
            problems=(*problems, *log_problems, *ome_problems, *duplicates, *left_out),
            disagreements=(*_contradictions(named, descriptor), *_several(listing, named, duplicates)),
            expected=_listed(ome, descriptor, channels) if ome.complete else None,
            channel_names={number: name for name, number in channels.items()},
            dimensions=(rows, columns) if rows and columns else None,
            metadata={"plate_name": descriptor.plate_name} if descriptor.plate_name else {},
        )
        inventory = build_inventory(listing, self.name, findings, options, evidence)
        return replace(inventory, disagreements=(*inventory.disagreements, *_signed(inventory)))


def _named(
    listing: FileListing, descriptor: Descriptor, problems: list[Problem]
) -> tuple[list[Named], list[Problem]]:
    """The images whose names say which planes they are, all with a well, and why others are left out.

    Raises `PlateError` if nothing tells the name of a well.
    """
    named: list[Named] = []
    left_out = [
        Problem("excluded", entry.path, "A hidden file.")
        for entry in listing.files
        if entry.is_image and entry.name.startswith(".")
    ]
    for entry in listing.images:
        name = parse_scanr_name(entry.name)
        if name is None:
            left_out.append(Problem("unparsed", entry.path, "The name is not a ScanR one."))
            continue
        try:
            well = name.well or _numbered(name.number, descriptor)
        except PlateError as error:
            left_out.append(Problem("unparsed", entry.path, error.message))
            continue
        if not well:
            damage = "".join(f" {problem.why}" for problem in problems)
            raise PlateError(
                f"The names in {listing.root} number the wells (such as {entry.name}), and no {DESCRIPTOR} says how "
                f"many columns the plate has.{damage}",
                hint=PATTERN_HINT,
            )
        named.append((entry, name._replace(well=well)))
    return named, left_out


def _numbered(number: int, descriptor: Descriptor) -> str:
    """The well with a number, empty if nothing tells; `PlateError` if the plate has no such well."""
    if number in descriptor.wells:
        return descriptor.wells[number]
    if not descriptor.columns:
        return ""
    row, column = divmod(number - 1, descriptor.columns)
    if descriptor.rows and row >= descriptor.rows:
        size = f"{descriptor.rows} x {descriptor.columns}"
        raise PlateError(f"A plate of {size} wells has no well number {number}.", hint=PATTERN_HINT)
    return well_name(row, column)


def _key(name: ScanRName, channels: dict[str, int]) -> PlaneKey:
    return PlaneKey(name.well, name.site, channels[name.channel], name.z + 1, name.time + 1)


def _found(
    entry: FileEntry,
    name: ScanRName,
    size: float,
    log: Mapping[Place, Taken],
    sites: Mapping[tuple[int, int], Taken],
    ome: OmeFacts,
) -> Found:
    """A plane with what the log says of it; else its site's position by the log; else what the OME-XML says."""
    taken = log.get((name.number, name.site, name.z, name.time))
    if taken is None and (site := sites.get((name.number, name.site))):
        taken = Taken(site.x_um, site.y_um)
    if taken is None:
        plane = ome.planes.get(entry.name.lower())
        taken = plane.taken if plane else Taken()
    return Found(
        entry, pixel_size_um=size, x_um=taken.x_um, y_um=taken.y_um, z_um=taken.z_um, time_s=taken.time_s
    )


def _in_order(channels: Iterable[str], descriptor: Descriptor, ome: OmeFacts) -> dict[str, int]:
    """Channel -> number: as the descriptor orders them, as the OME-XML does, then others by the alphabet."""
    by_index = sorted({(plane.channel, plane.name.channel) for plane in ome.planes.values()})
    known = {*channels, *(channel for _, channel in by_index)}
    ordered = [
        *(name for name in descriptor.names if name in known),
        *(channel for _, channel in by_index),
        *sorted(known),
    ]
    return {channel: number for number, channel in enumerate(dict.fromkeys(ordered), 1)}


def _listed(ome: OmeFacts, descriptor: Descriptor, channels: dict[str, int]) -> set[PlaneKey]:
    """The planes that the OME-XML lists."""
    listed = set()
    for name in (plane.name for plane in ome.planes.values()):
        try:
            well = name.well or _numbered(name.number, descriptor)
        except PlateError:
            continue
        if well:
            listed.add(_key(name._replace(well=well), channels))
    return listed


def _contradictions(named: list[Named], descriptor: Descriptor) -> Iterator[str]:
    """A sentence on names whose well is not the one with their number."""
    elsewhere = 0
    for _, name in named:
        try:
            well = _numbered(name.number, descriptor)
        except PlateError:
            well = "none"
        elsewhere += bool(well) and well != name.well
    if elsewhere:
        yield f"{elsewhere} names give a well and a number that belong to different wells; the well is used."


def _several(listing: FileListing, named: list[Named], duplicates: list[Problem]) -> Iterator[str]:
    """A sentence on names with different beginnings; `PlateError` if they are the same planes."""
    prefixes = sorted({name.prefix for _, name in named})
    if len(prefixes) < 2:
        return
    shown = ", ".join(map(repr, prefixes[:SHOWN]))
    if duplicates:
        raise PlateError(
            f"{listing.root} seems to hold {len(prefixes)} plates ({shown}) with the same wells.",
            hint="Give the folder of one plate, and list the plates one by one.",
        )
    yield f"The names begin with {len(prefixes)} different texts: {shown}."


def _signed(inventory: Inventory) -> Iterator[str]:
    if any(plane.dtype == "int16" for plane in inventory.planes):
        yield (
            "Pixels are signed 16-bit numbers, which older ScanR software writes 32768 below the camera's counts; "
            "they are used as they are."
        )
