"""From a skeleton image to its graph: pruning, tracing of branches (skan), junctions, end points and lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 8
"""Steps of the binomial filter (1, 2, 1) / 4 along a branch before its length is taken: standard deviation of two
pixels, enough for digital lines of all slopes and little enough for bends of a few pixels' radius."""

_MOST_ANISOTROPY = 6.0

END_TO_END, JUNCTION_TO_END, JUNCTION_TO_JUNCTION, LOOP = range(4)


def require_skan() -> Any:
    """The module skan.csr, or an error which says how to install it."""
    try:
        return import_module("skan.csr")
    except ImportError as error:
        raise ImportError(
            "Skeletons are traced with skan, which is not installed. Install it with: "
            'pip install "hcs-steps[skeleton]"'
        ) from error


@dataclass(frozen=True)
class Paths:
    """Branches of a graph: ``nodes[starts[i]:starts[i + 1]]`` are the nodes of branch i from end to end."""

    nodes: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.float64]
    kinds: NDArray[np.int64]

    @property
    def first(self) -> NDArray[np.int64]:
        """The node where each branch starts."""
        return self.nodes[self.starts[:-1]]

    @property
    def last(self) -> NDArray[np.int64]:
        """The node where each branch ends."""
        return self.nodes[self.starts[1:] - 1]


@dataclass(frozen=True)
class Graph:
    """A skeleton: pixel coordinates (n, dimensions) in raster order and who is next to whom, how far.

    Diagonal neighbours that share a nearer neighbour are not linked: of every triangle of pixels the longest
    side is missing (of equal ones, the last in raster order). That leaves each connected part connected and
    each loop of four or more pixels closed, and makes the number of links of a pixel the number of its
    branches.
    """

    coordinates: NDArray[np.int64]
    links: Any

    @property
    def degrees(self) -> NDArray[np.int64]:
        """Number of links of each pixel: 1 at an end, 3 or more at a junction."""
        degrees: NDArray[np.int64] = np.diff(self.links.indptr).astype(np.int64)
        return degrees

    def trees(self) -> tuple[int, NDArray[np.int64]]:
        """Number of connected parts, and the part of each pixel, numbered from 0 in raster order."""
        from scipy.sparse import csgraph

        count, part = csgraph.connected_components(self.links, directed=False)
        return int(count), part.astype(np.int64)

    def subset(self, keep: NDArray[np.bool_]) -> Graph:
        """The graph of some of the pixels."""
        return self if keep.all() else Graph(self.coordinates[keep], self.links[keep][:, keep])


def _neighbours(skeleton: NDArray[np.bool_]) -> tuple[NDArray[np.int64], list[list[NDArray[np.int64]]]]:
    """Coordinates of the pixels, and pairs (2, m) of neighbours by squared distance 1, 2, 3 in pixels."""
    padded = np.pad(skeleton, 1)
    where = np.flatnonzero(padded)
    strides = np.cumprod([1, *padded.shape[:0:-1]])[::-1]
    pairs: list[list[NDArray[np.int64]]] = [[] for _ in range(skeleton.ndim)]
    for offset in product((-1, 0, 1), repeat=skeleton.ndim):
        if offset <= (0,) * skeleton.ndim:
            continue
        target = where + int(np.dot(offset, strides))
        hit = np.flatnonzero(padded.ravel()[target])
        pairs[sum(map(abs, offset)) - 1].append(np.stack([hit, np.searchsorted(where, target[hit])]))
    return np.stack(np.unravel_index(where, padded.shape), axis=1) - 1, pairs


def _without(matrix: Any, other: Any) -> Any:
    """The entries of a boolean sparse matrix where another has none."""
    difference = matrix - matrix.multiply(other > 0)
    difference.eliminate_zeros()
    return difference.tocsr()


def build_graph(skeleton: NDArray[np.bool_], spacing: Sequence[float]) -> Graph:
    """The graph of a 2-D or 3-D skeleton image; ``spacing`` is the size of a pixel along each axis."""
    from scipy import sparse

    coordinates, pairs = _neighbours(skeleton)
    count = len(coordinates)
    steps = []
    for same_length in pairs:
        low, high = np.concatenate([np.zeros((2, 0), dtype=np.int64), *same_length], axis=1)
        half = sparse.csr_matrix((np.ones(low.size, dtype=np.int32), (low, high)), shape=(count, count))
        steps.append(half + half.T)
    kept = steps[:1]
    if count:
        straight, diagonal = steps[:2]
        earlier = sparse.tril(diagonal, -1, format="csr")
        kept.append(_without(diagonal, straight @ straight + earlier @ earlier.T))
        if len(steps) == 3:
            kept.append(_without(steps[2], straight @ diagonal + diagonal @ straight))
    links = sum(kept[1:], kept[0]).tocoo()
    offsets = coordinates[links.row] - coordinates[links.col]
    distance = np.sqrt(((offsets * np.asarray(spacing)) ** 2).sum(axis=1))
    matrix = sparse.csr_matrix((distance, (links.row, links.col)), shape=(count, count))
    matrix.sort_indices()
    return Graph(coordinates, matrix)


def trace(graph: Graph) -> Paths:
    """The branches of a graph: between ends and junctions, and closed loops. Single pixels are no branch."""
    if graph.links.nnz == 0:
        none = np.zeros(0, dtype=np.int64)
        return Paths(none, np.zeros(1, dtype=np.int64), np.zeros(0), none)
    traced = require_skan().PathGraph.from_graph(adj=graph.links, node_coordinates=graph.coordinates)
    nodes, starts = traced.paths.indices.astype(np.int64), traced.paths.indptr.astype(np.int64)
    paths = Paths(nodes, starts, np.asarray(traced.distances, dtype=np.float64), np.zeros(0, dtype=np.int64))
    tips = (graph.degrees[paths.first] == 1).astype(np.int64) + (graph.degrees[paths.last] == 1)
    kinds = np.where(paths.first == paths.last, LOOP, JUNCTION_TO_JUNCTION - tips)
    return Paths(nodes, starts, paths.lengths, kinds)


