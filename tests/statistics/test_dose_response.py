"""Dose-response fits: exact curves, published numbers, SciPy's covariance, coverage, and honest failures."""

import math

import numpy as np
import pytest
from scipy.optimize import curve_fit

from hcs_steps.statistics import fit_dose_response, logistic

DOSES = np.concatenate([np.zeros(3), np.repeat(np.logspace(-2, 2, 9), 2)])

# R package drc, data set "ryegrass" (Inderjit et al. 2002): root length over mM of ferulic acid.
RYEGRASS_DOSE = np.repeat([0, 0.94, 1.88, 3.75, 7.5, 15, 30], [6, 3, 3, 3, 3, 3, 3])
RYEGRASS_LENGTH = [
    *(7.58, 8.0, 8.328571, 7.25, 7.375, 7.9625, 8.355556, 6.914286, 7.75, 6.871429, 6.45, 5.922222),
    *(1.925, 2.885714, 4.233333, 1.1875, 0.857143, 1.057143, 0.6875, 0.525, 0.825, 0.25, 0.22, 0.44),
]


@pytest.mark.parametrize("hill", [0.7, 1.0, 3.0, -1.0, -2.5])
@pytest.mark.parametrize(("bottom", "top"), [(0, 1), (-3e-9, 5e-9), (1e6, 1.5e9)])
def test_a_curve_without_noise_is_found_exactly(hill, bottom, top):
    exact = bottom + (top - bottom) / (1 + (1.3 / np.maximum(DOSES, 1e-90)) ** hill)
    fit = fit_dose_response(DOSES, exact)
    assert (fit.ec50, fit.hill) == (pytest.approx(1.3, rel=1e-4), pytest.approx(hill, rel=1e-3))
    size = top - bottom
    assert (fit.bottom, fit.top) == (
        pytest.approx(bottom, abs=1e-3 * size),
        pytest.approx(top, abs=1e-3 * size),
    )
    assert fit.r2 == pytest.approx(1)
    assert fit.ec50_low <= fit.ec50 <= fit.ec50_high
    assert (fit.status, fit.message) == ("ok", "")
    assert (fit.n_wells, fit.n_doses) == (21, 9)


def test_the_published_curve_of_ryegrass_is_reproduced():
    fit = fit_dose_response(RYEGRASS_DOSE, RYEGRASS_LENGTH)
    assert -fit.hill == pytest.approx(2.98222, abs=1e-4)
    assert fit.bottom == pytest.approx(0.48141, abs=1e-4)
    assert fit.top == pytest.approx(7.79296, abs=1e-4)
    assert fit.ec50 == pytest.approx(3.05795, abs=1e-4)
    assert fit.status == "ok"


def test_intervals_are_those_of_the_covariance_that_scipy_gives():
    log_dose = np.log10(np.maximum(RYEGRASS_DOSE, 1e-9))

    def curve(x, log_ec50, hill, bottom, top):
        return bottom + (top - bottom) / (1 + 10 ** (hill * (log_ec50 - x)))

    best, covariance = curve_fit(curve, log_dose, RYEGRASS_LENGTH, [0.5, -3, 0.5, 8])
    margin = 2.085963 * np.sqrt(np.diag(covariance))  # Student's t, 97.5 per cent, 20 degrees of freedom
    fit = fit_dose_response(RYEGRASS_DOSE, RYEGRASS_LENGTH)
    assert fit.ec50_low == pytest.approx(10 ** (best[0] - margin[0]), rel=1e-3)
    assert fit.ec50_high == pytest.approx(10 ** (best[0] + margin[0]), rel=1e-3)
    assert fit.hill_low == pytest.approx(best[1] - margin[1], rel=1e-3)
    assert fit.hill_high == pytest.approx(best[1] + margin[1], rel=1e-3)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(4)
    truth = logistic(DOSES, 1, 5, 1.3, -1.2)
    fits = [fit_dose_response(DOSES, truth + rng.normal(0, 0.3, len(DOSES))) for _ in range(200)]
    assert all(fit.status == "ok" for fit in fits)
    assert 0.90 <= np.mean([fit.ec50_low <= 1.3 <= fit.ec50_high for fit in fits]) <= 0.99
    assert 0.90 <= np.mean([fit.hill_low <= -1.2 <= fit.hill_high for fit in fits]) <= 0.99


