"""Dose-response curves: a four-parameter logistic per compound and feature.

    y = bottom + (top - bottom) / (1 + (EC50 / dose) ** hill)

``bottom`` is always below ``top``. The Hill slope is above 0 where the response rises with the dose and below 0
where it falls; the EC50 is the dose half way between bottom and top either way, so that it is the IC50 of an inhibitor.

Confidence intervals are those of the linear approximation at the minimum (Student's t with n - 4 degrees of freedom),
taken in log10(EC50), in which it holds best, so that on the scale of the doses they are not symmetric. Profiles of
the sum of squares would cost twenty fits each for nearly the same where a curve is well determined; where it is not,
neither is a number to rely on, and ``status`` says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hcs_steps.statistics._logistic import PARAMETERS, Fit, fit_logistic, fraction, logistic
from hcs_steps.statistics._robust import Floats

LOSSES = ("linear", "soft_l1")
LEAST_DOSES = 4
PLATEAU = 0.8
"""A curve has levelled off where it has come so far towards its limit."""

SLOPE = (0.05, 0.95)
"""A dose at which the curve has come so far tells where it lies."""

CONFIDENCE = 0.95
FLAT = 0.01
"""A curve must be better than a constant at this level of the F test; of responses that are noise, one in a hundred
or less is (simulated)."""


@dataclass(frozen=True)
class DoseResponse:
    """A fitted curve. Doses are in the unit that was given; intervals are of 95 per cent.

    Attributes
    ----------
    n_wells, n_doses
        Wells that were used, and distinct doses above 0 among them.
    ec50, ec50_low, ec50_high, hill, hill_low, hill_high, bottom, top
        The curve. A flat one has its mean as bottom and top and NaN for the rest; a failed one has only NaN. The limits
        of the intervals are NaN if the EC50 lies outside the doses or its interval would be wider than their range.
    r2
        Share of the sum of squares around the mean that the curve explains; 0 for a flat one.
    status
        ``ok``; ``flat``: no better than a constant; ``incomplete``: the doses do not show enough of the curve, so that
        its numbers are a guess; ``failed``: no fit.
    message
        Why, in a sentence; '' if ok.
    """

    n_wells: int
    n_doses: int
    ec50: float = math.nan
    ec50_low: float = math.nan
    ec50_high: float = math.nan
    hill: float = math.nan
    hill_low: float = math.nan
    hill_high: float = math.nan
    bottom: float = math.nan
    top: float = math.nan
    r2: float = math.nan
    status: str = "failed"
    message: str = ""

    def predict(self, dose: ArrayLike) -> Floats:
        """The curve at ``dose``; NaN if it failed."""
        if math.isnan(self.ec50):
            return np.full(np.shape(dose), self.bottom)
        return logistic(dose, self.bottom, self.top, self.ec50, self.hill)


def fit_dose_response(concentration: ArrayLike, response: ArrayLike, loss: str = "linear") -> DoseResponse:
    """Fit a four-parameter logistic curve to the responses of one compound.

    Parameters
    ----------
    concentration
        (wells,) doses from 0 up, in any unit, replicates and uneven steps included; wells without compound are 0.
    response
        (wells,) one value per well. Wells whose dose or response is not finite are left out.
    loss
        ``linear``: least squares. ``soft_l1``: a stray well counts with the size of its deviation, not the square;
        intervals and the test for a flat curve are approximate (of responses that are noise, some 6 in a hundred
        pass it, simulated).

    Returns
    -------
    DoseResponse

    Raises
    ------
    ValueError
        If the lengths differ or ``loss`` is not known.
    """
    dose, value = (np.asarray(column, dtype=np.float64) for column in (concentration, response))
    if dose.ndim != 1 or dose.shape != value.shape:
        raise ValueError(
            f"concentration and response must have one value per well, but have {dose.shape}, {value.shape}."
        )
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, but is {loss!r}.")
    there = np.isfinite(dose) & np.isfinite(value)
    dose, value = dose[there], value[there]
    tested = np.unique(dose[dose > 0])
    shape = (len(dose), len(tested))
    impossible = _why_no_fit(dose, tested)
    if impossible:
        return DoseResponse(*shape, message=impossible)
    if np.ptp(value) <= 1e-12 * np.abs(value).max():
        return _flat(shape, float(value.mean()), "All responses are equal.")
    fit = fit_logistic(dose, value, loss)
    if fit.p > FLAT:
        why = f"The curve is no better than a constant (F test, p = {fit.p:.2g})."
        return _flat(shape, fit.mean, why)
    return _curve(shape, fit, dose, tested)


def _why_no_fit(dose: Floats, tested: Floats) -> str:
    if not len(dose):
        return "No well has both a dose and a value."
    if (dose < 0).any():
        return "Some doses are below 0: give concentrations, not their logarithms."
    if len(tested) < LEAST_DOSES:
        return f"Only {len(tested)} different doses above 0 have values; a curve needs {LEAST_DOSES}."
    if len(dose) <= PARAMETERS:
        return f"Only {len(dose)} wells have values; a curve of {PARAMETERS} parameters needs more."
    return ""


def _flat(shape: tuple[int, int], mean: float, why: str) -> DoseResponse:
    return DoseResponse(*shape, bottom=mean, top=mean, r2=0.0, status="flat", message=why)


def _curve(shape: tuple[int, int], fit: Fit, dose: Floats, tested: Floats) -> DoseResponse:
    from scipy.special import stdtrit

    log_ec50, hill, start, end = (float(value) for value in fit.parameters)
    quantile = float(stdtrit(len(dose) - PARAMETERS, (1 + CONFIDENCE) / 2))
    margin = quantile * np.sqrt(np.diag(fit.covariance))
    message = _why_incomplete(fit, margin[0], dose, tested)
    direction = 1 if end >= start else -1
    lowest, highest = math.log10(tested[0]), math.log10(tested[-1])
    # Outside the doses the curve is an extrapolation, whose error the fit does not know.
    if not (lowest <= log_ec50 <= highest and 2 * margin[0] <= highest - lowest):
        margin = np.full(PARAMETERS, np.nan)
    slopes = sorted(direction * (hill + side * float(margin[1])) for side in (-1, 1))
    return DoseResponse(
        *shape,
        ec50=10**log_ec50,
        ec50_low=10 ** (log_ec50 - float(margin[0])),
        ec50_high=10 ** (log_ec50 + float(margin[0])),
        hill=direction * hill,
        hill_low=slopes[0],
        hill_high=slopes[1],
        bottom=min(start, end),
        top=max(start, end),
        r2=1 - fit.residual / fit.total,
        status="incomplete" if message else "ok",
        message=message,
    )


def _why_incomplete(fit: Fit, margin: float, dose: Floats, tested: Floats) -> str:
    """What of the curve the doses do not show; '' if they show enough. ``margin``: half the interval of log10(EC50)."""
    log_ec50, hill = fit.parameters[:2]
    lowest, highest = np.log10(tested[[0, -1]])
    if log_ec50 > highest:
        return f"The EC50 lies above the highest dose, {tested[-1]:g}."
    if log_ec50 < lowest:
        return f"The EC50 lies below the lowest dose, {tested[0]:g}."
    if fraction(highest, log_ec50, hill) < PLATEAU:
        return f"The curve has not levelled off at the highest dose, {tested[-1]:g}."
    if (dose > 0).all() and fraction(lowest, log_ec50, hill) > 1 - PLATEAU:
        return f"The curve has not levelled off at the lowest dose, {tested[0]:g}, and no wells are without compound."
    if 2 * margin <= highest - lowest:
        return ""
    reached = fraction(np.log10(tested), log_ec50, hill)
    if ((reached < SLOPE[0]) | (reached > SLOPE[1])).all():
        below, above = tested[reached < 0.5][-1], tested[reached > 0.5][0]
        return f"No dose lies on the slope: the EC50 is somewhere between {below:g} and {above:g}."
    return "The wells scatter too much: the interval of the EC50 is wider than the range of the doses."
