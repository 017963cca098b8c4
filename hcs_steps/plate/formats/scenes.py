"""Which well and site an image is, in formats whose files hold images instead of being one plane each.

The well is the one that the metadata state, else the one in the image's own names, else the one in the file's.
Sites have the first of these numbers that tells all images of every well apart: the rank in the metadata, the
number in the image's names, the number in the file's name, the place among the well's images in their file.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.scene_names import NamedPlace, place_in
from hcs_steps.plate.inventory import Problem

Field = tuple[str, int]
"""Well and site."""


@dataclass(frozen=True)
class Scene:
    """An image of one field.

    Attributes
    ----------
    label
        What it is called in messages: its file, with its own name where the file holds several.
    document
        The file that lists it, in whose order it stands.
    path
        The file that holds it, empty if none does.
    names
        Texts of its own that may hold a well: its name, the name of its stage position.
    well, rank
        The well and the place in it from 1 that the metadata state; empty and 0 if they do not.
    """

    label: str
    document: str
    path: str
    names: tuple[str, ...]
    well: str = ""
    rank: int = 0


@dataclass(frozen=True)
class Fields:
    """The field of every scene, None where it has none; why it has none; and what contradicts."""

    fields: tuple[Field | None, ...]
    problems: tuple[Problem, ...]
    disagreements: tuple[str, ...]


def place_scenes(scenes: Sequence[Scene], *, hint: str) -> Fields:
    """Give every scene its well and site.

    `PlateError`, with ``hint``, if no scene has a well, or if in most wells several have the same site.
    """
    own = _trusted([next(filter(None, map(place_in, scene.names)), None) for scene in scenes])
    by_file = _trusted([place_in(scene.path.rpartition("/")[2]) if scene.path else None for scene in scenes])
    wells = [
        scene.well or (named.well if named else "") or (file.well if file else "")
        for scene, named, file in zip(scenes, own, by_file, strict=True)
    ]
    if not any(wells):
        raise PlateError(
            f"No well is stated for {scenes[0].label}, nor for any other of the {len(scenes)} images: there is "
            "no plate in the metadata, and neither the images' names nor the files' tell one.",
            hint=hint,
        )
    sites = _sites(scenes, wells, own, by_file)
    fields: list[Field | None] = []
    problems: list[Problem] = []
    first: dict[Field, str] = {}
    crowded = set()
    for scene, well, site in zip(scenes, wells, sites, strict=True):
        field = (well, site)
        if not well:
            why = "No well is stated for it, neither in the metadata nor in a name."
            problems.append(Problem("unparsed", scene.label, why))
        elif field in first:
            why = f"A second image of {well} s{site}; {first[field]} is used."
            problems.append(Problem("duplicate", scene.label, why))
            crowded.add(well)
        else:
            first[field] = scene.label
            fields.append(field)
            continue
        fields.append(None)
    if 2 * len(crowded) > len({well for well, _ in first}):
        example = next(problem for problem in problems if problem.kind == "duplicate")
        raise PlateError(
            f"In {len(crowded)} wells several images are of the same site. {example.what}: {example.why}",
            hint=hint,
        )
    return Fields(tuple(fields), tuple(problems), _contradictions(scenes, wells, by_file))


def number_channels(images: Sequence[Sequence[str]]) -> tuple[list[tuple[int, ...]], dict[int, str]]:
    """The channel numbers of every image, given its channels' names (empty where unknown), and their names.

    The number of a channel is its place, from 1. Where images name their channels differently, a name has one
    number in all of them, so that two dyes are never taken for one; the image with most channels counts first.
    """
    numbers: list[tuple[int, ...]] = [()] * len(images)
    by_name: dict[str, int] = {}
    names: dict[int, str] = {}
    for place in sorted(range(len(images)), key=lambda place: -len(images[place])):
        labels = images[place]
        if all(labels) and len(set(labels)) == len(labels):
            for label in labels:
                by_name.setdefault(label, len(by_name) + 1)
            numbers[place] = tuple(by_name[label] for label in labels)
        else:
            numbers[place] = tuple(range(1, len(labels) + 1))
        for number, label in zip(numbers[place], labels, strict=True):
            if label:
                names.setdefault(number, label)
    return numbers, names


def _trusted(places: list[NamedPlace | None]) -> list[NamedPlace | None]:
    """The places, none of them if every row could be another word's letter."""
    return places if any(place.certain for place in places if place) else [None] * len(places)


def _sites(
    scenes: Sequence[Scene],
    wells: Sequence[str],
    own: Sequence[NamedPlace | None],
    by_file: Sequence[NamedPlace | None],
) -> list[int]:
    ranks = [scene.rank or None for scene in scenes]
    tokens = [place.site if place else None for place in own]
    file_tokens = [place.site if place else None for place in by_file]
    numberings = (ranks, tokens, file_tokens, _order(scenes, wells))
    best = min(numberings, key=lambda numbering: _faults(wells, numbering))
    return [
        next((n for n in (number, *others) if n is not None), 1)
        for number, *others in zip(best, *numberings, strict=True)
    ]


def _order(scenes: Sequence[Scene], wells: Sequence[str]) -> list[int | None]:
    """The place of every scene among those of its well, from 1, if they are all of one file."""
    documents: defaultdict[str, set[str]] = defaultdict(set)
    for scene, well in zip(scenes, wells, strict=True):
        documents[well].add(scene.document)
    seen: Counter[str] = Counter()
    order: list[int | None] = []
    for well in wells:
        seen[well] += 1
        order.append(seen[well] if len(documents[well]) == 1 else None)
    return order


def _faults(wells: Sequence[str], numbering: Sequence[int | None]) -> int:
    """How many scenes with a well have no number, or one that another scene of the well has."""
    fields = [(well, number) for well, number in zip(wells, numbering, strict=True) if well]
    known = {field for field in fields if field[1] is not None}
    return len(fields) - len(known)


def _contradictions(
    scenes: Sequence[Scene], wells: Sequence[str], by_file: Sequence[NamedPlace | None]
) -> tuple[str, ...]:
    """A sentence on files that are named for a well of which they hold nothing."""
    held: defaultdict[str, set[str]] = defaultdict(set)
    named: dict[str, str] = {}
    for scene, well, place in zip(scenes, wells, by_file, strict=True):
        if well and place:
            held[scene.path].add(well)
            named[scene.path] = place.well
    wrong = sorted(path for path, well in named.items() if well not in held[path])
    if not wrong:
        return ()
    example = f"{wrong[0]} holds {', '.join(sorted(held[wrong[0]])[:3])}"
    return (
        f"{len(wrong)} files are named for another well than their metadata state: {example}. "
        "The metadata are used.",
    )
