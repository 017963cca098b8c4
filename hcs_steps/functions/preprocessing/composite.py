"""One image from several channels: the weighted mean of a stack, and the picture of its channels in colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hcs_steps.arrays import namespace, round_saturate
from hcs_steps.functions._stacks import require_stack, row_blocks
from hcs_steps.functions.declare import Table, step_function
from hcs_steps.functions.preprocessing._percentiles import stack_percentiles

NAMED_COLORS = {
    "blue": "0000ff",
    "green": "00ff00",
    "red": "ff0000",
    "magenta": "ff00ff",
    "cyan": "00ffff",
    "yellow": "ffff00",
    "orange": "ff8000",
    "purple": "8000ff",
    "white": "ffffff",
    "gray": "ffffff",
    "grey": "ffffff",
}
"""Colours by name, RRGGBB, as microscopes name their displays: full primaries; grey is a channel shown in white."""

DEFAULT_COLORS = ("blue", "green", "red", "magenta", "yellow", "cyan")

Color = str | Sequence[float]
Range = tuple[float, float]
ByChannel = Mapping[Any, Any] | Sequence[Any]


def _per_plane(values: ByChannel, count: int, planes: Table | None, argument: str) -> list[Any]:
    """A sequence in the order of the planes, or what a mapping says by channel; None where it says nothing."""
    if not isinstance(values, Mapping):
        given = [values] if isinstance(values, str) else list(values)
        if len(given) != count:
            raise ValueError(
                f"There are {len(given)} {argument} for a stack of {count} planes. Give one per plane, or a "
                "mapping by channel."
            )
        return given
    if planes is None:
        raise ValueError(f"{argument} by channel need the plane table; without it, give one per plane.")
    columns = [np.asarray(planes[name]).tolist() for name in ("channel_name", "channel") if name in planes]
    names = [[str(name) for name in pair] for pair in zip(*columns, strict=True)]
    by_name = {str(key): value for key, value in values.items()}
    known = {name for pair in names for name in pair}
    if unknown := [key for key in by_name if key not in known]:
        channels = ", ".join(dict.fromkeys(pair[0] for pair in names))
        raise ValueError(f"{argument} name the channel {unknown[0]!r}, but the stack has: {channels}.")
    return [next((by_name[name] for name in pair if name in by_name), None) for pair in names]


def _shares(weights: ByChannel | None, count: int, planes: Table | None) -> list[float]:
    """Weight of each plane, with the sum 1."""
    if weights is None:
        return [1.0 / count] * count
    values = [float(weight or 0.0) for weight in _per_plane(weights, count, planes, "weights")]
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"create_composite weights must be finite and not negative, but are {values}.")
    total = sum(values)
    if not (total > 0 and math.isfinite(total)):
        raise ValueError(f"create_composite weights must have a positive, finite sum, but are {values}.")
    return [value / total for value in values]


def rgb_of(color: Color) -> tuple[float, float, float]:
    """Red, green and blue from 0 to 1 of a name, of ``#RRGGBB`` or ``#RGB``, or of three numbers.

    Three numbers are shares from 0 to 1, or from 0 to 255 if one of them is above 1.
    """
    if isinstance(color, str):
        digits = NAMED_COLORS.get(color.lower(), color.removeprefix("#"))
        if len(digits) == 3:
            digits = "".join(2 * digit for digit in digits)
        try:
            values = [byte / 255 for byte in bytes.fromhex(digits)]
        except ValueError:
            values = []
    else:
        values = [float(value) for value in color]
        if max(values, default=0) > 1:
            values = [value / 255 for value in values]
    if len(values) != 3 or not all(0 <= value <= 1 for value in values):
        raise ValueError(
            f"{color!r} is no colour. Allowed: {', '.join(NAMED_COLORS)}, '#RRGGBB', or three numbers (red, "
            "green, blue) from 0 to 1 or from 0 to 255."
        )
    red, green, blue = values
    return red, green, blue


def _window(plane: Any, given: Any, percentiles: Range) -> Range:
    """The intensities of a plane that are shown as black and as full colour."""
    low, high = stack_percentiles(plane[None], *percentiles) if given is None else map(float, given)
    if given is not None and not low < high:
        raise ValueError(f"A display range is (low, high) with low < high, but is ({low}, {high}).")
    return low, high


def rgb_composite(
    stack: Any,
    colors: ByChannel | None = None,
    display_ranges: ByChannel | None = None,
    low_percentile: float = 1.0,
    high_percentile: float = 99.8,
    planes: Table | None = None,
) -> Any:
    """The picture of a stack in colour: each plane stretched to its display range, tinted, and all added up.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy.
    colors
        For each plane in their order, or by channel name or number: a colour, see `rgb_of`. Planes without one
        (None, or not in the mapping) are left out. None: blue, green, red, magenta, yellow, cyan and again,
        and white for a single plane.
    display_ranges
        The same way: (low, high), the intensities shown as black and as full colour. None: from the percentiles
        of that plane.
    low_percentile, high_percentile
        0 <= low < high <= 100, over all pixels of a plane.
    planes
        The plane table, for mappings by channel.

    Returns
    -------
    (Y, X, 3) uint8, red, green, blue; sums beyond full colour are clipped. A plane without contrast, and a pixel
    that is NaN, are black.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), a colour, a range or the percentiles mean nothing, or there are not as many
        as planes, or a channel is not in the stack.
    """
    require_stack(stack, "rgb_composite")
    if not 0 <= low_percentile < high_percentile <= 100:
        raise ValueError(
            "rgb_composite needs 0 <= low_percentile < high_percentile <= 100, but got "
            f"{low_percentile} and {high_percentile}."
        )
    count, height, width = stack.shape
    if colors is None:
        colors = ["white"] if count == 1 else [DEFAULT_COLORS[i % len(DEFAULT_COLORS)] for i in range(count)]
    chosen = _per_plane(colors, count, planes, "colors")
    tints = [None if color is None else rgb_of(color) for color in chosen]
    windows = [None] * count
    if display_ranges is not None:
        windows = _per_plane(display_ranges, count, planes, "display_ranges")
    shown = [
        (plane, tint, *_window(plane, window, (low_percentile, high_percentile)))
        for plane, tint, window in zip(stack, tints, windows, strict=True)
        if tint
    ]
    xp = namespace(stack)
    result = xp.empty((height, width, 3), dtype=xp.uint8)
    for rows in row_blocks(height):
        light = xp.zeros((3, *result[rows].shape[:2]), dtype=xp.float32)
        for plane, tint, low, high in shown:
            if not high > low:
                continue
            bright = xp.clip((plane[rows].astype(xp.float64) - low) / (high - low), 0, 1)
            bright = xp.where(xp.isnan(bright), 0, bright).astype(xp.float32)
            for channel, share in zip(light, tint, strict=True):
                if share:
                    channel += share * bright
        result[rows] = xp.rint(255 * xp.minimum(light, 1)).astype(xp.uint8).transpose(1, 2, 0)
    return result


def _weighted_mean(stack: Any, shares: Sequence[float]) -> Any:
    xp = namespace(stack)
    result = xp.empty((1, *stack.shape[1:]), dtype=stack.dtype)
    for rows in row_blocks(stack.shape[1]):
        mean = xp.zeros(result[0, rows].shape, dtype=xp.float64)
        for plane, share in zip(stack, shares, strict=True):
            if share:
                mean += share * plane[rows].astype(xp.float64)
        result[0, rows] = round_saturate(mean, stack.dtype)
    return result


@step_function(
    optional_outputs={"rgb": "array"},
    reduces=True,
    memory=1.1,
    scratch=7.0,
    packages=(),
    devices=("cpu", "gpu"),
    stacks="channel",
)
def create_composite(
    stack: Any,
    weights: ByChannel | None = None,
    colors: ByChannel | None = None,
    display_ranges: ByChannel | None = None,
    low_percentile: float = 1.0,
    high_percentile: float = 99.8,
    planes: Table | None = None,
) -> Any:
    """Weighted mean over the planes of a stack, e.g. of the channels of a site, for analysis; in colour to look at.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy.
    weights
        For each plane in their order, or by channel name or number (channels not named weigh nothing): numbers,
        none negative, divided by their sum. None weighs all planes alike.
    colors
        A colour for each plane, or by channel name or number: the picture of `rgb_composite` comes back as well.
    display_ranges, low_percentile, high_percentile
        Of that picture, see `rgb_composite`.
    planes
        The plane table, for mappings by channel.

    Returns
    -------
    stack
        (1, Y, X) in the dtype of ``stack``: computed in float64, in the order of the planes; integers are rounded
        half to even and saturated. NaN where a plane with weight is NaN.
    rgb
        (Y, X, 3) uint8, only with ``colors``: red, green, blue. ``weights`` do not matter to it.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), the weights are not N finite non-negative numbers with a positive sum, a
        channel is not in the stack, or `rgb_composite` refuses its arguments.
    """
    require_stack(stack, "create_composite")
    shares = _shares(weights, stack.shape[0], planes)
    if colors is None:
        return _weighted_mean(stack, shares)
    picture = rgb_composite(stack, colors, display_ranges, low_percentile, high_percentile, planes)
    return _weighted_mean(stack, shares), picture
