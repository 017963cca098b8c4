"""Reader of Molecular Devices ImageXpress plates (MetaXpress exports and databases).

Planes come from file names and folders; the HTD file names waves, gives the plate's and the sites' grid and the
sites that every well should have, and is compared with the files. Where they contradict, the files win and the
contradiction is reported.

MetaXpress writes one plane per file. Its exports fill a channel that was not acquired, at a timepoint or in a
stack, with copies of what there is (so says faim-ipa's pull request 201, and the real sample 3435 shows it):
such planes have files and are not missing, but hold nothing of their own.

Planes get no focus position that was not read: each site and channel has an autofocus of its own, so a
position that is worked out from a neighbour's and the step between planes would be a guess.

`Inventory.metadata` gets, where known: ``htd`` (its path), ``plate_id`` and ``description``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hcs_steps.plate.assemble import build_inventory
from hcs_steps.plate.findings import Findings, Found, collect
from hcs_steps.plate.formats.imagexpress.files import ImageFiles, one_plate, sort_files
from hcs_steps.plate.formats.imagexpress.htd import Htd
from hcs_steps.plate.formats.imagexpress.htd_check import (
    compare_with_files,
    expected_planes,
    promised_but_absent,
)
from hcs_steps.plate.formats.imagexpress.htd_files import choose_htd
from hcs_steps.plate.inventory import Inventory, Problem
from hcs_steps.plate.listing import FileListing
from hcs_steps.plate.reader import Evidence, ReadOptions

HTD_BONUS = 0.3
FOLDER_BONUS = 0.1


@dataclass(frozen=True)
class ImageXpressReader:
    """Names like ``<plate>_B02_s1_w1.TIF``; see `hcs_steps.plate.formats.imagexpress.names`."""

    name: str = "imagexpress"

    def evidence(self, listing: FileListing) -> Evidence:
        """Share of fitting names, plus an HTD file and TimePoint or ZStep folders.

        A well alone (``ImageName_t01_p01`` reads as well P01) is not enough: it takes a site, a wave, a GUID,
        an HTD file or a TimePoint folder somewhere.
        """
        files = sort_files(listing)
        fitting = len(files.planes) + len(files.thumbnails)
        htd = listing.with_suffix(".htd")
        names = [image.name for image in files.planes]
        tokens = any(name.site is not None or name.wave is not None or name.guid for name in names)
        if not names or not (htd or files.foldered or tokens):
            return Evidence(0.0)
        sentences = [f"{fitting} of {len(listing.images)} TIFF names fit <plate>_<well>_s<site>_w<wave>."]
        if htd:
            sentences.append(f"There is an HTD file: {htd[0].path}.")
        if files.foldered:
            sentences.append(f"{files.foldered} images are in TimePoint_ or ZStep_ folders.")
        guids = sum(bool(name.guid) for name in names)
        if guids:
            sentences.append(f"{guids} names end in a GUID, as in a MetaXpress database.")
        score = fitting / len(listing.images) + HTD_BONUS * bool(htd) + FOLDER_BONUS * bool(files.foldered)
        return Evidence(score, tuple(sentences))

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Read the plate; `PlateError` if it has no planes or the folder holds several plates."""
        files = sort_files(listing)
        plate = one_plate(files.planes, listing.root)
        found, duplicates = collect((image.key, Found(image.entry)) for image in plate.planes)
        findings = Findings(
            found,
            problems=(*duplicates, *plate.problems, *_left_out(files, listing)),
            disagreements=plate.sentences,
        )
        return build_inventory(
            listing, self.name, _with_htd(findings, listing, plate.name), options, evidence
        )


def _left_out(files: ImageFiles, listing: FileListing) -> list[Problem]:
    hidden = [entry for entry in listing.files if entry.name.startswith(".") and entry.is_image]
    return [
        *(Problem("unparsed", entry.path, "The name is not an ImageXpress one.") for entry in files.unparsed),
        *(
            Problem("unparsed", entry.path, "A MetaMorph stack cannot be read; export its planes as TIFF.")
            for entry in listing.with_suffix(".stk")
        ),
        *(Problem("excluded", entry.path, "A thumbnail.") for entry in files.thumbnails),
        *(Problem("excluded", entry.path, "A hidden file.") for entry in hidden),
    ]


def _with_htd(findings: Findings, listing: FileListing, plate: str) -> Findings:
    """Add what the HTD file says to what the files say."""
    choice = choose_htd(listing, plate)
    findings = replace(
        findings,
        problems=(*findings.problems, *choice.problems),
        disagreements=(*findings.disagreements, *choice.disagreements),
    )
    htd, planes = choice.htd, findings.found
    if htd is None:
        return findings
    sites_hold = {key.site for key in planes} <= set(htd.sites)
    return replace(
        findings,
        problems=(*findings.problems, *promised_but_absent(htd, planes)),
        disagreements=(*findings.disagreements, *compare_with_files(htd, planes)),
        expected=expected_planes(htd, planes),
        channel_names=htd.waves,
        dimensions=(htd.rows, htd.columns) if htd.rows and htd.columns else None,
        grid_dimensions=htd.site_grid if sites_hold else None,
        site_cells=htd.sites if sites_hold else {},
        metadata=_facts(htd, choice.path),
    )


def _facts(htd: Htd, path: str) -> dict[str, str]:
    facts = {"htd": path, "plate_id": htd.plate_id, "description": htd.description}
    return {key: value for key, value in facts.items() if value}
