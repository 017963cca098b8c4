"""Image quality per plane: focus, saturation, and signal to background, cheap enough for every plane."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions._checks import require_numbers
from hcs_steps.functions._quality_numbers import (
    log_log_slope,
    saturation_numbers,
    signal_numbers,
    value_counts,
)
from hcs_steps.functions._stacks import choice, require_stack
from hcs_steps.functions.declare import step_function

Columns = dict[str, NDArray[Any]]

WINDOWS = ("none", "hann")


def _table(rows: list[dict[str, float]]) -> Columns:
    columns: Columns = {"plane": np.arange(len(rows))}
    for name in rows[0]:
        columns[f"ImageQuality_{name}"] = np.array([row[name] for row in rows], dtype=np.float64)
    return columns


def _require_bits(bit_depth: int | None) -> None:
    if bit_depth is not None and not (1 <= bit_depth <= 64 and int(bit_depth) == bit_depth):
        raise ValueError(f"bit_depth must be a whole number from 1 to 64, or None, but is {bit_depth}.")


@step_function(
    outputs={"focus_score": "table"},
    rows={"focus_score": "planes"},
    changes_image=False,
    memory=1.1,
    scratch=9.0,
    packages=(),
    devices=("cpu", "gpu"),
    planewise=True,
)
def focus_score(stack: Any, window: str | Enum = "none") -> tuple[Any, Columns]:
    """How sharp each plane is: the slope of its power spectrum in a log-log plot. The image passes through.

    The power of the plane without its mean is summed over rings of spatial frequency: ring k holds the
    frequencies from k - 1 up to k periods per plane, for k = 2 to floor(min(Y, X) / 8) - 1; the score is the slope
    of log(power) against log(k) by least squares. This is the number that CellProfiler calls
    PowerLogLogSlope (M.-A. Bray et al., J. Biomol. Screen. 17, 2012), which sums over the rings, so that it lies
    1 above the slope of the radial mean. White noise has a slope near 1, sharp cells near -1 to -2, and the
    blurrier a plane is the lower is its slope. It does not depend on brightness or gain; compare planes of one
    channel.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy.
    window
        ``none``: as CellProfiler does, whose only guard against edge effects is to stop at an eighth of the plane.
        Opposite edges that do not match add power along the axes; it keeps the score above -3 or so, so that
        blur beyond a standard deviation of about 8 px does not lower it any more. ``hann``: the plane fades out
        towards its edges, and strong blur is told apart as well; scores differ from CellProfiler's.

    Returns
    -------
    stack
        The object that was passed in.
    focus_score
        One row per plane: ``plane`` and ``ImageQuality_PowerLogLogSlope``; NaN for a constant plane, one with
        pixels that are not finite, or one less than 32 px high or wide.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X) or ``window`` is not known.
    """
    require_stack(stack, "focus_score")
    taper = choice(window, WINDOWS, "window")
    return stack, _table([{"PowerLogLogSlope": log_log_slope(plane, taper)} for plane in stack])


@step_function(
    outputs={"saturation": "table"},
    rows={"saturation": "planes"},
    changes_image=False,
    memory=1.1,
    scratch=8.0,
    packages=(),
    devices=("cpu", "gpu"),
    planewise=True,
)
def saturation(stack: Any, bit_depth: int | None = None) -> tuple[Any, Columns]:
    """How much of each plane is clipped: the part at the highest and the lowest value. The image passes through.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy.
    bit_depth
        Bits per pixel that the camera delivers: the limits are 0 and 2 ** bit_depth - 1. None: for integers the
        smallest of 8, 10, 12, 14, 16, 24 and 32 bits that holds the plane, so that 12-bit data in 16-bit files are
        clipped at 4095; data scaled to more bits (times 16, times 257) count in their own steps. The lower
        limit is 0, or the data type's if there are negative values. For floats, which have no limits, the plane's
        own extremes.

    Returns
    -------
    stack
        The object that was passed in.
    saturation
        One row per plane: ``plane``, ``ImageQuality_PercentMaximal`` and ``ImageQuality_PercentMinimal`` (percent of
        the pixels at or beyond a limit), ``ImageQuality_MaxIntensity``, ``ImageQuality_MinIntensity`` and
        ``ImageQuality_SaturationLevel``, the upper limit. Pixels that are not finite, and what no tile of a mosaic
        covers, are left out. CellProfiler's percentages use the plane's own extremes, which no plane lacks. NaN for
        a plane without finite pixels.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X) or ``bit_depth`` no whole number from 1 to 64.
    """
    require_stack(stack, "saturation")
    _require_bits(bit_depth)
    return stack, _table([saturation_numbers(*value_counts(plane), bit_depth) for plane in stack])


@step_function(
    outputs={"signal_to_background": "table"},
    rows={"signal_to_background": "planes"},
    changes_image=False,
    memory=1.1,
    scratch=8.0,
    packages=(),
    devices=("cpu", "gpu"),
    planewise=True,
)
def signal_to_background(stack: Any, dark: float = 0.0) -> tuple[Any, Columns]:
    """How far the signal rises above the background of each plane. The image passes through.

    The plane is parted by Otsu's threshold (IEEE Trans. SMC 9, 1979); the ratio is that of the medians of both
    parts. The brightest 0.1 % count as equally bright for the threshold, so that hot pixels and dust do not set
    it. A plane without objects has a ratio near 1.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy.
    dark
        Intensity without light, subtracted from both levels; a camera's offset lowers the ratio otherwise.

    Returns
    -------
    stack
        The object that was passed in.
    signal_to_background
        One row per plane: ``plane``, ``ImageQuality_SignalToBackground``, ``ImageQuality_SignalIntensity`` and
        ``ImageQuality_BackgroundIntensity``, both without ``dark``. Pixels that are not finite, and what no
        tile of a mosaic covers, are left out. The
        ratio is infinite over a background of 0 or less, and NaN if there is no signal either.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X) or ``dark`` is not finite.
    """
    require_stack(stack, "signal_to_background")
    require_numbers(dark=dark)
    return stack, _table([signal_numbers(*value_counts(plane), dark) for plane in stack])


@step_function(
    outputs={"image_quality": "table"},
    rows={"image_quality": "planes"},
    changes_image=False,
    memory=1.1,
    scratch=13.0,
    packages=(),
    devices=("cpu", "gpu"),
    planewise=True,
)
def image_quality(
    stack: Any, window: str | Enum = "none", bit_depth: int | None = None, dark: float = 0.0
) -> tuple[Any, Columns]:
    """Focus, saturation and signal to background of each plane in one table. The image passes through.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy.
    window
        See `focus_score`.
    bit_depth
        See `saturation`.
    dark
        See `signal_to_background`.

    Returns
    -------
    stack
        The object that was passed in.
    image_quality
        One row per plane with the columns of `focus_score`, `saturation` and `signal_to_background`.

    Raises
    ------
    ValueError
        As the three functions do.
    """
    require_stack(stack, "image_quality")
    taper = choice(window, WINDOWS, "window")
    _require_bits(bit_depth)
    require_numbers(dark=dark)
    rows = []
    for plane in stack:
        values, counts = value_counts(plane)
        row = {"PowerLogLogSlope": log_log_slope(plane, taper)}
        row |= saturation_numbers(values, counts, bit_depth)
        row |= signal_numbers(values, counts, dark)
        rows.append(row)
    return stack, _table(rows)
