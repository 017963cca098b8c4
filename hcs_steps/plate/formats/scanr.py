"""Reader of Olympus/Evident ScanR plates: ``A1--W00001--P00001--Z00000--T00000--DAPI.tif``, often in ``data/``.

W counts the wells row by row over the plate's columns, from 1; P is the site, from 1; Z and T count from 0, so
a plane's ``z_index`` is Z + 1 (0 would be a projection) and its timepoint T + 1. Older names lack the well's
name; then the plate's columns must be in ``experiment_descriptor.xml``, because they are not guessed.

The descriptor is LabVIEW's XML, pairs of ``Name`` and ``Val``, often in Latin-1 without saying so. Its keys
``conversion factor um/pixel``, ``plate name``, ``Rows`` and ``Columns`` are those that Bio-Formats' ScanrReader
knows; channels are numbered in the order of its ``name`` keys. Its list of positions has neither unit nor
direction and is not used.

`Inventory.metadata` gets, where known: ``plate_name``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.assemble import build_inventory
from hcs_steps.plate.findings import Findings, Found, collect
from hcs_steps.plate.inventory import Inventory, PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.reader import Evidence, ReadOptions
from hcs_steps.plate.units import number, whole
from hcs_steps.plate.wells import canonical_well, well_name
from hcs_steps.plate.xml_files import SMALL_BYTES, children, open_metadata, parse_xml

DESCRIPTOR = "experiment_descriptor.xml"
DESCRIPTOR_BONUS = 0.4

_NAME = re.compile(
    r"(?:.*?--)??(?:(?P<well>[A-Z]{1,2}\d{1,2})--)?"
    r"W(?P<number>\d{5})--P(?P<site>\d{5})--Z(?P<z>\d{5})--T(?P<time>\d{5})--(?P<channel>.+)\.tiff?",
    re.IGNORECASE | re.DOTALL,
)
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


class ScanRName(NamedTuple):
    """What a file name says: the well's name (or empty) and number, and Z and T as they are, from 0."""

    well: str
    number: int
    site: int
    z: int
    time: int
    channel: str


@dataclass(frozen=True)
class ScanRReader:
    """A plate of a ScanR."""

    name: str = "scanr"

    def evidence(self, listing: FileListing) -> Evidence:
        """Share of fitting names, plus the experiment's descriptor."""
        fitting = sum(parse_name(entry.name) is not None for entry in listing.images)
        if not fitting:
            return Evidence(0.0)
        sentences = [
            f"{fitting} of {len(listing.images)} TIFF names are like A1--W00001--P00001--Z00000--T00000--DAPI.tif."
        ]
        descriptor = _descriptors(listing)
        if descriptor:
            sentences.append(f"There is an experiment descriptor: {descriptor[0].path}.")
        return Evidence(fitting / len(listing.images) + DESCRIPTOR_BONUS * bool(descriptor), tuple(sentences))

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Read the plate; `PlateError` if it has no planes, or nothing says which well is which."""
        pairs, problems = _described(listing)
        values = dict(reversed(pairs))  # the first of several with one name
        columns = whole(values.get("Columns"))
        named = [(entry, parse_name(entry.name)) for entry in listing.images]
        fitting = [(entry, name) for entry, name in named if name]
        if any(not name.well for _, name in fitting) and not columns:
            raise PlateError(
                f"The names in {listing.root} number the wells (such as {fitting[0][0].name}), and no "
                f"{DESCRIPTOR} says how many columns the plate has.",
                hint="Copy the descriptor from the microscope, or give a `pattern` with a group `well_index` and "
                "the constant `plate_columns`.",
            )
        problems += [
            Problem("unparsed", entry.path, "The name is not a ScanR one.")
            for entry, name in named
            if not name
        ]
        channels = _in_order({name.channel for _, name in fitting}, pairs)
        found: list[tuple[PlaneKey, Found]] = []
        elsewhere = 0
        for entry, name in fitting:
            try:
                well = name.well or _numbered(name.number, columns)
                elsewhere += bool(name.well and columns) and well != _numbered(name.number, columns)
            except PlateError as error:
                problems.append(Problem("unparsed", entry.path, error.message))
                continue
            key = PlaneKey(well, name.site, channels.index(name.channel) + 1, name.z + 1, name.time + 1)
            found.append((key, Found(entry)))
        planes, duplicates = collect(found)
        rows, size = whole(values.get("Rows")), number(values.get("conversion factor um/pixel"))
        sentence = (
            f"{elsewhere} names give a well and a number that belong to different wells; the well is used."
        )
        findings = Findings(
            {key: each._replace(pixel_size_um=size) for key, each in planes.items()} if size > 0 else planes,
            problems=(*duplicates, *problems),
            disagreements=(sentence,) * bool(elsewhere),
            channel_names=dict(enumerate(channels, 1)),
            dimensions=(rows, columns) if rows and columns else None,
            metadata={"plate_name": values["plate name"]} if values.get("plate name") else {},
        )
        return build_inventory(listing, self.name, findings, options, evidence)


def parse_name(name: str) -> ScanRName | None:
    """Parse a file name; None if it is not a ScanR one."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        well = canonical_well(match["well"]) if match["well"] else ""
    except PlateError:
        well = ""
    number_, site, z, time = (int(match[group]) for group in ("number", "site", "z", "time"))
    return ScanRName(well, number_, site, z, time, match["channel"])


def _in_order(channels: Collection[str], pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The channels as the descriptor orders them, then those that it does not name, by the alphabet."""
    described = [value for key, value in pairs if key == "name" and value in channels]
    return list(dict.fromkeys([*described, *sorted(channels)]))


def _numbered(well: int, columns: int) -> str:
    row, column = divmod(well - 1, columns)
    return well_name(row, column)


def _descriptors(listing: FileListing) -> tuple[FileEntry, ...]:
    return listing.by_name.get(DESCRIPTOR, ())


def _described(listing: FileListing) -> tuple[list[tuple[str, str]], list[Problem]]:
    """(name, value) of everything in the descriptor, and a problem if it cannot be read."""
    files = _descriptors(listing)
    if not files:
        return [], []
    if len(files) > 1:
        raise PlateError(
            f"{listing.root} holds {len(files)} experiments: {files[0].path} and {files[1].path}.",
            hint="Give the folder of one of them, and list the plates one by one.",
        )
    try:
        return _pairs(listing.root / files[0].path), []
    except PlateError as error:
        why = f"{error.message} The plate was read from its names."
        return [], [Problem("unreadable", files[0].path, why)]


def _pairs(path: Path) -> list[tuple[str, str]]:
    with open_metadata(path, SMALL_BYTES) as file:
        # Names of stains hold letters of a code page that the file does not name.
        text = _DECLARATION.sub("", file.read().decode("latin-1"))
    found = (children(element) for element in parse_xml(text, source=str(path)).iter())
    return [(values["Name"], values["Val"]) for values in found if values.get("Name") and "Val" in values]
