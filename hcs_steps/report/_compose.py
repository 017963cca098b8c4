"""Planes into pictures: display windows, colour composites, outlines of labels, and their files.

All of it is for looking at: numbers come from the tables.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.storage.protocol import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Rgb = tuple[int, int, int]
Rgb8 = NDArray[np.uint8]

OUTLINES_ON_DARK: tuple[tuple[str, Rgb], ...] = (
    ("yellow", (240, 228, 66)),
    ("sky blue", (86, 180, 233)),
    ("orange", (230, 159, 0)),
    ("pink", (255, 150, 200)),
)
OUTLINES_ON_BRIGHT: tuple[tuple[str, Rgb], ...] = (
    ("vermilion", (213, 94, 0)),
    ("blue", (0, 114, 178)),
    ("green", (0, 130, 95)),
    ("purple", (140, 60, 120)),
)
"""One colour per label set, after Okabe and Ito's colour-blind-safe palette (jfly.uni-koeln.de/color, 2008)."""

MISSING: Rgb = (217, 217, 217)
FAILED: Rgb = (213, 94, 0)
QUALITY = 75
_METHOD = 2
"""WebP's effort: more takes three times as long for files 5 % smaller."""


def well_range(plane: Image) -> tuple[float, float] | None:
    """1st and 99.8th percentile of the finite pixels of a plane; None if it has none."""
    finite = plane[np.isfinite(plane)]
    if not finite.size:
        return None
    low, high = np.percentile(finite, (1.0, 99.8))
    return float(low), float(high)


def plate_window(ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """One display window from those of several wells: the median of the lower ends, and the 95th percentile of the
    upper ones, so that a few wells with bright dirt do not turn all others black.
    """
    if not ranges:
        return 0.0, 1.0
    lows, highs = np.array(ranges).T
    low = float(np.median(lows))
    high = float(np.percentile(highs, 95.0, method="higher"))
    return low, high if high > low else low + 1.0


def resized(plane: Image, size: tuple[int, int]) -> NDArray[np.float32]:
    """A plane at another (height, width), each pixel the mean of the area it covers; what is not finite is 0."""
    from PIL import Image as Pillow

    wide = np.nan_to_num(plane.astype(np.float32), copy=False, posinf=0.0, neginf=0.0)
    if wide.shape == size:
        return wide
    return np.asarray(Pillow.fromarray(wide).resize(size[::-1], Pillow.Resampling.BOX))


def composite(
    planes: Mapping[int, NDArray[np.float32]],
    windows: Mapping[int, tuple[float, float]],
    colors: Mapping[int, Rgb],
) -> Rgb8:
    """Channels of one shape, each in its window and colour, added up: (Y, X, 3), uint8."""
    total = np.zeros((3, *next(iter(planes.values())).shape), np.float32)
    for channel, plane in planes.items():
        low, high = windows[channel]
        shown = np.clip((plane - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
        for component, strength in zip(total, colors[channel], strict=True):
            if strength:
                component += shown * np.float32(strength)
    picture: Rgb8 = np.ascontiguousarray(np.moveaxis(np.clip(total + 0.5, 0, 255).astype(np.uint8), 0, -1))
    return picture


def outlines(labels: Image, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where the picture of that (height, width) shows a border of an object, or between two of them.

    Borders are found in the labels as they are and marked in the picture, so that a thin gap or border does not
    vanish with the resolution. One pixel per border: the upper left of the two that differ.
    """
    border = np.zeros(labels.shape, bool)
    border[:-1] |= labels[:-1] != labels[1:]
    border[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    rows, columns = np.nonzero(border)
    marked = np.zeros(size, bool)
    marked[rows * size[0] // labels.shape[0], columns * size[1] // labels.shape[1]] = True
    return marked


def coincide(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Share of the pixels of ``one`` that are in ``other`` or next to it; 0 if it has none."""
    near = np.pad(other, 1)
    near[1:] |= near[:-1].copy()
    near[:-1] |= near[1:].copy()
    near[:, 1:] |= near[:, :-1].copy()
    near[:, :-1] |= near[:, 1:].copy()
    return float((one & near[1:-1, 1:-1]).sum() / max(1, one.sum()))


def picture_file(picture: Rgb8) -> bytes:
    """A picture as lossy WebP; the same bytes for the same pixels."""
    from PIL import Image as Pillow

    return _saved(Pillow.fromarray(picture), "WEBP", quality=QUALITY, method=_METHOD)


def contour_file(indices: NDArray[np.uint8], colors: Sequence[Rgb]) -> bytes:
    """A PNG of ``indices`` into ``colors``, counted from 1; 0 is transparent."""
    from PIL import Image as Pillow

    picture = Pillow.fromarray(indices)
    picture.putpalette([0, 0, 0, *(value for color in colors for value in color)])
    return _saved(
        picture,
        "PNG",
        bits=1 if len(colors) == 1 else 2 if len(colors) < 4 else 4,
        transparency=0,
        compress_level=6,
    )


def _saved(picture: Picture, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
