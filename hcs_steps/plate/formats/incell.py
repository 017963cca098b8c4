"""Reader of GE/Cytiva InCell Analyzer plates: an ``.xdce`` beside ``A - 01(fld 1 wv DAPI - DAPI).tif`` and others.

The ``.xdce`` lists every image with its well, indices, positions and time; without it, or where it does not
know a file, names tell well, field, channel, z and time. Sites, z planes and timepoints have the numbers of the
names, from 1 (the ``.xdce`` counts from 0); channels are numbered from 1 in the order of the wavelengths.

Positions are ``PlatePosition_um``, whose origin is the plate's corner: x grows with the columns and y with the
rows of the plate (a real field of well E03 has x 30,477 and y 45,277 um, at 9 mm per well), so y runs downwards.
``OffsetFromWellCenter`` is not used, because no public source settles which way its y runs. Element names are
those that Bio-Formats' InCellReader and TissueMAPS' ``incell`` metadata reader know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.etree.ElementTree import Element

from hcs_steps.errors import PlateError
from hcs_steps.plate.assemble import build_inventory
from hcs_steps.plate.findings import Findings, Found, collect
from hcs_steps.plate.inventory import NAN, Inventory, PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.reader import Evidence, ReadOptions
from hcs_steps.plate.units import micrometres_in, number, whole
from hcs_steps.plate.wells import canonical_well, well_name
from hcs_steps.plate.xml_files import allowed_bytes, attributes, descendants, iter_xml, local

XDCE_BONUS = 0.5

_NAME = re.compile(
    r"(?P<row>[A-Z]{1,2}) - (?P<column>\d{1,2})\("
    r"(?:fld (?P<field>\d{1,6}) ?)?(?:wv (?P<wave>[^()]*?) ?)?"
    r"(?:z (?P<z>\d{1,6}) ?)?(?:time (?P<time>\d{1,6})(?: - [\d.]+ ?m?s)? ?)?\)\.tiff?",
    re.IGNORECASE,
)


class InCellName(NamedTuple):
    """What a file name says; parts that it lacks are 1 and an empty ``wave``."""

    well: str
    site: int
    wave: str
    z_index: int
    timepoint: int


class _Listed(NamedTuple):
    """One image of the index."""

    key: PlaneKey
    x_um: float
    y_um: float
    z_um: float
    time_s: float


@dataclass(frozen=True)
class _Index:
    """The facts of one ``.xdce``: path of its images (lower case) -> what is known, and facts of the plate."""

    images: dict[str, _Listed] = field(default_factory=dict)
    waves: dict[int, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    dimensions: list[tuple[int, int]] = field(default_factory=list)
    pixel_size_um: list[float] = field(default_factory=list)


def parse_name(name: str) -> InCellName | None:
    """Parse a file name; None if it is not an InCell one."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        well = canonical_well(match["row"] + match["column"])
    except PlateError:
        return None
    return InCellName(
        well,
        int(match["field"] or 1),
        (match["wave"] or "").strip(),
        int(match["z"] or 1),
        int(match["time"] or 1),
    )


