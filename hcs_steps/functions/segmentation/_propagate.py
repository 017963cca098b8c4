"""Propagation of seeds through a mask along paths that avoid edges of the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNIT = 128
"""Costs are whole numbers; a step to the next pixel where the image is flat costs this."""

STEEPEST = 64.0
"""Highest cost of an edge, in steps on flat ground."""

FAR = 1 << 25
"""No path costs as much; paths that do are blocked."""

Labels = NDArray[np.int32]
Keys = NDArray[np.int64]


def _costs(rise: NDArray[np.float32], length: int) -> NDArray[np.int32]:
    """Cost of steps that climb by ``rise`` (overwritten) over a squared length of 1 or 2."""
    np.clip(rise, -STEEPEST, STEEPEST, out=rise)
    np.square(rise, out=rise)
    rise += np.float32(length)
    np.sqrt(rise, out=rise)
    rise *= np.float32(UNIT)
    return np.rint(rise, out=rise).astype(np.int32)


def _steps(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], ...]:
    """Costs of the steps to the right, down, down to the right and down to the left; blocked outside ``mask``."""
    front, back, every = slice(None, -1), slice(1, None), slice(None)
    ends = (
        ((every, front), (every, back), 1),
        ((front, every), (back, every), 1),
        ((front, front), (back, back), 2),
        ((front, back), (back, front), 2),
    )
    result = []
    for here, there, length in ends:
        cost = _costs(image[there] - image[here], length)
        cost[~(mask[here] & mask[there])] = FAR
        result.append(cost)
    return tuple(result)


class _Front:
    """Cheapest path to each pixel so far, as keys: the cost in the high bits, the seed's label in the low ones.

    The smaller of two keys is the cheaper path and, at equal cost, the lower label.
    """

    def __init__(
        self, image: NDArray[np.float32], seeds: Labels, mask: NDArray[np.bool_], weight: float
    ) -> None:
        self.bits = int(seeds.max()).bit_length()
        if (FAR * seeds.shape[1]).bit_length() + self.bits > 62:
            raise ValueError(f"The plane of shape {seeds.shape} has too many objects for propagation.")
        self.right, self.down, self.down_right, self.down_left = _steps(
            image * np.float32(1 / weight), mask | (seeds > 0)
        )
        self.unreached = FAR << self.bits
        self.keys: Keys = np.where(seeds > 0, seeds, np.int64(self.unreached))

    def _keyed(self, costs: NDArray[np.int32]) -> Keys:
        keys: Keys = np.left_shift(costs, self.bits, dtype=np.int64)
        return keys

    def along_row(self, row: int, keys: Keys) -> Keys:
        """``keys`` of a row after paths within the row: running minima of what is left of the cost to the edge."""
        far = np.zeros(keys.size, dtype=np.int64)
        np.cumsum(self._keyed(self.right[row]), out=far[1:])
        rightwards = np.minimum.accumulate(keys - far) + far
        leftwards = np.minimum.accumulate((keys + far)[::-1])[::-1] - far
        return np.minimum(np.minimum(rightwards, leftwards), self.unreached)

    def between_rows(self, source: int, target: int) -> bool:
        """Carry paths from a row to the row above or below it; whether that found cheaper ones."""
        upper = min(source, target)
        straight, right, left = (
            self._keyed(cost[upper]) for cost in (self.down, self.down_right, self.down_left)
        )
        if target < source:
            right, left = left, right
        origin, old = self.keys[source], self.keys[target]
        keys = np.minimum(old, origin + straight)
        np.minimum(keys[1:], origin[:-1] + right, out=keys[1:])
        np.minimum(keys[:-1], origin[1:] + left, out=keys[:-1])
        if not (keys < old).any():
            return False
        self.keys[target] = self.along_row(target, keys)
        return True

    def run(self) -> None:
        """Sweep down and up until nothing changes; only rows that changed are carried on."""
        height = self.keys.shape[0]
        reached = np.asarray((self.keys < self.unreached).any(axis=1))
        for row in np.flatnonzero(reached).tolist():
            self.keys[row] = self.along_row(row, self.keys[row])
        pending = {1: reached.copy(), -1: reached}
        while pending[1][:-1].any() or pending[-1][1:].any():
            for step, rows in ((1, range(height - 1)), (-1, range(height - 1, 0, -1))):
                for row in rows:
                    if pending[step][row]:
                        pending[step][row] = False
                        if self.between_rows(row, row + step):
                            pending[1][row + step] = pending[-1][row + step] = True

    def labels(self) -> Labels:
        """The labels of the paths, 0 without one. Uses up the keys."""
        self.keys[self.keys >= self.unreached] = 0
        self.keys &= (1 << self.bits) - 1
        return self.keys.astype(np.int32)


def propagate(
    image: NDArray[np.float32], seeds: Labels, mask: NDArray[np.bool_], regularization: float
) -> Labels:
    """Give each pixel of ``mask`` the label of the seed from which the cheapest path leads to it.

    A step between neighbours (8-connected) costs sqrt(d^2 + r^2 s^2), d being the difference of their intensities, s
    their distance in px and r ``regularization``: the metric of T. Jones, A. Carpenter and P. Golland (LNCS
    3765, 2005). Large r: the nearest seed; small r: borders follow edges. Costs are computed exactly, in whole
    numbers of 1/128 px; at equal cost the lower label wins. Pixels of the mask without a path stay 0.
    """
    front = _Front(image, seeds, mask, regularization)
    front.run()
    return front.labels()
