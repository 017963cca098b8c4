"""Registers all pairs of neighbours, and pairs that show nothing in common, to know what chance gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace
from hcs_steps.functions.stitching.pairs import Cut, Pair, cut
from hcs_steps.functions.stitching.register import (
    Candidates,
    Strip,
    band_pass,
    candidates,
    padded_shape,
    spectrum,
)
from hcs_steps.functions.stitching.subpixel import Shift, refine

CHANCE_PAIRS = 2
"""Random pairs per pair of neighbours."""
MIN_CHANCE = 24
"""With fewer random pairs than this, sides that do belong together are turned and rolled in addition."""
_ROLLS = 8


@dataclass(frozen=True)
class Registration:
    """All tiles that are to be registered and how.

    Attributes
    ----------
    tiles
        Images (Y, X) of one size, NumPy or CuPy.
    reach
        Largest shift in pixels.
    filter_sigma
        See `band_pass`.
    """

    tiles: Sequence[Any]
    reach: float
    filter_sigma: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a tile."""
        rows, columns = self.tiles[0].shape
        return int(rows), int(columns)

    @property
    def margin(self) -> int:
        """What an overlap can be wider than its nominal size."""
        return int(np.ceil(self.reach))

    def images(self, pair: Pair) -> tuple[Any, Any, Cut]:
        """The band-passed sides of a pair of tiles."""
        where = cut(pair, self.shape, self.margin)
        one = band_pass(self.tiles[pair.first][where.first], self.filter_sigma)
        other = band_pass(self.tiles[pair.second][where.second], self.filter_sigma)
        return one, other, where

    def refined(self, pair: Pair, offset: tuple[int, int]) -> Shift | None:
        """``offset`` of a pair to a fraction of a pixel; None where that fails or ends beyond ``reach``."""
        where = cut(pair, self.shape, self.margin)
        one, other = self.tiles[pair.first][where.first], self.tiles[pair.second][where.second]
        found = refine(one, other, (offset[0] - where.origin[0], offset[1] - where.origin[1]))
        if found is None:
            return None
        x, y = found.x + where.origin[0], found.y + where.origin[1]
        near = math.hypot(x - pair.offset[0], y - pair.offset[1]) <= self.reach + 0.5
        return Shift(x, y, found.error) if near else None


def register_pairs(
    task: Registration, pairs: Sequence[Pair], seed: int
) -> tuple[list[Candidates], NDArray[np.float64]]:
    """Candidates of every pair, and the correlations that tiles reach which are no neighbours.

    Those take one side of each of two pairs that lie alike, drawn at random; where there are too few of them, the
    second side is turned or rolled.
    """
    found: list[Candidates] = [Candidates(np.empty((0, 2), np.int64), np.empty(0))] * len(pairs)
    chance: list[float] = []
    adjacent = {(pair.first, pair.second) for pair in pairs}
    generator = np.random.default_rng(seed)
    for horizontal in (True, False):
        group = [
            number for number, pair in enumerate(pairs) if pair.horizontal == horizontal and pair.comparable
        ]
        earlier: list[tuple[Pair, Strip]] = []
        shape = _common_shape(task, [pairs[number] for number in group])
        for number in generator.permutation(group).tolist():
            pair = pairs[number]
            one, other, where = task.images(pair)
            first, second = Strip(one, spectrum(one, shape)), Strip(other, spectrum(other, shape))
            found[number] = candidates(first, second, shape, where.origin, pair.offset, task.reach)
            for partner, strip in earlier:
                tiles = pair.first, partner.second
                if tiles[0] != tiles[1] and not {tiles, tiles[::-1]} & adjacent:
                    chance += _best(candidates(first, strip, shape, where.origin, pair.offset, task.reach))
            earlier = [*earlier, (pair, second)][-CHANCE_PAIRS:]
    if len(chance) < MIN_CHANCE:
        chance += _turned(task, [pair for pair in pairs if pair.comparable])
    return found, np.array(chance)


def _common_shape(task: Registration, pairs: Sequence[Pair]) -> tuple[int, int]:
    """One padded size for all pairs that lie alike, so that any two of their sides can be compared."""
    sizes = [(1, 1)]
    for pair in pairs:
        where = cut(pair, task.shape, task.margin)
        for side in (where.first, where.second):
            sizes.append((side[0].stop - side[0].start, side[1].stop - side[1].start))
    largest = max(rows for rows, _ in sizes), max(columns for _, columns in sizes)
    return padded_shape(largest, 2 * task.margin + 2)


def _best(found: Candidates) -> list[float]:
    return [float(value) for value in found.correlation[:1]]


def _turned(task: Registration, pairs: Sequence[Pair]) -> list[float]:
    """Correlations of neighbours after the second side was turned, mirrored or rolled."""
    chance: list[float] = []
    for pair in pairs:
        one, other, where = task.images(pair)
        shape = _common_shape(task, [pair])
        first = Strip(one, spectrum(one, shape))
        for image in islice(_variants(other, 2 * task.margin + 2), math.ceil(MIN_CHANCE / len(pairs)) + 3):
            second = Strip(image, spectrum(image, shape))
            chance += _best(candidates(first, second, shape, where.origin, pair.offset, task.reach))
    return chance


def _variants(image: Any, least: int) -> Iterator[Any]:
    """The image turned, mirrored, and rolled along its longer side by ``least`` px at least."""
    xp = namespace(image)
    axis = 0 if image.shape[0] >= image.shape[1] else 1
    rolls = [
        size for size in (step * image.shape[axis] // _ROLLS for step in range(1, _ROLLS)) if size >= least
    ]
    for turned in (image[::-1], image[:, ::-1], image[::-1, ::-1]):
        yield xp.ascontiguousarray(turned)
    for size in rolls:
        if image.shape[axis] - size >= least:
            for turned in (image, image[::-1], image[:, ::-1], image[::-1, ::-1]):
                yield xp.roll(turned, size, axis=axis)
