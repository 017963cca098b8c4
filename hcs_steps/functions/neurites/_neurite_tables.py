"""Tables of neurite branches and their summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.declare import Table
from hcs_steps.functions.neurites._skeletons import LOOP, Graph, Paths, bridges, junctions, smooth_lengths
from hcs_steps.functions.neurites._volumes import Volume

Columns = dict[str, NDArray[Any]]


def joined(parts: Sequence[Table]) -> Columns:
    """Rows of several tables with the same columns below one another."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _per(total: float, count: int) -> float:
    return total / count if count else float("nan")


def plane_of(coordinates: NDArray[np.int64], volume: Volume) -> NDArray[np.int64]:
    """Position along the stack's axis 0 of pixels given as (y, x) or (z, y, x) in a plane or volume."""
    if coordinates.shape[1] == 3:
        return volume.planes[coordinates[:, 0]]
    return np.full(len(coordinates), volume.planes[0])


def measure(
    graph: Graph, paths: Paths, values: NDArray[np.float64], volume: Volume, area: int, junction_size: float
) -> tuple[Columns, Columns]:
    """Branch table and one-row summary of a plane or volume.

    ``values`` are the intensities of the graph's pixels, ``area`` is the neurites' area in px, and branches
    between junctions shorter than ``junction_size`` px count as part of one junction.
    """
    lengths = smooth_lengths(graph, paths, volume.spacing)
    inside = bridges(paths, junction_size)[0]
    outer = np.ones(len(lengths), dtype=bool)
    outer[inside] = False
    trees, tree = graph.trees()
    size = volume.pixel_size_um
    first, last = graph.coordinates[paths.first], graph.coordinates[paths.last]
    euclidean = np.sqrt((((first - last) * np.asarray(volume.spacing)) ** 2).sum(axis=1))
    open_ended = paths.kinds != LOOP
    tortuosity = np.full(len(lengths), np.nan)
    np.divide(lengths, euclidean, out=tortuosity, where=open_ended & (euclidean > 0))
    counts = np.diff(paths.starts)
    sums = np.add.reduceat(values[paths.nodes], paths.starts[:-1]) if len(lengths) else lengths
    branches: Columns = {
        "plane": np.full(len(lengths), volume.planes[0], dtype=np.int64),
        "branch": np.cumsum(outer).astype(np.uint32),
        "tree": (tree[paths.first] + 1).astype(np.uint32),
        "branch_type": paths.kinds,
        "length_px": lengths,
        "length_um": lengths * size,
        "chain_length_px": paths.lengths,
        "euclidean_px": euclidean,
        "euclidean_um": euclidean * size,
        "tortuosity": tortuosity,
        "mean_intensity": sums / counts,
        "start_plane": plane_of(first, volume),
        "start_y_px": first[:, -2],
        "start_x_px": first[:, -1],
        "end_plane": plane_of(last, volume),
        "end_y_px": last[:, -2],
        "end_x_px": last[:, -1],
    }
    branches = {name: column[outer] for name, column in branches.items()}
    total, number = float(lengths.sum()), int(outer.sum())
    mean = _per(float(lengths[outer].sum()), number)
    longest = float(lengths[outer].max(initial=0.0))
    bent = branches["tortuosity"][np.isfinite(branches["tortuosity"])]
    summary = {
        "plane": int(volume.planes[0]),
        "planes": len(volume.planes),
        "total_length_px": total,
        "total_length_um": total * size,
        "trees": trees,
        "branches": number,
        "junctions": junctions(paths, graph.degrees, inside),
        "endpoints": int((graph.degrees == 1).sum()),
        "mean_branch_length_px": mean,
        "mean_branch_length_um": mean * size,
        "longest_branch_px": longest,
        "longest_branch_um": longest * size,
        "mean_tortuosity": _per(float(bent.sum()), len(bent)),
        "area_px": area,
        "area_um2": area * size**2,
    }
    return branches, {name: np.array([value]) for name, value in summary.items()}
