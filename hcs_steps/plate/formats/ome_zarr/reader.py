"""Reader of OME-Zarr plates: OME-NGFF 0.4 on Zarr v2 and 0.5 on Zarr v3, and those that hcs-steps writes.

The plate's folder is the store, or holds one. Wells and fields are those of the plate's and the wells'
metadata, planes those of the full-resolution arrays; a plane's ``path`` is its array's folder and its ``page``
counts the planes of the array in C order. Labels, tables and further resolution levels are no planes. Only
JSON files are opened; `hcs_steps.plate.formats.ome_zarr.pixels` reads pixels.

- A site has the number that its folder has for a name (from 0 with most writers); folders with other names
  are numbered after these.
- Channels are numbered from 1 in the order of the array, by their names where images differ in that; z and
  time from 1. Images that hcs-steps wrote keep the numbers they were made from.
- NGFF does not say which fields of two acquisitions (cycles) lie at the same place, and every image of a well
  has a folder of its own, so every image is a site; the acquisitions are named in ``metadata``.
- A field that is listed and has no array is missing, with the planes that most fields have. Of an array that
  is there, a chunk without a file is one of nothing but the fill value: a plane without any is kept, as a
  ``constant`` problem.

`Inventory.metadata` gets, where known: ``ngff_version``, ``zarr_format``, ``plate_name``, ``acquisitions``,
``site_names``, ``channel_colors``, ``channel_windows``, ``labels``, ``tables``, ``other_groups`` and
``resolution_levels``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from hcs_steps.errors import PlateError
from hcs_steps.plate.assemble import build_inventory
from hcs_steps.plate.findings import Findings, Found, collect, plane_label
from hcs_steps.plate.formats.ome_zarr.array import array_metadata, chunks_per_plane, stored_chunks
from hcs_steps.plate.formats.ome_zarr.facts import some, store_facts
from hcs_steps.plate.formats.ome_zarr.fields import Field, PlateFields, Remarks, plate_fields
from hcs_steps.plate.formats.ome_zarr.image import (
    ANISOTROPY,
    Numbers,
    ZarrImage,
    channel_numbers,
    image_planes,
    resolve_axes,
)
from hcs_steps.plate.formats.ome_zarr.metadata import ImageMetadata, image_metadata
from hcs_steps.plate.formats.ome_zarr.store import ZarrStore, roots
from hcs_steps.plate.inventory import NAN, Inventory, PlaneKey
from hcs_steps.plate.listing import FileListing
from hcs_steps.plate.reader import Evidence, ReadOptions

MOST_PLANES, PLANES_PER_FILE = 200_000, 200
"""An array may state any shape: a plate has at most so many planes, and so many more per file."""

Combination = tuple[int, int, int]
Item = TypeVar("Item")


@dataclass(frozen=True)
class OmeZarrReader:
    """A Zarr store with a group per well: ``<row>/<column>/<field>``."""

    name: str = "ome-zarr"

    def evidence(self, listing: FileListing) -> Evidence:
        """1 if the folder, or folders directly in it, are Zarr groups with wells below them, else 0."""
        found = roots(listing)
        if not found:
            return Evidence(0.0)
        named = f"{len(found)} Zarr groups ({some(found)})" if len(found) > 1 else "a Zarr group"
        where = f" in {found[0]}" if found[0] and len(found) == 1 else ""
        return Evidence(1.0, (f"There is {named}{where} with groups named <row>/<column>.",))

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Read the plate; `PlateError` if there is none, or several, or it has no planes."""
        store = ZarrStore(listing, _root(listing))
        remarks = Remarks()
        plate = plate_fields(store, remarks)
        images = _images(store, plate.fields, remarks)
        numbers, names = channel_numbers(images)
        parsed, gone = _planes(store, plate.fields, images, numbers, remarks)
        found, duplicates = collect(parsed)
        if not found and remarks.problems:
            first = remarks.problems[0]
            raise PlateError(
                f"No image of the OME-Zarr plate {listing.root} can be read. {first.what}: {first.why}",
                hint="Copy the plate again.",
            )
        for entry in listing.images:
            remarks.problem("unparsed", entry.path, "A TIFF file beside an OME-Zarr plate.")
        # A store of hcs-steps announces images before it has them.
        there = {folder for folder, image in images.items() if image.own is None or image.own.planes}
        absent = [field for field in plate.fields if field.folder not in there]
        lost = _lost(absent, plate.lost_wells, found, _budget(listing), remarks)
        findings = Findings(
            found,
            problems=(*duplicates, *remarks.problems),
            disagreements=(*_acquisitions_note(plate), *remarks.sentences),
            expected={*found, *gone, *lost},
            channel_names=names,
            dimensions=plate.index.dimensions,
            metadata=store_facts(store, plate, images, numbers),
        )
        return build_inventory(listing, self.name, findings, options, evidence)


def _root(listing: FileListing) -> str:
    found = roots(listing)
    if not found:
        raise PlateError(
            f"{listing.root} is not an OME-Zarr plate: there is no Zarr group with groups <row>/<column>.",
            hint="Give the folder of the plate, which holds the folders of the rows.",
        )
    if len(found) > 1:
        raise PlateError(
            f"{listing.root} holds {len(found)} OME-Zarr plates: {some(found)}.",
            hint="Give the folder of one plate, and list the plates one by one.",
        )
    return found[0]


