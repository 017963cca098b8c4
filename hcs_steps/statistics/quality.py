"""Quality flags of fields and wells: out of focus, clipped, debris, counts that do not fit.

A flag asks to look at a field, or to leave it out; it never changes a value. A plate is its own standard: what differs
is compared with what is typical on the plate, at the same z, and must differ both by more than the plate scatters and
by an amount that matters, so that neither a very even nor a very uneven plate is covered with flags. A treatment is no
artefact: where it can, a flag compares a field with others of its own well.

M.-A. Bray et al., J. Biomol. Screen. 17, 266, 2012, found the slope of the power spectrum and the percentage of
pixels at the maximum to be the measures that tell blur and bright artefacts best; the limits here are this module's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hcs_steps.statistics._flag_rules import (
    COUNT,
    Columns,
    FlagLimits,
    blurred,
    count_outlier,
    debris,
    few_objects,
    saturated,
)
from hcs_steps.statistics._robust import Mask, well_mask

DEFAULTS = FlagLimits()


def field_flags(
    columns: Columns,
    negative: ArrayLike | None = None,
    counts: Sequence[str] | None = None,
    limits: FlagLimits = DEFAULTS,
) -> dict[str, Mask]:
    """Which fields of a plate are suspect, and why.

    - ``QC_Blurred``: in some channel the slope of the power spectrum is far below that of the plate. A plate of which
      half is out of focus is not told, nor is a slight blur; a treatment that makes cells large, smooth or few
      can look like blur.
    - ``QC_Saturated``: in some channel too many pixels are clipped. Of float images, whose limit is not known, only
      the pixels at their own maximum count.
    - ``QC_Debris``: in some channel the brightest pixel outshines the cells far more than on the plate. The cells'
      brightness is the signal of the well (median of its fields), or that of the plate where this is brighter, so that
      neither bright nor dying cells count as debris; in a well of one or two fields, where debris may itself be the
      signal, only up to ``debris_ratio`` times that of the plate. It sees dust, fibres, precipitate and dye clumps much
      brighter than cells; also a hot pixel or a cosmic ray, a compound that makes cells fluoresce where a well has one
      field, and at times a dead cell that took up much dye. It cannot see what is dark or as bright as cells,
      nor what the camera clipped to their brightness.
    - ``QC_CountOutlier``: some count differs from that of the other fields of its well by far more than fields of
      wells do on this plate, and at least by ``count_ratio``. Needs 4 fields in the well.
    - ``QC_FewObjects``, of all fields of a well: all its counts are far below those of the negative controls (of all
      wells, if there are less than 4 control wells). What is few is not wrong (a toxic compound), but medians
      of few cells scatter. A count that is the same everywhere is not used, and counts of something the
      treatment removes (spots) do not flag a well with as many cells as others.

    Parameters
    ----------
    columns
        One row per field: ``Metadata_Well``, ``Metadata_Z`` and ``Metadata_Timepoint`` (if there are several),
        ``Count_*`` and ``ImageQuality_*`` with the channel's name behind it, as `image_quality` names them. Others are
        ignored.
    negative
        (fields,) booleans: fields of negative controls. None: not known.
    counts
        Which ``Count_`` columns to use. None: all.
    limits
        From where on a field is flagged.

    Returns
    -------
    One boolean column per flag that could be checked; what is missing for the others is told by `unchecked_flags`.
    A field without a value is not flagged.

    Raises
    ------
    ValueError
        If ``negative`` is not one boolean per field, or ``counts`` names a column that is not there.
    """
    found = _examined(columns, negative, counts, limits)
    return {name: flagged for name, flagged in found.items() if not isinstance(flagged, str)}


def unchecked_flags(columns: Columns, counts: Sequence[str] | None = None) -> dict[str, str]:
    """The flags that `field_flags` leaves out of these columns, and why, in a sentence."""
    found = _examined(columns, None, counts, DEFAULTS)
    return {name: why for name, why in found.items() if isinstance(why, str)}


def well_flags(
    wells: Sequence[Any] | NDArray[Any], flags: Mapping[str, Mask], above: float = 0.0
) -> dict[str, str]:
    """The flags of each well as a text, without ``QC_`` and separated by commas: ``Blurred,Debris``; '' for none.

    Parameters
    ----------
    wells
        (fields,) the well of each field.
    flags
        What `field_flags` returns.
    above
        A well has a flag if more than this share of its fields has it: 0 for any, 0.5 for most of them.
    """
    names, number = np.unique(np.asarray(wells).astype(str), return_inverse=True)
    size = np.bincount(number, minlength=len(names))
    found: list[list[str]] = [[] for _ in names]
    for flag, fields in flags.items():
        flagged = np.bincount(number, weights=fields, minlength=len(names))
        for well in np.flatnonzero(flagged > above * size):
            found[well].append(flag.removeprefix("QC_"))
    return {str(name): ",".join(some) for name, some in zip(names, found, strict=True)}


def _examined(
    columns: Columns, negative: ArrayLike | None, counts: Sequence[str] | None, limits: FlagLimits
) -> dict[str, Mask | str]:
    """Each flag's column, or why there is none."""
    fields = len(next(iter(columns.values()), ()))
    controls = None if negative is None else well_mask(negative, fields, "negative")
    used = [name for name in columns if name.startswith(COUNT)] if counts is None else list(counts)
    for name in used:
        if name not in columns:
            raise ValueError(f"There is no column {name!r} of counts.")
    return {
        "QC_Blurred": blurred(columns, fields, limits),
        "QC_Saturated": saturated(columns, fields, limits),
        "QC_Debris": debris(columns, fields, limits),
        "QC_CountOutlier": count_outlier(columns, used, limits),
        "QC_FewObjects": few_objects(columns, used, controls, limits),
    }
