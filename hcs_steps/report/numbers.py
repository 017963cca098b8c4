"""What follows from the profiles of a plate: normalised profiles, statistics of its controls, edges, dose responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.compile.plan import AnalysisPlan, Plan
from hcs_steps.plate.map_roles import value_text
from hcs_steps.report.profiles import CELLS, features_of, normalize
from hcs_steps.statistics import (
    control_statistics,
    edge_effects,
    fit_plate,
    plate_medians,
    wells_for_edges,
)

Columns = Mapping[str, NDArray[Any]]
Mask = NDArray[np.bool_]

LEAST_REFERENCES = 4
"""So many negative controls are a reference of their own; with fewer, ``normalize_to: auto`` means the plate."""

MOST_READOUTS = 4
"""So many features are fitted and shown first where the settings name none."""


NAMED = 8
"""So many features are named in a note."""

ALIKE = 0.95
"""Rank correlation above which two features are one readout."""


@dataclass(frozen=True)
class PlateNumbers:
    """Normalised profiles, the other tables by name, and what to know of them."""

    normalized: Columns
    tables: Mapping[str, Columns]
    notes: tuple[str, ...]


def plate_numbers(plan: Plan, profiles: Columns, *, first: bool = True) -> PlateNumbers:
    """All numbers of a plate from its wells' profiles; with ``first`` False the normalised profiles only."""
    analysis = plan.analysis
    negative, positive = (
        in_role(profiles, analysis, values) for values in (analysis.negative, analysis.positive)
    )
    normalized, notes = _normalized(profiles, analysis, negative)
    if not first:
        return PlateNumbers(normalized, {}, notes)
    features = features_of(profiles)
    values = (
        np.column_stack([profiles[name] for name in features]) if features else np.empty((len(negative), 0))
    )
    statistics = control_statistics(values, features, negative, positive)
    readouts = readouts_of(analysis, statistics, profiles)
    unknown = [name for name in analysis.readouts if not _named(name, features)]
    if unknown:
        others = (
            "" if named_readouts(analysis, profiles) else " The features with the highest Z' stand for them."
        )
        notes += (f"analysis.readouts names {', '.join(unknown)}, which no profile has.{others}",)
    tables: dict[str, Columns] = {
        "statistics": statistics if (negative.any() or positive.any()) else {},
        **_edges(plan, profiles, features, values, negative, positive),
        "dose_response": _doses(analysis, profiles, readouts, negative, positive),
    }
    return PlateNumbers(normalized, tables, notes)


def readouts_of(analysis: AnalysisPlan, statistics: Columns, profiles: Columns) -> list[str]:
    """The features that matter most: those that the settings name, else those that separate the controls best."""
    return named_readouts(analysis, profiles) or best_readouts(statistics, profiles)


def named_readouts(analysis: AnalysisPlan, profiles: Columns) -> list[str]:
    """The features that the settings name, of those that there are."""
    found = (feature for name in analysis.readouts for feature in _named(name, features_of(profiles)))
    return list(dict.fromkeys(found))


def _named(name: str, features: Sequence[str]) -> list[str]:
    """The features that a setting means: that of this name or of the table's column, else those of all channels."""
    for called in (name, f"{CELLS}{name}"):
        found = [called] if called in features else [f for f in features if f.startswith(f"{called}_")]
        if found:
            return found
    return []


def in_role(columns: Columns, analysis: AnalysisPlan, values: Sequence[str]) -> Mask:
    """Which rows are of wells whose role is one of ``values``; none without a plate map."""
    if not analysis.role or analysis.role not in columns:
        return np.zeros(len(columns["Metadata_Well"]), bool)
    return np.array([value_text(value) in values for value in columns[analysis.role].tolist()], bool)


def best_readouts(statistics: Columns, profiles: Columns) -> list[str]:
    """The features that separate the controls best, by Z', and that do not say the same; none without controls."""
    if not statistics:
        return []
    z = statistics["z_prime"]
    order = np.argsort(-np.where(np.isfinite(z), z, -np.inf), kind="stable")
    chosen: list[str] = []
    for name in (str(statistics["feature"][row]) for row in order if np.isfinite(z[row])):
        if len(chosen) < MOST_READOUTS and not any(_alike(profiles[name], profiles[c]) for c in chosen):
            chosen.append(name)
    return chosen


def _alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two features rank the wells (nearly) alike, one way or the other."""
    from scipy.stats import spearmanr

    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < 3 or np.ptp(one[known]) == 0 or np.ptp(other[known]) == 0:
        return False
    return abs(float(spearmanr(one[known], other[known]).statistic)) > ALIKE


def _normalized(profiles: Columns, analysis: AnalysisPlan, negative: Mask) -> tuple[Columns, tuple[str, ...]]:
    to_controls = analysis.normalize_to == "negative" or (
        analysis.normalize_to == "auto" and negative.sum() >= LEAST_REFERENCES
    )
    reference = negative if to_controls else np.ones(len(negative), bool)
    if not reference.any():
        return {}, ("Profiles are not normalised: the plate has no negative controls.",)
    found = normalize(profiles, reference)
    what = "negative controls" if to_controls else "wells of the plate"
    notes = [f"Profiles are normalised to {found.references} {what}."]
    if found.constant:
        named = ", ".join(found.constant[:NAMED]) + (" ..." if len(found.constant) > NAMED else "")
        notes.append(f"Features that do not vary among them have no robust z-score: {named}.")
    return found.columns, tuple(notes)


def _edges(
    plan: Plan, profiles: Columns, features: list[str], values: Any, negative: Mask, positive: Mask
) -> dict[str, Columns]:
    wells = profiles["Metadata_Well"].tolist()
    size = (plan.plate.rows, plan.plate.columns)
    used = wells_for_edges(wells, negative, positive, size)
    return {
        "edge_effects": edge_effects(values, features, wells, used, size),
        "plate_medians": plate_medians(values, features, wells, used, size),
    }


def _doses(
    analysis: AnalysisPlan, profiles: Columns, readouts: list[str], negative: Mask, positive: Mask
) -> Columns:
    """Fits of the readouts. A positive control without a dose of its own belongs to no dose series."""
    if not (analysis.compound and analysis.concentration and readouts):
        return {}
    units = profiles[analysis.unit].tolist() if analysis.unit else analysis.unit_name
    amounts = profiles[analysis.concentration].astype(np.float64)
    amounts[positive & (amounts == 0)] = np.nan
    values = np.column_stack([profiles[name] for name in readouts])
    return fit_plate(profiles[analysis.compound].tolist(), amounts, units, values, readouts, negative)
