"""How viewers show a channel or a label at first: colours and the range of grey values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from hcs_steps.storage.protocol import Image

_COLORS = (
    ("0000FF", ("dapi", "hoechst", "405", "dna", "nucle", "bfp", "alexa 350")),
    ("00FF00", ("gfp", "fitc", "488", "alexa488", "phalloidin", "actin")),
    ("FF0000", ("rfp", "tritc", "cy3", "561", "555", "568", "mcherry", "texas", "tubulin", "dsred")),
    ("FF00FF", ("cy5", "640", "647", "far red", "far-red", "mito")),
    ("FFFF00", ("yfp", "532", "514", "golgi")),
    ("00FFFF", ("cfp", "445")),
    ("FFFFFF", ("bright", "phase", "dic", "trans", "bf", "gray", "grey")),
)
_OTHER_COLORS = ("0000FF", "00FF00", "FF0000", "FF00FF", "FFFF00", "00FFFF", "FFFFFF")

LABEL_COLORS = (
    (240, 228, 66), (86, 180, 233), (0, 158, 115), (213, 94, 0),
    (204, 121, 167), (230, 159, 0), (0, 114, 178),
)  # fmt: skip
"""Okabe and Ito's palette, https://jfly.uni-koeln.de/color (2008), without its black.

Neighbours mostly have successive labels, so the order is that in which successive colours differ most, also to
those who do not see red or green.
"""

MOST_LABELS = 1000
"""Labels whose colour is written out. Every viewer reads the whole list of every field before it shows a pixel:
1,000 take 60 kB, the 50,000 of a mosaic would take megabytes. Labels beyond get the viewer's own colours."""

_WINDOW_SAMPLES = 1 << 18
_DENSE = 1 << 24
"""Largest label up to which a table of those seen is faster than sorting the pixels."""


def channel_color(name: str, index: int) -> str:
    """RRGGBB by the dye or laser line in a channel's name, else by its position."""
    lowered = name.lower()
    for color, words in _COLORS:
        if any(word in lowered for word in words):
            return color
    return _OTHER_COLORS[index % len(_OTHER_COLORS)]


def label_colors(planes: Iterable[Image]) -> list[dict[str, Any]]:
    """``colors`` of ``image-label`` for the `MOST_LABELS` smallest labels that occur, the background 0 left out.

    A label has the same colour in every image: that of its value in `LABEL_COLORS`, over and over.
    """
    values = np.unique(np.concatenate([_values(plane) for plane in planes]))
    return [
        {"label-value": int(value), "rgba": [*LABEL_COLORS[int(value) % len(LABEL_COLORS)], 255]}
        for value in values[values != 0][:MOST_LABELS]
    ]


def _values(plane: Image) -> Image:
    """The values that occur in a plane of integers, sorted; int64, or uint64 where those are stored."""
    wide = np.uint64 if plane.dtype == np.uint64 else np.int64
    if plane.min() < 0 or plane.max() > _DENSE:
        return np.unique(plane).astype(wide)
    seen = np.zeros(int(plane.max()) + 1, bool)
    seen[plane] = True
    return np.flatnonzero(seen).astype(wide)


def contrast_window(planes: Sequence[Image]) -> dict[str, float]:
    """Smallest and largest finite value, and the 1st and 99.8th percentile as the displayed range.

    Percentiles are those of some 300,000 pixels on a regular grid, so that the cost does not grow with the stack.
    Where they are equal (an empty image, or few bright pixels) the range ends at the largest value,
    or 1 above the only one: no viewer can show a range without width.
    """
    pixels = sum(plane.size for plane in planes)
    step = max(1, math.isqrt(pixels // _WINDOW_SAMPLES))
    low, high = map(list, zip(*map(_extremes, planes), strict=True))
    sample = np.concatenate([plane[::step, ::step].ravel() for plane in planes])
    if sample.dtype.kind == "f":
        sample = sample[np.isfinite(sample)]
    smallest, largest = min(low), max(high)
    if smallest > largest or not sample.size:
        return {"min": 0.0, "max": 1.0, "start": 0.0, "end": 1.0}
    # NumPy sorts 32 bits with vector instructions: several times faster than 16, or than partitioning.
    short = np.float32 if sample.dtype.kind == "f" else np.int32
    ordered = np.sort(sample.astype(short if sample.dtype.itemsize <= 2 else sample.dtype))
    start, end = (_percentile(ordered, share) for share in (0.01, 0.998))
    if end <= start:
        end = largest if largest > start else max(start + 1.0, math.nextafter(start, math.inf))
    return {"min": smallest, "max": largest, "start": start, "end": end}


def full_window(dtype: np.dtype[Any]) -> dict[str, float]:
    """The window of an image whose pixels are not there yet: all that its integers can be, or 0 to 1."""
    low, high = 0.0, 1.0
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        low, high = float(info.min), float(info.max)
    return {"min": low, "max": high, "start": low, "end": high}


def _extremes(plane: Image) -> tuple[float, float]:
    """Smallest and largest finite value, (inf, -inf) if there is none."""
    low, high = float(plane.min()), float(plane.max())
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    finite = plane[np.isfinite(plane)]
    return (float(finite.min()), float(finite.max())) if finite.size else (math.inf, -math.inf)


def _percentile(ordered: Image, share: float) -> float:
    """Linear between the two nearest of sorted values."""
    place = share * (ordered.size - 1)
    below = math.floor(place)
    above = min(below + 1, ordered.size - 1)
    a, b = float(ordered[below]), float(ordered[above])
    return a + (b - a) * (place - below)
