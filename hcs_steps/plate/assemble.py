"""From what a reader found to an inventory: the part that all formats share."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from statistics import median

from hcs_steps.errors import ConfigError, PlateError, nearest
from hcs_steps.plate.findings import Cell, Findings, Found, plane_label
from hcs_steps.plate.headers import HeaderSurvey, layout, survey_headers
from hcs_steps.plate.inventory import GIANT, NAN, PROBLEM_KINDS, Inventory, Plane, PlaneKey, Problem
from hcs_steps.plate.listing import FileListing
from hcs_steps.plate.missing import absent_sites, missing_planes, missing_problems
from hcs_steps.plate.reader import Evidence, ReadOptions
from hcs_steps.plate.sites import Site, cells_from_positions, grid_dimensions
from hcs_steps.plate.tiff_header import Header
from hcs_steps.plate.wells import parse_well, plate_dimensions

LONGEST_NAME = 100
"""Characters of a channel's name that are kept."""


def build_inventory(
    listing: FileListing, name: str, findings: Findings, options: ReadOptions, evidence: Evidence
) -> Inventory:
    """Open the representative headers and put the inventory together; `PlateError` if there are no planes."""
    found = findings.found
    if not found:
        why = "".join(f" {each.what}: {each.why}" for each in findings.problems[:1])
        listed = f" The metadata list {len(findings.expected)} planes." if findings.expected else ""
        raise PlateError(
            f"No file in {listing.root} is a plane of format {name!r}.{listed}{why}",
            hint="Check that the images were copied too; otherwise leave `format` out to let it be recognised, or "
            "describe the names with `pattern`.",
        )
    findings = _without_foreign_list(findings)
    survey = survey_headers(listing.root, found)
    stated = options.pixel_size_um if options.pixel_size_um is not None else findings.pixel_size_um
    planes, giants = _without_giants(_planes(found, survey, stated))
    measured = _pixel_size(found, survey)
    cells, dimensions = _grid(findings, planes, options)
    planes = tuple(
        plane._replace(grid_row=cell[0], grid_column=cell[1])
        if (cell := cells.get((plane.well, plane.site)))
        else plane
        for plane in planes
    )
    missing = missing_planes(found, findings.expected)
    problems = [
        *findings.problems,
        *survey.problems,
        *giants,
        *missing_problems(found, missing),
        *(absent_sites(found) if findings.expected is None else ()),
        *(
            Problem(
                "zero-byte", each.file.path, f"The file of {plane_label(key)} is empty or a dangling link."
            )
            for key, each in found.items()
            if not each.file.size
        ),
        *(Problem("excluded", path, why) for path, why in listing.skipped),
    ]
    rows, columns = _dimensions({plane.well for plane in planes}, findings.dimensions)
    return Inventory(
        plate_path=str(listing.root),
        name=listing.root.name,
        format=name,
        evidence=evidence.sentences,
        planes=planes,
        channels=_channel_names(planes, findings.channel_names, survey, options.channels),
        rows=rows,
        columns=columns,
        grid_dimensions=dimensions,
        pixel_size_um=measured if stated is None else stated,
        pixel_size_source="config"
        if stated is not None
        else "metadata"
        if measured == measured
        else "unknown",
        missing=missing,
        problems=tuple(
            sorted(dict.fromkeys(problems), key=lambda problem: PROBLEM_KINDS.index(problem.kind))
        ),
        disagreements=(
            *findings.disagreements,
            *_wrong_sizes(found, survey),
            *_contradictions(survey, stated, measured),
        ),
        digest="",
        metadata=_metadata(listing, findings, survey, planes),
    )


def _without_foreign_list(findings: Findings) -> Findings:
    """A list of planes of which none is there is another plate's: it says nothing of what is missing."""
    if not findings.expected or not findings.found.keys().isdisjoint(findings.expected):
        return findings
    sentence = (
        f"None of the {len(findings.expected)} planes that the metadata list has a file: they seem to be another "
        "plate's. What is missing is told by the neighbours."
    )
    return replace(findings, expected=None, disagreements=(*findings.disagreements, sentence))


