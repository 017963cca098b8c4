"""Dose-response curves of all compounds of a plate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hcs_steps.statistics._robust import Floats, Mask, names_column, well_mask, wells_by_features
from hcs_steps.statistics.dose_response import DoseResponse, fit_dose_response

Columns = dict[str, NDArray[Any]]

_MOLAR = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "pm": 1e-12, "fm": 1e-15}
_MICRO = str.maketrans("µμ", "uu")  # micro sign, Greek mu


def molar(unit: str) -> float:
    """Mol per litre in one of ``unit`` (``nM``, ``µM``, ``uM``, ``mM``, ``M``, ``pM``), NaN if that is none.

    >>> molar("uM")
    1e-06
    """
    return _MOLAR.get(unit.strip().translate(_MICRO).lower(), np.nan)


def fit_plate(
    compound: Sequence[Any] | NDArray[Any],
    concentration: ArrayLike,
    unit: str | Sequence[Any] | NDArray[Any],
    values: ArrayLike,
    features: Sequence[str],
    negative: ArrayLike,
    loss: str = "linear",
) -> Columns:
    """Fit a curve to each feature of each compound of a plate (`fit_dose_response`).

    The negative controls are the dose 0 of every compound. A compound that was tested at one dose only has no curve
    and no rows. Wells of a compound without a finite concentration are left out.

    Parameters
    ----------
    compound
        (wells,) names; '', None or NaN for none.
    concentration
        (wells,) numbers, NaN where none.
    unit
        Of all concentrations, or (wells,) of each. Doses of one compound in several molar units are converted to that
        which most of its wells have; other mixtures cannot be fitted, and ``message`` says so.
    values
        (wells, features): one value per well.
    features
        Names of the features, in the order of the columns of ``values``.
    negative
        (wells,) booleans: the negative controls.
    loss
        See `fit_dose_response`.

    Returns
    -------
    Columns with one row per compound (in alphabetical order) and feature (in the order given): ``compound``,
    ``feature``, ``unit`` and the attributes of `DoseResponse`.

    Raises
    ------
    ValueError
        If shapes do not fit or ``loss`` is not known.
    """
    table = wells_by_features(values, features)
    count = len(table)
    controls = well_mask(negative, count, "negative")
    names = _texts(compound, count, "compound")
    units = _texts([unit] * count if isinstance(unit, str) else unit, count, "unit")
    dose = np.array(concentration, dtype=np.float64)
    if dose.shape != (count,):
        raise ValueError(f"concentration must be one number for each of {count} wells, but is {dose.shape}.")
    rows: list[tuple[str, str, str, DoseResponse]] = []
    for name in sorted(set(names[~controls].tolist()) - {""}):
        series = _series(dose, units, (names == name) & ~controls & np.isfinite(dose))
        if series is None:
            continue
        wells = np.concatenate([series.wells, np.flatnonzero(controls)])
        doses = np.concatenate([series.dose, np.zeros(controls.sum())])
        for column, feature in enumerate(features):
            if series.problem:
                fitted = DoseResponse(0, 0, message=series.problem)
            else:
                fitted = fit_dose_response(doses, table[wells, column], loss)
            rows.append((name, feature, series.unit, fitted))
    return _columns(rows)


@dataclass(frozen=True)
class _Series:
    """Treated wells of a compound, their doses in one unit, and what keeps them from having one."""

    wells: NDArray[np.int64]
    dose: Floats
    unit: str
    problem: str = ""


def _series(dose: Floats, units: NDArray[Any], mask: Mask) -> _Series | None:
    """Of the wells of ``mask``; None if they hold less than two doses other than 0."""
    wells = np.flatnonzero(mask)
    doses, own = dose[wells], units[wells]
    # Nothing of a compound is nothing in any unit.
    dosed = doses != 0
    written = Counter(own[dosed].tolist())
    if len(set(zip(doses[dosed].tolist(), own[dosed].tolist(), strict=True))) < 2:
        return None
    unit = max(sorted(written), key=lambda name: written[name])
    if len(written) > 1:
        factors = {name: molar(name) / molar(unit) for name in written}
        if not np.isfinite(list(factors.values())).all():
            listed = ", ".join(repr(name) for name in sorted(written))
            problem = f"Its doses are in units that cannot be converted into each other: {listed}."
            return _Series(wells, doses, "", problem)
        doses = doses * [factors.get(name, 1.0) for name in own.tolist()]
        # 0.1 uM and 100 nM are one dose, whatever the last digit says.
        doses = np.array([float(f"{value:.9g}") for value in doses])
    return _Series(wells, doses, unit)


def _texts(column: Any, count: int, what: str) -> NDArray[Any]:
    """A column of a table as texts without space around them, '' for what is missing."""
    values = list(column)
    if len(values) != count:
        raise ValueError(f"{what} must be one for each of {count} wells, but there are {len(values)}.")
    # NaN is the one value that differs from itself.
    return names_column(["" if value is None or value != value else str(value).strip() for value in values])


def _columns(rows: Sequence[tuple[str, str, str, DoseResponse]]) -> Columns:
    columns = {
        "compound": names_column([row[0] for row in rows]),
        "feature": names_column([row[1] for row in rows]),
        "unit": names_column([row[2] for row in rows]),
    }
    types: dict[str, Any] = {"n_wells": np.int64, "n_doses": np.int64, "status": object, "message": object}
    for field in fields(DoseResponse):
        found = [getattr(row[3], field.name) for row in rows]
        columns[field.name] = np.array(found, dtype=types.get(field.name, np.float64))
    return columns
