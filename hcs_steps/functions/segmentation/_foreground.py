"""The foreground of a plane with cells of any shape, from sparse to confluent: smoothing and a global threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions._checks import require_not_negative, require_numbers, require_positive
from hcs_steps.functions._coverage import fill
from hcs_steps.functions.segmentation._thresholds import Smoothing, other_threshold

THRESHOLD_METHODS = ("otsu", "li", "triangle", "manual")

BACKGROUND_PERCENTILE = 1.0
"""The darkest hundredth of a plane is background, even where cells are confluent."""

CONTRAST = 3.0
"""The means of foreground and background differ by at least as many standard deviations of the noise; the two
halves of pure noise differ by 1.6."""

SAMPLES = 1 << 20
"""Thresholds are found on an even grid of at least a quarter of so many pixels."""

Image = NDArray[np.float32]


@dataclass(frozen=True)
class ForegroundOptions:
    """Checked parameters of `find_foreground`; see `hcs_steps.functions.segmentation.cells.segment_cells`."""

    method: str = "otsu"
    threshold: float | None = None
    correction: float = 1.0
    gaussian_sigma: float = 1.0

    def __post_init__(self) -> None:
        if (self.method == "manual") != (self.threshold is not None):
            raise ValueError(
                f"threshold_method={self.method!r} with threshold={self.threshold}: 'manual' needs a threshold in "
                "units of the image, and only 'manual' takes one."
            )
        if self.threshold is not None:
            require_numbers(threshold=self.threshold)
        require_positive(threshold_correction=self.correction)
        require_not_negative(gaussian_sigma=self.gaussian_sigma)


@dataclass(frozen=True)
class Foreground:
    """``mask``: where the cells are; ``rise``: the smoothed intensity above background, in typical cells'."""

    mask: NDArray[np.bool_]
    rise: Image


def _automatic(smooth: Image, smoothing: Smoothing, background: float, options: ForegroundOptions) -> float:
    """The threshold above background; infinite if there is nothing but noise."""
    from skimage.filters import threshold_otsu

    step = max(1, int(np.sqrt(smooth.size / SAMPLES)))
    rows = smooth[::step]
    values = np.maximum(rows[:, ::step] - np.float32(background), 0)
    if values.max() <= values.min():
        return float("inf")
    if options.method == "otsu":
        height = float(threshold_otsu(np.sqrt(values))) ** 2
    else:
        height = other_threshold(values, options.method)
    above = values > height
    if above.all() or not above.any():
        return float("inf")
    contrast = values[above].mean(dtype=np.float64) - values[~above].mean(dtype=np.float64)
    noise = smoothing.noise(smooth)
    return height if contrast >= CONTRAST * noise else float("inf")


def find_foreground(plane: NDArray[Any], options: ForegroundOptions) -> Foreground:
    """The foreground of a (Y, X) plane; what shows nothing (`covered`) is none."""
    from scipy import ndimage

    filled, shown = fill(plane)
    smooth: Image = filled.astype(np.float32)
    if options.gaussian_sigma > 0:
        ndimage.gaussian_filter(smooth, options.gaussian_sigma, output=smooth)
    counted = smooth if shown is None or not shown.any() else smooth[shown]
    background = float(np.percentile(counted, BACKGROUND_PERCENTILE))
    if options.threshold is not None:
        mask = smooth > np.float32(options.threshold)
    else:
        height = (
            _automatic(smooth, Smoothing(options.gaussian_sigma, shown), background, options)
            * options.correction
        )
        mask = smooth > np.float32(background + height)
    typical = float(np.median(smooth[mask])) - background if mask.any() else 0.0
    if not typical > 0:
        typical = max(float(np.ptp(smooth)), 1.0)
    smooth -= np.float32(background)
    smooth /= np.float32(typical)
    return Foreground(mask, smooth)
