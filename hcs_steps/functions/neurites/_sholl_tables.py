"""Crossings of a skeleton with circles or spheres around a centre, as tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.neurites._neurite_tables import Columns
from hcs_steps.functions.neurites._skeletons import Graph
from hcs_steps.functions.neurites._volumes import Volume

_LEAST_POINTS = 3


@dataclass(frozen=True)
class Centre:
    """A cell's number, its centre as (y, x) or (z, y, x) in px, and the radius of its soma in px."""

    cell: int
    position: NDArray[np.float64]
    radius: float


def _crossings(graph: Graph, distances: NDArray[np.float64], radii: NDArray[np.float64]) -> list[int]:
    """Connected groups of pixels within 1 px of a circle that lie on both sides of it, for each radius."""
    from scipy.sparse import csgraph, triu

    links = triu(graph.links, format="coo")
    low = np.minimum(distances[links.row], distances[links.col])
    high = np.maximum(distances[links.row], distances[links.col])
    counts = []
    for radius in radii:
        link = np.flatnonzero((low < radius) & (high >= radius))
        near = np.abs(distances - radius) <= 1
        near[links.row[link]] = near[links.col[link]] = True
        pixels = np.flatnonzero(near)
        if not link.size:
            counts.append(0)
            continue
        group = csgraph.connected_components(graph.links[pixels][:, pixels], directed=False)[1]
        counts.append(len(np.unique(group[np.searchsorted(pixels, links.row[link])])))
    return counts


def no_circles() -> Columns:
    """The profile of nothing."""
    return {
        "plane": np.zeros(0, dtype=np.int64),
        "cell": np.zeros(0, dtype=np.uint32),
        "radius_px": np.zeros(0),
        "radius_um": np.zeros(0),
        "intersections": np.zeros(0, dtype=np.int64),
    }


def profile_rows(
    graph: Graph, distances: NDArray[np.float64], cell: Centre, start: float, step: float, volume: Volume
) -> Columns:
    """Intersections of a cell's skeleton, whose pixels are ``distances`` px from its centre, by radius."""
    count = max(0, int((distances.max(initial=-1.0) - start) // step) + 1)
    radii = start + step * np.arange(count, dtype=np.float64)
    return {
        "plane": np.full(count, volume.planes[0], dtype=np.int64),
        "cell": np.full(count, cell.cell, dtype=np.uint32),
        "radius_px": radii,
        "radius_um": radii * volume.pixel_size_um,
        "intersections": np.array(_crossings(graph, distances, radii), dtype=np.int64),
    }


def _regression(
    radii: NDArray[np.float64], counts: NDArray[np.int64], dimensions: int
) -> tuple[float, float]:
    """k and R2 of the semi-log Sholl regression over the radii with intersections; NaN for under three."""
    used = counts > 0
    if used.sum() < _LEAST_POINTS:
        return np.nan, np.nan
    radius = radii[used]
    size = np.pi * radius**2 if dimensions == 2 else 4 / 3 * np.pi * radius**3
    density = np.log10(counts[used] / size)
    slope, offset = np.polyfit(radius, density, 1)
    rest = ((density - slope * radius - offset) ** 2).sum()
    return -float(slope), 1 - float(rest / ((density - density.mean()) ** 2).sum())


def summary_row(profile: Columns, cell: Centre, start: float, volume: Volume) -> Columns:
    """Summary of one cell's profile; see `hcs_steps.functions.neurites.sholl.sholl`."""
    radii, counts, size = profile["radius_px"], profile["intersections"], volume.pixel_size_um
    primary, most = (int(counts[0]), int(counts.max())) if len(counts) else (0, 0)
    critical = float(radii[counts.argmax()]) if most else np.nan
    enclosing = float(radii[counts > 0][-1]) if most else np.nan
    coefficient, fit = _regression(radii, counts, len(volume.spacing))
    row = {
        "plane": int(volume.planes[0]),
        "cell": np.uint32(cell.cell),
        "centre_y_px": float(cell.position[-2]),
        "centre_x_px": float(cell.position[-1]),
        "start_radius_px": float(start),
        "primary_intersections": primary,
        "max_intersections": most,
        "critical_radius_px": critical,
        "critical_radius_um": critical * size,
        "enclosing_radius_px": enclosing,
        "enclosing_radius_um": enclosing * size,
        "total_intersections": int(counts.sum()),
        "ramification_index": most / primary if primary else np.nan,
        "regression_coefficient_per_px": coefficient,
        "regression_coefficient_per_um": coefficient / size,
        "regression_r2": fit,
    }
    return {name: np.array([value]) for name, value in row.items()}
