"""The illumination and the dark level of a channel, estimated from many of its planes."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import to_numpy
from hcs_steps.functions._checks import require_numbers
from hcs_steps.functions.illumination._flatfield_fit import Model, State, Terms
from hcs_steps.functions.illumination._flatfield_levels import (
    Array,
    Grid,
    first_levels,
    grid_of,
    reduce_plane,
    tile_levels,
)

DEGREE = 8
"""Highest total degree of the polynomial that a gain can be."""

_FIRST_DEGREE, _MIDDLE_DEGREE = 4, 6
_ROUNDS = 8
_SIGNIFICANT = 2.0  # a degree counts by as much as its energy exceeds this many times its own error
_CLEAR = 3.0  # standard errors by which a field must differ from an even one to tell the dark level
_LEAST_GAIN = 0.05


@dataclass(frozen=True)
class Flatfield:
    """The illumination of a channel: a corrected plane is (plane - dark) / gain.

    ``gain`` is float32 (Y, X) with the mean 1, ``dark`` a level in grey values with its standard error
    ``dark_error`` (0 if it was given or the planes reach 0, infinite if they do not tell it). ``error`` is the
    standard error of the gain, that by the dark level included, as a root mean square over the field. ``spread`` and
    ``corrected_spread`` are the standard deviations of the background's median over 16 x 16 sub-regions,
    relative to its mean, before and after correction, with ``dark`` subtracted in both. ``planes`` were used;
    ``skipped`` says of the others why not.
    """

    gain: NDArray[np.float32]
    dark: float
    dark_error: float
    error: float
    spread: float
    corrected_spread: float
    planes: int
    skipped: tuple[str, ...]


def _fit(
    images: NDArray[np.float32], groups: NDArray[np.int64], grid: Grid, dark: float | None
) -> tuple[Model, Terms, State, float, tuple[float, float]]:
    """Background and field in turns, each making the other better; then the dark level, its error, and its range."""
    limit = float(np.quantile(images, 0.001))
    searched = dark is None and limit > 0
    level, error = float(dark or 0.0), 0.0
    levels, terms = first_levels(images, grid), Terms(grid, _FIRST_DEGREE)
    light = np.maximum(np.median(levels.level, axis=1) - level, 0)
    coefficients, field = np.zeros(len(terms.pairs)), np.ones(levels.level.shape[1])
    state = State(coefficients, field, level, light, np.zeros(len(images)))
    for number in range(_ROUNDS):
        if number == _ROUNDS // 2:
            terms = Terms(grid, _MIDDLE_DEGREE)
            state = replace(state, coefficients=terms.extended(state.coefficients))
        model = Model.of(levels, groups, terms)
        state = model.settle(state, level)
        if searched and number >= 2:
            level = model.best_dark(state, limit)
            state = model.solve(state, level)
        image = np.maximum(terms.image(state.coefficients, grid.reduced), _LEAST_GAIN)
        levels = tile_levels(images, grid, image.astype(np.float32), state.light, level)
    model = Model.of(levels, groups, terms)
    model.weigh(state)
    if searched:
        level, error = 0.0, math.inf
        coefficients, doubt = _shrunk(model, terms, model.solve(state, 0.0))
        if math.sqrt(float(coefficients @ coefficients)) > _CLEAR * doubt:
            level, error = model.tested_dark(state, limit)
    terms = Terms(grid, DEGREE)
    model = Model.of(levels, groups, terms)
    state = replace(state, coefficients=terms.extended(state.coefficients))
    # Nothing is known between the level and the limit where the error is larger: the spread of an even distribution.
    above = min(error, max(limit - level, 0) / math.sqrt(3))
    return model, terms, model.settle(state, level), error, (max(level - error, 0.0), level + above)


def _error_by_dark(model: Model, state: State, darks: tuple[float, float]) -> float:
    """How much the field depends on the dark level, as the root mean square over the tiles."""
    field = state.field / state.field.mean()
    others = (model.solve(state, dark).field for dark in darks if dark != state.dark)
    return max(
        (float(np.sqrt(np.mean((other / other.mean() - field) ** 2))) for other in others), default=0.0
    )


def _shrunk(model: Model, terms: Terms, state: State) -> tuple[Array, float]:
    """Coefficients without those degrees that chance explains, and the field's standard error.

    The error comes from how differently groups of planes pull, since what the tiles of one show is not
    independent; it is averaged over the terms of a degree. Few groups tell such errors badly, so a degree must stand
    out more.
    """
    coefficients, pull = state.coefficients.copy(), model.gradient(state)
    count = max(len(pull), 2)
    significant = _SIGNIFICANT * (count + 3) / (count - 1)
    if not coefficients.size:
        return coefficients, 0.0
    inverse = np.linalg.inv(model.normal(state))
    between = np.diag(inverse @ (pull.T @ pull) @ inverse) * count / (count - 1)
    total = 0.0
    for degree in np.unique(terms.degrees):
        same = terms.degrees == degree
        error = max(float(between[same].sum()), float(np.diag(inverse)[same].sum()))
        energy = float((coefficients[same] ** 2).sum())
        kept = max(0.0, 1 - significant * error / energy) if energy > 0 else 0.0
        coefficients[same] *= kept
        total += error * kept
    return coefficients, math.sqrt(total)


def _spread(values: Array, known: Array) -> float:
    """Standard deviation over the tiles of the planes' median, relative to its mean."""
    seen = np.where(known > 0, values, np.nan)
    seen = np.nanmedian(seen[:, (known > 0).any(axis=0)], axis=0)
    return float(seen.std() / abs(seen.mean())) if seen.size and seen.mean() else math.nan