def test_noise_is_called_flat():
    rng = np.random.default_rng(5)
    fits = [fit_dose_response(DOSES, rng.normal(7, 1, len(DOSES))) for _ in range(200)]
    assert sum(fit.status != "flat" for fit in fits) <= 6
    flat = next(fit for fit in fits if fit.status == "flat")
    assert flat.bottom == flat.top == pytest.approx(7, abs=1)
    assert math.isnan(flat.ec50)
    assert flat.r2 == 0
    assert "no better than a constant" in flat.message
    assert flat.predict([0, 1]).tolist() == [flat.top] * 2


def test_equal_responses_are_flat():
    fit = fit_dose_response(DOSES, np.full(len(DOSES), 0.1))
    assert (fit.status, fit.message) == ("flat", "All responses are equal.")
    assert fit.bottom == fit.top == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("doses", "ec50", "hill", "message"),
    [
        (DOSES, 800, 1, "above the highest dose, 100"),
        (DOSES, 0.002, 1, "below the lowest dose, 0.01"),
        (DOSES, 50, 1, "not levelled off at the highest dose"),
        (DOSES[3:], 0.02, -1, "not levelled off at the lowest dose"),
        (DOSES, 1.7, 300, "No dose lies on the slope: the EC50 is somewhere between 1 and 3.16228."),
    ],
)
def test_a_curve_that_the_doses_do_not_show_is_incomplete_and_says_why(doses, ec50, hill, message):
    noise = np.random.default_rng(6).normal(0, 0.01, len(doses))
    with np.errstate(over="ignore", divide="ignore"):
        response = 1 / (1 + (ec50 / np.maximum(doses, 1e-9)) ** float(hill))
    fit = fit_dose_response(doses, response + noise)
    assert fit.status == "incomplete"
    assert message in fit.message
    assert fit.bottom < fit.top
    if "levelled" not in message:
        assert math.isnan(fit.ec50_low)
        assert math.isnan(fit.hill_high)


@pytest.mark.parametrize(
    ("doses", "responses", "message"),
    [
        ([], [], "No well"),
        ([1, 2, 3], [math.nan] * 3, "No well"),
        ([0, 0, 1, 1, 2, 2, 3], [1, 2, 3, 4, 5, 6, 7], "Only 3 different doses"),
        ([1, 2, 3, 4], [1, 2, 3, 4], "Only 4 wells"),
        ([-9, -8, -7, -6, -5], [1, 2, 3, 4, 5], "not their logarithms"),
    ],
)
def test_too_little_is_told_and_nothing_is_made_up(doses, responses, message):
    fit = fit_dose_response(doses, responses)
    assert fit.status == "failed"
    assert message in fit.message
    assert math.isnan(fit.ec50)
    assert math.isnan(fit.bottom)
    assert np.isnan(fit.predict([1.0])).all()


def test_missing_wells_are_left_out():
    response = logistic(DOSES, 1, 5, 1.3, 1.2)
    response[[4, 8]] = math.nan, math.inf
    doses = DOSES.copy()
    doses[10] = math.nan
    fit = fit_dose_response(doses, response)
    assert fit.n_wells == 18
    assert fit.ec50 == pytest.approx(1.3, rel=1e-4)


def test_six_decades_and_uneven_steps_are_fitted():
    doses = np.array([0, 1e-5, 3e-5, 2e-4, 1e-3, 1e-3, 4e-3, 0.05, 0.2, 1, 1, 10])
    fit = fit_dose_response(doses, logistic(doses, -2, 9, 2e-3, 0.9))
    assert fit.ec50 == pytest.approx(2e-3, rel=1e-3)
    assert fit.status == "ok"


def test_soft_loss_is_not_drawn_away_by_a_stray_well():
    rng = np.random.default_rng(7)
    response = logistic(DOSES, 1, 5, 1.3, 1.2) + rng.normal(0, 0.2, len(DOSES))
    response[10] = 15
    fit = fit_dose_response(DOSES, response, loss="soft_l1")
    assert fit.status == "ok"
    assert 0.8 < fit.ec50 < 2
    assert fit.top == pytest.approx(5, abs=0.4)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one value per well"):
        fit_dose_response([1, 2], [1])
    with pytest.raises(ValueError, match="linear, soft_l1"):
        fit_dose_response([1], [1], loss="huber")
