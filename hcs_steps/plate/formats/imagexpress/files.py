"""The files of an ImageXpress plate: which are its planes, and which belong to something else.

A folder may hold more than the planes of one acquisition: montages and overlays of them, a copy, another plate.
Nothing is merged that does not belong together: what is a small part is left out and reported, and a folder that
could be read in two ways is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.imagexpress.names import ImageName, parse_folders, parse_image_name
from hcs_steps.plate.inventory import PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry, FileListing

MUCH = 0.25
"""From this share of the plate's files on, files of another plate or acquisition are no stray ones."""
SHOWN = 5


class ImageFile(NamedTuple):
    """A file with an ImageXpress name, the plane it holds, and its acquisition's folder."""

    key: PlaneKey
    name: ImageName
    base: str
    entry: FileEntry


@dataclass(frozen=True)
class ImageFiles:
    """The TIFF files of a listing: planes by their names, thumbnails, and files with other names.

    ``foldered`` counts the planes in ``TimePoint_`` and ``ZStep_`` folders.
    """

    planes: tuple[ImageFile, ...]
    thumbnails: tuple[FileEntry, ...]
    unparsed: tuple[FileEntry, ...]
    foldered: int


@dataclass(frozen=True)
class PlateFiles:
    """The files of one plate, those of its main acquisition first, and what is to be said of the others."""

    planes: tuple[ImageFile, ...]
    problems: tuple[Problem, ...] = ()
    sentences: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the names begin with, mostly; empty if there are no files."""
        return self.planes[0].name.plate if self.planes else ""


@lru_cache(maxsize=1)  # a plate is judged first and read then
def sort_files(listing: FileListing) -> ImageFiles:
    """Parse the name and the folders of every TIFF file."""
    named: list[tuple[ImageName, FileEntry]] = []
    thumbnails, unparsed = [], []
    for entry in listing.images:
        name = parse_image_name(entry.name)
        if name is None:
            unparsed.append(entry)
        elif name.thumbnail:
            thumbnails.append(entry)
        else:
            named.append((name, entry))
    folders = [parse_folders(entry.path.rpartition("/")[0]) for _, entry in named]
    # Beside a stack, what lies outside the ZStep folders is its projection or a 2-D image. (An export has a
    # folder ZStep_0 for them.)
    outside = 0 if any(place.z_step is not None for place in folders) else 1
    planes = tuple(
        ImageFile(
            PlaneKey(
                name.well,
                1 if name.site is None else name.site,
                1 if name.wave is None else name.wave,
                outside if place.z_step is None else place.z_step,
                1 if place.timepoint is None else place.timepoint,
            ),
            name,
            place.base,
            entry,
        )
        for (name, entry), place in zip(named, folders, strict=True)
    )
    foldered = sum(place[:2] != (None, None) for place in folders)
    return ImageFiles(planes, tuple(thumbnails), tuple(unparsed), foldered)


def one_plate(planes: Sequence[ImageFile], root: Path) -> PlateFiles:
    """The files of one acquisition of one plate.

    Raises `PlateError` if ``root`` holds several plates, or a large part of the planes twice.
    """
    planes, problems, sentences = _without_derived(planes)
    groups: defaultdict[tuple[str, str], list[ImageFile]] = defaultdict(list)
    for image in planes:
        groups[image.name.plate.casefold(), image.base].append(image)
    if len(groups) < 2:
        return PlateFiles(tuple(planes), tuple(problems), tuple(sentences))
    main, *others = sorted(
        groups.values(), key=lambda group: (-len(group), len(group[0].base), group[0].entry.path)
    )
    kept, used = list(main), list(main)
    taken = {image.key for image in main}
    for group in others:
        if _is_below(group, main):
            why = "It lies in a folder below the plate's own, which has this well, site, wave and timepoint itself."
            problems += [Problem("excluded", image.entry.path, why) for image in group]
            continue
        shared = sum(image.key in taken for image in group)
        if group[0].name.plate.casefold() == main[0].name.plate.casefold():
            if _is_much(shared, main):
                raise _twice(root, main, group, shared)
        elif _is_much(len(group), main) and (shared or _are_apart(group, main)):
            raise _several(root, groups.values())
        elif shared or group[0].base != main[0].base:
            why = f"The name begins with {group[0].name.plate!r}, those of the plate with {main[0].name.plate!r}."
            problems += [Problem("excluded", image.entry.path, why) for image in group]
            continue
        kept += group
        used += [image for image in group if image.key not in taken]
        taken |= {image.key for image in group}
    return PlateFiles(tuple(kept), tuple(problems), (*sentences, *_mixture(used)))


def _is_below(group: Sequence[ImageFile], main: Sequence[ImageFile]) -> bool:
    """Whether a folder below the main one holds something else of its planes, such as masks, under their names."""
    base = main[0].base
    inside = group[0].base != base and group[0].base.startswith(f"{base}/" if base else "")
    # A mask has no z where its stack has.
    have = {image.key._replace(z_index=0) for image in main}
    return inside and any(image.key._replace(z_index=0) in have for image in group)


def _is_much(count: int, main: Sequence[ImageFile]) -> bool:
    return count >= MUCH * len(main) and (count > 1 or len(main) == 1)


def _are_apart(group: Sequence[ImageFile], main: Sequence[ImageFile]) -> bool:
    """Whether they are in different folders, or have several wells each; names may tell the wells' contents."""
    wells = [{image.key.well for image in images} for images in (group, main)]
    return group[0].base != main[0].base or min(map(len, wells)) > 1


