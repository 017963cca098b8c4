"""Positions of all tiles from the offsets of some pairs of them: tree, least squares, linear model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_TILES = 4
"""Fewer connected tiles than this tell a shift from the nominal positions, but no scale, turn or shear."""
INCONSISTENT_PX = 2.0
_HUBER_PX = 0.3
_ITERATIONS = 20
_LEAST_ERROR_PX = 0.03
"""No offset is better known: optics, stage and camera add what its noise does not tell."""

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Edges:
    """Measured offsets between tiles.

    Attributes
    ----------
    ends
        (E, 2), first and second tile.
    offsets
        (E, 2), x and y of the second tile's corner minus the first's.
    correlation
        (E,), above 0; the best edges have the highest.
    shift_error
        (E,), standard errors of the offsets in pixels.
    """

    ends: Indices
    offsets: Floats
    correlation: Floats
    shift_error: Floats

    def take(self, which: NDArray[np.bool_] | Indices) -> Edges:
        """Some of the edges."""
        return Edges(self.ends[which], self.offsets[which], self.correlation[which], self.shift_error[which])

    @property
    def error(self) -> Floats:
        """-log of the correlation, as in ASHLAR."""
        errors: Floats = -np.log(self.correlation)
        return errors


def spanning_tree(edges: Edges, count: int) -> tuple[NDArray[np.bool_], Indices]:
    """Which edges are in the minimum spanning tree (forest) of the error, and the component of each tile."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

    # Zero would mean "no edge"; ranks keep the order and make ties definite.
    rank = np.empty(len(edges.ends))
    rank[np.lexsort((np.arange(len(rank)), edges.error))] = np.arange(1, len(rank) + 1)
    ends = edges.ends.astype(np.int32)  # SciPy before 1.17 walks no graph with other indices
    graph = csr_array((rank, (ends[:, 0], ends[:, 1])), shape=(count, count))
    tree = minimum_spanning_tree(graph).tocoo()
    _, component = connected_components(tree, directed=False)
    return np.isin(rank, tree.data), component.astype(np.int64)


def residuals(edges: Edges, positions: Floats) -> Floats:
    """How far each measured offset is from the positions, in pixels."""
    differences = positions[edges.ends[:, 1]] - positions[edges.ends[:, 0]]
    lengths: Floats = np.hypot(*(edges.offsets - differences).T)
    return lengths


def adjust(edges: Edges, count: int) -> tuple[Floats, Indices, NDArray[np.bool_]]:
    """Positions in which each component's first tile is at 0, the components, and which edges were kept.

    The spanning tree of the best edges gives a first solution. Least squares over all edges, weighted by
    their standard errors and robust by Huber's weights, start from it; edges that contradict it by more than 2 px
    and five times the usual residual are left out, and the rest is solved again.
    """
    kept = np.ones(len(edges.ends), dtype=bool)
    in_tree, component = spanning_tree(edges, count)
    positions = _solve(edges.take(in_tree), component, np.ones(int(in_tree.sum())))
    positions = _robust(edges, component, positions)
    left = residuals(edges, positions)
    if len(left):
        kept = left <= max(INCONSISTENT_PX, 5 * 1.48 * float(np.median(left)))
    if not kept.all():
        best = edges.take(kept)
        _, component = spanning_tree(best, count)
        positions = _robust(best, component, positions)
    return positions, component, kept


def _robust(edges: Edges, component: Indices, positions: Floats) -> Floats:
    quality = 1 / (edges.shift_error**2 + _LEAST_ERROR_PX**2)
    for _ in range(_ITERATIONS):
        before = positions
        left = residuals(edges, positions)
        positions = _solve(edges, component, quality * _HUBER_PX / np.maximum(left, _HUBER_PX))
        if len(left) == 0 or np.abs(residuals(edges, positions) - residuals(edges, before)).max() < 1e-4:
            break
    return positions


def _solve(edges: Edges, component: Indices, weights: Floats) -> Floats:
    """Weighted least squares; the first tile of each component is at 0."""
    from scipy.sparse import coo_array, csc_array, diags_array
    from scipy.sparse.linalg import splu

    count, number = len(component), np.arange(len(edges.ends))
    _, roots = np.unique(component, return_index=True)
    free = np.setdiff1d(np.arange(count), roots)
    positions = np.zeros((count, 2))
    if len(free) == 0:
        return positions
    signs = np.concatenate([-np.ones(len(number)), np.ones(len(number))])
    entries = (signs, (np.concatenate([number, number]), edges.ends.T.ravel()))
    incidence = csc_array(coo_array(entries, shape=(len(number), count)))[:, free]
    weighted = incidence.T @ diags_array(weights)
    positions[free] = splu(csc_array(weighted @ incidence)).solve(weighted @ edges.offsets)
    return positions


@dataclass(frozen=True)
class LinearModel:
    """``nominal @ matrix + shift``: what turns nominal positions into fitted ones."""

    matrix: Floats
    shift: Floats

    def __call__(self, nominal: Floats) -> Floats:
        """Where tiles at ``nominal`` (n, 2) should lie."""
        return nominal @ self.matrix + self.shift


def fit_linear(nominal: Floats, fitted: Floats) -> LinearModel:
    """Least-squares linear model; along directions in which the tiles do not spread it is a mere shift."""
    centre, target = nominal.mean(axis=0), fitted.mean(axis=0)
    matrix = np.eye(2)
    if len(nominal) >= LEAST_TILES:
        spread = nominal - centre
        matrix += np.linalg.lstsq(spread, fitted - target - spread, rcond=1e-3)[0]
    return LinearModel(matrix, target - centre @ matrix)


def largest_component(component: Indices) -> NDArray[np.bool_]:
    """Which tiles belong to the largest component; of equal ones to the first."""
    chosen: NDArray[np.bool_] = component == np.bincount(component).argmax()
    return chosen


def join_components(nominal: Floats, positions: Floats, component: Indices) -> tuple[Floats, LinearModel]:
    """Positions of all tiles: each component is moved as a whole to where the largest one's model puts it.

    The smallest x and y are 0.
    """
    main = largest_component(component)
    model = fit_linear(nominal[main], positions[main])
    expected = model(nominal)
    joined = positions.copy()
    for number in np.unique(component[~main]):
        own = component == number
        joined[own] += (expected[own] - positions[own]).mean(axis=0)
    return joined - joined.min(axis=0), model
