"""Whether the place of a well on the plate shows in its values: edges, rows and columns.

Wells at the edge of a plate dry out and warm up sooner, and a dispenser or a washer leaves its mark in rows or
columns. What was done to the wells must not do so: where a compound's doses lie along a row, columns differ because
they should. `wells_for_edges` therefore chooses untreated wells if there are enough of them.

The tests are those of ranks, which ask nothing of the distribution: Mann-Whitney's for edge against inner wells,
Kruskal-Wallis' for rows and for columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hcs_steps.plate.wells import parse_well, plate_dimensions, row_name
from hcs_steps.statistics._ranks import LEAST_GROUP, kruskal_wallis, mann_whitney, ranked
from hcs_steps.statistics._robust import (
    Floats,
    Mask,
    mads,
    medians,
    names_column,
    quotient,
    well_mask,
    wells_by_features,
)

Columns = dict[str, NDArray[Any]]

LEAST_CONTROLS = 8
LEAST_LINES = 3
"""So many negative controls, over so many rows and columns, show the pattern of a plate on their own."""


def wells_for_edges(
    wells: Sequence[str],
    negative: ArrayLike,
    positive: ArrayLike,
    dimensions: tuple[int, int] | None = None,
) -> Mask:
    """Which wells show the pattern of a plate: the negative controls if they can, else all but the positive controls.

    Untreated wells differ only by their place, but a single column of them tells nothing of columns. They are
    chosen if there are at least 8 of them over at least 3 rows and 3 columns, 3 of them on the edge and 3 inside.
    Otherwise the treated wells serve as well, as they do in a screen of single doses, most of whose compounds do
    nothing; on a plate with dose series the result then mixes the layout of the treatments with the plate's pattern.

    Parameters
    ----------
    wells
        Names of the wells.
    negative, positive
        (wells,) booleans: which are controls.
    dimensions
        (rows, columns) of the plate; None: the smallest of 96, 384 and 1,536 wells that holds ``wells``.
    """
    controls = well_mask(negative, len(wells), "negative")
    others = ~well_mask(positive, len(wells), "positive")
    layout = _layout(wells, dimensions)
    spread = min(len(np.unique(line[controls])) for line in (layout.row, layout.column))
    edge = int((controls & layout.edge).sum())
    enough = controls.sum() >= LEAST_CONTROLS and spread >= LEAST_LINES
    both_sides = min(edge, int(controls.sum()) - edge) >= LEAST_GROUP
    return controls if enough and both_sides else others


def edge_effects(
    values: ArrayLike,
    features: Sequence[str],
    wells: Sequence[str],
    used: ArrayLike | None = None,
    dimensions: tuple[int, int] | None = None,
) -> Columns:
    """How much the edge, rows and columns of a plate differ, for each feature.

    Parameters
    ----------
    values
        (wells, features): one value per well; what is not finite is left out.
    features
        Names of the features.
    wells
        Names of the wells, in the order of the rows of ``values``.
    used
        (wells,) booleans: the wells to compare, see `wells_for_edges`. None: all.
    dimensions
        (rows, columns) of the plate, whose outermost wells are the edge, measured or not; None: the smallest of
        96, 384 and 1,536 wells that holds ``wells``.

    Returns
    -------
    Columns with one row per feature: ``feature``; ``n_edge``, ``n_inner``, ``median_edge``, ``median_inner``;
    ``edge_difference``: median of the edge - median of the inner wells, in units of 1.4826 MAD of the inner wells;
    ``p_edge``, ``p_rows`` and ``p_columns``: p values of the tests, for one feature each, so that of 100 features
    on a perfect plate 5 are below 0.05; ``strongest_row`` and ``strongest_column``: the line whose median deviates most
    from the plate's, times the square root of its number of wells, as medians of few wells scatter more; '' if none
    has a value that deviates.

    NaN where there is nothing to compare: less than 3 wells on a side, no two lines, no line with two wells, or
    all values equal.

    Raises
    ------
    ValueError
        If shapes do not fit.
    PlateError
        If a name is not that of a well on the plate.
    """
    table, layout = _chosen(values, features, wells, used, dimensions)
    n_edge, n_inner = (np.isfinite(table[side]).sum(axis=0) for side in (layout.edge, ~layout.edge))
    median_edge, median_inner = (medians(table[side]) for side in (layout.edge, ~layout.edge))
    spread = mads(table[~layout.edge], median_inner)
    ranks = ranked(table)
    rows, columns = (_lines(table, line) for line in (layout.row, layout.column))
    centre = medians(table)
    return {
        "feature": names_column(features),
        "n_edge": n_edge,
        "n_inner": n_inner,
        "median_edge": median_edge,
        "median_inner": median_inner,
        "edge_difference": quotient(median_edge - median_inner, spread),
        "p_edge": mann_whitney(ranks, layout.edge),
        "p_rows": kruskal_wallis(ranks, layout.row),
        "p_columns": kruskal_wallis(ranks, layout.column),
        "strongest_row": _strongest(rows, centre, _row_names),
        "strongest_column": _strongest(columns, centre, _column_names),
    }


def plate_medians(
    values: ArrayLike,
    features: Sequence[str],
    wells: Sequence[str],
    used: ArrayLike | None = None,
    dimensions: tuple[int, int] | None = None,
) -> Columns:
    """Medians of each row, each column, the edge and the inner wells of a plate; arguments as in `edge_effects`.

    Returns
    -------
    Columns ``feature``, ``kind`` (row, column or edge), ``name`` (``A``, ``01``, ``edge`` or ``inner``), ``n`` (number
    of values) and ``median``, NaN for none. For each feature the rows that hold wells in order, then the columns,
    then edge and inner.
    """
    table, layout = _chosen(values, features, wells, used, dimensions)
    rows, columns = (_lines(table, line) for line in (layout.row, layout.column))
    sides = [table[side] for side in (layout.edge, ~layout.edge)]
    kinds = ["row"] * len(rows.index) + ["column"] * len(columns.index) + ["edge"] * 2
    names = [*_row_names(rows.index), *_column_names(columns.index), "edge", "inner"]
    n = np.concatenate([rows.n, columns.n, [np.isfinite(side).sum(axis=0) for side in sides]])
    median = np.concatenate([rows.median, columns.median, [medians(side) for side in sides]])
    count = len(features)
    return {
        "feature": np.repeat(names_column(features), len(names)),
        "kind": np.tile(names_column(kinds), count),
        "name": np.tile(names_column(names), count),
        "n": n.T.ravel(),
        "median": median.T.ravel(),
    }


@dataclass(frozen=True)
class _Layout:
    """For each well its row and column, from 0, and whether it lies on the plate's edge."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    edge: Mask