def _without_derived(
    planes: Sequence[ImageFile],
) -> tuple[Sequence[ImageFile], list[Problem], list[str]]:
    """Without names that lack a site, or a wave, which their well's other names have: montages and overlays."""
    if len({(image.name.site is None, image.name.wave is None) for image in planes}) < 2:
        return planes, [], []
    sited = {image.key.well for image in planes if image.name.site is not None}
    waved = {image.key.well for image in planes if image.name.wave is not None}
    kept, problems = [], []
    for image in planes:
        well = image.key.well
        lacking = (
            "site, perhaps it is a montage"
            if image.name.site is None and well in sited
            else "wave, perhaps it is an overlay"
            if image.name.wave is None and well in waved
            else ""
        )
        if lacking:
            why = f"Other names of well {well} have what this one has not, a {lacking}."
            problems.append(Problem("excluded", image.entry.path, why))
        else:
            kept.append(image)
    wells = {image.key.well for image in kept if image.name.site is None}
    sentence = f"The names of {len(wells)} wells have no site, those of the others do; it is taken as site 1."
    return kept, problems, [sentence] if sited and wells else []


def _mixture(planes: Sequence[ImageFile]) -> list[str]:
    """Sentences on the different plate names and folders that were put together."""
    names = sorted({image.name.plate for image in planes})
    bases = sorted({image.base for image in planes})
    sentences = []
    if len({name.casefold() for name in names}) > 1:
        shown = ", ".join(repr(name) for name in names[:SHOWN])
        sentences.append(f"The names begin with {len(names)} different plate names: {shown}.")
    if len(bases) > 1:
        shown = ", ".join(_place(base) for base in bases[:SHOWN])
        sentences.append(f"The planes are taken from {len(bases)} folders: {shown}.")
    return sentences


def _several(root: Path, groups: Iterable[Sequence[ImageFile]]) -> PlateError:
    names = sorted({group[0].name.plate for group in groups})
    shown = ", ".join(repr(name) for name in names[:SHOWN])
    return PlateError(
        f"{root} seems to hold {len(names)} plates ({shown}).",
        hint="Give the folder of one plate, and list the plates one by one; or describe the names of one with "
        "`pattern`.",
    )


def _twice(root: Path, main: Sequence[ImageFile], group: Sequence[ImageFile], shared: int) -> PlateError:
    return PlateError(
        f"{root} holds {shared} planes of {main[0].name.plate!r} twice: in {_place(main[0].base)} and in "
        f"{_place(group[0].base)}, for example {group[0].entry.path}.",
        hint="Give one of these folders; or describe the files with `pattern`, whose `exclude` leaves some out.",
    )


def _place(base: str) -> str:
    return base or "the plate's own folder"