def _planes(found: Mapping[PlaneKey, Found], survey: HeaderSurvey, stated: float | None) -> tuple[Plane, ...]:
    """All planes in order; what the reader knows of one counts, then its own header, then its site's.

    Sizes are the exception: where one header shows that the metadata are wrong, the headers count.
    """
    odd, sites, references = survey.odd, survey.sites, survey.channels
    believed = _true_sizes(found, survey)
    clock = _Clock(found, survey)
    planes = []
    for key in sorted(found, key=lambda key: (parse_well(key.well), *key[1:])):
        each, own = found[key], survey.headers.get(key)
        header = own or odd.get(key[:3]) or references.get(key.channel)
        site = sites.get((key.well, key.site))
        here = site.facts if site else None
        height, width, dtype, size_um = layout(header) if header else (0, 0, "", -1.0)
        planes.append(
            Plane(
                *key,
                path=each.file.path,
                page=each.page,
                size=each.file.size,
                mtime_ns=each.file.mtime_ns,
                height=each.height if each.height and key.channel in believed else height,
                width=each.width if each.width and key.channel in believed else width,
                dtype=each.dtype or dtype,
                pixel_size_um=_first(stated, each.pixel_size_um, size_um if size_um > 0 else NAN),
                x_um=_first(each.x_um, here.x_um if here else NAN),
                y_um=_first(each.y_um, here.y_um if here else NAN),
                z_um=_first(each.z_um, own.facts.z_um if own else NAN),
                time_s=clock.seconds(each, own),
            )
        )
    return tuple(planes)


def _without_giants(planes: tuple[Plane, ...]) -> tuple[tuple[Plane, ...], list[Problem]]:
    """Planes that claim many times the pixels of their channel's others get the size of these, and a problem.

    One damaged header would otherwise decide what memory the whole plate needs.
    """
    counts = Counter(
        (plane.channel, plane.height, plane.width, plane.dtype) for plane in planes if plane.dtype
    )
    usual: dict[int, tuple[int, int, str]] = {}
    for channel, height, width, dtype in sorted(counts, key=lambda each: (counts[each], -each[1] * each[2])):
        usual[channel] = (height, width, dtype)
    if len(usual) == len(counts):
        return planes, []
    kept, problems = [], []
    for plane in planes:
        height, width, dtype = usual.get(plane.channel, (0, 0, ""))
        if plane.height * plane.width > GIANT * height * width > 0:
            label = plane_label(PlaneKey(*plane[:5]))
            why = f"{plane.path} claims {plane.height} x {plane.width} pixels, but the others have {height} x {width}."
            problems.append(Problem("layout", label, why))
            plane = plane._replace(height=height, width=width, dtype=dtype)
        kept.append(plane)
    return tuple(kept), problems


def _true_sizes(found: Mapping[PlaneKey, Found], survey: HeaderSurvey) -> set[int]:
    """The channels whose stated sizes agree with every header that was opened."""
    wrong = {key.channel for key, header in survey.headers.items() if _differs(found[key], header)}
    return {key.channel for key in found} - wrong


def _differs(found: Found, header: Header) -> bool:
    return found.height > 0 and (found.height, found.width) != (header.height, header.width)


def _first(*values: float | None) -> float:
    """The first value that is known, NaN if none is."""
    return next((value for value in values if value is not None and not math.isnan(value)), NAN)


class _Clock:
    """Seconds since the first plane of the plate, by the readers' times or else by the headers'."""

    def __init__(self, found: Mapping[PlaneKey, Found], survey: HeaderSurvey) -> None:
        times = [each.time_s for each in found.values() if not math.isnan(each.time_s)]
        moments = [header.facts.acquired for header in survey.headers.values()]
        self._first_s = min(times, default=NAN)
        self._first = min((moment for moment in moments if moment), default=None)

    def seconds(self, found: Found, header: Header | None) -> float:
        if not math.isnan(found.time_s):
            return found.time_s - self._first_s
        if math.isnan(self._first_s) and header and header.facts.acquired and self._first:
            return (header.facts.acquired - self._first).total_seconds()
        return NAN


def _pixel_size(found: Mapping[PlaneKey, Found], survey: HeaderSurvey) -> float:
    """The most usual pixel size that metadata state."""
    sizes = Counter(each.pixel_size_um for each in found.values() if each.pixel_size_um > 0)
    if not sizes:
        sizes = Counter(size for size in (layout(each)[3] for each in survey.headers.values()) if size > 0)
    return sizes.most_common(1)[0][0] if sizes else NAN


