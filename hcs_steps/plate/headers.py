"""Which headers to open so that a plate of tens of thousands of files is known from a few of them.

Opened are one header per (well, site), for the stage position; one per channel, for shape, dtype and pixel
size; and, at one site, one per z plane and one per timepoint, for their spacing. Where a site's header
differs from the rest of its channel, that site's other channels are opened too, because a plate may change
binning half-way.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, TypeVar

from hcs_steps.errors import PlateError
from hcs_steps.plate import metaseries
from hcs_steps.plate.inventory import NAN, Problem
from hcs_steps.plate.listing import FileEntry
from hcs_steps.plate.metaseries import Header

Group = TypeVar("Group", bound=Hashable)

TRIES = 3
WORKERS = 8
PROBES = 8
SLOW_S = 0.005


class PlaneKey(NamedTuple):
    """The five components that name a plane."""

    well: str
    site: int
    channel: int
    z_index: int
    timepoint: int


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
    pixel_size = header.metaseries.pixel_size_um if header.metaseries else NAN
    return header.height, header.width, header.dtype, -1.0 if pixel_size != pixel_size else pixel_size


def survey_headers(root: Path, found: Mapping[PlaneKey, FileEntry]) -> HeaderSurvey:
    """Open the headers that represent ``found``; empty files are passed over, damaged ones reported."""
    keys = sorted(key for key, entry in found.items() if entry.size)
    by_site = _grouped(keys, lambda key: (key.well, key.site))
    by_channel = _grouped(keys, lambda key: key.channel)
    headers: dict[PlaneKey, Header] = {}
    failed: dict[PlaneKey, str] = {}

    def open_all(wanted: Iterable[PlaneKey]) -> None:
        pending = [key for key in dict.fromkeys(wanted) if key not in headers and key not in failed]
        for key, result in zip(pending, _open_files(root, [found[key] for key in pending]), strict=True):
            if isinstance(result, Header):
                headers[key] = result
            else:
                failed[key] = result

    for attempt in range(TRIES):
        known_sites = {(key.well, key.site) for key in headers}
        known_channels = {key.channel for key in headers}
        open_all(
            [
                group[attempt]
                for site, group in by_site.items()
                if site not in known_sites and attempt < len(group)
            ]
            + [
                next(iter(key for key in group if key not in failed), group[0])
                for channel, group in by_channel.items()
                if channel not in known_channels
            ]
        )
    open_all(_spacing_keys(keys))
    odd_sites = {place[:2] for place in HeaderSurvey(headers, ()).odd}
    if odd_sites:
        open_all(_first_per_channel([key for site in sorted(odd_sites) for key in by_site[site]]))
    problems = tuple(Problem("unreadable", found[key].path, failed[key]) for key in sorted(failed))
    return HeaderSurvey(headers, problems)


def _open_files(root: Path, entries: Sequence[FileEntry]) -> Iterator[Header | str]:
    """Open files in order, several at once if the first few show that the disk answers slowly.

    Parsing holds Python's lock, so on a fast disk threads would only get in each other's way.
    """
    begin = perf_counter()
    yield from (_open(root, entry) for entry in entries[:PROBES])
    rest = entries[PROBES:]
    if perf_counter() - begin < SLOW_S * PROBES:
        yield from (_open(root, entry) for entry in rest)
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(WORKERS) as pool:
            yield from pool.map(lambda entry: _open(root, entry), rest)


def _open(root: Path, entry: FileEntry) -> Header | str:
    try:
        return metaseries.read_header(root / entry.path)
    except PlateError as error:
        return error.message


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


def _grouped(keys: Sequence[PlaneKey], group: Callable[[PlaneKey], Group]) -> dict[Group, list[PlaneKey]]:
    groups: defaultdict[Group, list[PlaneKey]] = defaultdict(list)
    for key in keys:
        groups[group(key)].append(key)
    return dict(groups)