def _images(store: ZarrStore, fields: Iterable[Field], remarks: Remarks) -> dict[str, ZarrImage]:
    """Folder -> image, of the fields that are there and can be read."""
    groups = {each.folder: entry for each in fields if (entry := store.group_file(each.folder))}
    metadata: dict[str, ImageMetadata] = {}
    for folder, document in zip(groups, store.read(list(groups.values())), strict=True):
        try:
            if isinstance(document, str):
                raise PlateError(document)
            metadata[folder] = image_metadata(document)
        except PlateError as error:
            remarks.problem("unreadable", groups[folder].path, error.message)
    arrays = {
        folder: entry
        for folder, each in metadata.items()
        if (entry := store.array_file(f"{folder}/{each.dataset}"))
    }
    images = {}
    budget = _budget(store.listing)
    for folder, document in zip(arrays, store.read(list(arrays.values())), strict=True):
        try:
            if isinstance(document, str):
                raise PlateError(document)
            array = array_metadata(document)
            axes = resolve_axes(metadata[folder], array)
            image = ZarrImage(metadata[folder], array, arrays[folder], axes)
            if image.planes > budget:
                many = f"Its array states {image.planes:,} planes, more than a plate of this many files has."
                raise PlateError(many)
            budget -= image.planes
            images[folder] = image
        except PlateError as error:
            remarks.problem("unreadable", arrays[folder].path, error.message)
    return images


def _planes(
    store: ZarrStore,
    fields: Iterable[Field],
    images: Mapping[str, ZarrImage],
    numbers: Mapping[str, Numbers],
    remarks: Remarks,
) -> tuple[list[tuple[PlaneKey, Found]], set[PlaneKey]]:
    """Every plane of every image; and those that hcs-steps wrote and whose chunk files are gone."""
    listing = store.listing
    paths = [entry.path for entry in listing.files]
    nowhere = all(image.at_origin for image in images.values() if image.metadata.translation)
    gone: set[PlaneKey] = set()
    parsed: list[tuple[PlaneKey, Found]] = []
    for field in fields:
        image = images.get(field.folder)
        if image is None:
            continue
        if image.metadata.dataset.startswith("labels/"):
            remarks.problem("excluded", field.folder, "The image shows nothing but its labels.")
            continue
        _remark(image, field.folder, remarks)
        folder = image.file.path.rpartition("/")[0]
        stored = stored_chunks(listing, paths, folder, image.array, image.leading)
        whole = chunks_per_plane(image.array, image.leading)
        for entry in stored.empty:
            remarks.problem("zero-byte", entry.path, "The file of a chunk is empty or a dangling link.")
        for entry in stored.odd:
            remarks.problem("unparsed", entry.path, "Not the name of a chunk of its array.")
        # hcs-steps writes the origin for each position that it does not know.
        unknown = nowhere or (image.own is not None and image.at_origin)
        for key, found, files in image_planes(image, numbers[field.folder], field[:2], folder, stored):
            if image.own and files < whole:
                # hcs-steps writes every chunk, whatever is in it.
                gone.add(key)
                continue
            parsed.append((key, found._replace(x_um=NAN, y_um=NAN) if unknown else found))
            if not files:
                why = f"No chunk is stored; every pixel is the fill value {image.array.fill}."
                remarks.problem("constant", plane_label(key), why)
            elif files < whole:
                remarks.note(
                    "Planes lack some of their chunk files; these parts are the fill value.", plane_label(key)
                )
    return parsed, gone


def _remark(image: ZarrImage, folder: str, remarks: Remarks) -> None:
    """What an image's metadata state that does not fit."""
    for sentence in image.metadata.notes:
        remarks.note(sentence, folder)
    x, y = image.size_um("x"), image.size_um("y")
    if abs(y - x) > ANISOTROPY * x:
        remarks.note(f"Pixels are {x:g} um wide and {y:g} um high; the width is used.", folder)
    scale = image.metadata.scale
    edge = scale[image.axes.index("x")] if scale else 1.0
    # 1 stands for a scale that is not known.
    if x != x and edge != 1:
        why = "has no unit of length" if edge > 0 else "is not possible"
        remarks.note(f"The scale of x, {edge:g}, {why}; the pixel size is unknown.", folder)
    named, count = len(image.metadata.channels), image.length("c")
    if named not in (0, count):
        remarks.note(f"`omero` describes {named} channels, the array has {count}.", folder)


def _lost(
    absent: Collection[Field],
    wells: Collection[str],
    found: Collection[PlaneKey],
    budget: int,
    remarks: Remarks,
) -> set[PlaneKey]:
    """The planes of fields and wells that are listed and not there: as many as most of the others have."""
    if not absent and not wells:
        return set()
    fields: defaultdict[tuple[str, int], set[Combination]] = defaultdict(set)
    sites: defaultdict[str, set[int]] = defaultdict(set)
    for key in found:
        fields[key.well, key.site].add((key.channel, key.z_index, key.timepoint))
        sites[key.well].add(key.site)
    planes = _most_usual(fields.values())
    lost = {(field.well, field.site) for field in absent}
    lost |= {(well, site) for well in wells if well not in sites for site in _most_usual(sites.values())}
    if len(lost) * len(planes) > budget:
        remarks.problem("missing", f"{len(lost):,} fields", "They are listed, and nothing of them is there.")
        return set()
    return {PlaneKey(well, site, *plane) for well, site in lost for plane in planes}


def _most_usual(sets: Iterable[set[Item]]) -> frozenset[Item]:
    counted = Counter(frozenset(each) for each in sets)
    return counted.most_common(1)[0][0] if counted else frozenset()


def _budget(listing: FileListing) -> int:
    return MOST_PLANES + PLANES_PER_FILE * len(listing.files)


def _acquisitions_note(plate: PlateFields) -> tuple[str, ...]:
    numbers = {field.acquisition for field in plate.fields if field.acquisition is not None}
    if len(numbers) < 2:
        return ()
    return (
        f"The plate has {len(numbers)} acquisitions. Every image is a site of its own, because OME-Zarr does "
        "not say which images of two acquisitions lie at the same place.",
    )
