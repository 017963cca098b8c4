"""Outlines of labelled objects along the edges of their pixels, so that filling them gives the labels back.

Every side of a pixel towards another label is an edge that runs with its pixel on the right (clockwise, y down);
edges are joined at the pixels' corners to rings. This is crack following (T. Pavlidis, Algorithms for Graphics
and Image Processing, 1982, chapter 7), done for all objects of an image at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.storage.protocol import Image

Ring = NDArray[np.int64]
"""(N, 2) corners (x, y) where the direction changes; the first is not repeated. Pixel (0, 0) spans 0..1 in x and y."""

_Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Outline:
    """An object: its number and its parts, each an outer ring (clockwise, y down) followed by its holes.

    A part is pixels that hang together by their sides. No ring touches or crosses itself; two rings may share
    single corners. This makes a part a valid polygon of the OGC's Simple Features.
    """

    label: int
    parts: tuple[tuple[Ring, ...], ...]


def outlines(labels: Image) -> list[Outline]:
    """The objects of a (Y, X) integer label image by number; 0 is background.

    Time and memory grow with the pixels and with the length of all outlines, not with the number of objects.
    """
    if not labels.any():
        return []
    from skimage.measure import label as connected_areas

    areas = connected_areas(labels, background=0, connectivity=1)
    numbers = np.zeros(int(areas.max()) + 1, labels.dtype)
    numbers[areas] = labels
    rings: list[list[Ring]] = [[] for _ in numbers]
    for area, ring in _rings(areas):
        rings[area].append(ring)
    parts: dict[int, list[tuple[Ring, ...]]] = {}
    for area, own in enumerate(rings):
        if own:
            outer_first = sorted(own, key=_is_hole)
            parts.setdefault(int(numbers[area]), []).append(tuple(outer_first))
    return [Outline(number, tuple(parts[number])) for number in sorted(parts)]


def _is_hole(ring: Ring) -> bool:
    """Whether a ring runs counterclockwise (y down): by the sign of its area."""
    (x, y), (next_x, next_y) = ring.T, np.roll(ring, -1, axis=0).T
    return bool((x * next_y - next_x * y).sum() < 0)


def _rings(areas: NDArray[Any]) -> list[tuple[int, Ring]]:
    """(area, ring) of every ring of every area of a (Y, X) image of areas that hang together."""
    width = areas.shape[1] + 1  # in corners
    codes, area = _edges(areas)
    order, starts = _walk(_following(codes, width))
    corners = codes[order] // 4
    found: list[tuple[int, Ring]] = []
    ends = np.append(starts[1:], len(order))
    for start, end, touches in zip(starts, ends, _touching(corners, starts), strict=True):
        own = corners[start:end]
        for simple in _split(own) if touches else [own]:
            ring = np.stack([simple % width, simple // width], axis=1)
            found.append((int(area[order[start]]), _turning_points(ring)))
    return found


def _edges(areas: NDArray[Any]) -> tuple[_Indices, NDArray[Any]]:
    """All edges, sorted, as (first corner) * 4 + direction (east, south, west, north), and the area of each."""
    padded = np.pad(areas, 1)
    inner, width = padded[1:-1, 1:-1], areas.shape[1] + 1
    # The side above runs east from the pixel's first corner, the one on the right south from the next, and so on.
    neighbours = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    codes, own = [], []
    for direction, (neighbour, corner) in enumerate(zip(neighbours, (0, 1, width + 1, width), strict=True)):
        y, x = np.nonzero((inner != neighbour) & (inner != 0))
        codes.append((y * width + x + corner) * 4 + direction)
        own.append(inner[y, x])
    joined = np.concatenate(codes)
    order = np.argsort(joined)
    return joined[order], np.concatenate(own)[order]


def _following(codes: _Indices, width: int) -> _Indices:
    """The edge after each one: turning right where there is such an edge, else straight on, else left.

    To turn right is to stay at the same pixel. Where that side is none, the pixel ahead is of the same area,
    and so on: the edge found is always of the same area, which needs no comparison.
    """
    direction = codes % 4
    ends = codes // 4 + np.array([1, width, -1, -width])[direction]
    following = np.full(len(codes), -1)
    for turn in (3, 0, 1):  # the last to be found counts
        wanted = ends * 4 + (direction + turn) % 4
        place = np.searchsorted(codes, wanted).clip(max=len(codes) - 1)
        following = np.where(codes[place] == wanted, place, following)
    return following


def _walk(following: _Indices) -> tuple[_Indices, _Indices]:
    """The edges ring by ring, and where in that order each ring starts."""
    successor = following.tolist()
    seen = bytearray(len(successor))
    order: list[int] = []
    starts: list[int] = []
    for first in range(len(successor)):
        if seen[first]:
            continue
        starts.append(len(order))
        edge = first
        while not seen[edge]:
            seen[edge] = 1
            order.append(edge)
            edge = successor[edge]
    return np.array(order), np.array(starts)


def _touching(corners: _Indices, starts: _Indices) -> NDArray[np.bool_]:
    """Whether each ring passes a corner twice."""
    ring = np.zeros(len(corners), np.int64)
    ring[starts[1:]] = 1
    ring = ring.cumsum()
    order = np.lexsort((corners, ring))
    again = (np.diff(corners[order]) == 0) & (np.diff(ring[order]) == 0)
    touching = np.zeros(len(starts), bool)
    touching[ring[order][1:][again]] = True
    return touching


def _split(corners: _Indices) -> list[_Indices]:
    """A ring that passes corners twice as rings that do not."""
    path: list[int] = []
    place: dict[int, int] = {}
    rings: list[_Indices] = []
    for corner in corners.tolist():
        if corner in place:
            loop = path[place[corner] :]
            rings.append(np.array(loop))
            del path[place[corner] :]
            for passed in loop:
                del place[passed]
        place[corner] = len(path)
        path.append(corner)
    return [*rings, np.array(path)]


def _turning_points(ring: Ring) -> Ring:
    steps = np.roll(ring, -1, axis=0) - ring
    turning: Ring = ring[(steps != np.roll(steps, 1, axis=0)).any(axis=1)]
    return turning
