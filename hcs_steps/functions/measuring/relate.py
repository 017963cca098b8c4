"""Which objects of one set belong to which of another, and the common rows of several sets."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hcs_steps.functions.measuring.regions import Integers, Regions

NOWHERE = -1


def largest_overlap(children: Regions, parents: Regions) -> Integers:
    """Of each child, the parent (as an index) that it shares most pixels with, or -1.

    Of parents that share as many pixels, the one of the lowest label.
    """
    child, parent, length = _common_runs(children, parents)
    result = np.full(children.count, NOWHERE)
    if len(child) == 0:
        return result
    pairs, place = np.unique(child * parents.count + parent, return_inverse=True)
    pixels = np.bincount(place, weights=length)
    child, parent = pairs // parents.count, pairs % parents.count
    order = np.lexsort((parent, -pixels, child))
    first = order[np.append(True, np.diff(child[order]) != 0)]
    result[child[first]] = parent[first]
    return result


def _common_runs(one: Regions, other: Regions) -> tuple[Integers, Integers, Integers]:
    """Runs of pixels that lie in an object of each plane: the two objects and the length."""
    width = one.plane.shape[1]
    runs = []
    for regions in (one, other):
        start = regions.y * width + regions.x
        order = np.argsort(start)
        runs.append((start[order], (start + regions.length)[order], regions.owner[order]))
    cuts = np.sort(np.concatenate([edge for start, end, _ in runs for edge in (start, end)]))
    begin, length = cuts[:-1], np.diff(cuts)
    owners, inside = [], np.ones(len(begin), dtype=bool)
    for start, end, owner in runs:
        place = np.searchsorted(start, begin, side="right") - 1
        inside &= (place >= 0) & (begin < np.append(end, 0)[place])
        owners.append((owner, place))
    (a, at_a), (b, at_b) = owners
    return a[at_a[inside]], b[at_b[inside]], length[inside]


def same_number(one: Regions, other: Regions) -> Integers:
    """Of each object of ``one``, the object (as an index) of ``other`` that has the same label, or -1."""
    place = np.searchsorted(other.numbers, one.numbers)
    found = np.append(other.numbers, NOWHERE)[place] == one.numbers
    return np.where(found, place, NOWHERE)


def children_per_parent(parent: Integers, count: int) -> Integers:
    """How many children each of ``count`` parents has, from `largest_overlap` of the children."""
    return np.bincount(parent[parent != NOWHERE], minlength=count)


@dataclass
class Rows:
    """Rows of a joined table: of each set, the object (as an index) of each row, or -1."""

    count: int = 0
    objects: dict[str, Integers] = field(default_factory=dict)

    def join(self, name: str, count: int, linked_to: str | None = None, link: Integers | None = None) -> None:
        """Add a set of ``count`` objects; no row and no object is lost.

        A row with an object of the set ``linked_to`` gets that object's ``link``, so that several rows can share
        one object. Objects that no row got are appended as rows of their own.
        """
        taken = np.full(self.count, NOWHERE)
        if linked_to is not None and link is not None:
            by = self.objects[linked_to]
            taken = np.append(link, NOWHERE)[by]
        left = np.setdiff1d(np.arange(count), taken)
        gap = np.full(len(left), NOWHERE)
        self.objects = {other: np.concatenate([rows, gap]) for other, rows in self.objects.items()}
        self.objects[name] = np.concatenate([taken, left])
        self.count += len(left)
