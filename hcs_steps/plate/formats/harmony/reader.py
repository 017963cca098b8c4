"""Reader of PerkinElmer / Revvity plates exported by Harmony (Operetta, Operetta CLS, Opera Phenix, Sonata).

The index lists every image, so planes without a file are known one by one; names tell the planes where there is no
index. `Inventory.metadata` gets, where known: ``index`` (its path), ``schema`` (``HarmonyV5``), ``instrument``,
``plate_id``, ``plate_name``, ``plate_type``, ``measurement_id``, ``started``, ``objective``,
``numerical_aperture``, ``exposure``, ``excitation``, ``emission``, ``binning``, ``acquisition`` (one value, or one
per channel: ``1: 0.1 s, 2: 0.02 s``), ``flatfield`` (JSON: channel -> `harmony_flatfield.read_profile`) and
``flatfield_corrected`` (``yes`` if the images are Harmony's corrected ones).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hcs_steps.errors import PlateError
from hcs_steps.plate.assemble import build_inventory
from hcs_steps.plate.findings import Findings
from hcs_steps.plate.formats.harmony.files import ImageFinder
from hcs_steps.plate.formats.harmony.flatfield import Profile, read_profile
from hcs_steps.plate.formats.harmony.index import HarmonyIndex, read_profiles
from hcs_steps.plate.formats.harmony.measurements import Indexes, in_flex, index_files
from hcs_steps.plate.formats.harmony.names import parse_image_name
from hcs_steps.plate.formats.harmony.planes import combine
from hcs_steps.plate.inventory import Inventory, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.reader import Evidence, ReadOptions

PROFILE_FOLDERS = (["ffc_profile"], ["flatfieldcorrection"])
IDX_BONUS = 0.5
INDEX_BONUS = 0.3

_CHANNEL_FACTS = (
    "objective",
    "numerical_aperture",
    "exposure",
    "excitation",
    "emission",
    "binning",
    "acquisition",
)


@dataclass(frozen=True)
class HarmonyReader:
    """Names like ``r03c03f01p01-ch1sk1fk1fl1.tiff``; see `hcs_steps.plate.formats.harmony.names`."""

    name: str = "harmony"

    def evidence(self, listing: FileListing) -> Evidence:
        """Share of fitting names, plus an index file; ``Index.xml`` is less telling than ``Index.idx.xml``."""
        fitting = sum(parse_image_name(entry.name) is not None for entry in listing.images)
        indexes = index_files(listing)
        if not listing.images or not (fitting or indexes):
            return Evidence(0.0)
        sentences = [
            f"{fitting} of {len(listing.images)} TIFF names fit r<row>c<column>f<field>p<plane>-ch<n>."
        ]
        bonus = 0.0
        if indexes:
            sentences.append(f"There is an index: {indexes[0].path}.")
            bonus = IDX_BONUS if any(".idx." in each.name.lower() for each in indexes) else INDEX_BONUS
        return Evidence(fitting / len(listing.images) + bonus, tuple(sentences))

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Read the plate; `PlateError` if it has no planes, or holds several measurements of the same planes."""
        images, copies, corrected = _originals(listing.images)
        used = Indexes()
        used.read(listing, index_files(listing, with_corrected=corrected), ImageFinder(images))
        planes = combine([each for listed in used.listed.values() for each in listed], images)
        profiles, unreadable, unusable = _profiles(listing, used.indexes)
        channels = _channels(used.indexes.values())
        hidden = (entry for entry in listing.files if entry.is_image and entry.name.startswith("."))
        findings = Findings(
            planes.found,
            problems=(
                *used.problems,
                *unreadable,
                *planes.problems,
                *(Problem("excluded", entry.path, _CORRECTED_COPY) for entry in copies),
                *(Problem("excluded", entry.path, "A hidden file.") for entry in hidden),
            ),
            disagreements=(
                *used.disagreements,
                *_renamed(used.indexes.values()),
                *planes.disagreements,
                *unusable,
            ),
            expected=planes.expected,
            channel_names={channel: facts["name"] for channel, facts in channels.items() if "name" in facts},
            dimensions=next((each.dimensions for each in used.indexes.values() if each.dimensions), None),
            metadata={
                **_facts(used.indexes),
                **({"flatfield": json.dumps(profiles)} if profiles else {}),
                **({"flatfield_corrected": "yes"} if corrected else {}),
            },
        )
        return build_inventory(listing, self.name, findings, options, evidence)


_CORRECTED_COPY = "A flat-field corrected copy of a plane; give the folder of the copies to use them."


def _originals(images: Sequence[FileEntry]) -> tuple[Sequence[FileEntry], Sequence[FileEntry], bool]:
    """The images to read, corrected copies beside them, and whether only corrected ones are there."""
    originals: list[FileEntry] = []
    copies: list[FileEntry] = []
    for entry in images:
        name = parse_image_name(entry.name)
        (copies if name and (name.corrected or in_flex(entry)) else originals).append(entry)
    if copies and not any(parse_image_name(entry.name) for entry in originals):
        return images, (), True
    return originals, copies, False


def _channels(indexes: Iterable[HarmonyIndex]) -> dict[int, Mapping[str, str]]:
    """Channel -> its facts, from the first index that has it."""
    channels: dict[int, Mapping[str, str]] = {}
    for index in indexes:
        channels = {**index.channels, **channels}
    return channels


def _renamed(indexes: Iterable[HarmonyIndex]) -> list[str]:
    """Sentences on channels that have several names."""
    names: defaultdict[int, set[str]] = defaultdict(set)
    for index in indexes:
        for channel, name in index.names:
            names[channel].add(name)
    return [
        f"The index gives channel {channel} several names: {', '.join(sorted(several))}."
        for channel, several in sorted(names.items())
        if len(several) > 1
    ]


def _facts(indexes: Mapping[str, HarmonyIndex]) -> dict[str, str]:
    facts: dict[str, str] = {}
    for path, index in indexes.items():
        facts = {"index": path, **index.plate, **facts}
    channels = _channels(indexes.values())
    for name in _CHANNEL_FACTS:
        stated = {channel: own[name] for channel, own in sorted(channels.items()) if own.get(name)}
        if len(set(stated.values())) == 1 and len(stated) == len(channels):
            facts[name] = next(iter(stated.values()))
        elif stated:
            facts[name] = ", ".join(f"{channel}: {value}" for channel, value in stated.items())
    return facts


def _profiles(
    listing: FileListing, indexes: Mapping[str, HarmonyIndex]
) -> tuple[dict[int, Profile], list[Problem], list[str]]:
    """Channel -> flat-field profile, from the indexes or else from the folder of such profiles.

    And the files and the single profiles that cannot be used.
    """
    texts: dict[int, tuple[str, str]] = {}
    problems: list[Problem] = []
    sentences: list[str] = []
    for path, index in indexes.items():
        for channel, text in index.profiles.items():
            texts.setdefault(channel, (path, text))
    for entry in () if texts else listing.with_suffix(".xml"):
        if entry.path.lower().split("/")[-2:-1] in PROFILE_FOLDERS:
            try:
                for channel, text in read_profiles(listing.root / entry.path).items():
                    texts.setdefault(channel, (entry.path, text))
            except PlateError as error:
                problems.append(Problem("unreadable", entry.path, error.message))
    profiles = {}
    for channel, (path, text) in sorted(texts.items()):
        try:
            profiles[channel] = read_profile(text)
        except PlateError as error:
            sentences.append(f"{path}, channel {channel}: {error.message}")
    return profiles, problems, sentences
