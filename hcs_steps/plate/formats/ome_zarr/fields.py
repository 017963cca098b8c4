"""Which wells and fields an OME-Zarr plate has: its metadata are the index, its folders tell what is there.

What the metadata list and the store lacks is kept, as missing; what is in the store under a fitting name and
is not listed is read all the same, and said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hcs_steps.plate.formats.ome_zarr.metadata import ListedImage, PlateIndex, listed_images, plate_index
from hcs_steps.plate.formats.ome_zarr.store import Json, ZarrStore, well_of
from hcs_steps.plate.inventory import Problem


@dataclass
class Remarks:
    """What is to be told of a plate: problems, and sentences with the places that they are true of."""

    problems: list[Problem] = field(default_factory=list)
    places: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def problem(self, kind: str, what: str, why: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(kind, what, why))

    def note(self, sentence: str, place: str) -> None:
        """Add a place to a sentence."""
        self.places[sentence].append(place)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Each sentence once, with its first place and the number of others."""
        return tuple(
            f"{sentence} ({places[0]}" + (f" and {len(places) - 1} more)" if len(places) > 1 else ")")
            for sentence, places in self.places.items()
        )


class Field(NamedTuple):
    """One image of a well; ``folder`` is relative to the plate's folder."""

    well: str
    site: int
    folder: str
    acquisition: int | None


@dataclass(frozen=True)
class PlateFields:
    """All fields that are listed or there, the wells of which nothing is there, and the plate's index.

    ``named`` are the sites whose folders have no number for a name.
    """

    fields: tuple[Field, ...]
    lost_wells: tuple[str, ...]
    index: PlateIndex
    named: Mapping[int, str]


def plate_fields(store: ZarrStore, remarks: Remarks) -> PlateFields:
    """Read the index of the plate and of its wells."""
    index = _index(store, remarks)
    on_disk = store.wells()
    wells = _wells(index, on_disk, remarks)
    present = frozenset(on_disk)
    images: dict[str, tuple[ListedImage, ...]] = {}
    documents = _documents(store, [path for path in wells if path in present])
    for path in wells:
        images[path] = _images(store, path, documents.get(path), remarks) if path in present else ()
    sites = _site_numbers(image.path for own in images.values() for image in own)
    fields = tuple(
        Field(well, sites[image.path], store.inside(f"{path}/{image.path}"), image.acquisition)
        for path, well in wells.items()
        for image in images[path]
    )
    lost = tuple(well for path, well in wells.items() if not images[path])
    named = {site: name for name, site in sites.items() if not (_is_number(name) and int(name) == site)}
    return PlateFields(fields, lost, index, named)


def _index(store: ZarrStore, remarks: Remarks) -> PlateIndex:
    """The plate's index, empty if it is absent or damaged: the folders tell the wells then."""
    document = store.read_root()
    if isinstance(document, str):
        entry = store.group_file(store.root)
        what = entry.path if entry else store.root
        remarks.problem("unreadable", what, f"{document} The wells are those of the folders.")
    elif found := plate_index(document):
        return found
    else:
        remarks.note("The root group has no `plate`; its wells are those of the folders.", store.inside("."))
    return PlateIndex((), None, {}, "", "")


def _wells(index: PlateIndex, on_disk: Sequence[str], remarks: Remarks) -> dict[str, str]:
    """Folder -> well, of all that are listed or there."""
    wells = {}
    for path in index.wells:
        well = well_of(path)
        if well:
            wells[path] = well
        else:
            remarks.problem("unparsed", path, "The plate lists it as a well; its path is not <row>/<column>.")
    for path in on_disk:
        if path not in wells:
            wells[path] = well_of(path)
            if index.wells:
                remarks.note("A well that the plate does not list is there, and used.", path)
    return wells


def _documents(store: ZarrStore, paths: Iterable[str]) -> dict[str, Json | str]:
    """Path in the store -> what its group's file says, of the groups that have one."""
    entries = {path: entry for path in paths if (entry := store.group_file(store.inside(path)))}
    return dict(zip(entries, store.read(list(entries.values())), strict=True))


def _images(
    store: ZarrStore, path: str, document: Json | str | None, remarks: Remarks
) -> tuple[ListedImage, ...]:
    """The images of a well: as listed, and any further folder whose name is a number."""
    folder = store.inside(path)
    present = sorted(
        (name for name in store.below.get(folder, ()) if store.group_file(f"{folder}/{name}")), key=_natural
    )
    listed = None
    if isinstance(document, str):
        remarks.problem("unreadable", folder, f"{document} The fields are those of the folders.")
    elif document is not None:
        listed = listed_images(document)
    if listed is None:
        numbered = [name for name in present if _is_number(name)]
        return tuple(ListedImage(name, None) for name in numbered or present)
    known = {image.path for image in listed}
    further = [name for name in present if _is_number(name) and name not in known]
    for name in further:
        remarks.note("A field that its well does not list is there, and used.", f"{path}/{name}")
    return (*listed, *(ListedImage(name, None) for name in further))


def _site_numbers(paths: Iterable[str]) -> dict[str, int]:
    """Folder of a field -> site: its number as in the store; other names follow in the order of the wells.

    A name has the same site in all wells.
    """
    names = dict.fromkeys(paths)
    sites: dict[str, int] = {}
    taken: set[int] = set()
    for name in names:
        if _is_number(name) and int(name) not in taken:
            sites[name] = int(name)
            taken.add(int(name))
    following = max(taken, default=0) + 1
    for name in names:
        if name not in sites:
            sites[name] = following
            following += 1
    return sites


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 9


def _natural(name: str) -> tuple[int, str]:
    return (int(name), name) if _is_number(name) else (10**9, name)
