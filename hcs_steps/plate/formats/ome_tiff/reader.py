"""Reader of OME-TIFF plates: files whose OME-XML says which pages are which planes.

The well of an image is, in this order, that of the ``Plate`` in the XML, of the image's name or of its stage
label, of the file's name; `hcs_steps.plate.formats.scenes` says which site it is. Channels, z planes and times
are numbered from 1 as in the XML.

- Positions are taken as they are: the OME model's y runs downwards, as the rows of an image do (Bio-Formats turns
  the y of instruments that count upwards, see its pull request 3486, and BigStitcher reads it so). Software that
  writes its own stage's directions into OME-XML can be at odds with that: then give `grid`.
- A position without a unit of length is not used. The position of the stage label and that of the well sample
  stand in for planes that have none.
- ``DeltaT`` is taken as the time since the beginning of the experiment, which the schema says it is.
- A plane without a page is missing, as is one whose page lies beyond the end of its file.
- Colour images are left out.

`Inventory.metadata` gets, where known: ``ome_xml`` (the first file that has it), ``plate_name``, ``objective`` and
``exposure`` (one value, or one per channel: ``1: 0.1 s, 2: 0.05 s``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hcs_steps.errors import PlateError
from hcs_steps.plate.assemble import build_inventory
from hcs_steps.plate.findings import Findings, Found, collect
from hcs_steps.plate.formats.ome_tiff.facts import plate_facts, plate_size, sentences, shared_pages
from hcs_steps.plate.formats.ome_tiff.files import (
    OmeFiles,
    StoredImage,
    companions,
    image_files,
    read_ome_files,
)
from hcs_steps.plate.formats.ome_tiff.model import OmeImage, PlaneFacts, WellSample
from hcs_steps.plate.formats.ome_tiff.opened import OME_SUFFIXES
from hcs_steps.plate.formats.ome_tiff.pages import Page
from hcs_steps.plate.formats.scene_names import place_in
from hcs_steps.plate.formats.scenes import Field, Scene, number_channels, place_scenes
from hcs_steps.plate.inventory import NAN, Inventory, PlaneKey, Problem
from hcs_steps.plate.listing import FileListing
from hcs_steps.plate.missing import absent_sites
from hcs_steps.plate.reader import Evidence, ReadOptions
from hcs_steps.plate.wells import well_name

NAME_SCORE = 0.8
"""What names alone count: other formats write OME-TIFF as well, and their own names say more of a file."""
COMPANION_BONUS = 0.5
_HINT = (
    "Give a `pattern` that tells well, site and whatever else the file names hold, with `pages:` (z, time or "
    "channel) if files have several pages."
)


@dataclass(frozen=True)
class OmeTiffReader:
    """Files named ``.ome.tif`` and the like, or any TIFF files with OME-XML if the format is given."""

    name: str = "ome-tiff"

    def evidence(self, listing: FileListing) -> Evidence:
        """The share of names with an OME-TIFF's extension, less what another format's names would count."""
        named = listing.with_suffix(*OME_SUFFIXES)
        metadata = companions(listing)
        if not named and not metadata:
            return Evidence(0.0)
        images = len({*listing.images, *named})
        sentences = [f"{len(named)} of {images} images are named .ome.tif or the like."]
        if metadata:
            sentences.append(f"There is an OME-XML companion: {metadata[0].path}.")
        score = NAME_SCORE * len(named) / max(1, images) + COMPANION_BONUS * bool(metadata)
        return Evidence(score, tuple(sentences))

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Read the plate; `PlateError` if no file has OME-XML, or if wells or sites are not told."""
        files = read_ome_files(listing)
        if not files.images:
            raise PlateError(_nothing(listing, files), hint="Leave `format` out, or give a `pattern`.")
        stand_ins = _stand_ins(files)
        images = [*files.images, *stand_ins]
        placed = place_scenes([_scene(image) for image in images], hint=_HINT)
        numbers, names = number_channels([_labels(image.image) for image in images])
        parsed: list[tuple[PlaneKey, Found]] = []
        expected: set[PlaneKey] = set()
        for image, field, channels in zip(images, placed.fields, numbers, strict=True):
            if field is None:
                continue
            expected.update(_keys(image.image, field, channels))
            parsed += _planes(image, field, channels)
        found, duplicates = collect(parsed)
        lost_sites = absent_sites(expected) if len(files.documents) > 1 else ()
        findings = Findings(
            found,
            problems=(
                *files.problems,
                *_empty(files, stand_ins),
                *placed.problems,
                *duplicates,
                *lost_sites,
            ),
            disagreements=(*sentences(files), *shared_pages(images), *placed.disagreements),
            expected=expected,
            channel_names=names,
            dimensions=plate_size(files),
            metadata=plate_facts(files, numbers),
        )
        return build_inventory(listing, self.name, findings, options, evidence)


