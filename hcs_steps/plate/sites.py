"""The grid of a well's sites: from their stage positions, or as the configuration describes it.

A stage misses its target by a few pixels and may be turned a little against the camera, so coordinates are
clustered, not compared; sites may be taken in any order (by rows, by columns, as a snake, as a spiral), and a
grid may have holes. Positions that lie on no grid get none.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from hcs_steps.errors import ConfigError, nearest
from hcs_steps.plate.findings import Cell

TOLERANCE = 0.25
"""Share of the distance between neighbours by which a site may lie beside its place in the grid."""
MAX_EMPTY = 2.0
"""A grid has at most this many cells per site; more of them are no grid."""
MAX_SIDE = 1000
SAMPLE = 500

Site = tuple[str, int]
Position = tuple[float, float]

_ORDERS = ("rows", "columns")
_TEXT = re.compile(r"\s*(\d{1,4})\s*x\s*(\d{1,4})\s*(?:by\s+(rows|columns))?(\s+snake)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class SiteGrid:
    """How sites are laid out where the files do not say: their numbers count the cells in order.

    Attributes
    ----------
    rows, columns
        The grid, whose first cell is the upper left one.
    order
        ``rows``: the second site is to the right of the first; ``columns``: it is below it.
    snake
        Every second row (or column) runs backwards.
    """

    rows: int
    columns: int
    order: str = "rows"
    snake: bool = False

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= MAX_SIDE and 1 <= self.columns <= MAX_SIDE):
            raise ConfigError(
                f"A grid of {self.rows} x {self.columns} sites is not possible.",
                hint="Write rows x columns: 5x5.",
            )
        if self.order not in _ORDERS:
            raise ConfigError(f"Unknown order {self.order!r} in `grid`.", hint=nearest(self.order, _ORDERS))

    @classmethod
    def from_config(cls, value: SiteGrid | Mapping[str, Any] | str) -> SiteGrid:
        """A grid from ``5x5``, ``5x5 by columns``, ``4x6 by rows snake``, or a mapping of the attributes."""
        if isinstance(value, SiteGrid):
            return value
        if isinstance(value, str):
            match = _TEXT.fullmatch(value)
            if match is None:
                raise ConfigError(
                    f"`grid` is {value!r}.",
                    hint="Write rows x columns, such as `5x5` or `5x5 by columns snake`.",
                )
            return cls(int(match[1]), int(match[2]), (match[3] or "rows").lower(), match[4] is not None)
        fields = ("rows", "columns", "order", "snake")
        for key in value:
            if key not in fields:
                raise ConfigError(f"Unknown key {key!r} in `grid`.", hint=nearest(str(key), fields))
        sizes = value.get("rows"), value.get("columns")
        if not all(isinstance(size, int) for size in sizes):
            raise ConfigError(
                "`grid` needs whole numbers of `rows` and `columns`.", hint="Write `grid: 5x5`."
            )
        return cls(value["rows"], value["columns"], str(value.get("order", "rows")), bool(value.get("snake")))

    def cells(self, sites: Iterable[int]) -> dict[int, Cell]:
        """Site -> (row, column) by its number, counted from 0, from 1, or from the lowest one.

        So a site that was lost leaves its cell empty. Raises `ConfigError` if a site does not fit.
        """
        numbers = sorted(set(sites))
        size = self.rows * self.columns
        first = 0 if not numbers or numbers[0] == 0 else 1 if numbers[-1] <= size else numbers[0]
        if numbers and numbers[-1] - first >= size:
            raise ConfigError(
                f"`grid` has {self.rows} x {self.columns} cells, but the plate has {len(numbers)} sites, numbered "
                f"{numbers[0]} to {numbers[-1]}.",
                hint="Give the whole grid that the sites are numbered in.",
            )
        return {site: self._cell(site - first) for site in numbers}

    def _cell(self, place: int) -> Cell:
        length = self.columns if self.order == "rows" else self.rows
        line, along = divmod(place, length)
        if self.snake and line % 2:
            along = length - 1 - along
        return (line, along) if self.order == "rows" else (along, line)


def cells_from_positions(positions: Mapping[Site, Position]) -> dict[Site, Cell]:
    """(well, site) -> (row, column) in the grid of its well, for the wells whose sites form one.

    ``positions`` are (x, y) in micrometres, y downwards. The distance between neighbours is taken from the
    whole plate, so a well that has only some of the sites keeps the distances between them.
    """
    wells: defaultdict[str, dict[int, Position]] = defaultdict(dict)
    for (well, site), position in positions.items():
        wells[well][site] = position
    # A site without a position leaves open which cell it takes, so its well has no grid; unless all are alone.
    alone = all(len(sites) == 1 for sites in wells.values())
    known = {well: sites for well, sites in wells.items() if alone or all(map(_is_known, sites.values()))}
    scale = _scale(known.values())
    pitch = _pitch(known.values(), scale)
    cells = {well: _well_cells(sites, pitch, scale) for well, sites in known.items()}
    whole = _usual_layout(cells.values())
    return {(well, site): cell for well, own in cells.items() for site, cell in _anchored(own, whole).items()}


def grid_dimensions(cells: Mapping[Site, Cell], sites: Iterable[Site]) -> Cell | None:
    """(rows, columns) that the ``cells`` of most of the wells with the most ``sites`` lie in.

    None if none of those wells forms a grid.
    """
    counts = Counter(well for well, _ in sites)
    full = max(counts.values(), default=0)
    wells: defaultdict[str, list[Cell]] = defaultdict(list)
    for (well, _), cell in cells.items():
        wells[well].append(cell)
    sizes = Counter(extent(own) for own in wells.values() if len(own) == full)
    return sizes.most_common(1)[0][0] if sizes else None


def extent(cells: Iterable[Cell]) -> Cell:
    """(rows, columns) of the smallest grid that begins at (0, 0) and holds the cells."""
    rows, columns = zip(*cells, strict=True)
    return max(rows) + 1, max(columns) + 1


def _usual_layout(wells: Iterable[Mapping[int, Cell]]) -> Mapping[int, Cell]:
    """Site -> cell in most of the wells that have the most sites."""
    known = [tuple(sorted(own.items())) for own in wells]
    most = max(map(len, known), default=0)
    layouts = Counter(own for own in known if len(own) == most)
    return dict(layouts.most_common(1)[0][0]) if layouts else {}


def _anchored(cells: Mapping[int, Cell], whole: Mapping[int, Cell]) -> Mapping[int, Cell]:
    """The cells of a well that has only some of the sites, moved to where whole wells have these sites."""
    shifts = {
        (whole[site][0] - row, whole[site][1] - column)
        for site, (row, column) in cells.items()
        if site in whole
    }
    if len(shifts) != 1 or not cells.keys() <= whole.keys():
        return cells
    ((down, right),) = shifts
    return {site: (row + down, column + right) for site, (row, column) in cells.items()}


def _is_known(position: Position) -> bool:
    return all(map(math.isfinite, position))


def _scale(wells: Iterable[Mapping[int, Position]]) -> float:
    """The usual distance from a site to its nearest neighbour; NaN where no well has two sites.

    In a well of very many sites, a sample of them looks for its neighbour.
    """
    distances = [
        min(math.dist(here, there) for other, there in sites.items() if other != site)
        for sites in wells
        if len(sites) > 1
        for site, here in list(sites.items())[:: 1 + len(sites) // SAMPLE]
    ]
    return median(distances) if distances else math.nan


def _pitch(wells: Iterable[Mapping[int, Position]], scale: float) -> Position:
    """Distance of neighbouring columns and of neighbouring rows; NaN where there is only one of them."""
    across: list[float] = []
    down: list[float] = []
    for sites in wells:
        across += _gaps(_clusters((x for x, _ in sites.values()), scale))
        down += _gaps(_clusters((y for _, y in sites.values()), scale))
    # A hole makes some gaps two pitches long, so the usual one is in the lower half.
    x, y = (median(sorted(gaps)[: len(gaps) // 2 + 1]) if gaps else math.nan for gaps in (across, down))
    return x, y


def _well_cells(sites: Mapping[int, Position], pitch: Position, scale: float) -> dict[int, Cell]:
    """Site -> cell; empty if two sites share one, or the sites lie on no grid."""
    if len(sites) == 1:
        return dict.fromkeys(sites, (0, 0))
    columns = _indices({site: x for site, (x, _) in sites.items()}, pitch[0], scale)
    rows = _indices({site: y for site, (_, y) in sites.items()}, pitch[1], scale)
    cells = {site: (rows[site], columns[site]) for site in sites if site in rows and site in columns}
    if len(set(cells.values())) < len(sites):
        return {}
    height, width = extent(cells.values())
    return cells if height * width <= MAX_EMPTY * len(cells) else {}


def _indices(values: Mapping[int, float], pitch: float, scale: float) -> dict[int, int]:
    """Index of each site along one axis, from 0; empty if a gap is no multiple of the pitch.

    Clusters, not distances from the first site, are counted, so a small shear of the grid does not add up.
    """
    clusters = _clusters(values.values(), scale)
    index, place = dict.fromkeys(clusters[0], 0), 0
    for gap, cluster in zip(_gaps(clusters), clusters[1:], strict=True):
        steps = round(gap / pitch)
        if steps < 1 or abs(gap / pitch - steps) > TOLERANCE:
            return {}
        place += steps
        index |= dict.fromkeys(cluster, place)
    return {site: index[value] for site, value in values.items()}


def _clusters(values: Iterable[float], scale: float) -> list[list[float]]:
    """Values in order; a gap wider than the tolerance begins the next cluster."""
    clusters: list[list[float]] = []
    for value in sorted(values):
        if clusters and not value - clusters[-1][-1] > TOLERANCE * scale:
            clusters[-1].append(value)
        else:
            clusters.append([value])
    return clusters


def _gaps(clusters: Sequence[Sequence[float]]) -> list[float]:
    """Distances from each cluster's middle to the next one's."""
    middles = [sum(cluster) / len(cluster) for cluster in clusters]
    return [after - before for before, after in pairwise(middles)]
