"""Readers of Yokogawa plates: CellVoyager CV7000 and CV8000, CQ1 and CQ3000.

``MeasurementData.mlf`` (or a CQ1's ``MeasurementResult.ome.xml``) lists every image with its position and time;
names tell the planes where it is lost. `Inventory.metadata` gets what `hcs_steps.plate.formats.yokogawa.facts` lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hcs_steps.errors import PlateError
from hcs_steps.plate.assemble import build_inventory
from hcs_steps.plate.findings import Findings, Found, collect
from hcs_steps.plate.formats.yokogawa.check import check_counts
from hcs_steps.plate.formats.yokogawa.detail import ChannelDetail, MeasurementDetail, read_detail
from hcs_steps.plate.formats.yokogawa.errors import planes_not_taken
from hcs_steps.plate.formats.yokogawa.facts import plate_facts
from hcs_steps.plate.formats.yokogawa.files import detail_folder, index_files, read_index
from hcs_steps.plate.formats.yokogawa.names import (
    CORRECTION,
    ImageName,
    by_product,
    parse_cellvoyager_name,
    parse_cq1_name,
)
from hcs_steps.plate.formats.yokogawa.numbers import ChannelSource, Numbering
from hcs_steps.plate.formats.yokogawa.planes import Image, WellNumbers, match_images
from hcs_steps.plate.inventory import Inventory, PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.reader import Evidence, ReadOptions

INDEX_BONUS = 0.4
DETAIL_BONUS = 0.1


@dataclass(frozen=True)
class YokogawaReader:
    """Plates whose names hold wells (``_D08_T0001F001L01A01Z01C01``), or the numbers of wells (``W0029F0001...``).

    See `hcs_steps.plate.formats.yokogawa.names`.
    """

    name: str = "yokogawa"
    numbered_wells: bool = False

    def evidence(self, listing: FileListing) -> Evidence:
        """Share of fitting names, plus an index file, plus a ``.mrf``."""
        parse, shape = self._naming
        others = [entry for entry in listing.images if parse(entry.name) is None]
        fitting = len(listing.images) - len(others)
        if not fitting:
            return Evidence(0.0)
        images = fitting + sum(not by_product(entry.name) for entry in others)
        sentences = [f"{fitting} of {images} TIFF names fit {shape}."]
        indexes = index_files(listing)
        if indexes:
            sentences.append(f"There is an index: {indexes[0].path}.")
        details = listing.with_suffix(".mrf")
        if details:
            sentences.append(f"There are measurement details: {details[0].path}.")
        score = fitting / images + INDEX_BONUS * bool(indexes) + DETAIL_BONUS * bool(details)
        return Evidence(score, tuple(sentences))

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Read the plate; `PlateError` if it has no planes, holds several plates, or its wells have no names."""
        parse, _ = self._naming
        index, problems = read_index(listing)
        detail = read_detail(listing, detail_folder(listing, index))
        rows, columns = (detail.rows, detail.columns) if detail.rows else (index.rows, index.columns)
        images, left_out = _possible_planes(listing, parse, detail)
        matches = match_images(listing, images, index, parse, WellNumbers(rows, columns))
        if self.numbered_wells and not columns and not matches.images:
            raise PlateError(
                f"The names of {listing.root} number the wells (W0029), and nothing says how many columns the "
                "plate has.",
                hint="Add MeasurementDetail.mrf or MeasurementResult.ome.xml, or give a `pattern`: "
                r"{regex: 'W(?P<well_index>\d+)F(?P<site>\d+)T(?P<time>\d+)Z(?P<z>\d+)C(?P<channel>\d+)\.tif', "
                "constants: {plate_columns: 12}}.",
            )
        if index.records and not matches.images:
            raise PlateError(
                f"{listing.root / index.path} lists {len(index.records)} images, and none of them is in the "
                f"folder as a TIFF file, for example {index.records[0].path}.",
                hint="Copy the images too, or describe the names of those that are there with `pattern`.",
            )
        numbering = Numbering([each.taken for each in matches.images] + matches.listed)
        found, duplicates = collect(_found(matches.images, numbering, detail))
        plates = sorted({each.plate for each in matches.images})
        if duplicates and len(plates) > 1:
            raise PlateError(
                f"{listing.root} seems to hold {len(plates)} plates ({', '.join(map(repr, plates[:5]))}) with "
                "the same wells.",
                hint="Give the folder of one plate, and list the plates one by one.",
            )
        listed = {numbering.key(taken) for taken in matches.listed}
        not_taken, errors = planes_not_taken(index, listed, found, numbering)
        complete = bool(index.records) and not index.damage
        findings = Findings(
            found,
            problems=(
                *problems,
                *detail.problems,
                *matches.problems,
                *duplicates,
                *errors,
                *left_out,
                *_hidden(listing),
            ),
            disagreements=(
                *matches.disagreements,
                *_several_plates(plates),
                *_counted_through(numbering),
                *check_counts(detail, matches.images, complete),
            ),
            expected=listed | not_taken if complete else None,
            channel_names=_names(numbering.sources, {**(index.channel_names or {}), **detail.names}),
            dimensions=(rows, columns) if rows and columns else None,
            metadata=plate_facts(listing, index, detail, numbering.sources, {key.channel for key in found}),
        )
        return build_inventory(listing, self.name, findings, options, evidence)

    @property
    def _naming(self) -> tuple[Callable[[str], ImageName | None], str]:
        if self.numbered_wells:
            return parse_cq1_name, "W<well>F<field>T<time>Z<z>C<channel>"
        return parse_cellvoyager_name, "<plate>_<well>_T<time>F<field>L<timeline>A<action>Z<z>C<channel>"