def _estimate(
    images: NDArray[np.float32],
    groups: NDArray[np.int64],
    grid: Grid,
    dark: float | None,
    skipped: tuple[str, ...],
) -> Flatfield:
    """The gain and dark level of a channel from its reduced planes (N, Y, X)."""
    model, terms, state, dark_error, darks = _fit(images, groups, grid, dark)
    coefficients, error = _shrunk(model, terms, state)
    gain = np.maximum(terms.image(coefficients, grid.shape), _LEAST_GAIN)
    gain /= gain.mean()
    field = np.maximum(1 + model.basis @ coefficients, _LEAST_GAIN)
    lit = state.light > 0
    known = model.levels.known[lit]
    seen = (model.levels.level[lit] - state.dark) / state.light[lit, None]
    return Flatfield(
        gain=gain.astype(np.float32),
        dark=state.dark,
        dark_error=dark_error,
        error=math.hypot(error, _error_by_dark(model, state, darks)),
        spread=_spread(seen, known),
        corrected_spread=_spread(seen / field, known),
        planes=len(images),
        skipped=skipped,
    )


class Sample:
    """Reduced planes of one channel, taken one at a time."""

    def __init__(self) -> None:
        self.grid: Grid | None = None
        self.images: list[NDArray[np.float32]] = []
        self.groups: list[Hashable] = []
        self.skipped: list[str] = []

    def add(self, plane: NDArray[Any], name: str, group: Hashable) -> None:
        """Reduce a plane and keep that, or note why it cannot be used; ``group`` is the place that it shows."""
        if reason := self._unusable(plane):
            self.skipped.append(f"{name} was left out: {reason}.")
            return
        if self.grid is None:
            self.grid = grid_of((plane.shape[0], plane.shape[1]))
        image = reduce_plane(plane, self.grid)
        if not np.isfinite(image).all():
            self.skipped.append(f"{name} was left out: it has pixels that are not finite.")
        elif plane.dtype.kind in "ui" and np.median(image) >= np.iinfo(plane.dtype).max:
            self.skipped.append(f"{name} was left out: more than half of it is saturated.")
        else:
            self.images.append(image)
            self.groups.append(group)

    def _unusable(self, plane: NDArray[Any]) -> str:
        if plane.ndim != 2 or plane.size == 0 or plane.dtype.kind not in "uif":
            return f"it is no plane (Y, X) of numbers, but of shape {plane.shape} and type {plane.dtype}"
        if self.grid is not None and plane.shape != self.grid.shape:
            return f"its size is {plane.shape}, that of the first {self.grid.shape}"
        if plane.size > 1 and plane.min() == plane.max():
            return "all its pixels are equal"
        return ""

    def flatfield(self, dark: float | None) -> Flatfield:
        """The estimate from what was kept."""
        if self.grid is None or not self.images:
            reasons = " ".join(self.skipped[:3]) or "There was none."
            raise ValueError(f"A flat field needs at least one usable plane. {reasons}")
        numbers = {group: number for number, group in enumerate(dict.fromkeys(self.groups))}
        groups = np.array([numbers[group] for group in self.groups], dtype=np.int64)
        return _estimate(np.stack(self.images), groups, self.grid, dark, tuple(self.skipped))


