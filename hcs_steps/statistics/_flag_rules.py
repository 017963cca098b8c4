"""The rule behind each quality flag; see `hcs_steps.statistics.quality.field_flags`.

Each takes the columns of a plate's fields and returns which fields it flags, or why it cannot tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.statistics._groups import group_means, group_medians, group_numbers, group_sizes
from hcs_steps.statistics._robust import Floats, Mask, finite_or_nan, mads, medians

Columns = Mapping[str, NDArray[Any]]
Numbers = NDArray[np.int64]

LEAST_FIELDS = 8
"""What is typical of a plate is known from so many fields (or wells) on; of less nothing is flagged."""

LEAST_SITES = 4
"""A count can be told to be the odd one out from so many fields of a well on."""

LEAST_TO_OUTVOTE = 3
"""So many fields of a well tell how bright its cells are even if there is debris in one of them."""

LEAST_CONTROLS = 4
"""Wells with few objects are compared with the negative controls if there are so many, else with all wells."""

_SLOPE, _PERCENT = "ImageQuality_PowerLogLogSlope", "ImageQuality_PercentMaximal"
_MAXIMUM, _SIGNAL = "ImageQuality_MaxIntensity", "ImageQuality_SignalIntensity"
_BACKGROUND = "ImageQuality_BackgroundIntensity"
COUNT = "Count_"
_WELL, _Z, _TIME = "Metadata_Well", "Metadata_Z", "Metadata_Timepoint"


@dataclass(frozen=True)
class FlagLimits:
    """From where on a field is flagged.

    Attributes
    ----------
    scatter
        How far from typical in units of the plate's scatter (1.4826 MAD); for all flags but QC_Saturated.
    blur_gap
        How far below the typical slope of the power spectrum: 0.5 is what a blur of 1.5 to 2 px does to sharp cells.
    saturated_percent
        Percentage of clipped pixels: 1 is the area of several cells.
    debris_ratio
        How many times as bright as on other fields the brightest pixel is, compared with the cells.
    count_ratio
        How many times the other fields' count, or what part of it, a field's count is.
    few_share
        What share of the typical number of objects a well has.
    """

    scatter: float = 5.0
    blur_gap: float = 0.5
    saturated_percent: float = 1.0
    debris_ratio: float = 4.0
    count_ratio: float = 2.0
    few_share: float = 0.25


def _channels(columns: Columns, measure: str) -> list[str]:
    """What stands behind ``measure`` in the names of columns: '' or an underscore and the channel's name."""
    behind = [name.removeprefix(measure) for name in columns if name.startswith(measure)]
    return [name for name in behind if not name or name.startswith("_")]


def _missing(*measures: str) -> str:
    return f"There is no column {', '.join(measures)}: measure image_quality in the pipeline."


def _too_few(fields: int) -> str:
    return f"What is typical is known from {LEAST_FIELDS} fields on; here: {fields}."


def blurred(columns: Columns, fields: int, limits: FlagLimits) -> Mask | str:
    channels = _channels(columns, _SLOPE)
    if not channels:
        return _missing(_SLOPE)
    if fields < LEAST_FIELDS:
        return _too_few(fields)
    plane = group_numbers(columns, [_Z], fields)
    flagged = np.zeros(fields, dtype=bool)
    for channel in channels:
        flagged |= _outlying(
            -finite_or_nan(columns[_SLOPE + channel]), plane, limits.scatter, limits.blur_gap
        )
    return flagged


def saturated(columns: Columns, fields: int, limits: FlagLimits) -> Mask | str:
    channels = _channels(columns, _PERCENT)
    if not channels:
        return _missing(_PERCENT)
    flagged = np.zeros(fields, dtype=bool)
    for channel in channels:
        flagged |= finite_or_nan(columns[_PERCENT + channel]) > limits.saturated_percent
    return flagged