def _possible_planes(
    listing: FileListing, parse: Callable[[str], ImageName | None], detail: MeasurementDetail
) -> tuple[list[FileEntry], list[Problem]]:
    """The images of a listing that may be planes, and why the others are left out."""
    shading = {channel.shading.lower() for channel in detail.channels.values()}
    images, left_out = [], []
    for entry in listing.images:
        what = CORRECTION if entry.name.lower() in shading else by_product(entry.name)
        # A plate may be called like a correction image.
        if what and parse(entry.name) is None:
            left_out.append(Problem("excluded", entry.path, what))
        else:
            images.append(entry)
    return images, left_out


def _found(
    images: Iterable[Image], numbering: Numbering, detail: MeasurementDetail
) -> Iterable[tuple[PlaneKey, Found]]:
    unknown = ChannelDetail()
    for taken, file, record, _ in images:
        channel = detail.channels.get(taken.channel, unknown)
        found = Found(file, height=channel.height, width=channel.width, pixel_size_um=channel.pixel_size_um)
        if record is not None:
            found = found._replace(
                pixel_size_um=channel.pixel_size_um if channel.pixel_size_um > 0 else record.pixel_size_um,
                x_um=record.x_um,
                y_um=record.y_um,
                z_um=record.z_um,
                time_s=record.time_s,
            )
        yield numbering.key(taken), found


def _hidden(listing: FileListing) -> Iterable[Problem]:
    hidden = (entry for entry in listing.files if entry.is_image and entry.name.startswith("."))
    return (Problem("excluded", entry.path, "A hidden file.") for entry in hidden)


def _several_plates(plates: list[str]) -> tuple[str, ...]:
    return (f"The names begin with {len(plates)} different plate names.",) * (len(plates) > 1)


def _counted_through(numbering: Numbering) -> tuple[str, ...]:
    if not numbering.timepoints:
        return ()
    pairs = ", ".join(
        f"t{number} is L{line:02d} T{time:04d}" for number, (line, time) in numbering.timepoints.items()
    )
    return (f"Several timelines took the same planes, so timepoints are counted through: {pairs}.",)


def _names(sources: Mapping[int, ChannelSource], names: Mapping[int, str]) -> dict[int, str]:
    """Names of all channels that the metadata name; those of one channel in several actions tell the action."""
    return {
        number: names.get(source.channel, f"w{source.channel}") + source.suffix
        for number, source in sources.items()
        if source.channel in names or source.suffix
    }
