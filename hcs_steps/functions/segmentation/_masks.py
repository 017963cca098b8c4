"""Connected regions of masks: filling holes, dropping small regions, in NumPy and CuPy."""

from __future__ import annotations

from typing import Any

from hcs_steps.arrays import namespace, ndimage_of


def label_regions(mask: Any) -> tuple[Any, int]:
    """Numbers 1..n of the 4-connected regions of a (Y, X) mask as int32, and n."""
    xp = namespace(mask)
    labels = xp.empty(mask.shape, dtype=xp.int32)
    count = ndimage_of(mask).label(mask, output=labels)
    return labels, int(count)


def _edges(plane: Any) -> Any:
    xp = namespace(plane)
    return xp.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])


def holes(mask: Any, max_area: float | None = None) -> tuple[Any, int]:
    """Numbers 1..n of the background regions that do not reach the plane's edge, of at most ``max_area`` px."""
    xp = namespace(mask)
    labels, count = label_regions(~mask)
    inner = xp.ones(count + 1, dtype=bool)
    inner[_edges(labels)] = False
    inner[0] = False
    if max_area is not None:
        inner &= xp.bincount(labels.ravel(), minlength=count + 1) <= max_area
    numbers = xp.cumsum(inner).astype(xp.int32) * inner
    return numbers.astype(xp.int32)[labels], int(inner.sum())


def fill_holes(mask: Any, max_area: float | None = None) -> Any:
    """``mask`` with its holes of at most ``max_area`` px (all, if None) filled; holes are 4-connected."""
    return mask | (holes(mask, max_area)[0] > 0)


def large_regions(mask: Any, min_area: float) -> tuple[Any, int]:
    """As `label_regions`, without the regions of less than ``min_area`` px."""
    xp = namespace(mask)
    labels, count = label_regions(mask)
    kept = xp.bincount(labels.ravel(), minlength=count + 1) >= min_area
    kept[0] = False
    numbers = (xp.cumsum(kept) * kept).astype(xp.int32)
    return numbers[labels], int(kept.sum())
