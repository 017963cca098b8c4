"""Which planes are not there.

A (channel, z, t) combination counts as acquired if any site of the plate has it, and every site that any well
has is expected in all wells. So a channel that was taken only as a projection is not missed in the stack,
while a single lost file is. What metadata promised and no file shows anywhere is the reader's to add.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from hcs_steps.plate.headers import PlaneKey
from hcs_steps.plate.inventory import Plane, Problem
from hcs_steps.plate.wells import parse_well

Combination = tuple[int, int, int]


def missing_planes(planes: Iterable[Plane | PlaneKey]) -> tuple[PlaneKey, ...]:
    """Every plane that its neighbours let expect and that is not there, sorted row by row."""
    present: defaultdict[str, defaultdict[int, set[Combination]]] = defaultdict(lambda: defaultdict(set))
    for plane in planes:
        present[plane.well][plane.site].add((plane.channel, plane.z_index, plane.timepoint))
    expected = {
        each for sites in present.values() for combinations in sites.values() for each in combinations
    }
    all_sites = sorted({site for sites in present.values() for site in sites})
    return tuple(
        PlaneKey(well, site, *combination)
        for well in sorted(present, key=parse_well)
        for site in all_sites
        if len(present[well].get(site, ())) < len(expected)
        for combination in sorted(expected - present[well].get(site, set()))
    )


def missing_problems(planes: Iterable[Plane | PlaneKey]) -> tuple[Problem, ...]:
    """`missing_planes` as problems: one per site, channel or timepoint that a well lacks, else per plane."""
    planes = tuple(planes)
    lost: defaultdict[str, list[PlaneKey]] = defaultdict(list)
    for key in missing_planes(planes):
        lost[key.well].append(key)
    if not lost:
        return ()
    kept: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    for plane in planes:
        if plane.well in lost:
            kept[plane.well] |= {("s", plane.site), ("c", plane.channel), ("t", plane.timepoint)}
    return tuple(problem for well in lost for problem in _summary(well, lost[well], kept[well]))


def _summary(well: str, keys: Sequence[PlaneKey], kept: set[tuple[str, int]]) -> list[Problem]:
    groups: defaultdict[str, list[PlaneKey]] = defaultdict(list)
    for key in keys:
        for letter, number in (("s", key.site), ("c", key.channel), ("t", key.timepoint)):
            if (letter, number) not in kept:
                groups[f"{well} {letter}{number}"].append(key)
                break
        else:
            groups[plane_label(key)].append(key)
    single = "No file, though other sites or wells have this channel, z and timepoint."
    return [
        Problem(
            "missing",
            label,
            f"The well has none of its {len(group)} planes, though other wells do."
            if not _is_plane(label)
            else single,
        )
        for label, group in groups.items()
    ]


def plane_label(key: PlaneKey | Plane) -> str:
    """The short name of a plane in reports: ``B02 s1 c3 z1 t1``."""
    return f"{key.well} s{key.site} c{key.channel} z{key.z_index} t{key.timepoint}"


def _is_plane(label: str) -> bool:
    return label.count(" ") == 4