def _spurs(graph: Graph, paths: Paths, shortest: float) -> NDArray[np.int64]:
    """Branches to prune now: terminal, shorter than ``shortest``, and never so many that a path ends there."""
    spur = np.flatnonzero((paths.kinds == JUNCTION_TO_END) & (paths.lengths < shortest))
    degrees = graph.degrees
    junction = np.where(degrees[paths.first] > 1, paths.first, paths.last)[spur]
    order = np.lexsort((spur, paths.lengths[spur], junction))
    spur, junction = spur[order], junction[order]
    _, first, number = np.unique(junction, return_index=True, return_inverse=True)
    rank = np.arange(len(spur)) - first[number] if len(spur) else spur
    chosen: NDArray[np.int64] = spur[rank < degrees[junction] - 2]
    return chosen


def bridges(paths: Paths, shortest: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Branches inside one junction: those between junctions that are shorter than ``shortest``.

    Returns all of them, and those that close a ring of such branches.
    """
    short = np.flatnonzero((paths.kinds == JUNCTION_TO_JUNCTION) & (paths.lengths < shortest))
    first, last = paths.first, paths.last
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    ring = []
    for branch in short[np.argsort(paths.lengths[short], kind="stable")]:
        start, end = root(int(first[branch])), root(int(last[branch]))
        if start == end:
            ring.append(int(branch))
        parent[max(start, end)] = min(start, end)
    return short, np.asarray(ring, dtype=np.int64)


def _interior(graph: Graph, paths: Paths, branches: NDArray[np.int64]) -> NDArray[np.int64]:
    """The pixels of branches without their junctions."""
    parts = [paths.nodes[paths.starts[branch] : paths.starts[branch + 1]] for branch in branches]
    nodes = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    inside: NDArray[np.int64] = nodes[graph.degrees[nodes] < 3]
    return inside


def prune(
    graph: Graph, min_branch_length: float, min_tree_length: float, junction_size: float
) -> tuple[Graph, Paths]:
    """Remove spurs, rings inside junctions, then trees that are too short and single pixels.

    A spur is a branch from a junction to an end below ``min_branch_length``; the shortest go first, two
    branches of a junction always stay, and what is left is traced again until nothing changes.
    """
    while True:
        paths = trace(graph)
        doomed = np.union1d(
            _interior(graph, paths, _spurs(graph, paths, min_branch_length)),
            _interior(graph, paths, bridges(paths, junction_size)[1]),
        )
        if not doomed.size:
            break
        keep = np.ones(len(graph.coordinates), dtype=bool)
        keep[doomed] = False
        graph = graph.subset(keep)
    count, tree = graph.trees()
    length = np.bincount(tree[paths.first], weights=paths.lengths, minlength=count)
    keep = ((length >= min_tree_length) & (length > 0))[tree]
    if keep.all():
        return graph, paths
    graph = graph.subset(keep)
    return graph, trace(graph)


def junctions(paths: Paths, degrees: NDArray[np.int64], inside: NDArray[np.int64]) -> int:
    """Number of places where three or more branches meet; ``inside`` are the branches within one place."""
    from scipy import sparse
    from scipy.sparse import csgraph

    count = len(degrees)
    link = (np.ones(len(inside)), (paths.first[inside], paths.last[inside]))
    _, place = csgraph.connected_components(sparse.csr_matrix(link, shape=(count, count)), directed=False)
    outer = np.ones(len(paths.lengths), dtype=bool)
    outer[inside] = False
    ends = place[np.concatenate([paths.first[outer], paths.last[outer]])]
    meeting = np.zeros(count, dtype=bool)
    meeting[place[degrees >= 3]] = True
    return int((meeting[:count] & (np.bincount(ends, minlength=count) >= 3)).sum())


def smooth_lengths(graph: Graph, paths: Paths, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Length of each branch in the unit of ``spacing``, without the bias of steps between pixels.

    The sum of 1 and sqrt(2) along a digital straight line is up to 8 % too long, 5 % on average (L. Dorst and
    A. Smeulders, CVGIP 40, 1987). Here the coordinates are smoothed along the branch first, its ends held
    fast; axes with a coarser spacing, where the steps lie further apart, correspondingly more.
    """
    nodes, starts = paths.nodes, paths.starts
    if not nodes.size:
        return np.zeros(0)
    before, after = np.arange(nodes.size) - 1, np.arange(nodes.size) + 1
    closed = paths.kinds == LOOP
    start, end = starts[:-1], starts[1:] - 1
    before[start] = np.where(closed, end - 1, start)
    after[start] = np.where(closed, start + 1, start)
    before[end], after[end] = np.where(closed, end - 1, end), np.where(closed, start + 1, end)
    total = np.zeros(nodes.size - 1)
    for axis, size in enumerate(spacing):
        position = graph.coordinates[nodes, axis] * float(size)
        coarse = min(_MOST_ANISOTROPY, max(1.0, size / min(spacing)))
        for _ in range(math.ceil(SMOOTHING * coarse**2)):
            position = 0.25 * (position[before] + position[after]) + 0.5 * position
        total += np.diff(position) ** 2
    steps = np.append(np.sqrt(total), 0.0)
    steps[end] = 0
    lengths: NDArray[np.float64] = np.add.reduceat(steps, start)
    return lengths
