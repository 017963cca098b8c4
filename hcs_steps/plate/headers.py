"""Which headers to open so that a plate of tens of thousands of files is known from a few of them.

Only what the vendor's metadata leave open is looked up, in TIFF files alone: one header per channel, for
shape, dtype and pixel size; one per (well, site) where the stage position is not known, or, once a few of
them have shown that these files hold no position, one per well, so that a change of binning is noticed; and,
at one site, one per z plane and per timepoint, for their spacing. Where a site's header differs from the rest
of its channel, that site's other channels are opened too.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from hcs_steps.errors import PlateError
from hcs_steps.plate import tiff_header
from hcs_steps.plate.findings import Found
from hcs_steps.plate.inventory import PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry
from hcs_steps.plate.tiff_header import Header

Group = TypeVar("Group", bound=Hashable)
Result = TypeVar("Result")

TRIES = 3
WORKERS = 8
PROBES = 8
SLOW_S = 0.005

Layout = tuple[int, int, str, float]


@dataclass(frozen=True)
class HeaderSurvey:
    """The headers that were opened, by plane, and the files among them that could not be read."""

    headers: Mapping[PlaneKey, Header]
    problems: tuple[Problem, ...]

    @cached_property
    def channels(self) -> Mapping[int, Header]:
        """Channel -> its reference: the first header with the layout that most of its headers have."""
        by_channel: defaultdict[int, list[Header]] = defaultdict(list)
        for key in sorted(self.headers):
            by_channel[key.channel].append(self.headers[key])
        return {channel: _reference(headers) for channel, headers in sorted(by_channel.items())}

    @cached_property
    def sites(self) -> Mapping[tuple[str, int], Header]:
        """(well, site) -> the header that gives its stage position."""
        return {(key.well, key.site): self.headers[key] for key in sorted(self.headers, reverse=True)}

    @cached_property
    def odd(self) -> Mapping[tuple[str, int, int], Header]:
        """(well, site, channel) -> header, where its layout differs from the channel's reference."""
        return {
            (key.well, key.site, key.channel): header
            for key, header in self.headers.items()
            if layout(header) != layout(self.channels[key.channel])
        }


def layout(header: Header) -> Layout:
    """What planes of one channel share: height, width, dtype, pixel size (-1 where unknown)."""
    pixel_size = header.facts.pixel_size_um
    return header.height, header.width, header.dtype, -1.0 if math.isnan(pixel_size) else pixel_size


def survey_headers(root: Path, found: Mapping[PlaneKey, Found]) -> HeaderSurvey:
    """Open the headers that ``found`` needs; empty files are passed over, damaged ones reported."""
    files = {
        key: each.file
        for key, each in sorted(found.items())
        if each.file.size and each.file.is_image and not each.dtype
    }
    headers: dict[PlaneKey, Header] = {}
    failed: dict[PlaneKey, str] = {}

    def open_all(wanted: Iterable[PlaneKey]) -> None:
        pending = [key for key in dict.fromkeys(wanted) if key not in headers and key not in failed]
        opened = read_files(root, [files[key] for key in pending], tiff_header.read_header)
        for key, result in zip(pending, opened, strict=True):
            if isinstance(result, Header):
                headers[key] = result
            else:
                failed[key] = result

    def open_one_of_each(groups: Iterable[Sequence[PlaneKey]]) -> None:
        for _ in range(TRIES):
            unknown = [keys for keys in groups if not any(key in headers for key in keys)]
            open_all(key for keys in unknown for key in [k for k in keys if k not in failed][:1])

    sites = list(
        _grouped(
            (key for key in files if math.isnan(found[key].x_um)), lambda key: (key.well, key.site)
        ).values()
    )
    open_one_of_each(sites[:PROBES])
    if any(not math.isnan(header.facts.x_um) for header in headers.values()):
        open_one_of_each(sites[PROBES:])
    open_one_of_each(_grouped(files, lambda key: key.well).values())
    open_one_of_each(_grouped(files, lambda key: key.channel).values())
    open_all(_spacing_keys([key for key in files if math.isnan(found[key].z_um)]))
    odd_sites = {place[:2] for place in HeaderSurvey(headers, ()).odd}
    if odd_sites:
        open_all(_first_per_channel(key for key in files if (key.well, key.site) in odd_sites))
    problems = tuple(Problem("unreadable", files[key].path, failed[key]) for key in sorted(failed))
    return HeaderSurvey(headers, problems)


def read_files(
    root: Path, entries: Sequence[FileEntry], read: Callable[[Path], Result]
) -> Iterator[Result | str]:
    """``read`` every file, in order: its result, or the message of its `PlateError`.

    Several are read at once if the first few show that the disk answers slowly. Parsing holds Python's lock,
    so on a fast disk threads would only get in each other's way.
    """

    def attempt(entry: FileEntry) -> Result | str:
        try:
            return read(root / entry.path)
        except PlateError as error:
            return error.message

    begin = perf_counter()
    yield from map(attempt, entries[:PROBES])
    rest = entries[PROBES:]
    if perf_counter() - begin < SLOW_S * PROBES:
        yield from map(attempt, rest)
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(WORKERS) as pool:
            yield from pool.map(attempt, rest)


def _spacing_keys(keys: Sequence[PlaneKey]) -> list[PlaneKey]:
    """The planes of the first site and channel along z and along time."""
    if not keys:
        return []
    first = keys[0]
    here = [key for key in keys if key[:3] == first[:3]]
    return [key for key in here if key.z_index == first.z_index or key.timepoint == first.timepoint]


def _first_per_channel(keys: Iterable[PlaneKey]) -> list[PlaneKey]:
    first: dict[tuple[str, int, int], PlaneKey] = {}
    for key in keys:
        first.setdefault(key[:3], key)
    return list(first.values())


def _reference(headers: Sequence[Header]) -> Header:
    common = Counter(layout(header) for header in headers).most_common(1)[0][0]
    return next(header for header in headers if layout(header) == common)


def _grouped(keys: Iterable[PlaneKey], group: Callable[[PlaneKey], Group]) -> dict[Group, list[PlaneKey]]:
    groups: defaultdict[Group, list[PlaneKey]] = defaultdict(list)
    for key in keys:
        groups[group(key)].append(key)
    return dict(groups)
