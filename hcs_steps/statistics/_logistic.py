"""The four-parameter logistic curve, and its least-squares fit.

The fit works on a curve from ``start`` (no compound) to ``end`` (compound without limit) with a Hill slope above 0, so
that a falling curve needs no case of its own, and on log10(EC50), in which the errors are nearly symmetric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hcs_steps.statistics._robust import MAD_SCALE, Floats

PARAMETERS = 4
HILL_LIMITS = (0.1, 20.0)
"""Slopes outside cannot be told from a line over six decades and from a step between neighbouring doses."""

BEYOND = 2.0
"""The EC50 may lie so many decades outside the tested doses; further out a curve tells nothing of it."""

HOPELESS = 0.1
"""Where the best curve of the grid is no better than a constant at this level, the best there is will not be at a
tenth of it; it would take long to find, as it is hardly determined."""

_GRID_HILLS = np.array([0.4, 0.7, 1.0, 1.5, 2.5, 5.0, 12.0])
_GRID_STEPS = 41
_ROUNDS = 6
_APART = 0.5  # decades between the EC50s of two starts


def logistic(dose: ArrayLike, bottom: float, top: float, ec50: float, hill: float) -> Floats:
    """``bottom + (top - bottom) / (1 + (ec50 / dose) ** hill)``; a dose of 0 gives the exact limit.

    Rises with the dose from bottom to top if ``hill`` is above 0, and falls from top to bottom if it is below.

    >>> logistic([0, 3, 9], bottom=0, top=1, ec50=3, hill=1).tolist()
    [0.0, 0.5, 0.75]
    """
    return bottom + (top - bottom) * fraction(_log10(dose), math.log10(ec50), hill)


def _log10(dose: ArrayLike) -> Floats:
    with np.errstate(divide="ignore"):
        return np.log10(np.asarray(dose, dtype=np.float64))


def fraction(log_dose: Floats, log_ec50: Any, hill: Any) -> Floats:
    """How far the curve has come at each dose, from 0 to 1."""
    from scipy.special import expit

    reached: Floats = expit(math.log(10) * hill * (log_dose - log_ec50))
    return reached


@dataclass(frozen=True)
class Fit:
    """A fitted curve: log10(EC50), Hill slope (above 0), start and end; covariance of these four; sums of squares.

    ``covariance`` is NaN where the doses do not determine the parameters. ``residual`` and ``total`` are the weighted
    sums of squares around the curve and around the weighted mean, ``mean``; ``p`` is that of the F test between both.
    """

    parameters: Floats
    covariance: Floats
    residual: float
    total: float
    mean: float
    p: float


def fit_logistic(dose: Floats, response: Floats, loss: str) -> Fit:
    """The curve with the least squares (``loss`` as in `scipy.optimize.least_squares`: linear or soft_l1).

    Of finite doses from 0 up, not all 0, and finite responses, not all equal. soft_l1 leaves residuals well within
    the scatter of the wells as they are and counts the size, not the square, of larger ones; its weights
    then enter all sums of squares, and the covariance is that of an M-estimator (P. J. Huber, Ann. Stat. 1, 799, 1973).
    """
    low, size = float(response.min()), float(np.ptp(response))
    x, y = _log10(dose), (response - low) / size
    weights = np.ones_like(y)
    if loss == "linear":
        starts = _starts(x, y, 0)
        hopeless = _p(x, y, starts[0], weights) > HOPELESS
        best = starts[0] if hopeless else _best(x, y, starts)
    else:
        starts = _starts(x, y, _ROUNDS)
        for _ in range(2):
            # The scatter of the wells is that around a curve which stray wells have not drawn to themselves.
            scale = max(MAD_SCALE * float(np.median(np.abs(_residuals(starts[0], x, y)))), 1e-6)
            starts = [_best(x, y, starts, loss, scale)]
        best = starts[0]
        weights = 1 / np.sqrt(1 + np.square(_residuals(best, x, y) / scale))
    residual, total, mean = _squares(x, y, best, weights)
    unit = np.array([1.0, 1.0, size, size])
    variance = np.square(weights * _residuals(best, x, y)).sum() / (len(y) - PARAMETERS)
    # The cube of a weight is the slope of the weighted residual: 1 throughout for least squares.
    variance /= np.mean(weights**3) ** 2
    covariance = variance * _inverse(_jacobian(best, x, y)) * np.outer(unit, unit)
    p = _p(x, y, best, weights)
    curve = best * unit + [0.0, 0.0, low, low]
    return Fit(curve, covariance, residual * size**2, total * size**2, mean * size + low, p)


def _squares(x: Floats, y: Floats, parameters: Floats, weights: Floats) -> tuple[float, float, float]:
    """Weighted sums of squares around the curve and around the mean, and that mean."""
    mean = float(np.average(y, weights=weights))
    residual = float((weights * np.square(_residuals(parameters, x, y))).sum())
    return residual, float((weights * np.square(y - mean)).sum()), mean


def _p(x: Floats, y: Floats, parameters: Floats, weights: Floats) -> float:
    """P of the F test of the curve against the mean."""
    from scipy.special import fdtrc

    residual, total, _ = _squares(x, y, parameters, weights)
    extra, rest = PARAMETERS - 1, len(y) - PARAMETERS
    if residual <= 0:
        return 0.0
    return float(fdtrc(extra, rest, max(total - residual, 0.0) / extra / (residual / rest)))


def _residuals(parameters: Floats, x: Floats, y: Floats) -> Floats:
    log_ec50, hill, start, end = parameters
    residuals: Floats = start + (end - start) * fraction(x, log_ec50, hill) - y
    return residuals


def _jacobian(parameters: Floats, x: Floats, _: Floats) -> Floats:
    log_ec50, hill, start, end = parameters
    reached = fraction(x, log_ec50, hill)
    slope = math.log(10) * (end - start) * reached * (1 - reached)
    # Without compound the curve is at its start, whatever the EC50 and the slope.
    distance = np.where(np.isfinite(x), x - log_ec50, 0.0)
    derivatives: Floats = np.column_stack([-slope * hill, slope * distance, 1 - reached, reached])
    return derivatives


def _starts(x: Floats, y: Floats, rounds: int) -> list[Floats]:
    """The best curve of a grid of EC50s and slopes, then the best with an EC50 elsewhere.

    For a given EC50 and slope the curve is a straight line in the fraction reached, so that the whole grid is one
    regression: of least squares, or in some ``rounds`` of weighting nearly of least absolute deviations.
    """
    tested = x[np.isfinite(x)]
    ec50s = np.linspace(tested.min() - 0.5, tested.max() + 0.5, _GRID_STEPS)
    log_ec50, hill = (part.ravel() for part in np.meshgrid(ec50s, _GRID_HILLS))
    reached = fraction(x, log_ec50[:, None], hill[:, None])
    weights = np.ones_like(reached)
    start, slope, cost = _lines(reached, y, weights)
    for _ in range(rounds):
        residuals = start[:, None] + slope[:, None] * reached - y
        weights = 1 / np.maximum(np.abs(residuals), 1e-6)
        start, slope, cost = _lines(reached, y, weights)
    first = int(np.argmin(cost))
    elsewhere = np.where(np.abs(log_ec50 - log_ec50[first]) > _APART, cost, np.inf)
    chosen = (first, int(np.argmin(elsewhere)))
    return [np.array([log_ec50[i], hill[i], start[i], start[i] + slope[i]]) for i in chosen]


def _lines(reached: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Intercept, slope and weighted sum of squares of the line through ``y`` over each row of ``reached``."""
    total = weights.sum(axis=1)
    level, centre = (weights * y).sum(axis=1) / total, (weights * reached).sum(axis=1) / total
    centred = reached - centre[:, None]
    spread = (weights * centred**2).sum(axis=1) / total
    shared = (weights * centred * y).sum(axis=1) / total
    slope = np.divide(shared, spread, out=np.zeros_like(spread), where=spread > 1e-9)
    start = level - slope * centre
    residuals = start[:, None] + slope[:, None] * reached - y
    return start, slope, (weights * residuals**2).sum(axis=1)