@dataclass(frozen=True)
class InCellReader:
    """A plate of an InCell Analyzer."""

    name: str = "incell"

    def evidence(self, listing: FileListing) -> Evidence:
        """Share of fitting names, plus an ``.xdce`` file."""
        fitting = sum(parse_name(entry.name) is not None for entry in listing.images)
        index = listing.with_suffix(".xdce")
        if not fitting and not index:
            return Evidence(0.0)
        sentences = [
            f"{fitting} of {len(listing.images)} TIFF names are like A - 01(fld 1 wv DAPI - DAPI).tif."
        ]
        if index:
            sentences.append(f"There is an image index: {index[0].path}.")
        share = fitting / len(listing.images) if listing.images else 0.0
        return Evidence(share + XDCE_BONUS * bool(index), tuple(sentences))

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Read the plate; `PlateError` if it has no planes, or the folder holds the indexes of several plates."""
        index, problems = _read_index(listing)
        return build_inventory(listing, self.name, _findings(listing, index, problems), options, evidence)


def _read_index(listing: FileListing) -> tuple[_Index, list[Problem]]:
    files = listing.with_suffix(".xdce")
    sizes = {(entry.name.lower(), entry.size) for entry in files}
    if len(sizes) > 1:
        raise PlateError(
            f"{listing.root} holds the indexes of {len(sizes)} plates: {files[0].path} and {files[1].path}.",
            hint="Give the folder of one plate, and list the plates one by one.",
        )
    index = _Index()
    if not files:
        return index, []
    try:
        _fill(index, listing, files[0])
    except PlateError as error:
        why = f"{error.message} The plate was read from its names."
        return _Index(), [Problem("unreadable", files[0].path, why)]
    index.facts["xdce"] = files[0].path
    return index, []


def _fill(index: _Index, listing: FileListing, file: FileEntry) -> None:
    folder = file.path.rpartition("/")[0]
    wanted = ("Image", "Wavelength", "ObjectiveCalibration", "Plate", "Creation", "Application")
    for element in iter_xml(listing.root / file.path, *wanted, max_bytes=allowed_bytes(len(listing.files))):
        values = attributes(element)
        match local(element.tag):
            case "Image":
                _add_image(index, folder, element, values)
            case "Wavelength" if "index" in values:
                names = {local(e.tag): attributes(e).get("name", "") for e in element}
                index.waves[whole(values["index"]) + 1] = _wave_name(names)
            case "ObjectiveCalibration":
                index.pixel_size_um.append(
                    number(values.get("pixel_width")) * micrometres_in(values.get("unit", "um"))
                )
                index.facts["objective"] = values.get("objective_name", "")
                index.facts["numerical_aperture"] = values.get("numerical_aperture", "")
            case "Plate":
                size = whole(values.get("rows")), whole(values.get("columns"))
                if min(size) > 0:
                    index.dimensions.append(size)
                index.facts["plate_type"] = values.get("name", "")
            case "Creation":
                index.facts["acquired"] = f"{values.get('date', '')} {values.get('time', '')}".strip()
            case "Application":
                index.facts["software_version"] = values.get("software_version", "")


def _wave_name(filters: Mapping[str, str]) -> str:
    """``DAPI`` where both filters are called so, else ``UV - DAPI`` as in file names."""
    excitation, emission = filters.get("ExcitationFilter", ""), filters.get("EmissionFilter", "")
    return emission if excitation in ("", emission) else f"{excitation} - {emission}"


def _add_image(index: _Index, folder: str, element: Element, values: Mapping[str, str]) -> None:
    parts: dict[str, dict[str, str]] = {}
    for child in element:
        parts.setdefault(local(child.tag), attributes(child))
    rows, columns = ([attributes(each) for each in descendants(element, name)] for name in ("Row", "Column"))
    indices = parts.get("Identifier", {})
    if not (rows and columns and indices and values.get("filename")):
        return
    try:
        well = well_name(whole(rows[0].get("number")) - 1, whole(columns[0].get("number")) - 1)
    except PlateError:
        return
    names = ("field_index", "wave_index", "z_index", "time_index")
    site, channel, z_index, timepoint = (whole(indices.get(name)) + 1 for name in names)
    position, focus = parts.get("PlatePosition_um", {}), parts.get("FocusPosition", {})
    milliseconds, seconds = number(values.get("acquisition_time_ms")), number(values.get("timestamp_sec"))
    path = values["filename"].replace("\\", "/")
    place = f"{folder}/{path}".lstrip("/").lower()
    index.images[place] = _Listed(
        PlaneKey(well, site, channel, z_index, timepoint),
        x_um=number(position.get("x")),
        y_um=number(position.get("y")),
        z_um=number(focus.get("z")) * micrometres_in(focus.get("unit", "um")),
        time_s=milliseconds / 1000 if milliseconds == milliseconds else seconds,
    )


def _findings(listing: FileListing, index: _Index, problems: list[Problem]) -> Findings:
    found: list[tuple[PlaneKey, Found]] = []
    by_name: list[tuple[FileEntry, InCellName]] = []
    listed_files = _lookup(index, listing)
    for entry in listing.images:
        listed = listed_files.get(entry.path.lower())
        if listed:
            key, x_um, y_um, z_um, time_s = listed
            found.append((key, Found(entry, x_um=x_um, y_um=y_um, z_um=z_um, time_s=time_s)))
        elif name := parse_name(entry.name):
            by_name.append((entry, name))
        else:
            problems.append(Problem("unparsed", entry.path, "The name is not an InCell one."))
    waves = _waves(index.waves, (name.wave for _, name in by_name))
    for entry, name in by_name:
        key = PlaneKey(name.well, name.site, waves[name.wave], name.z_index, name.timepoint)
        found.append((key, Found(entry)))
    kept, duplicates = collect(found)
    size = next((each for each in index.pixel_size_um if each > 0), NAN)
    unknown = len(by_name) if index.images else 0
    sentence = f"The index does not list {unknown} images; their names say which planes they are."
    return Findings(
        {key: each._replace(pixel_size_um=size) for key, each in kept.items()},
        problems=(*duplicates, *problems),
        disagreements=(sentence,) * bool(unknown),
        expected={listed.key for listed in index.images.values()} | set(kept) if index.images else None,
        channel_names={number_: _short(name) for name, number_ in waves.items()} | index.waves,
        dimensions=index.dimensions[0] if index.dimensions else None,
        metadata={key: value for key, value in index.facts.items() if value},
    )


def _lookup(index: _Index, listing: FileListing) -> dict[str, _Listed]:
    """Path of a file -> its entry of the index: at the place that the index states, else by a name that is unique."""
    places = {}
    for place, entry in index.images.items():
        if place in listing.by_path:
            places[place] = entry
        else:
            same = listing.by_name.get(place.rpartition("/")[2], ())
            if len(same) == 1:
                places.setdefault(same[0].path.lower(), entry)
    return places


def _waves(known: Mapping[int, str], names: Iterable[str]) -> dict[str, int]:
    """Wavelength as in file names -> channel: the index's number, further ones after those, in the alphabet."""
    numbers = {name: number_ for number_, name in known.items()}
    free = max(known, default=0)
    waves = {}
    for name in sorted(set(names)):
        channel = numbers.get(_short(name))
        if channel is None:
            free += 1
            channel = free
        waves[name] = channel
    return waves


def _short(wave: str) -> str:
    excitation, dash, emission = wave.partition(" - ")
    return emission if dash and excitation == emission else wave
