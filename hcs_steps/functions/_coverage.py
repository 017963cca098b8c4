"""Pixels of a plane that show nothing: NaN, and what no tile of a mosaic covers."""

from __future__ import annotations

from typing import Any

import numpy as np

from hcs_steps.arrays import namespace, ndimage_of

RUN = 65
"""Zeros in a straight row of so many px, or of an eighth of the plane, are a gap between tiles or beside them, ..."""

LEAST_RUN = 33
"""... if they are at least so many, ..."""

RAGGED = 1e-3
"""... what they leave is made of rectangles but for this part of it, ..."""

LEAST_COVERED = 0.5
"""... and is at least this part of the plane."""

FILL_PERCENTILE = 1.0
"""Pixels that show nothing get this percentile of the others: background, even where cells are confluent."""


def _opened(mask: Any, height: int, width: int) -> Any:
    """Pixels of ``mask`` in rectangles of this odd size that it holds."""
    ndimage = ndimage_of(mask)
    values = mask.astype(np.uint8)
    for find in (ndimage.minimum_filter1d, ndimage.maximum_filter1d):
        for axis, size in enumerate((height, width)):
            if size > 1:
                values = find(values, size, axis=axis, mode="constant")
    return values > 0


def _gaps(plane: Any) -> Any | None:
    """What no tile covers of a mosaic, which is 0 there; None if there is no such thing."""
    zero = plane == 0
    run = min(RUN, max(LEAST_RUN, min(plane.shape) // 8)) | 1
    if int(zero.sum()) < run:
        return None
    gaps = _opened(zero, 1, run) | _opened(zero, run, 1)
    count = int(gaps.sum())
    shown = gaps.size - count
    if count == 0 or shown < LEAST_COVERED * gaps.size:
        return None
    # Between round objects zeros are the background of an image.
    square = (run // 2) | 1
    ragged = shown - int(_opened(~gaps, square, square).sum())
    return gaps if ragged <= RAGGED * shown else None


def covered(plane: Any) -> Any | None:
    """Which pixels of a (Y, X) plane show something, as a mask; None if all do.

    Those that are not finite do not, nor does what no tile of a mosaic covers: `assemble_stack` writes 0 there. Such
    gaps are straight strips and corners beside the tiles, other than dark pixels.
    """
    xp = namespace(plane)
    shown = None
    if plane.dtype.kind == "f":
        finite = xp.isfinite(plane)
        if not bool(finite.all()):
            shown = finite
    gaps = _gaps(plane)
    if gaps is None:
        return shown
    return ~gaps if shown is None else shown & ~gaps


def fill(plane: Any) -> tuple[Any, Any | None]:
    """A (Y, X) plane whose pixels that show nothing are background, and which ones do (`covered`)."""
    shown = covered(plane)
    if shown is None:
        return plane, None
    xp = namespace(plane)
    level = xp.percentile(plane[shown], FILL_PERCENTILE) if bool(shown.any()) else 0
    return xp.where(shown, plane, xp.asarray(level).astype(plane.dtype)), shown
