"""The plan in an HTD file against the files that exist."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hcs_steps.plate.formats.imagexpress.htd import Htd
from hcs_steps.plate.inventory import PlaneKey, Problem
from hcs_steps.plate.wells import compact_wells, parse_well


def compare_with_files(htd: Htd, planes: Collection[PlaneKey]) -> tuple[str, ...]:
    """Sentences on all that differs between HTD and files. A projection beside a stack does not."""
    return (
        *_timepoints(htd, {plane.timepoint for plane in planes}),
        *_waves(htd, {plane.channel for plane in planes}),
        *_wells(htd, {plane.well for plane in planes}),
        *_sites(htd, {plane.site for plane in planes}),
        *_z_steps(htd, {plane.z_index for plane in planes}),
    )


def expected_planes(htd: Htd, planes: Collection[PlaneKey]) -> frozenset[PlaneKey] | None:
    """The planes that wells with files should have; None if the files have sites that the HTD does not know.

    An HTD selects the same sites for all wells, so a site that some wells have is expected in all of them. Each
    site is expected to have every combination of channel, z and timepoint that the plate shows anywhere: which
    channels are taken as a stack, as a projection or at some timepoints only, an HTD does not say. What it
    promises and no file shows is left to `promised_but_absent`.
    """
    sites = {plane.site for plane in planes}
    if not sites <= set(htd.sites):
        return None
    combinations = {plane[2:] for plane in planes}
    return frozenset(
        PlaneKey(well, site, *combination)
        for well in {plane.well for plane in planes}
        for site in sites
        for combination in combinations
    )


def promised_but_absent(htd: Htd, planes: Collection[PlaneKey]) -> tuple[Problem, ...]:
    """Waves, timepoints, pairs of both, sites and wells that the HTD promises and no file of the plate shows."""
    seen = {(plane.channel, plane.timepoint) for plane in planes}
    channels, timepoints = {channel for channel, _ in seen}, {timepoint for _, timepoint in seen}
    promised = range(1, (htd.timepoints or 0) + 1)
    problems = [
        Problem("missing", f"c{wave}", f"The HTD names wave {wave} ({htd.waves[wave]}), but no file has it.")
        for wave in htd.collected
        if wave not in channels
    ]
    absent = [timepoint for timepoint in promised if timepoint not in timepoints]
    if absent:
        why = f"The HTD says {htd.timepoints} timepoints, but no file has these."
        problems.append(Problem("missing", f"t{_numbers(absent)}", why))
    for wave in htd.collected:
        lost = [t for t in promised if t in timepoints and wave in channels and (wave, t) not in seen]
        if lost:
            why = f"No file of wave {wave} ({htd.waves[wave]}) at these timepoints; other waves have them."
            problems.append(Problem("missing", f"c{wave} t{_numbers(lost)}", why))
    sites = {plane.site for plane in planes}
    if sites < set(htd.sites):
        why = f"The HTD selects {len(htd.sites)} sites, but no file has these."
        problems.append(Problem("missing", f"s{_numbers(sorted(set(htd.sites) - sites))}", why))
    wells = set(htd.wells) - {plane.well for plane in planes}
    problems += [
        Problem("missing", well, "The HTD selects this well, but no file has it.")
        for well in sorted(wells, key=parse_well)
    ]
    return tuple(problems)


def _timepoints(htd: Htd, seen: set[int]) -> Iterable[str]:
    if htd.timepoints and seen != set(range(1, htd.timepoints + 1)):
        found = _numbers(sorted(seen))
        yield f"The HTD says {htd.timepoints} timepoints, the files have {len(seen)} ({found})."


def _waves(htd: Htd, seen: set[int]) -> Iterable[str]:
    absent, extra = sorted(set(htd.collected) - seen), sorted(seen - set(htd.waves))
    if htd.waves and absent:
        names = ", ".join(f"{wave} {htd.waves[wave]}" for wave in absent)
        yield f"The HTD names {len(htd.collected)} waves, the files have {len(seen)}; without files: {names}."
    if htd.waves and extra:
        yield f"The files have wave {_numbers(extra)}, which the HTD does not name."


def _wells(htd: Htd, seen: set[str]) -> Iterable[str]:
    absent, extra = set(htd.wells) - seen, seen - set(htd.wells)
    if htd.wells and absent:
        yield f"The HTD selects {len(htd.wells)} wells; without files: {compact_wells(absent)}."
    if htd.wells and extra:
        yield f"The files have wells that the HTD does not select: {compact_wells(extra)}."
    if htd.rows and htd.columns:
        rows, columns = htd.rows, htd.columns
        outside = {well for well in seen if parse_well(well)[0] >= rows or parse_well(well)[1] >= columns}
        if outside:
            yield f"The HTD says {rows} x {columns} wells, but {compact_wells(outside)} lie outside."


def _sites(htd: Htd, seen: set[int]) -> Iterable[str]:
    if htd.sites and seen != set(htd.sites):
        yield f"The HTD selects {len(htd.sites)} sites per well, the files have {_numbers(sorted(seen))}."


def _z_steps(htd: Htd, seen: set[int]) -> Iterable[str]:
    steps = sorted(z for z in seen if z > 0)
    in_stack = 0 in seen or len(steps) > 1
    if htd.z_series and htd.z_steps and in_stack and steps != list(range(1, htd.z_steps + 1)):
        found = _numbers(steps) if steps else "none"
        yield f"The HTD says {htd.z_steps} z steps, the files have {found}."
    if htd.z_series and htd.z_steps > 1 and not in_stack:
        yield f"The HTD says {htd.z_steps} z steps, the files have no ZStep folders."
    if not htd.z_series and len(steps) > 1:
        yield f"The HTD says that there is no z series, the files have z steps {_numbers(steps)}."


def _numbers(numbers: Iterable[int]) -> str:
    """Sorted numbers as a short text: ``1-3,5``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)
