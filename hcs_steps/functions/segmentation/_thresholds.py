"""Intensity thresholds of a plane with bright objects, for the whole plane or tile by tile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.segmentation._masks import label_regions

SEPARATION = 4.0
"""Least distance between the means of Otsu's two classes, in standard deviations of the lower class. Gaussian
noise gives 2.65, a linear gradient 3.5, whatever their amplitude; planes with nuclei give 4.7 to 28."""

FLOOR_SPREADS = 4.0
"""The foreground starts at least this many robust standard deviations above the background's median, ..."""

FLOOR_NOISES = 8.0
"""... and this many standard deviations of the noise, so that a million pixels of it have none."""

SPARSE_SPREADS = 8.0
"""The same where Otsu's classes do not separate, because the objects are too few to make a class."""

NOISE_SAMPLES = 1 << 20
"""Noise is found from at least half of so many pixels, where there are."""

NOISE_QUANTILE = 0.2
"""The absolute differences of noisy pixels are below ..."""

NOISE_DEVIATIONS = 0.2533
"""... so many standard deviations of theirs with this probability."""

LI_TOLERANCE = 1e-5
"""Step at which the iteration for Li's threshold ends, in ranges of the pixels."""

FEW = 20
"""Where at most so many objects exceed the threshold, they may be bright debris, ..."""

MANY = 10
"""... namely if this many times as many, and more than `FEW`, stand out below the threshold, ..."""

SPACIOUS = 4
"""... and cover this many times their area, as halos do not."""

SPECK = 10
"""Fewer px are no object here."""

VAST = 0.25
"""A region of at least this part of the plane may be a brighter background, e.g. the inside of the well."""

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
    ``exact``: the floor was given by the user and is not to be refined. ``noise``: its standard deviation.
    """

    background: Any
    floor: Any
    separate: bool = True
    exact: bool = False
    noise: float = 0.0


def spread(values: NDArray[Any], centre: float) -> float:
    """Standard deviation of a normal distribution with the median absolute deviation of ``values``."""
    return float(1.4826 * np.median(np.abs(values - np.float32(centre))))


@dataclass(frozen=True)
class Smoothing:
    """How a (Y, X) plane was smoothed: by a Gaussian of ``sigma`` px; ``shown``: which pixels count, None for all."""

    sigma: float
    shown: NDArray[np.bool_] | None = None

    def of(self, rows: slice, columns: slice) -> Smoothing:
        """The same of a part of the plane."""
        return Smoothing(self.sigma, None if self.shown is None else self.shown[rows, columns])

    def noise(self, smooth: Image, below: float = np.inf) -> float:
        """Standard deviation of the noise that is left in the smoothed plane where it is at most ``below``.

        From the differences of pixels beyond the reach of the smoothing, on an even grid of rows. Their lower
        quantile is that of pairs which lie on the same side of any edge, even among crowded objects.
        """
        lag, step = 1 + round(4 * self.sigma), 1 + smooth.size // NOISE_SAMPLES
        first, second = smooth[::step, lag:], smooth[::step, :-lag]
        counted = np.maximum(first, second) <= below
        if self.shown is not None:
            counted &= self.shown[::step, lag:] & self.shown[::step, :-lag]
        differences = np.abs(first - second)[counted]
        if not differences.size:
            return 0.0
        return float(np.quantile(differences, NOISE_QUANTILE)) / (math.sqrt(2) * NOISE_DEVIATIONS)


def other_threshold(values: Image, method: str) -> float:
    """The threshold by a ``method`` beside Otsu's: ``li`` or ``triangle``."""
    from skimage.filters import threshold_li, threshold_triangle

    if method == "triangle":
        return float(threshold_triangle(values))
    # By default scikit-image waits for a step that float32 cannot make.
    return float(threshold_li(values, tolerance=LI_TOLERANCE * float(np.ptp(values))))


def _apart(low: Image, high: Image) -> bool:
    """Whether the pixels of two classes are two kinds of pixels."""
    rise = float(high.mean(dtype=np.float64) - low.mean(dtype=np.float64))
    return rise >= SEPARATION * float(low.std(dtype=np.float64))