def _best(x: Floats, y: Floats, starts: list[Floats], loss: str = "linear", scale: float = 1.0) -> Floats:
    """The minimum of least cost that is found from ``starts``."""
    found = [_refined(x, y, start, loss, scale) for start in starts]
    best: Floats = min(found, key=lambda one: float(one.cost)).x
    return best


def _refined(x: Floats, y: Floats, start: Floats, loss: str, scale: float) -> Any:
    from scipy.optimize import least_squares

    tested = x[np.isfinite(x)]
    # Responses are scaled to 0..1: a plateau lies at most as far beyond them as they are apart.
    lower = np.array([tested.min() - BEYOND, HILL_LIMITS[0], -1.0, -1.0])
    upper = np.array([tested.max() + BEYOND, HILL_LIMITS[1], 2.0, 2.0])
    return least_squares(
        _residuals,
        np.clip(start, lower + 1e-6, upper - 1e-6),
        _jacobian,
        (lower, upper),
        loss=loss,
        f_scale=scale,
        args=(x, y),
        max_nfev=100,
        xtol=1e-10,
        ftol=1e-10,
        gtol=1e-10,
    )


def _inverse(jacobian: Floats) -> Floats:
    """Of the curvature at the minimum; NaN if a parameter changes nothing there."""
    size = np.sqrt(np.square(jacobian).sum(axis=0))
    unknown = np.full((PARAMETERS, PARAMETERS), np.nan)
    if (size < 1e-9).any():
        return unknown
    scaled = jacobian / size
    curvature = scaled.T @ scaled
    if np.linalg.cond(curvature) > 1e12:
        return unknown
    inverse: Floats = np.linalg.inv(curvature) / np.outer(size, size)
    return inverse
