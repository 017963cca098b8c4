"""Blob detection by Laplacian or difference of Gaussians, for spots and for small round nuclei."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOISE_RESPONSES = 6.0
"""Least response of a blob, in standard deviations of the response to the plane's own white noise."""


@dataclass(frozen=True)
class BlobOptions:
    """Parameters of `segment_blobs`; see `hcs_steps.functions.count.count_cells_single_channel`."""

    method: str
    min_sigma: float
    max_sigma: float
    num_sigma: int
    threshold: float
    overlap: float


def noise_level(plane: NDArray[np.float32]) -> float:
    """Standard deviation of white noise in a plane (J. Immerkaer, CVIU 64, 1996; with a median)."""
    from scipy import ndimage

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    return float(1.4826 * np.median(np.abs(ndimage.convolve(plane, kernel))) / 6)


def _paint(blobs: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Discs of radius sqrt(2) sigma, one label per blob; the relatively nearer centre owns a shared pixel."""
    labels = np.zeros(shape, dtype=np.int32)
    nearest = np.full(shape, np.inf, dtype=np.float32)
    for number, (y, x, sigma) in enumerate(blobs, 1):
        radius = math.sqrt(2) * sigma
        top, left = max(0, math.floor(y - radius)), max(0, math.floor(x - radius))
        window = (slice(top, math.ceil(y + radius) + 1), slice(left, math.ceil(x + radius) + 1))
        near = nearest[window]
        rows, columns = np.ogrid[top : top + near.shape[0], left : left + near.shape[1]]
        distance = ((rows - y) ** 2 + (columns - x) ** 2) / radius**2
        mine = (distance <= 1) & (distance < near)
        labels[window][mine] = number
        near[mine] = distance[mine]
    return labels


def segment_blobs(plane: NDArray[Any], options: BlobOptions) -> NDArray[np.int32]:
    """Label the bright blobs of one (Y, X) plane as discs; 0 is background."""
    from skimage.feature import blob_dog, blob_log

    scaled = plane.astype(np.float32)
    low, high = float(scaled.min()), float(scaled.max())
    if not high > low:
        return np.zeros(plane.shape, dtype=np.int32)
    scaled = (scaled - np.float32(low)) / np.float32(high - low)
    # The scale-normalised Laplacian of unit white noise has the standard deviation 1 / (sqrt(2 pi) sigma).
    noise = noise_level(scaled) / (math.sqrt(2 * math.pi) * options.min_sigma)
    arguments = {
        "min_sigma": options.min_sigma,
        "max_sigma": options.max_sigma,
        "threshold": max(options.threshold, NOISE_RESPONSES * noise),
        "overlap": options.overlap,
    }
    if options.method == "log":
        blobs = blob_log(scaled, num_sigma=options.num_sigma, **arguments)
    else:
        blobs = blob_dog(scaled, **arguments)
    return _paint(np.asarray(blobs, dtype=np.float64).reshape(-1, 3), (plane.shape[0], plane.shape[1]))