def _nothing(listing: FileListing, files: OmeFiles) -> str:
    count = len(image_files(listing))
    if not files.problems:
        return f"{listing.root} holds no TIFF file with OME-XML among its {count} TIFF files."
    first = files.problems[0]
    return f"None of the {count} TIFF files in {listing.root} can be used. {first.what}: {first.why}"


def _scene(image: StoredImage) -> Scene:
    well, rank = "", 0
    if image.sample:
        well, rank = _well(image.sample), image.sample.rank
    return Scene(
        label=image.label,
        document=image.document,
        path=image.file.path if image.file else "",
        names=(image.image.name, image.image.stage_label),
        well=well,
        rank=rank if well else 0,
    )


def _well(sample: WellSample) -> str:
    try:
        return well_name(sample.row, sample.column)
    except PlateError:
        return ""


def _labels(image: OmeImage) -> tuple[str, ...]:
    """The names of all channels of an image, empty where they have none."""
    count = image.sizes[0]
    return (*image.channels[:count], *[""] * (count - len(image.channels)))


def _keys(image: OmeImage, field: Field, channels: Sequence[int]) -> Iterator[PlaneKey]:
    for channel, z, timepoint in image.places():
        yield PlaneKey(*field, channels[channel], z + 1, timepoint + 1)


def _planes(stored: StoredImage, field: Field, channels: Sequence[int]) -> Iterator[tuple[PlaneKey, Found]]:
    """Every plane that has a page, with what the XML says of it."""
    image = stored.image
    x_um, y_um = _position(stored)
    times = any(not math.isnan(facts.time_s) for facts in image.planes.values())
    for place, page in stored.pages.items():
        channel, z, timepoint = place
        facts = image.planes.get(place, PlaneFacts())
        yield (
            PlaneKey(*field, channels[channel], z + 1, timepoint + 1),
            Found(
                page.file,
                page.number,
                stored.height,
                stored.width,
                stored.dtype,
                pixel_size_um=image.pixel_size_um,
                x_um=_known(facts.x_um, x_um),
                y_um=_known(facts.y_um, y_um),
                z_um=_known(facts.z_um, z * image.z_step_um if image.sizes[1] > 1 else NAN),
                time_s=facts.time_s if times or image.sizes[2] == 1 else timepoint * image.interval_s,
            ),
        )


def _position(stored: StoredImage) -> tuple[float, float]:
    """Where planes without a position of their own are: where another plane, the label or the sample is."""
    candidates: list[tuple[float, float]] = [
        (facts.x_um, facts.y_um) for facts in stored.image.planes.values()
    ]
    candidates.append((stored.image.x_um, stored.image.y_um))
    if stored.sample:
        candidates.append((stored.sample.x_um, stored.sample.y_um))
    return next((each for each in candidates if not any(map(math.isnan, each))), (NAN, NAN))


def _known(value: float, other: float) -> float:
    return other if math.isnan(value) else value


def _stand_ins(files: OmeFiles) -> list[StoredImage]:
    """Images for the files that could not be opened and whose names hold a well, as most other files have them.

    So their planes fail visibly and are not missed silently.
    """
    single = [
        image for image in files.images if image.alone and len({p.file for p in image.pages.values()}) == 1
    ]
    named = [entry for entry in files.broken if place_in(entry.name)]
    if not single or not named:
        return []
    layouts = Counter((image.image.sizes, image.height, image.width, image.dtype) for image in single)
    usual = layouts.most_common(1)[0][0]
    model = next(i for i in single if (i.image.sizes, i.height, i.width, i.dtype) == usual)
    blank = replace(model.image, name="", stage_label="", planes={}, x_um=NAN, y_um=NAN)
    return [
        replace(
            model,
            image=blank,
            sample=None,
            document=entry.path,
            pages={place: Page(entry, page.number) for place, page in model.pages.items()},
        )
        for entry in named
    ]


def _empty(files: OmeFiles, stand_ins: Sequence[StoredImage]) -> Iterator[Problem]:
    """A problem for every empty file that stands for no plane."""
    planes = {image.document for image in stand_ins}
    for entry in files.broken:
        if not entry.size and entry.path not in planes:
            yield Problem("zero-byte", entry.path, "The file is empty or a dangling link.")
