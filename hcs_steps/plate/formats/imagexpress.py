"""Reader of Molecular Devices ImageXpress plates (MetaXpress exports and databases).

Planes come from file names and folders; the HTD file names waves, gives the plate's and the sites' grid, and
is compared with the files. Where they contradict, the files win and the contradiction is reported.

`Inventory.metadata` gets, where known: ``htd`` (its path), ``plate_id`` and ``description``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from hcs_steps.errors import PlateError
from hcs_steps.plate.assemble import build_inventory
from hcs_steps.plate.findings import Findings, Found, collect
from hcs_steps.plate.formats.htd import Htd, read_htd
from hcs_steps.plate.formats.htd_check import compare_with_files, promised_but_absent
from hcs_steps.plate.formats.imagexpress_names import ImageName, parse_folders, parse_image_name
from hcs_steps.plate.inventory import Inventory, PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.reader import Evidence, ReadOptions

HTD_BONUS = 0.3
FOLDER_BONUS = 0.1


@dataclass(frozen=True)
class _Parsed:
    """All files of a listing, sorted into planes' names, thumbnails and the rest."""

    named: tuple[tuple[ImageName, FileEntry], ...]
    thumbnails: tuple[FileEntry, ...]
    unparsed: tuple[FileEntry, ...]


@dataclass(frozen=True)
class ImageXpressReader:
    """Names like ``<plate>_B02_s1_w1.TIF``; see `hcs_steps.plate.formats.imagexpress_names`."""

    name: str = "imagexpress"

    def evidence(self, listing: FileListing) -> Evidence:
        """Share of fitting names, plus an HTD file and TimePoint or ZStep folders.

        A well alone (``ImageName_t01_p01`` reads as well P01) is not enough: it takes a site, a wave, a GUID,
        an HTD file or a TimePoint folder somewhere.
        """
        parsed = _parse(listing)
        fitting = len(parsed.named) + len(parsed.thumbnails)
        htd = _htd_files(listing)
        foldered = sum(any(_numbers(entry)) for _, entry in parsed.named)
        tokens = sum(
            name.site is not None or name.wave is not None or bool(name.guid) for name, _ in parsed.named
        )
        if not parsed.named or not (htd or foldered or tokens):
            return Evidence(0.0)
        sentences = [f"{fitting} of {len(listing.images)} TIFF names fit <plate>_<well>_s<site>_w<wave>."]
        if htd:
            sentences.append(f"There is an HTD file: {htd[0].path}.")
        if foldered:
            sentences.append(f"{foldered} images are in TimePoint_ or ZStep_ folders.")
        guids = sum(bool(name.guid) for name, _ in parsed.named)
        if guids:
            sentences.append(f"{guids} names end in a GUID, as in a MetaXpress database.")
        score = fitting / len(listing.images) + HTD_BONUS * bool(htd) + FOLDER_BONUS * bool(foldered)
        return Evidence(score, tuple(sentences))

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Read the plate; `PlateError` if it has no planes or the folder holds several plates."""
        parsed = _parse(listing)
        has_z_steps = any(_numbers(entry)[1] is not None for _, entry in parsed.named)
        found, duplicates = collect(
            (_key(name, entry, has_z_steps), Found(entry)) for name, entry in parsed.named
        )
        plates = Counter(name.plate for name, _ in parsed.named)
        if duplicates and len(plates) > 1:
            names = ", ".join(repr(plate) for plate in sorted(plates)[:5])
            raise PlateError(
                f"{listing.root} seems to hold {len(plates)} plates ({names}) with the same wells.",
                hint="Give the folder of one plate, and list the plates one by one.",
            )
        findings = Findings(
            found,
            problems=(*duplicates, *_left_out(parsed, listing)),
            disagreements=(f"The names begin with {len(plates)} different plate names.",) * (len(plates) > 1),
        )
        return build_inventory(listing, self.name, _with_htd(findings, listing), options, evidence)


def _parse(listing: FileListing) -> _Parsed:
    named, thumbnails, unparsed = [], [], []
    for entry in listing.images:
        name = parse_image_name(entry.name)
        if name is None:
            unparsed.append(entry)
        elif name.thumbnail:
            thumbnails.append(entry)
        else:
            named.append((name, entry))
    return _Parsed(tuple(named), tuple(thumbnails), tuple(unparsed))


def _numbers(entry: FileEntry) -> tuple[int | None, int | None]:
    return parse_folders(entry.path.rpartition("/")[0])


def _key(name: ImageName, entry: FileEntry, has_z_steps: bool) -> PlaneKey:
    timepoint, z_step = _numbers(entry)
    # Beside a stack, what lies outside the ZStep folders is its projection or a 2-D image.
    outside = 0 if has_z_steps else 1
    return PlaneKey(
        well=name.well,
        site=1 if name.site is None else name.site,
        channel=1 if name.wave is None else name.wave,
        z_index=outside if z_step is None else z_step,
        timepoint=1 if timepoint is None else timepoint,
    )


def _left_out(parsed: _Parsed, listing: FileListing) -> list[Problem]:
    hidden = [entry for entry in listing.files if entry.is_image and entry.name.startswith(".")]
    return [
        *(
            Problem("unparsed", entry.path, "The name is not an ImageXpress one.")
            for entry in parsed.unparsed
        ),
        *(Problem("excluded", entry.path, "A thumbnail.") for entry in parsed.thumbnails),
        *(Problem("excluded", entry.path, "A hidden file.") for entry in hidden),
    ]


def _htd_files(listing: FileListing) -> tuple[FileEntry, ...]:
    """HTD files, the outermost first; exports repeat the same file in every folder."""
    return listing.with_suffix(".htd")


def _with_htd(findings: Findings, listing: FileListing) -> Findings:
    """Add what the HTD file says to what the files say."""
    files = _htd_files(listing)
    if not files:
        return findings
    htd_path = files[0].path
    try:
        htd = read_htd(listing.root / htd_path)
    except PlateError as error:
        problem = Problem("unreadable", htd_path, f"{error.message} The plate was read without it.")
        return replace(findings, problems=(*findings.problems, problem))
    return replace(
        findings,
        problems=(*findings.problems, *promised_but_absent(htd, findings.found)),
        disagreements=(*findings.disagreements, *compare_with_files(htd, findings.found)),
        channel_names=htd.waves,
        dimensions=(htd.rows, htd.columns) if htd.rows and htd.columns else None,
        grid_dimensions=_grid_if_it_holds(htd, findings),
        site_cells=htd.sites if _grid_if_it_holds(htd, findings) else {},
        metadata=_facts(htd, htd_path),
    )


def _grid_if_it_holds(htd: Htd, findings: Findings) -> tuple[int, int] | None:
    """The HTD's site grid, unless the files have sites that it does not know."""
    sites = {key.site for key in findings.found}
    return htd.site_grid if sites <= set(htd.sites) else None


def _facts(htd: Htd, path: str) -> dict[str, str]:
    facts = {"htd": path, "plate_id": htd.plate_id, "description": htd.description}
    return {key: value for key, value in facts.items() if value}
