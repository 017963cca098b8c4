"""The grid of a well's sites, from their stage positions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

TOLERANCE = 0.2
MAX_EMPTY = 2.0


def grid_of_plate(positions: Mapping[tuple[str, int], tuple[float, float]]) -> tuple[int, int] | None:
    """(rows, columns) that most wells' positions form; ``positions`` maps (well, site) to (x, y) in
    micrometres.

    None if no well has a position for each of its sites, or if the positions are no grid.
    """
    wells: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for (well, _), position in positions.items():
        wells[well].append(position)
    answers = Counter(grid_of_positions(wells[well]) for well in sorted(wells))
    return answers.most_common(1)[0][0] if answers else None


def grid_of_positions(positions: Sequence[tuple[float, float]]) -> tuple[int, int] | None:
    """(rows, columns) of the grid that positions of one well form, or None.

    Coordinates closer than 20 % of the pitch (the median distance from a site to its nearest neighbour) are
    in one row or column. Holes are allowed up to half of the grid's cells; more of them, or two sites in one
    cell, are no grid.
    """
    if not positions or not all(math.isfinite(value) for position in positions for value in position):
        return None
    if len(positions) == 1:
        return 1, 1
    nearest = sorted(
        min(math.dist(here, there) for j, there in enumerate(positions) if j != i)
        for i, here in enumerate(positions)
    )
    pitch = nearest[len(nearest) // 2]
    if pitch <= 0:
        return None
    columns = _clusters((x for x, _ in positions), TOLERANCE * pitch)
    rows = _clusters((y for _, y in positions), TOLERANCE * pitch)
    cells = {(rows[y], columns[x]) for x, y in positions}
    shape = max(rows.values()) + 1, max(columns.values()) + 1
    if len(cells) < len(positions) or shape[0] * shape[1] > MAX_EMPTY * len(positions):
        return None
    return shape


def _clusters(values: Iterable[float], tolerance: float) -> dict[float, int]:
    """Value -> number of its cluster; a gap wider than the tolerance starts the next."""
    numbers: dict[float, int] = {}
    number, last = 0, math.nan
    for value in sorted(set(values)):
        number += value - last > tolerance
        numbers[value], last = number, value
    return numbers
