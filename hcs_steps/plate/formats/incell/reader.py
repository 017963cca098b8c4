"""Reader of GE/Cytiva InCell Analyzer plates: an ``.xdce`` beside ``A - 01(fld 1 wv DAPI - DAPI).tif`` and others.

The ``.xdce`` lists every image with its well, indices, positions and time; without it, or where it does not
know a file, names tell well, field, channel, z and time. Sites, z planes and timepoints have the numbers of the
names, from 1 (the ``.xdce`` counts from 0); channels are numbered from 1 in the order of the wavelengths. The
facts of both are in `hcs_steps.plate.formats.incell.names` and `hcs_steps.plate.formats.incell.index`.

Names with something before the well (``Plate1_A - 01(...)``) are planes if all names have it; beside names without
it, or images that the index lists, they are what somebody made of those, and are left out.

`Inventory.metadata` gets, where known: ``xdce`` (its path), ``plate_id``, ``plate_type``, ``microscope``,
``software_version``, ``objective``, ``magnification``, ``numerical_aperture`` and ``acquired``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hcs_steps.errors import PlateError
from hcs_steps.plate.assemble import build_inventory
from hcs_steps.plate.findings import Findings, Found, collect
from hcs_steps.plate.formats.incell.index import SUFFIX, InCellIndex, read_index
from hcs_steps.plate.formats.incell.names import (
    InCellName,
    number_waves,
    parse_incell_name,
    parse_indexed_name,
    short_wave,
)
from hcs_steps.plate.inventory import Inventory, PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.reader import Evidence, ReadOptions

XDCE_BONUS = 0.5
SHOWN = 5

Named = tuple[FileEntry, InCellName]


@dataclass(frozen=True)
class InCellReader:
    """A plate of an InCell Analyzer, or one that MetaXpress wrote for IN Carta."""

    name: str = "incell"

    def evidence(self, listing: FileListing) -> Evidence:
        """Share of fitting names, plus an ``.xdce`` file, beside which MetaXpress' names fit as well."""
        index = listing.with_suffix(SUFFIX)
        parse = parse_indexed_name if index else parse_incell_name
        if not index and not any(parse(entry.name) for entry in listing.image_sample):
            return Evidence(0.0)
        fitting = sum(parse(entry.name) is not None for entry in listing.images)
        sentences = [
            f"{fitting} of {len(listing.images)} TIFF names are like A - 01(fld 1 wv DAPI - DAPI).tif."
        ]
        if index:
            sentences.append(f"There is an image index: {index[0].path}.")
        share = fitting / len(listing.images) if listing.images else 0.0
        return Evidence(share + XDCE_BONUS * bool(index), tuple(sentences))

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Read the plate; `PlateError` if it has no planes, or the folder holds several plates."""
        index = read_index(listing)
        places = _places(index, listing)
        named, problems = _by_name(listing, index, places)
        waves = number_waves((name for _, name in named), index.waves)
        found, duplicates = collect([*_listed(listing, index, places), *_named(named, waves)])
        sentences = _several_plates(listing, named, duplicates)
        if index.images and named and not index.damage:
            sentences.append(
                f"The index does not list {len(named)} images; their names say which planes they are."
            )
        size = index.pixel_size_um
        complete = index.images and not index.damage
        facts = {"xdce": index.path} | index.facts
        findings = Findings(
            {key: each._replace(pixel_size_um=size) for key, each in found.items()},
            problems=(*_damage(index), *duplicates, *problems, *_other_kinds(listing, index, places)),
            disagreements=(*index.sentences(), *sentences),
            expected={each.key for each in index.images.values()} if complete else None,
            channel_names={number: short_wave(wave) for (wave, _), number in waves.items()} | index.waves,
            dimensions=index.dimensions,
            metadata={key: value for key, value in facts.items() if value},
        )
        return build_inventory(listing, self.name, findings, options, evidence)


def _places(index: InCellIndex, listing: FileListing) -> dict[str, str]:
    """Path of a file -> path of its entry in the index: there, or anywhere by a name that is unique."""
    places: dict[str, str] = {}
    for stated in index.images:
        entry = listing.by_path.get(stated)
        if entry is None:
            same = listing.by_name.get(stated.rpartition("/")[2], ())
            entry = same[0] if len(same) == 1 else None
        if entry and entry.is_image:
            places.setdefault(entry.path, stated)
    return places


def _by_name(
    listing: FileListing, index: InCellIndex, places: dict[str, str]
) -> tuple[list[Named], list[Problem]]:
    """The images that the index does not know and their names say are planes, and why others are left out."""
    named: list[Named] = []
    problems = [
        Problem("excluded", entry.path, "A hidden file.")
        for entry in listing.files
        if entry.is_image and entry.name.startswith(".")
    ]
    parse = parse_indexed_name if index.path else parse_incell_name
    for entry in listing.images:
        if entry.path in places:
            continue
        name = parse(entry.name)
        if entry.path.lower() in index.thumbnails:
            problems.append(Problem("excluded", entry.path, "A thumbnail."))
        elif name is None:
            problems.append(Problem("unparsed", entry.path, "The name is not an InCell one."))
        else:
            named.append((entry, name))
    if places or any(not name.prefix for _, name in named):
        for entry, name in named:
            if name.prefix:
                why = f"The name begins with {name.prefix!r}, those of the plate with the well."
                problems.append(Problem("excluded", entry.path, why))
        named = [pair for pair in named if not pair[1].prefix]
    return named, problems


def _listed(
    listing: FileListing, index: InCellIndex, places: dict[str, str]
) -> Iterator[tuple[PlaneKey, Found]]:
    positions = index.positions()
    for entry in listing.images:
        stated = places.get(entry.path)
        if stated is not None:
            image, (x_um, y_um) = index.images[stated], positions[stated]
            yield image.key, Found(entry, x_um=x_um, y_um=y_um, z_um=image.z_um, time_s=image.time_s)


def _named(named: list[Named], waves: dict[tuple[str, int], int]) -> Iterator[tuple[PlaneKey, Found]]:
    for entry, name in named:
        channel = waves[name.wave, name.number]
        yield PlaneKey(name.well, name.site, channel, name.z_index, name.timepoint), Found(entry)


def _several_plates(listing: FileListing, named: list[Named], duplicates: list[Problem]) -> list[str]:
    """A sentence on names with different beginnings; `PlateError` if they are the same planes."""
    prefixes = sorted({name.prefix for _, name in named})
    if len(prefixes) < 2:
        return []
    shown = ", ".join(map(repr, prefixes[:SHOWN]))
    if duplicates:
        raise PlateError(
            f"{listing.root} seems to hold {len(prefixes)} plates ({shown}) with the same wells.",
            hint="Give the folder of one plate, and list the plates one by one.",
        )
    return [f"The names begin with {len(prefixes)} different plate names: {shown}."]


def _damage(index: InCellIndex) -> Iterator[Problem]:
    if index.damage:
        why = f"{index.damage} Images that it does not list before that are read by their names."
        yield Problem("unreadable", index.path, why)


def _other_kinds(listing: FileListing, index: InCellIndex, places: dict[str, str]) -> Iterator[Problem]:
    """Images of the index that are there, but not as TIFF."""
    for stated in sorted(index.images.keys() - places.values()):
        entry = listing.by_path.get(stated)
        if entry and not entry.is_image:
            yield Problem("unparsed", entry.path, "The index lists it, but only TIFF images can be read.")