def debris(columns: Columns, fields: int, limits: FlagLimits) -> Mask | str:
    measures = (_MAXIMUM, _SIGNAL, _BACKGROUND)
    channels = [
        name for name in _channels(columns, _MAXIMUM) if all(some + name in columns for some in measures)
    ]
    if not channels:
        return _missing(*measures)
    if fields < LEAST_FIELDS:
        return _too_few(fields)
    plane, well = (group_numbers(columns, names, fields) for names in ([_Z], [_WELL, _Z, _TIME]))
    flagged = np.zeros(fields, dtype=bool)
    for channel in channels:
        maximum, signal, background = (finite_or_nan(columns[some + channel]) for some in measures)
        background = group_medians(background, well)
        cells = group_medians(signal, well) - background
        typical = group_medians(signal - background, plane)
        # The median of one field or two may itself be that of debris.
        alone = group_sizes(signal, well) < LEAST_TO_OUTVOTE
        cells = np.where(alone, np.fmin(cells, limits.debris_ratio * typical), cells)
        with np.errstate(divide="ignore", invalid="ignore"):
            excess = finite_or_nan(np.log2((maximum - background) / np.fmax(cells, typical)))
        flagged |= _outlying(excess, plane, limits.scatter, float(np.log2(limits.debris_ratio)))
    return flagged


def count_outlier(columns: Columns, used: Sequence[str], limits: FlagLimits) -> Mask | str:
    if not used or _WELL not in columns:
        return _no_counts()
    fields = len(columns[_WELL])
    well = group_numbers(columns, [_WELL, _Z, _TIME], fields)
    flagged = np.zeros(fields, dtype=bool)
    enough = False
    for name in used:
        count = finite_or_nan(columns[name])
        comparable = group_sizes(count, well) >= LEAST_SITES
        enough |= bool(comparable.any())
        typical = group_medians(count, well)
        # Twice the root of a Poisson count scatters by 1, whatever the count.
        deviation = np.where(comparable, 2 * (np.sqrt(count) - np.sqrt(typical)), np.nan)
        spread = max(float(np.nan_to_num(mads(deviation[:, None])[0])), 1.0)
        ratio = (count > limits.count_ratio * typical) | (count * limits.count_ratio < typical)
        flagged |= (np.abs(deviation) > limits.scatter * spread) & ratio
    if not enough:
        return f"No well has {LEAST_SITES} fields that could be compared with each other."
    return flagged


def few_objects(
    columns: Columns, used: Sequence[str], controls: Mask | None, limits: FlagLimits
) -> Mask | str:
    if not used or _WELL not in columns:
        return _no_counts()
    fields = len(columns[_WELL])
    wells = len(np.unique(np.asarray(columns[_WELL]).astype(str)))
    if wells < LEAST_FIELDS:
        return f"What is typical is known from {LEAST_FIELDS} wells on; here: {wells}."
    plane, well = (group_numbers(columns, names, fields) for names in ([_Z, _TIME], [_WELL, _Z, _TIME]))
    informative = [name for name in used if np.ptp(np.nan_to_num(finite_or_nan(columns[name]))) > 0]
    flagged = np.full(fields, bool(informative))
    _, first = np.unique(well, return_index=True)
    for name in informative:
        mean = group_means(finite_or_nan(columns[name]), well)
        for number in np.unique(plane):
            here = plane == number
            # One field stands for its well, so that wells count alike whatever their numbers of fields.
            one = np.intersect1d(first, np.flatnonzero(here))
            flagged[here] &= _few(mean, one, controls, limits)[here]
    return flagged


def _few(mean: Floats, wells: Numbers, controls: Mask | None, limits: FlagLimits) -> Mask:
    """Where the mean count is few, compared with those of ``wells`` or of the controls among them."""
    known = wells[np.isfinite(mean[wells])]
    if controls is not None and controls[known].sum() >= LEAST_CONTROLS:
        known = known[controls[known]]
    elif len(known) < LEAST_FIELDS:
        return np.zeros(len(mean), dtype=bool)
    log = np.log(mean + 0.5)
    typical = float(np.median(mean[known]))
    spread = max(float(mads(log[known, None])[0]), (typical + 0.5) ** -0.5)
    few: Mask = (log < np.log(typical + 0.5) - limits.scatter * spread) & (mean < limits.few_share * typical)
    return few


def _no_counts() -> str:
    return "There is no column Count_ of any objects, or no Metadata_Well: segment and measure objects in the pipeline."


def _outlying(values: Floats, group: Numbers, scatter: float, gap: float) -> Mask:
    """Which values lie above the median of their group by more than its scatter allows, and by more than ``gap``."""
    flagged = np.zeros(len(values), dtype=bool)
    for number in np.unique(group):
        here = group == number
        some = values[here][:, None]
        if np.isfinite(some).sum() >= LEAST_FIELDS:
            limit = np.maximum(scatter * mads(some), gap)
            flagged[here] = (some > medians(some) + limit)[:, 0]
    return flagged
