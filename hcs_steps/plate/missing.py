"""Which planes are not there.

Where the vendor's metadata list every plane, a listed plane without a file is missing and nothing else is.
Otherwise the neighbours tell: a (channel, z, t) combination counts as acquired if any site of the plate has
it, so a channel that was taken only as a projection is not missed in the stack, while a single lost file is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from hcs_steps.plate.findings import plane_label
from hcs_steps.plate.inventory import PlaneKey, Problem
from hcs_steps.plate.wells import parse_well


def missing_planes(found: Collection[PlaneKey], listed: Collection[PlaneKey] | None) -> tuple[PlaneKey, ...]:
    """Every plane that is ``listed``, or that the other sites let expect, and is not ``found``, row by row."""
    if listed is not None:
        return _in_order(set(listed).difference(found))
    present: defaultdict[tuple[str, int], set[tuple[int, int, int]]] = defaultdict(set)
    for key in found:
        present[key.well, key.site].add(key[2:])
    expected = set().union(*present.values())
    return _in_order(
        PlaneKey(well, site, *combination)
        for (well, site), own in present.items()
        if len(own) < len(expected)
        for combination in expected - own
    )


def missing_problems(found: Collection[PlaneKey], missing: Sequence[PlaneKey]) -> tuple[Problem, ...]:
    """``missing`` as problems: one per site, channel or timepoint that a well lacks, else per plane."""
    lost: defaultdict[str, list[PlaneKey]] = defaultdict(list)
    for key in missing:
        lost[key.well].append(key)
    kept: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    for key in found:
        if key.well in lost:
            kept[key.well] |= {("s", key.site), ("c", key.channel), ("t", key.timepoint)}
    return tuple(problem for well in lost for problem in _summary(well, lost[well], kept[well]))


def absent_sites(found: Collection[PlaneKey]) -> tuple[Problem, ...]:
    """Sites that most of the wells have and a well lacks altogether: perhaps lost, perhaps never taken."""
    sites: defaultdict[str, set[int]] = defaultdict(set)
    for key in found:
        sites[key.well].add(key.site)
    usual = {site for site in set().union(*sites.values()) if 2 * _holders(sites.values(), site) > len(sites)}
    return tuple(
        Problem("missing", f"{well} s{site}", "The well has no plane of this site, though most wells do.")
        for well in sorted(sites, key=parse_well)
        for site in sorted(usual - sites[well])
    )


def _holders(sites: Iterable[set[int]], site: int) -> int:
    return sum(site in each for each in sites)


def _in_order(keys: Iterable[PlaneKey]) -> tuple[PlaneKey, ...]:
    return tuple(sorted(keys, key=lambda key: (parse_well(key.well), *key[1:])))


def _summary(well: str, keys: Sequence[PlaneKey], kept: set[tuple[str, int]]) -> list[Problem]:
    groups: defaultdict[str, list[PlaneKey]] = defaultdict(list)
    if not kept:
        groups[well] = list(keys)
    for key in keys if kept else ():
        for letter, number in (("s", key.site), ("c", key.channel), ("t", key.timepoint)):
            if (letter, number) not in kept:
                groups[f"{well} {letter}{number}"].append(key)
                break
        else:
            groups[plane_label(key)].append(key)
    single = "No file, though the metadata list it, or other sites have this channel, z and timepoint."
    return [
        Problem(
            "missing",
            label,
            single if _is_plane(label) else f"The well has none of its {len(group)} planes.",
        )
        for label, group in groups.items()
    ]


def _is_plane(label: str) -> bool:
    return label.count(" ") == 4
