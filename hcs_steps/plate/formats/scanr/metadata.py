"""The metadata files of a ScanR plate: the experiment's descriptor, the log of the acquisition, and OME-XML.

``experiment_descriptor.xml`` is LabVIEW's XML of ``Name`` and ``Val``, often in Latin-1 without saying so; a ``Val``
without a name of its own belongs to the last name before it. The keys are those that Bio-Formats' ScanrReader
knows. The plate's ``Rows`` and ``Columns`` stand behind ``format typedef``; ``well selection table + cDNA`` lists
the number and then the label of wells.

``AcquisitionLog.dat`` has a line per well, position, time and z plane, with tabs between its parts::

    IMAGEPOS  W=1  P=1  T=0  Z=0  IMAGEX=-52600.1  IMAGEY=33810.0  IMAGEZ=2011.5  TIME=12.4

That is what three public programs read from it: Schebique's Fiji macro, which says that lengths are micrometres
and times seconds since the start of the experiment, ``scan_status`` of an R package for ScanR, and Kota Miura's
converter for stitching, of logs without TIME.

``metadata.ome.xml``, which newer software writes among the images, names every file. Fractal's ScanR converter
says that the stage's y runs upwards, and turns it. The log is taken to be of the same stage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.ome_tiff.xml import read_document
from hcs_steps.plate.formats.scanr.names import ScanRName, parse_scanr_name
from hcs_steps.plate.inventory import NAN, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.units import number, whole
from hcs_steps.plate.wells import canonical_well
from hcs_steps.plate.xml_files import SMALL_BYTES, allowed_bytes, local, open_metadata, parse_xml

DESCRIPTOR = "experiment_descriptor.xml"
LOG = "acquisitionlog.dat"
OME = "metadata.ome.xml"

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_WELLS = "well selection table + cDNA"


@dataclass(frozen=True)
class Descriptor:
    """What the descriptor says; 0, empty or NaN where it does not.

    ``wells`` is well number -> name, ``names`` are the values of all keys ``name``, among them the channels' in
    their order.
    """

    path: str = ""
    rows: int = 0
    columns: int = 0
    wells: Mapping[int, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    pixel_size_um: float = NAN
    plate_name: str = ""


class Taken(NamedTuple):
    """Where and when a plane was taken: micrometres, y downwards, and seconds."""

    x_um: float = NAN
    y_um: float = NAN
    z_um: float = NAN
    time_s: float = NAN


Place = tuple[int, int, int, int]
"""W, P, Z and T as in file names."""


class OmePlane(NamedTuple):
    """A plane of the OME-XML: what its file's name says, its channel's index, where and when it was taken."""

    name: ScanRName
    channel: int
    taken: Taken


@dataclass(frozen=True)
class OmeFacts:
    """What ``metadata.ome.xml`` says: file name in lower case -> plane, and the pixel size.

    ``complete`` is whether it lists planes and could be read to its end.
    """

    planes: Mapping[str, OmePlane] = field(default_factory=dict)
    pixel_size_um: float = NAN
    complete: bool = False


def descriptors(listing: FileListing) -> tuple[FileEntry, ...]:
    """The descriptors of a listing, one per experiment."""
    return listing.by_name.get(DESCRIPTOR, ())


def read_descriptor(listing: FileListing) -> tuple[Descriptor, list[Problem]]:
    """The experiment's descriptor, and a problem if it cannot be read; `PlateError` if there are several."""
    files = descriptors(listing)
    if not files:
        return Descriptor(), []
    if len(files) > 1:
        raise PlateError(
            f"{listing.root} holds {len(files)} experiments: {files[0].path} and {files[1].path}.",
            hint="Give the folder of one of them, and list the plates one by one.",
        )
    try:
        pairs = list(_pairs(listing.root / files[0].path))
    except PlateError as error:
        return Descriptor(), [Problem("unreadable", files[0].path, f"{error.message} It was not used.")]
    values, plate = _values(pairs), _values(_behind(pairs, "format typedef"))
    return (
        Descriptor(
            files[0].path,
            rows=whole(plate.get("Rows")),
            columns=whole(plate.get("Columns")),
            wells=_wells(value for name, value in pairs if name == _WELLS and value),
            names=tuple(value for name, value in pairs if name == "name" and value),
            pixel_size_um=number(values.get("conversion factor um/pixel")),
            plate_name=values.get("plate name", ""),
        ),
        [],
    )


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """(name, value) of everything in the descriptor, in its order; the value of a name alone is empty."""
    with open_metadata(path, SMALL_BYTES) as file:
        # Names of stains hold letters of a code page that the file does not name.
        text = _DECLARATION.sub("", file.read().decode("latin-1"))
    name = ""
    for element in parse_xml(text, source=str(path)).iter():
        kind, value = local(element.tag), (element.text or "").strip()
        if kind == "Name" and value:
            name = value
            yield name, ""
        elif kind == "Val" and value:
            yield name, value


