"""A field of illumination and a dark level as a model of what tiles show, and its weighted least squares."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.illumination._flatfield_levels import Array, Grid, TileLevels, edges, tile_view

_FOLDS = 8
_LEAST_GROUPS = 4  # to tell a dark level from
_MODEL_ERROR = (
    0.01  # part of the misfit that a dark level must change to be told apart: no model is better than that
)
_CERTAIN = 1.0  # standard errors by which a dark level must be better than none
_EXPECTED = 0.5  # a coefficient of degree d is expected to be no larger than this over d, more or less
_BARRIER = 5.0  # see `_barrier`


class Terms:
    """A field as 1 plus a sum of products of Legendre polynomials, up to a total degree."""

    def __init__(self, grid: Grid, degree: int) -> None:
        highest = [min(degree, count - 1) for count in grid.tiles]
        pairs = [(i, j) for i in range(highest[0] + 1) for j in range(highest[1] + 1)]
        self.pairs = sorted((p for p in pairs if 0 < sum(p) <= degree), key=lambda p: (sum(p), p))
        self.degrees = np.array([sum(pair) for pair in self.pairs], dtype=np.int64)
        self.grid, self.degree = grid, degree
        tiles = grid.tiles[0] * grid.tiles[1]
        self.on_tiles = np.zeros((tiles, len(self.pairs)))
        for column in range(len(self.pairs)):
            unit = np.zeros(len(self.pairs))
            unit[column] = 1
            part = self.image(unit, grid.reduced) - 1
            self.on_tiles[:, column] = tile_view(part, grid).mean(axis=1)

    def image(self, coefficients: Array, counts: tuple[int, int]) -> Array:
        """The field at the centres of (rows, columns) blocks that share a plane evenly."""
        table = np.zeros((self.degree + 1, self.degree + 1))
        table[0, 0] = 1
        for pair, value in zip(self.pairs, coefficients, strict=True):
            table[pair] = value
        down, across = (self._polynomials(*axis) for axis in zip(self.grid.shape, counts, strict=True))
        image: Array = down @ table @ across.T
        return image

    def _polynomials(self, size: int, count: int) -> Array:
        ends = edges(size, count)
        values = np.polynomial.legendre.legvander((ends[:-1] + ends[1:]) / size - 1, self.degree)
        return np.asarray(values * np.sqrt(2 * np.arange(self.degree + 1) + 1))

    def extended(self, coefficients: Array) -> Array:
        """Coefficients of fewer terms as ones of these; what is new is 0."""
        return np.concatenate([coefficients, np.zeros(len(self.pairs) - coefficients.size)])


@dataclass(frozen=True)
class State:
    """A field (coefficients, and its values on the tiles), the dark level, and the light of each plane."""

    coefficients: Array
    field: Array
    dark: float
    light: Array
    glow: Array

    def of(self, kept: NDArray[np.bool_]) -> State:
        """The state of some of the planes."""
        return replace(self, light=self.light[kept], glow=self.glow[kept])


def _scales(values: Array, field: Array, weights: Array) -> Array:
    """The factor of ``field`` in each row of values; 0 where it would be negative or nothing is known."""
    known = weights @ field**2
    scales = ((weights * values) @ field) / np.where(known > 0, known, 1)
    return np.where(known > 0, np.maximum(scales, 0), 0)


def _robust_scale(values: Array, weights: Array) -> Array:
    """Standard deviation of each row's values at weight 1, from their median size; NaN without any."""
    scale = np.full(len(values), np.nan)
    known = (weights > 0).any(axis=1)
    sizes = np.where(weights > 0, np.abs(values) * np.sqrt(weights), np.nan)
    scale[known] = 1.4826 * np.nanmedian(sizes[known], axis=1)
    return scale


def _huber(values: Array) -> Array:
    """Weights of residuals in units of their standard deviation: 1 up to 4, then falling."""
    return 1 / np.maximum(1, np.abs(values) / 4)


