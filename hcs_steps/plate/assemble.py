"""From the files that a reader recognised to an inventory: the part that all formats share."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from hcs_steps.errors import ConfigError, PlateError, nearest
from hcs_steps.plate.headers import HeaderSurvey, PlaneKey, layout, survey_headers
from hcs_steps.plate.inventory import NAN, Inventory, Plane, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.metaseries import Header
from hcs_steps.plate.missing import missing_problems, plane_label
from hcs_steps.plate.reader import Evidence, ReadOptions
from hcs_steps.plate.sites import grid_of_plate
from hcs_steps.plate.wells import parse_well, plate_dimensions

KINDS = ("missing", "zero-byte", "unreadable", "duplicate", "unparsed", "excluded")


@dataclass(frozen=True)
class Findings:
    """What one reader learnt from names and its own metadata files; the rest comes from headers.

    ``channel_names`` are names with authority (HTD, config pattern); ``site_cells`` maps a site to its (row,
    column) in ``grid_dimensions``; ``dimensions`` are the plate's rows and columns where metadata states
    them.
    """

    found: Mapping[PlaneKey, FileEntry]
    problems: tuple[Problem, ...] = ()
    disagreements: tuple[str, ...] = ()
    channel_names: Mapping[int, str] = field(default_factory=dict)
    dimensions: tuple[int, int] | None = None
    grid_dimensions: tuple[int, int] | None = None
    site_cells: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    pixel_size_um: float | None = None


def collect(parsed: Iterable[tuple[PlaneKey, FileEntry]]) -> tuple[dict[PlaneKey, FileEntry], list[Problem]]:
    """One file per plane, the first in path order, and a problem for every further one."""
    found: dict[PlaneKey, FileEntry] = {}
    duplicates = []
    for key, entry in parsed:
        kept = found.setdefault(key, entry)
        if kept is not entry:
            why = f"A second file of {plane_label(key)}; {kept.path} is used."
            duplicates.append(Problem("duplicate", entry.path, why))
    return found, duplicates


def build_inventory(
    listing: FileListing, name: str, findings: Findings, options: ReadOptions, evidence: Evidence
) -> Inventory:
    """Open the representative headers and put the inventory together; `PlateError` if there are no planes."""
    if not findings.found:
        raise PlateError(
            f"No file in {listing.root} is a plane of format {name!r}.",
            hint="Leave `format` out to let it be recognised, or describe the names with `pattern`.",
        )
    survey = survey_headers(listing.root, findings.found)
    stated = options.pixel_size_um if options.pixel_size_um is not None else findings.pixel_size_um
    measured = _pixel_size(survey)
    planes = _planes(findings.found, survey, stated)
    dimensions = plate_dimensions({plane.well for plane in planes})
    if findings.dimensions:
        dimensions = _larger(findings.dimensions, dimensions, {plane.well for plane in planes})
    problems = [
        *findings.problems,
        *survey.problems,
        *missing_problems(findings.found),
        *(
            Problem("zero-byte", entry.path, f"The file of {plane_label(key)} is empty or a dangling link.")
            for key, entry in findings.found.items()
            if not entry.size
        ),
        *(Problem("excluded", path, why) for path, why in listing.skipped),
    ]
    return Inventory(
        plate_path=str(listing.root),
        name=listing.root.name,
        format=name,
        evidence=evidence.sentences,
        planes=planes,
        channels=_channel_names(planes, findings.channel_names, survey, options.channels),
        rows=dimensions[0],
        columns=dimensions[1],
        grid_dimensions=findings.grid_dimensions or _grid(findings.found, survey),
        pixel_size_um=measured if stated is None else stated,
        pixel_size_source="config"
        if stated is not None
        else "metadata"
        if measured == measured
        else "unknown",
        problems=tuple(sorted(problems, key=lambda problem: KINDS.index(problem.kind))),
        disagreements=(*findings.disagreements, *_contradictions(survey, stated, measured)),
        digest="",
        metadata=_metadata(listing, findings, survey),
    )


def _planes(
    found: Mapping[PlaneKey, FileEntry], survey: HeaderSurvey, stated: float | None
) -> tuple[Plane, ...]:
    odd, sites, references = survey.odd, survey.sites, survey.channels
    start = _start(survey)
    planes = []
    for key in sorted(found, key=lambda key: (parse_well(key.well), *key[1:])):
        entry, own = found[key], survey.headers.get(key)
        header = own or odd.get(key[:3]) or references.get(key.channel)
        site = sites.get((key.well, key.site))
        here = site.metaseries if site else None
        mine = own.metaseries if own else None
        height, width, dtype, size_um = layout(header) if header else (0, 0, "", -1.0)
        planes.append(
            Plane(
                *key,
                path=entry.path,
                size=entry.size,
                mtime_ns=entry.mtime_ns,
                height=height,
                width=width,
                dtype=dtype,
                pixel_size_um=stated if stated is not None else size_um if size_um > 0 else NAN,
                x_um=here.x_um if here else NAN,
                y_um=here.y_um if here else NAN,
                z_um=mine.z_um if mine else NAN,
                time_s=(mine.acquired - start).total_seconds() if mine and mine.acquired and start else NAN,
            )
        )
    return tuple(planes)


def _start(survey: HeaderSurvey) -> datetime | None:
    times = [header.metaseries.acquired for header in survey.headers.values() if header.metaseries]
    return min((time for time in times if time), default=None)


def _pixel_size(survey: HeaderSurvey) -> float:
    sizes = Counter(size for size in (layout(header)[3] for header in survey.headers.values()) if size > 0)
    return sizes.most_common(1)[0][0] if sizes else NAN


def _larger(stated: tuple[int, int], needed: tuple[int, int], wells: set[str]) -> tuple[int, int]:
    """The dimensions that metadata states, unless a well lies outside them."""
    fits = all(row < stated[0] and column < stated[1] for row, column in map(parse_well, wells))
    return stated if fits else needed


def _channel_names(
    planes: Iterable[Plane], stated: Mapping[int, str], survey: HeaderSurvey, renamed: Mapping[int, str]
) -> dict[int, str]:
    """Channel -> unique name: from the config, else metadata files, else headers, else ``w<number>``."""
    numbers = sorted({plane.channel for plane in planes})
    for number in renamed:
        if number not in numbers:
            raise ConfigError(
                f"`channels` renames channel {number!r}, which the plate does not have.",
                hint=nearest(str(number), map(str, numbers)),
            )
    names = {}
    for number in numbers:
        header = survey.channels.get(number)
        meta = header.metaseries if header else None
        told = (meta.illumination or meta.image_name) if meta else ""
        known = _printable(stated.get(number, "")) or _printable(told)
        names[number] = renamed.get(number) or known or f"w{number}"
    times = Counter(names.values())
    unique = {n: name if times[name] == 1 or n in renamed else f"{name}_w{n}" for n, name in names.items()}
    for name, count in Counter(unique.values()).items():
        if count > 1:
            same = ", ".join(str(number) for number, each in unique.items() if each == name)
            raise ConfigError(
                f"`channels` gives the name {name!r} to more than one channel ({same}).",
                hint="Give every channel a name of its own.",
            )
    return unique


def _printable(name: str) -> str:
    """Metadata is foreign text: without line breaks and control characters."""
    return "".join(character for character in name if character.isprintable()).strip()


def _grid(found: Mapping[PlaneKey, FileEntry], survey: HeaderSurvey) -> tuple[int, int] | None:
    """The grid from stage positions, over the wells whose every site has one."""
    known = {
        place: (header.metaseries.x_um, header.metaseries.y_um)
        for place, header in survey.sites.items()
        if header.metaseries and not math.isnan(header.metaseries.x_um + header.metaseries.y_um)
    }
    unknown = {key.well for key in found if (key.well, key.site) not in known}
    complete = {place: position for place, position in known.items() if place[0] not in unknown}
    most = max(Counter(well for well, _ in complete).values(), default=0)
    full = {well for well, count in Counter(well for well, _ in complete).items() if count == most}
    return grid_of_plate({place: position for place, position in complete.items() if place[0] in full})


def _contradictions(survey: HeaderSurvey, stated: float | None, measured: float) -> list[str]:
    sentences = []
    if stated is not None and measured == measured and not math.isclose(stated, measured, rel_tol=1e-3):
        sentences.append(
            f"The config says {stated:g} um per pixel, the files say {measured:g}; the config is used."
        )
    for channel, reference in survey.channels.items():
        places = sorted({f"{well} s{site}" for well, site, other in survey.odd if other == channel})
        if places:
            sentences.append(
                f"Channel {channel} is {_layout_text(reference)}, except in {', '.join(places[:3])}"
                + (f" and {len(places) - 3} more." if len(places) > 3 else ".")
            )
    headers = survey.headers.values()
    palette = sum(header.palette for header in headers)
    if palette:
        sentences.append(
            f"{palette} of {len(headers)} opened files are palette TIFFs; their colour table is ignored and "
            "the stored indices are used as grey values."
        )
    pages = max((header.pages for header in headers), default=1)
    if pages > 1:
        sentences.append(f"Files hold up to {pages} pages; only the first page of each is used.")
    sentences += sorted({f"A header was not used: {header.note}" for header in headers if header.note})
    return sentences


def _layout_text(header: Header) -> str:
    height, width, dtype, pixel_size = layout(header)
    return f"{height} x {width} {dtype}" + (f" at {pixel_size:g} um" if pixel_size > 0 else "")


def _metadata(listing: FileListing, findings: Findings, survey: HeaderSurvey) -> dict[str, str]:
    """Facts of the reader, of the first header that has any, and the spacing in z and time."""
    metadata = dict(findings.metadata)
    first = next(
        (survey.headers[key] for key in sorted(survey.headers) if survey.headers[key].metaseries), None
    )
    if first and first.metaseries:
        metadata = {**first.metaseries.details, **metadata}
    metadata |= _spacing(survey)
    if findings.site_cells:
        metadata["site_cells"] = json.dumps({str(site): cell for site, cell in findings.site_cells.items()})
    metadata["headers_opened"] = str(len(survey.headers) + len(survey.problems))
    others = sum(not entry.is_image for entry in listing.files)
    if others:
        metadata["sidecar_files"] = str(others)
    return metadata


def _spacing(survey: HeaderSurvey) -> dict[str, str]:
    """Median step in z and interval in time, where all z planes and all timepoints were opened."""
    from statistics import median

    stacks: defaultdict[tuple[str, int, int, int], list[float]] = defaultdict(list)
    series: defaultdict[tuple[str, int, int, int], list[datetime]] = defaultdict(list)
    for key in sorted(survey.headers):
        meta = survey.headers[key].metaseries
        # A projection (z 0) has no place in the stack.
        if meta and key.z_index and not math.isnan(meta.z_um):
            stacks[(*key[:3], key.timepoint)].append(meta.z_um)
        if meta and meta.acquired:
            series[key[:4]].append(meta.acquired)
    heights = max(stacks.values(), key=len, default=[])
    times = max(series.values(), key=len, default=[])
    found = {}
    if len(heights) > 1:
        step = median(abs(above - below) for below, above in pairwise(heights))
        found["z_step_um"] = f"{step:.6g}"
    if len(times) > 1:
        interval = median((after - before).total_seconds() for before, after in pairwise(times))
        found["time_interval_s"] = f"{interval:.6g}"
    return found