@dataclass(frozen=True)
class _Lines:
    """Rows or columns that hold wells: their indices (lines,), numbers of values and medians (lines, features)."""

    index: NDArray[np.int64]
    n: NDArray[np.int64]
    median: Floats


def _layout(wells: Sequence[str], dimensions: tuple[int, int] | None) -> _Layout:
    height, width = dimensions or plate_dimensions(wells)
    places = np.array([parse_well(str(well)) for well in wells], dtype=np.int64).reshape(-1, 2)
    row, column = places.T
    if (row >= height).any() or (column >= width).any():
        raise ValueError(f"Some wells lie outside a plate of {height} x {width} wells: give its dimensions.")
    edge = (row == 0) | (column == 0) | (row == height - 1) | (column == width - 1)
    return _Layout(row, column, edge)


def _chosen(
    values: ArrayLike,
    features: Sequence[str],
    wells: Sequence[str],
    used: ArrayLike | None,
    dimensions: tuple[int, int] | None,
) -> tuple[Floats, _Layout]:
    """The values and places of the wells that are compared."""
    table = wells_by_features(values, features)
    if len(table) != len(wells):
        raise ValueError(f"values hold {len(table)} wells, but there are {len(wells)} names of wells.")
    layout = _layout(wells, dimensions)
    mask = np.ones(len(wells), dtype=bool) if used is None else well_mask(used, len(wells), "used")
    return table[mask], _Layout(layout.row[mask], layout.column[mask], layout.edge[mask])


def _lines(table: Floats, line: NDArray[np.int64]) -> _Lines:
    index = np.unique(line)
    shape = (len(index), table.shape[1])
    n, median = np.zeros(shape, dtype=np.int64), np.full(shape, np.nan)
    for place, number in enumerate(index):
        some = table[line == number]
        n[place], median[place] = np.isfinite(some).sum(axis=0), medians(some)
    return _Lines(index, n, median)


def _row_names(index: NDArray[np.int64]) -> list[str]:
    return [row_name(int(row)) for row in index]


def _column_names(index: NDArray[np.int64]) -> list[str]:
    return [f"{column + 1:02d}" for column in index]


def _strongest(lines: _Lines, centre: Floats, names: Any) -> NDArray[Any]:
    named = np.append(names_column(names(lines.index)), "")
    deviation = np.nan_to_num(np.abs(lines.median - centre) * np.sqrt(lines.n))
    if not len(lines.index):
        return np.full(len(centre), "", dtype=object)
    return named[np.where(deviation.max(axis=0) > 0, deviation.argmax(axis=0), -1)]