def _behind(pairs: list[tuple[str, str]], mark: str) -> list[tuple[str, str]]:
    """What stands behind the first ``mark``."""
    return pairs[next((place for place, (name, _) in enumerate(pairs) if name == mark), len(pairs)) :]


def _values(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Name -> value; of several with one name the first."""
    return {name: value for name, value in reversed(pairs) if value}


def _wells(values: Iterator[str]) -> dict[int, str]:
    """Number -> name of wells, from a list of numbers, each followed by the well's label and other texts."""
    wells: dict[int, str] = {}
    current = 0
    for value in values:
        if value.isascii() and value.isdigit():
            current = whole(value)
        elif current and current not in wells:
            try:
                wells[current] = canonical_well(value)
            except PlateError:
                continue
    return wells


def read_log(listing: FileListing, descriptor: str) -> tuple[dict[Place, Taken], list[Problem]]:
    """Where and when planes were taken, by the log beside the ``descriptor``, or the only one.

    Of several entries with one place, from an acquisition that was resumed, the last counts.
    """
    logs = listing.by_name.get(LOG, ())
    folder = descriptor.rpartition("/")[0]
    beside = [entry for entry in logs if descriptor and entry.path.rpartition("/")[0] == folder]
    chosen = beside or (logs if len(logs) == 1 else [])
    if not chosen:
        return {}, [_unused(entry, "Several logs, none beside the descriptor.") for entry in logs]
    try:
        with open_metadata(listing.root / chosen[0].path, allowed_bytes(len(listing.files))) as file:
            text = file.read().decode("latin-1")
    except PlateError as error:
        return {}, [_unused(chosen[0], error.message)]
    taken: dict[Place, Taken] = {}
    for line in text.splitlines():
        if line.startswith("IMAGEPOS"):
            parts = {name: value for name, _, value in (part.partition("=") for part in line.split("\t"))}
            well, site, z, time = (whole(parts.get(axis), -1) for axis in "WPZT")
            x, y, depth, seconds = (number(parts.get(key)) for key in ("IMAGEX", "IMAGEY", "IMAGEZ", "TIME"))
            if min(well, site) >= 0:
                taken[well, site, max(z, 0), max(time, 0)] = Taken(x, -y, depth, seconds)
    return taken, []


def _unused(entry: FileEntry, why: str) -> Problem:
    return Problem("unreadable", entry.path, f"{why} It was not used.")


def read_ome(listing: FileListing) -> tuple[OmeFacts, list[Problem]]:
    """What the OME-XML among the images says of them."""
    files = listing.by_name.get(OME, ())
    if len(files) != 1:
        return OmeFacts(), [_unused(entry, "There are several of them.") for entry in files]
    try:
        document = read_document(listing.root / files[0].path, max_bytes=allowed_bytes(len(listing.files)))
    except PlateError as error:
        return OmeFacts(), [_unused(files[0], error.message)]
    planes: dict[str, OmePlane] = {}
    for image in document.images:
        for block in image.blocks:
            file = block.file_name.replace("\\", "/").rpartition("/")[2]
            if name := parse_scanr_name(file):
                facts = image.planes.get(block.first)
                taken = Taken(facts.x_um, -facts.y_um, facts.z_um, facts.time_s) if facts else Taken()
                planes[file.lower()] = OmePlane(name, block.first[0], taken)
    sizes = [image.pixel_size_um for image in document.images if image.pixel_size_um > 0]
    problems = [Problem("unreadable", files[0].path, document.damage)] if document.damage else []
    return OmeFacts(planes, next(iter(sizes), NAN), bool(planes) and not problems), problems