def require_dark(dark: float | None) -> None:
    """Raise ValueError for a dark level that is no number or not finite; None passes."""
    if dark is not None:
        require_numbers(dark=dark)


def flatfield_from_planes(
    planes: Iterable[Any], dark: float | None = None, places: Iterable[Hashable] | None = None
) -> Flatfield:
    """Estimate the uneven illumination of one channel from many of its planes, without reference images.

    A plane is modelled as (background + cells) * gain + dark, with a gain that all planes share, a background per
    plane and a dark level that is the same everywhere.

    1. Each plane is reduced to block means, 128 along its longer side, in tiles of 8 x 8. Planes are taken one at a
       time; only the reduced ones are kept (64 KB each).
    2. In each plane the background is the peak of the histogram after correction, told from cells by the width of
       the peak's lower side; the foreground is what lies well above it. Each tile has a background level and a
       mean foreground.
    3. The gain is a polynomial of total degree 8. It is fitted to background and foreground of all tiles by
       robust weighted least squares, with a brightness of its own for the background and the foreground of each
       plane. Steps 2 and 3 alternate.
    4. The dark level is the one with which backgrounds of different brightness, and the foreground, show the same
       gain, by cross-validation over the planes.
    5. Each degree of the polynomial counts by as much as it exceeds what differences between planes explain, so
       that even illumination comes out even.

    The model is that of BaSiC (T. Peng et al., Nat. Commun. 8, 2017), the dark level is found as in CIDRE, where
    the intensities of all places meet (K. Smith et al., Nat. Methods 12, 2015). The tests in 5: block
    shrinkage (T. Cai, Ann. Stat. 27, 1999) with errors clustered by plane.

    Parameters
    ----------
    planes
        Planes (Y, X) of one channel, integer or float, NumPy or CuPy, of one size. Five planes with few cells or
        twenty crowded ones usually give the gain to 1-2 %; fewer give what they can.
    dark
        The camera's level without light, in grey values. None: estimated. It can be told only where the
        illumination is uneven, at least four places are seen, and either the background's brightness differs
        between them or there are some hundred cells. Otherwise it is taken as 0, and a gain over a background
        that consists mostly of dark counts comes out too flat; the result's ``error`` says by how much it may be.
        Give it where it is known.
    places
        What each plane shows, e.g. its (well, site): focal planes and time points of one place repeat the same
        cells and do not confirm each other. None: all planes show different places.

    Returns
    -------
    Flatfield
        Planes of another size than the first, constant ones, those more than half saturated and those with pixels that
        are not finite are left out and named in ``skipped``.

    Raises
    ------
    ValueError
        If no plane can be used or ``dark`` is not finite.
    """
    require_dark(dark)
    sample = Sample()
    for number, (plane, place) in enumerate(zip(planes, count() if places is None else places, strict=False)):
        sample.add(to_numpy(plane), f"Plane {number}", place)
    return sample.flatfield(dark)
