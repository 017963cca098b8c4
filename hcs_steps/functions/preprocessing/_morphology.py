"""Grey erosion and dilation by flat footprints whose radius hardly matters, as shifted minima of whole planes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import is_cupy, namespace

FOOTPRINTS = ("disk", "square", "octagon")
_STRIP_BYTES = 1 << 20

Combine = Callable[..., Any]


def half_widths(footprint: str, radius: int) -> NDArray[np.int64]:
    """Half the width of each of the 2 * radius + 1 rows of a footprint, centre pixel not counted.

    disk: pixels with dx^2 + dy^2 <= radius^2, as `skimage.morphology.disk`. square: side 2 * radius + 1.
    octagon: the square without corners of ``round(side / (2 + sqrt(2)))`` pixels, nearest to a regular
    octagon; as `skimage.morphology.octagon`.
    """
    offset = np.abs(np.arange(-radius, radius + 1))
    if footprint == "disk":
        widths = np.floor(np.sqrt(radius**2 - offset**2))
    elif footprint == "square":
        widths = np.full(2 * radius + 1, radius)
    else:
        widths = np.minimum(radius, 2 * radius - _corner(radius) - offset)
    return np.asarray(widths, dtype=np.int64)


def _corner(radius: int) -> int:
    return round((2 * radius + 1) / (2 + math.sqrt(2)))


def _run(line: Any, step: int, size: int, combine: Combine) -> Any:
    """``line[i]``, ``line[i + step]``, ... (``size`` terms) combined for every i, by doubling."""
    covered = 1
    while 2 * covered <= size:
        line = combine(line[: -covered * step], line[covered * step :])
        covered *= 2
    rest = (size - covered) * step
    return combine(line[:-rest], line[rest:]) if rest else line


def _diamond(line: Any, pitch: int, radius: int, combine: Combine) -> Any:
    """Combine over a diamond, abs(dx) + abs(dy) <= radius.

    Copies of a diamond of radius a, moved by b <= a to each of four sides, make up the diamond of radius a + b.
    """
    done = 0
    while done < radius:
        move = min(max(done, 1), radius - done)
        points = [move, move * pitch, move * pitch + 2 * move, 2 * move * pitch + move]
        if not done:
            points.append(pitch + 1)
        size = line.shape[0] - 2 * move * (pitch + 1)
        result = combine(line[points[0] : points[0] + size], line[points[1] : points[1] + size])
        for point in points[2:]:
            combine(result, line[point : point + size], out=result)
        line, done = result, done + move
    return line


def _disk(line: Any, pitch: int, radius: int, count: int, combine: Combine) -> Any:
    """Combine over the rows of a disk, narrow ones first, so that each width grows out of the one before."""
    widths = half_widths("disk", radius)[radius:]
    reach = line.shape[0] - 2 * radius
    level, covered, result = line, 1, None
    for width in np.unique(widths):
        chord = int(2 * width + 1)
        while 2 * covered <= chord:
            level = combine(level[:-covered], level[covered:])
            covered *= 2
        start, last = radius - int(width), radius + int(width) + 1 - covered
        rows = level[start : start + reach]
        if last > start:
            rows = combine(rows, level[last : last + reach])
        near, far = (int(rim) for rim in np.flatnonzero(widths == width)[[0, -1]])
        if near == 0:
            rows, shifts = _run(rows, pitch, 2 * far + 1, combine), [radius - far]
        else:
            rows, shifts = _run(rows, pitch, far - near + 1, combine), [radius - far, radius + near]
        for shift in shifts:
            part = rows[shift * pitch : shift * pitch + count]
            result = part.copy() if result is None else combine(result, part, out=result)
    return result


def extreme(plane: Any, footprint: str, radius: int, smallest: bool) -> Any:
    """Grey erosion (``smallest``) or dilation of a plane by a footprint; the plane is mirrored at its edges.

    Rows are laid end to end with a margin between them, so that moving the plane by any (dy, dx) is one offset
    into a line, and the minimum of a plane and its moved copy runs at the speed of memory. A run of n pixels takes
    log2(n) such steps: squares and octagons (square, then diamond) are built from runs alone; disks from the runs
    of their rows, each out of the longest power of two below it (E. Urbach and M. Wilkinson, IEEE Trans. Image
    Process. 17, 2008). The result is exact. NaN pixels are left out.
    """
    xp = namespace(plane)
    if np.dtype(plane.dtype).kind == "f":
        combine = xp.fmin if smallest else xp.fmax
    else:
        combine = xp.minimum if smallest else xp.maximum
    height, width = plane.shape
    padded = xp.pad(plane, radius, mode="symmetric")
    pitch = width + 2 * radius
    strip = height if is_cupy(plane) else max(64, radius, _STRIP_BYTES // (pitch * plane.dtype.itemsize))
    result = xp.empty(plane.shape, dtype=plane.dtype)
    for top in range(0, height, strip):
        rows = min(strip, height - top)
        line = padded[top : top + rows + 2 * radius].reshape(-1)
        count = rows * pitch - 2 * radius
        if footprint == "disk":
            found = _disk(line, pitch, radius, count, combine)
        else:
            corner = _corner(radius) if footprint == "octagon" else 0
            side = 2 * (radius - corner) + 1
            found = _run(_run(line, 1, side, combine), pitch, side, combine)
            found = _diamond(found, pitch, corner, combine)
        whole = (rows - 1) * pitch
        result[top : top + rows - 1] = found[:whole].reshape(rows - 1, pitch)[:, :width]
        result[top + rows - 1] = found[whole:]
    return result


def opening(plane: Any, footprint: str, radius: int) -> Any:
    """Grey opening of a plane: erosion, then dilation, see `extreme`."""
    return extreme(extreme(plane, footprint, radius, smallest=True), footprint, radius, smallest=False)
