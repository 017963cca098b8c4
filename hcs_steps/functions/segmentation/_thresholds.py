"""Intensity thresholds of a plane with bright objects, for the whole plane or tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEPARATION = 4.0
"""Least distance between the means of Otsu's two classes, in standard deviations of the lower class. Gaussian
noise gives 2.65, a linear gradient 3.5, whatever their amplitude; planes with nuclei give 4.7 to 28."""

FLOOR_SPREADS = 4.0
"""The foreground starts at least this many robust standard deviations above the background's median."""

SPARSE_SPREADS = 8.0
"""The same where Otsu's classes do not separate, because the objects are too few to make a class."""

MIN_TILE = 16.0
"""Smallest side of a tile in px; fewer pixels fall into two classes by chance."""

LOCAL_RANGE = (0.5, 2.0)
"""Limits of a tile's threshold above background, as parts of the whole plane's."""

Image = NDArray[np.float32]


@dataclass(frozen=True)
class ThresholdOptions:
    """Parameters of `find_level`; see `hcs_steps.functions.segmentation.nuclei.segment_nuclei`."""

    method: str = "otsu"
    value: float | None = None
    correction: float = 1.0
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Level:
    """What lies above ``floor`` is foreground; ``background`` is the intensity beside it.

    Both are numbers, or planes where the threshold is local. ``separate``: the plane has two classes of pixels.
    ``exact``: the floor was given by the user and is not to be refined.
    """

    background: Any
    floor: Any
    separate: bool = True
    exact: bool = False


def spread(values: NDArray[Any], centre: float) -> float:
    """Standard deviation of a normal distribution with the median absolute deviation of ``values``."""
    return float(1.4826 * np.median(np.abs(values - np.float32(centre))))


def _automatic(smooth: Image, method: str) -> Level:
    """The level of pixels that are given as one array of any shape."""
    from skimage.filters import threshold_li, threshold_otsu, threshold_triangle

    if smooth.max() <= smooth.min():
        return Level(float(smooth.max()), np.inf, separate=False)
    otsu = float(threshold_otsu(smooth))
    low = smooth[smooth <= otsu]
    high_mean = float(smooth[smooth > otsu].mean(dtype=np.float64))
    if high_mean - low.mean(dtype=np.float64) < SEPARATION * low.std(dtype=np.float64):
        middle = float(np.median(smooth))
        noise = spread(smooth, middle)
        return Level(middle, middle + SPARSE_SPREADS * noise if noise > 0 else np.inf, separate=False)
    background = float(np.median(low))
    if method != "otsu":
        find = threshold_li if method == "li" else threshold_triangle
        floor = float(find(smooth))
        return Level(float(np.median(smooth[smooth <= floor])), floor)
    # Nuclei differ in brightness by a factor of ten: on the square root, bright ones do not hide dim ones.
    root = np.sqrt(np.maximum(smooth - np.float32(background), 0))
    floor = background + float(threshold_otsu(root)) ** 2
    rest = smooth[smooth <= floor]
    background = float(np.median(rest))
    return Level(background, min(otsu, max(floor, background + FLOOR_SPREADS * spread(rest, background))))


def _between_centres(size: int, count: int) -> NDArray[np.float32]:
    """(size, count) weights which interpolate linearly between the centres of ``count`` equal tiles."""
    place = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
    weights: NDArray[np.float32] = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(count))).astype(
        np.float32
    )
    return weights


def _nearest_known(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cells that are NaN become the value of the nearest cell that is not."""
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(np.isnan(grid), return_distances=False, return_indices=True)
    known: NDArray[np.float64] = grid[tuple(nearest)]
    return known


def _by_tiles(smooth: Image, method: str, window: float, whole: Level) -> Level:
    """Levels of tiles of about ``window`` px, interpolated linearly between their centres.

    Tiles without two classes take the level of their neighbours. The height of the floor above the background
    stays within `LOCAL_RANGE` of the whole plane's. If that has no two classes, half of the tiles must have them.
    """
    window = max(window, MIN_TILE)
    counts = [max(1, round(size / window)) for size in smooth.shape]
    borders = [
        np.linspace(0, size, count + 1).round().astype(int)
        for size, count in zip(smooth.shape, counts, strict=True)
    ]
    base, height = np.full(counts, np.nan), np.full(counts, np.nan)
    for row, column in np.ndindex(*counts):
        top, left = borders[0][row], borders[1][column]
        level = _automatic(smooth[top : borders[0][row + 1], left : borders[1][column + 1]], method)
        if level.separate:
            base[row, column], height[row, column] = level.background, level.floor - level.background
    known = np.count_nonzero(np.isfinite(height))
    if known == 0 or not (whole.separate or known >= height.size / 2):
        return whole
    height = _nearest_known(height)
    if whole.separate:
        height = np.clip(height, *(part * (whole.floor - whole.background) for part in LOCAL_RANGE))
    rows, columns = (_between_centres(size, count) for size, count in zip(smooth.shape, counts, strict=True))
    background, rise = (rows @ grid.astype(np.float32) @ columns.T for grid in (_nearest_known(base), height))
    return Level(background, background + rise)


def find_level(smooth: Image, options: ThresholdOptions, window: float | None = None) -> Level:
    """The level of a smoothed (Y, X) plane as a whole, or in tiles of about ``window`` px."""
    if options.method == "manual":
        assert options.value is not None
        low = smooth[smooth <= options.value]
        return Level(float(np.median(low)) if low.size else options.value - 1, options.value, exact=True)
    level = _automatic(smooth, options.method)
    if window is not None:
        level = _by_tiles(smooth, options.method, window, level)
    floor = level.background + options.correction * (level.floor - level.background)
    if options.lower is not None or options.upper is not None:
        floor = np.clip(floor, options.lower, options.upper)
    return Level(level.background, floor, level.separate)