@dataclass
class Model:
    """Background of the tiles as ``light * field + dark``, foreground as ``glow * field``, by least squares.

    ``groups`` numbers the places from 0 that the planes show: planes of one place do not confirm each other.
    """

    levels: TileLevels
    groups: NDArray[np.int64]
    basis: Array
    prior: Array
    level_weights: Array
    bright_weights: Array

    @classmethod
    def of(cls, levels: TileLevels, groups: NDArray[np.int64], terms: Terms) -> Model:
        """A model that trusts all background alike, and no foreground yet."""
        prior = (terms.degrees / _EXPECTED) ** 2
        return cls(levels, groups, terms.on_tiles, prior, levels.known, np.zeros_like(levels.area))

    def part(self, kept: NDArray[np.bool_]) -> Model:
        """The model of some of the planes, with the same weights."""
        return replace(
            self,
            levels=self.levels.of(kept),
            groups=self.groups[kept],
            level_weights=self.level_weights[kept],
            bright_weights=self.bright_weights[kept],
        )

    def weigh(self, state: State) -> None:
        """Set the weights by the scatter around ``state``: of each plane's background, and of all foreground."""
        levels = self.levels
        rest = levels.level - state.dark - state.light[:, None] * state.field
        scale = _robust_scale(rest, levels.known)
        typical = float(np.nanmedian(scale)) if np.isfinite(scale).any() else 1.0
        scale = np.sqrt((np.where(np.isfinite(scale), scale, typical) ** 2 + typical**2) / 2)
        scale = np.maximum(scale, 1e-4 * state.light + 1e-6)[:, None]
        self.level_weights = levels.known / scale**2 * _huber(rest * np.sqrt(levels.known) / scale)
        if levels.area.any():
            glow = np.maximum(state.glow, 1e-6)[:, None]
            rest = levels.bright / glow - state.field
            spread = max(float(_robust_scale(rest.reshape(1, -1), levels.area.reshape(1, -1))[0]), 1e-3)
            self.bright_weights = levels.area * _huber(rest * np.sqrt(levels.area) / spread)
            self.bright_weights /= (spread * glow) ** 2

    def normal(self, state: State) -> Array:
        """The matrix of the normal equations for the coefficients."""
        weight = self.level_weights * state.light[:, None] ** 2
        weight = (weight + self.bright_weights * state.glow[:, None] ** 2).sum(axis=0)
        matrix: Array = (self.basis * weight[:, None]).T @ self.basis + np.diag(self.prior)
        return matrix

    def gradient(self, state: State) -> Array:
        """(groups, coefficients): how each group of planes pulls at the coefficients."""
        levels = self.levels
        rest = levels.level - state.dark - state.light[:, None] * state.field
        pull = self.level_weights * state.light[:, None] * rest
        rest = levels.bright - state.glow[:, None] * state.field
        pull += self.bright_weights * state.glow[:, None] * rest
        total = np.zeros((int(self.groups.max()) + 1, self.basis.shape[1]))
        np.add.at(total, self.groups, pull @ self.basis)
        return total

    def solve(self, state: State, dark: float) -> State:
        """The best field for a dark level, beginning with that of ``state``."""
        for _ in range(6):
            state = replace(
                state,
                dark=dark,
                light=_scales(self.levels.level - dark, state.field, self.level_weights),
                glow=_scales(self.levels.bright, state.field, self.bright_weights),
            )
            pull = self.gradient(state).sum(axis=0) - self.prior * state.coefficients
            coefficients = state.coefficients + np.linalg.solve(self.normal(state), pull)
            state = replace(state, coefficients=coefficients, field=1 + self.basis @ coefficients)
        return state

    def settle(self, state: State, dark: float) -> State:
        """`solve` and `weigh` in turns."""
        self.weigh(state)
        for _ in range(3):
            state = self.solve(state, dark)
            self.weigh(state)
        return state

    def misfit(self, state: State) -> float:
        """Sum of the weighted squares that `solve` makes small."""
        levels = self.levels
        rest = levels.level - state.dark - state.light[:, None] * state.field
        squares = (self.level_weights * rest**2).sum()
        squares += (self.bright_weights * (levels.bright - state.glow[:, None] * state.field) ** 2).sum()
        return float(squares + self.prior @ state.coefficients**2)

    def best_dark(self, state: State, limit: float) -> float:
        """The dark level from 0 to below ``limit`` that explains background and foreground best with one field."""
        from scipy.optimize import minimize_scalar

        def misfit(dark: float) -> float:
            return self.misfit(self.solve(state, dark)) + _barrier(dark, limit)

        grid = _candidates(limit)
        best = int(np.argmin([misfit(dark) for dark in grid]))
        bounds = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
        found = minimize_scalar(misfit, bounds=bounds, method="bounded", options={"xatol": limit * 1e-3})
        return float(found.x)

    def tested_dark(self, state: State, limit: float) -> tuple[float, float]:
        """The dark level by cross-validation, and its standard error.

        The field is fitted without a part of the groups and tried on them, so that a dark level which only lets the
        field follow chance does not win; where what it gains over 0 is not clear, it counts in part. The error is
        that of the jackknife, whose few folds have the scatter of Student's t, and the reach of the dark levels that
        explain the planes about as well: with backgrounds that are alike and few cells, nearly all of them. 0, with
        an infinite error, if there are less than four groups.
        """
        folds = min(int(self.groups.max()) + 1, _FOLDS)
        if folds < _LEAST_GROUPS:
            return 0.0, math.inf
        darks = _candidates(limit)
        seen, tried = self._validate(state, darks, folds)
        barrier = np.array([_barrier(dark, limit) for dark in darks])
        total = tried.sum(axis=0) + barrier
        gain = tried[:, 0] - tried[:, int(np.argmin(total))]
        doubt = _CERTAIN * float(gain.std(ddof=1)) / math.sqrt(folds)
        trust = min(max(float(gain.mean()) / doubt, 0.0), 1.0) if doubt > 0 else 0.0
        level = trust * _lowest(darks, total)
        left_out = [_lowest(darks, curve + barrier) for curve in seen]
        chance = (folds - 1) ** 2 / (folds - 3) * float(np.var(left_out))
        return level, math.hypot(math.sqrt(chance), _reach(darks, tried.sum(axis=0), level))

    def _validate(self, state: State, darks: Array, folds: int) -> tuple[Array, Array]:
        """(folds, darks): misfit of the planes that the field was fitted to, and of those left out."""
        seen, tried = np.zeros((2, folds, darks.size))
        number = self.groups % folds
        for fold in range(folds):
            rest, part = self.part(number != fold), self.part(number == fold)
            start = state.of(number != fold)
            for place, dark in enumerate(darks):
                found = rest.solve(start, dark)
                seen[fold, place] = rest.misfit(found)
                light = _scales(part.levels.level - dark, found.field, part.level_weights)
                glow = _scales(part.levels.bright, found.field, part.bright_weights)
                tried[fold, place] = part.misfit(replace(found, light=light, glow=glow))
        return seen, tried


def _candidates(limit: float) -> Array:
    """Dark levels to try, denser towards the limit, where each count matters more."""
    return limit * (1 - np.linspace(1, 0.02, 21) ** 1.5)


def _barrier(dark: float, limit: float) -> float:
    """What a dark level costs that leaves little light: nothing at 0, infinitely much at the limit."""
    return -_BARRIER * math.log(max(1 - dark / limit, 1e-300))


def _reach(places: Array, misfits: Array, level: float) -> float:
    """How far from ``level`` the misfit stays within `_MODEL_ERROR` of its least, by straight lines between places."""
    fine = np.linspace(places[0], places[-1], 1000)
    near = np.interp(fine, places, misfits) <= (1 + _MODEL_ERROR) * misfits.min()
    return float(np.abs(fine[near] - level).max(initial=0.0))


def _lowest(places: Array, values: Array) -> float:
    """Where the parabola through the lowest of some values and its neighbours is lowest."""
    best = int(np.argmin(values))
    if best in (0, values.size - 1):
        return float(places[best])
    near = slice(best - 1, best + 2)
    a, b, _ = np.polyfit(places[near] - places[best], values[near] - values[best], 2)
    return float(places[best] - b / (2 * a)) if a > 0 else float(places[best])
