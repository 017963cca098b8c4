"""A shift known to the pixel, to a small part of a pixel, by least squares on the intensities.

Gauss-Newton steps on the squared difference of the two images, one of them resampled at the latest shift (Lucas and
Kanade, 1981). The ratio of their contrasts and the slope of their backgrounds, which change along the overlap as
illumination does, are fitted with it. The upsampled cross-correlation (Guizar-Sicairos et al., Opt. Lett. 33, 2008)
is exact for periodic images, but the edges of a narrow overlap draw it towards whole pixels; here both images show
the same place at the solution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace, ndimage_of, to_numpy
from hcs_steps.functions._checks import finite
from hcs_steps.functions.stitching.pairs import MIN_OVERLAP
from hcs_steps.functions.stitching.register import BACKGROUND_PX, overlapping

FARTHEST_PX = 4.0
SMOOTHING_PX = 1.5
ROUGH_PX = 3.0
_INSET_PX = 3
_STEPS = 10
_ENOUGH_PX = 0.005
_SETTLED_PX = 0.1
_SINGULAR = 1e12
_LONGEST = 768
_USUAL_RAMP = 0.25
"""Contrast and background change by about this part from the middle of an overlap to its edge; keeps noise out."""
_CORRELATED_PX = 4 * math.pi * SMOOTHING_PX**2
"""Pixels that share their noise after the smoothing."""


@dataclass(frozen=True)
class Shift:
    """A shift in pixels and its standard error (root mean square of x and y), as far as noise makes it."""

    x: float
    y: float
    error: float


def refine(first: Any, second: Any, lag: tuple[int, int]) -> Shift | None:
    """``lag`` (x, y) of two raw images to a fraction of a pixel.

    Where the steps do not settle near ``lag``, they are tried once more on images that are smoother, which draws
    in shifts from farther away. None if they do not settle within four pixels: there is too little to see.
    """
    first, second, taken = _richest(first, second, lag)
    first, second = _smooth(first, SMOOTHING_PX), _smooth(second, SMOOTHING_PX)
    start = np.array(lag, dtype=np.float64) - taken
    found = _settle(first, second, start)
    if found is None:
        rough = _settle(_smooth(first, ROUGH_PX), _smooth(second, ROUGH_PX), start)
        found = rough and _settle(first, second, np.array([rough.x, rough.y]))
    if found is None or math.hypot(found.x - start[0], found.y - start[1]) > FARTHEST_PX:
        return None
    return Shift(found.x + taken[0], found.y + taken[1], found.error)


def _smooth(image: Any, sigma: float) -> Any:
    values = finite(image).astype(namespace(image).float32)
    return ndimage_of(image).gaussian_filter(values, sigma, mode="nearest", truncate=3.0)


def _settle(first: Any, second: Any, start: NDArray[np.float64]) -> Shift | None:
    """Gauss-Newton steps until they hardly change the shift (x, y); None if they do not end near ``start``."""
    shift = start
    for _ in range(_STEPS):
        step, error = _step(first, second, shift)
        shift = shift + step
        if not np.hypot(*(shift - start)) <= FARTHEST_PX:
            return None
        if np.abs(step).max() < _ENOUGH_PX:
            return Shift(float(shift[0]), float(shift[1]), error)
    return None if np.abs(step).max() > _SETTLED_PX else Shift(float(shift[0]), float(shift[1]), error)


def _step(first: Any, second: Any, shift: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """By how much (x, y) ``shift`` has to change, and its standard error; NaN if nothing tells."""
    xp, ndimage = namespace(first), ndimage_of(first)
    whole = np.rint(shift)
    part = shift - whole
    target, moved = overlapping(first, second, (int(whole[0]), int(whole[1])))
    nothing = np.full(2, np.nan), math.inf
    if min(target.shape) < MIN_OVERLAP:
        return nothing
    # A cubic spline is exact enough here because nothing finer than the smoothing is left.
    moved = ndimage.shift(moved, (float(part[1]), float(part[0])), order=3, mode="nearest")
    inside = tuple(slice(edge, size - edge) for size in target.shape for edge in [min(_INSET_PX, size // 4)])
    products = _products(xp, _terms(target[inside], moved[inside]))
    difference = max(products[-1, -1] + products[2, 2] - 2 * products[-1, 2], 0.0)
    noise = difference / math.prod(target[inside].shape) * _CORRELATED_PX
    normal, right = products[:-1, :-1], products[:-1, -1]
    normal[3:, 3:] += np.eye(len(normal) - 3) * noise / _USUAL_RAMP**2
    if not np.linalg.cond(normal) < _SINGULAR:
        return nothing
    inverse = np.linalg.inv(normal)
    error = math.sqrt(max(noise * (inverse[0, 0] + inverse[1, 1]) / 2, 0.0))
    return (inverse @ (right - normal[:, 2]))[:2], error


def _terms(target: Any, moved: Any) -> list[Any]:
    """What the target is made of: its change with x and y, the moved image, and ramps; last the target itself.

    The ramps are those of the ratio of contrasts and those of the background, along y and x.
    """
    xp = namespace(target)
    level = moved - moved.mean()
    target, moved = _without_background(target), _without_background(moved)
    down, along = xp.gradient((target + moved) * 0.5)
    rows, columns = (xp.linspace(-1, 1, size, dtype=xp.float32) for size in target.shape)
    ramps = [xp.zeros_like(target) + ramp for ramp in (rows[:, None], columns[None, :])]
    contrasts = [_without_background(level * ramp) for ramp in ramps]
    slopes = [_without_background(ramp * abs(level).mean()) for ramp in ramps]
    return [-along, -down, moved, *contrasts, *slopes, target]


def _products(xp: Any, terms: list[Any]) -> NDArray[np.float64]:
    """Sums over the pixels of all products of two terms; without BLAS, whose threads would change the last bits."""
    rows, columns = np.triu_indices(len(terms))
    sums = [xp.einsum("ij,ij->", terms[i], terms[j]) for i, j in zip(rows, columns, strict=True)]
    products = np.empty((len(terms), len(terms)))
    products[rows, columns] = products[columns, rows] = to_numpy(xp.stack(sums))
    return products


def _without_background(image: Any) -> Any:
    return image - ndimage_of(image).uniform_filter(image, BACKGROUND_PX, mode="nearest")


def _richest(first: Any, second: Any, lag: tuple[int, int]) -> tuple[Any, Any, tuple[int, int]]:
    """The stretch of a long overlap that varies most, which is enough to see, and the lag it takes away."""
    one, _ = overlapping(first, second, lag)
    axis = 0 if one.shape[0] >= one.shape[1] else 1
    step = lag[1 - axis]
    if one.shape[axis] <= _LONGEST:
        return first, second, (0, 0)
    xp = namespace(first)
    contrast = xp.abs(xp.diff(finite(one).astype(xp.float32), axis=axis)).sum(axis=1 - axis)
    ends = xp.concatenate([xp.zeros(1, dtype=contrast.dtype), xp.cumsum(contrast)])
    best = int((ends[_LONGEST - 1 :] - ends[: 1 - _LONGEST]).argmax())
    pieces = []
    for image, start in ((first, best + max(step, 0)), (second, best + max(-step, 0))):
        rows = slice(start, start + _LONGEST)
        pieces.append(image[rows] if axis == 0 else image[:, rows])
    return pieces[0], pieces[1], (0, step) if axis == 0 else (step, 0)