def _areas(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Pixels of each connected region of a mask, without specks."""
    areas = np.bincount(label_regions(mask)[0].ravel())[1:]
    return areas[areas >= SPECK]


def _automatic(smooth: Image, smoothing: Smoothing, method: str) -> Level:
    """The level of a (Y, X) plane or tile."""
    from skimage.filters import threshold_otsu

    if smooth.max() <= smooth.min():
        return Level(float(smooth.max()), np.inf, separate=False)
    otsu = float(threshold_otsu(smooth))
    low, high = smooth[smooth <= otsu], smooth[smooth > otsu]
    if not _apart(low, high):
        middle = float(np.median(smooth))
        about = spread(smooth, middle)
        return Level(middle, middle + SPARSE_SPREADS * about if about > 0 else np.inf, separate=False)
    background = float(np.median(low))
    noise = smoothing.noise(smooth, otsu)
    if method != "otsu":
        floor = max(other_threshold(smooth, method), min(otsu, background + FLOOR_NOISES * noise))
        return Level(float(np.median(smooth[smooth <= floor])), floor, noise=noise)
    # Nuclei differ in brightness by a factor of ten: on the square root, bright ones do not hide dim ones.
    root = np.sqrt(np.maximum(smooth - np.float32(background), 0))
    floor = background + float(threshold_otsu(root)) ** 2
    rest, above = smooth[smooth <= floor], smooth[smooth > floor]
    if not _apart(rest, above):
        return Level(background, otsu, noise=noise)  # the root tells two parts of an uneven background
    background = float(np.median(rest))
    least = max(FLOOR_SPREADS * spread(rest, background), FLOOR_NOISES * noise)
    return Level(background, min(otsu, max(floor, background + least)), noise=noise)


def _below_debris(smooth: Image, smoothing: Smoothing, method: str, level: Level) -> Level:
    """A lower level than that of the (Y, X) plane if that one tells a few bright specks from all else.

    Counts decide: around objects that are told right there are halos, which add none, and uneven background.
    """
    while level.separate:
        bright = smooth > level.floor
        specks = _areas(bright).size
        if not 0 < specks <= FEW:
            break
        rest = np.where(bright, np.float32(level.background), smooth)
        lower = _automatic(rest, smoothing, method)
        dimmer = rest > lower.floor
        if (
            not lower.separate
            or np.count_nonzero(dimmer) < SPACIOUS * np.count_nonzero(bright)
            or _areas(dimmer).size <= max(FEW, MANY * specks)
        ):
            break
        level = lower
    return level


def _within_vast(smooth: Image, smoothing: Smoothing, method: str, level: Level) -> Level:
    """A higher level than that of the (Y, X) plane if most of the foreground is one region that has objects."""
    while level.separate:
        mask = smooth > level.floor
        least = VAST * smooth.size
        if np.count_nonzero(mask) < least:
            break
        areas = _areas(mask)
        if areas.max(initial=0) < least:
            break
        higher = _automatic(np.where(mask, smooth, np.median(smooth[mask])), smoothing, method)
        if not higher.separate or _areas(smooth > higher.floor).size <= areas.size:
            break
        level = higher
    return level


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


def find_levels(
    smooth: Image, smoothing: Smoothing, options: ThresholdOptions, window: float, whole: Level
) -> Level:
    """Levels of tiles of about ``window`` px, interpolated linearly between their centres, before `corrected`.

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
        rows = slice(borders[0][row], borders[0][row + 1])
        columns = slice(borders[1][column], borders[1][column + 1])
        level = _automatic(smooth[rows, columns], smoothing.of(rows, columns), options.method)
        if level.separate:
            base[row, column], height[row, column] = level.background, level.floor - level.background
    known = np.count_nonzero(np.isfinite(height))
    if known == 0 or not (whole.separate or known >= height.size / 2):
        return whole
    height = _nearest_known(height)
    if whole.separate:
        height = np.clip(height, *(part * (whole.floor - whole.background) for part in LOCAL_RANGE))
    down, along = (_between_centres(size, count) for size, count in zip(smooth.shape, counts, strict=True))
    background, rise = (down @ grid.astype(np.float32) @ along.T for grid in (_nearest_known(base), height))
    return Level(background, background + rise, noise=whole.noise)


def find_level(smooth: Image, smoothing: Smoothing, options: ThresholdOptions) -> Level:
    """The level of a smoothed (Y, X) plane as a whole, before `corrected`."""
    if options.method == "manual":
        assert options.value is not None
        low = smooth[smooth <= options.value]
        return Level(float(np.median(low)) if low.size else options.value - 1, options.value, exact=True)
    level = _automatic(smooth, smoothing, options.method)
    level = _within_vast(smooth, smoothing, options.method, level)
    return _below_debris(smooth, smoothing, options.method, level)


def corrected(level: Level, options: ThresholdOptions) -> Level:
    """A level with the correction and the limits that were asked for; one that was given stays."""
    if level.exact:
        return level
    floor = level.background + options.correction * (level.floor - level.background)
    if options.lower is not None or options.upper is not None:
        floor = np.clip(floor, options.lower, options.upper)
    return Level(level.background, floor, level.separate, noise=level.noise)