def _grid(
    findings: Findings, planes: Iterable[Plane], options: ReadOptions
) -> tuple[Mapping[Site, Cell], Cell | None]:
    """Every site's cell and the grid of a whole well: as configured, as metadata state it, or by positions."""
    sites = {(plane.well, plane.site) for plane in planes}
    if options.grid is not None:
        # A site that is listed and was lost keeps its place.
        listed = {(key.well, key.site) for key in findings.expected or ()}
        layout_of = options.grid.cells(site for _, site in sites | listed)
        return {place: layout_of[place[1]] for place in sites}, (options.grid.rows, options.grid.columns)
    if findings.site_cells and findings.grid_dimensions:
        stated = findings.site_cells
        return {place: stated[place[1]] for place in sites if place[1] in stated}, findings.grid_dimensions
    positions = {(plane.well, plane.site): (plane.x_um, plane.y_um) for plane in planes}
    cells = cells_from_positions(positions)
    return cells, grid_dimensions(cells, sites)


def _dimensions(wells: set[str], stated: Cell | None) -> Cell:
    """The plate's dimensions that metadata state, unless a well lies outside them."""
    if stated and all(row < stated[0] and column < stated[1] for row, column in map(parse_well, wells)):
        return stated
    return plate_dimensions(wells)


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
        told = header.facts.channel_name if header else ""
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
    """Metadata is foreign text: without line breaks and control characters, and no longer than a name is."""
    return "".join(character for character in name if character.isprintable()).strip()[:LONGEST_NAME].strip()


def _wrong_sizes(found: Mapping[PlaneKey, Found], survey: HeaderSurvey) -> list[str]:
    wrong = [key for key in sorted(survey.headers) if _differs(found[key], survey.headers[key])]
    if not wrong:
        return []
    stated, header = found[wrong[0]], survey.headers[wrong[0]]
    return [
        f"The metadata say {stated.height} x {stated.width} pixels for {plane_label(wrong[0])}, its file has "
        f"{header.height} x {header.width}; {len(wrong)} of {len(survey.headers)} opened files differ, and "
        "the files are used."
    ]


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
        sentences.append(
            f"Files hold up to {pages} pages; only the first page of each is used. If they are z planes, "
            "timepoints or channels, give a `pattern` with `pages:`."
        )
    sentences += sorted({f"A header was not used: {header.note}" for header in headers if header.note})
    return sentences


def _layout_text(header: Header) -> str:
    height, width, dtype, pixel_size = layout(header)
    return f"{height} x {width} {dtype}" + (f" at {pixel_size:g} um" if pixel_size > 0 else "")


def _metadata(
    listing: FileListing, findings: Findings, survey: HeaderSurvey, planes: Iterable[Plane]
) -> dict[str, str]:
    """Facts of the reader, of the first header that has any, and the spacing in z and time."""
    details = (survey.headers[key].facts.details for key in sorted(survey.headers))
    metadata = {**next((each for each in details if each), {}), **findings.metadata, **_spacing(planes)}
    tags = {round(header.tag_pixel_um, 6) for header in survey.headers.values() if header.tag_pixel_um > 0}
    if len(tags) == 1:
        metadata["tiff_resolution_um"] = f"{tags.pop():g}"
    metadata["headers_opened"] = str(len(survey.headers) + len(survey.problems))
    others = sum(not entry.is_image for entry in listing.files)
    if others and next(iter(findings.found.values())).file.is_image:
        metadata["sidecar_files"] = str(others)
    return metadata


def _spacing(planes: Iterable[Plane]) -> dict[str, str]:
    """Median step in z and interval in time, along the longest stack and the longest series that are known."""
    stacks: defaultdict[tuple[object, ...], list[float]] = defaultdict(list)
    series: defaultdict[tuple[object, ...], list[float]] = defaultdict(list)
    for plane in planes:
        # A projection (z 0) has no place in the stack.
        if plane.z_index and not math.isnan(plane.z_um):
            stacks[(*plane[:3], plane.timepoint)].append(plane.z_um)
        if not math.isnan(plane.time_s):
            series[plane[:4]].append(plane.time_s)
    heights, times = (max(groups.values(), key=len, default=[]) for groups in (stacks, series))
    found = {}
    if len(heights) > 1:
        found["z_step_um"] = f"{median(abs(after - before) for before, after in pairwise(heights)):.6g}"
    if len(times) > 1:
        found["time_interval_s"] = f"{median(after - before for before, after in pairwise(times)):.6g}"
    return found
