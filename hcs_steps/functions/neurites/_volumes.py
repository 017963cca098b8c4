"""Which planes of a stack are analysed together, and how far apart their pixels lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions._checks import plane_column
from hcs_steps.functions.declare import Table

_GROUP = ("well", "site", "channel", "timepoint")


@dataclass(frozen=True)
class Volume:
    """Planes analysed together: a z stack, or one plane.

    Attributes
    ----------
    planes
        Their positions along axis 0 of the stack, in the order of z.
    pixel_size_um
        NaN if unknown; in a z stack also if the distance of the planes is unknown.
    spacing
        Size of a pixel along (z), y, x in widths of a pixel; (1, 1, 1) if unknown.
    """

    planes: NDArray[np.int64]
    pixel_size_um: float
    spacing: tuple[float, ...]


def length_in_pixels(
    length: float, length_um: float | None, name: str, planes: Table | None, count: int
) -> float:
    """``length``, or ``length_um`` by the pixel size of the stack. Raises ValueError if that is not known."""
    if length_um is None:
        return length
    sizes = plane_column(planes, "pixel_size_um", count)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise ValueError(
            f"{name}_um={length_um} needs the pixel size, which the plane table does not give. "
            "Give the length in pixels instead."
        )
    return float(length_um / np.median(sizes))


def volumes_of(
    count: int, planes: Table | None, three_dimensional: bool, z_spacing_um: float | None = None
) -> Iterator[Volume]:
    """The planes one by one, or grouped into z stacks by well, site, channel and timepoint.

    Without a plane table the whole stack is one z stack. The distance of the planes is ``z_spacing_um``, or
    the median distance of the ``z_um`` in the table.
    """
    sizes = plane_column(planes, "pixel_size_um", count)
    if not three_dimensional:
        for index in range(count):
            yield Volume(np.array([index]), float(sizes[index]), (1.0, 1.0))
        return
    heights = plane_column(planes, "z_um", count)
    order = plane_column(planes, "z_index", count)
    table = planes or {}
    group = np.zeros(count, dtype=np.int64)
    for name in _GROUP:
        if name in table:
            values, number = np.unique(np.asarray(table[name]), return_inverse=True)
            group = group * len(values) + number.ravel()
    for first in np.sort(np.unique(group, return_index=True)[1]):
        members = np.flatnonzero(group == group[first])
        members = members[np.argsort(order[members], kind="stable")]
        gaps = np.abs(np.diff(heights[members]))
        known = gaps[np.isfinite(gaps) & (gaps > 0)]
        gap = z_spacing_um or (float(np.median(known)) if known.size else np.nan)
        size = float(sizes[members[0]])
        ratio = gap / size if size > 0 else np.nan
        if np.isfinite(ratio):
            yield Volume(members, size, (ratio, 1.0, 1.0))
        else:
            yield Volume(members, size if len(members) == 1 else np.nan, (1.0, 1.0, 1.0))
