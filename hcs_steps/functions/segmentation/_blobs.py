"""Blobs as maxima over position and scale (T. Lindeberg, IJCV 30, 1998), for spots and small round nuclei.

Detection works on NumPy and CuPy arrays; a blob is then a row (y, x, sigma, response) in host memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace, ndimage_of, to_numpy

NOISE_RESPONSES = 6.0
"""Least response of a blob, in standard deviations of the response to the plane's own white noise."""

SIGMA_RATIO = 1.6
"""Ratio of neighbouring scales of the difference of Gaussians, nearest to the Laplacian (D. Marr, E. Hildreth, Proc.
R. Soc. B 207, 1980)."""

Blobs = NDArray[np.float64]


@dataclass(frozen=True)
class BlobOptions:
    """Parameters of `segment_blobs`; see `hcs_steps.functions.segmentation.count.count_cells_single_channel`."""

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


def log_responses(plane: Any, min_sigma: float, max_sigma: float, count: int) -> Iterator[tuple[float, Any]]:
    """Scales in equal steps, each with the negative scale-normalised Laplacian of Gaussian of a float plane."""
    ndimage = ndimage_of(plane)
    for sigma in np.linspace(min_sigma, max_sigma, count).tolist():
        response = ndimage.gaussian_laplace(plane, sigma)
        response *= -(sigma**2)
        yield sigma, response


def dog_responses(plane: Any, min_sigma: float, max_sigma: float) -> Iterator[tuple[float, Any]]:
    """Scales in steps of `SIGMA_RATIO`, each with the difference of two Gaussians, scaled like the Laplacian."""
    ndimage = ndimage_of(plane)
    count = int(math.log(max_sigma / min_sigma) / math.log(SIGMA_RATIO) + 1)
    finer = ndimage.gaussian_filter(plane, min_sigma)
    for step in range(count):
        coarser = ndimage.gaussian_filter(plane, min_sigma * SIGMA_RATIO ** (step + 1))
        finer -= coarser
        finer /= SIGMA_RATIO - 1
        yield min_sigma * SIGMA_RATIO**step, finer
        finer = coarser


def _around(response: Any, y: Any, x: Any) -> Any:
    """Highest of the 3 x 3 values around each position; edge values are repeated beyond the edge."""
    xp = namespace(response)
    height, width = response.shape
    rows = [xp.clip(y + step, 0, height - 1) for step in (-1, 0, 1)]
    columns = [xp.clip(x + step, 0, width - 1) for step in (-1, 0, 1)]
    highest = response[rows[0], columns[0]]
    for row in rows:
        for column in columns:
            highest = xp.maximum(highest, response[row, column])
    return highest


def maxima(responses: Iterator[tuple[float, Any]], threshold: Callable[[float, Any], float]) -> Blobs:
    """Rows (y, x, sigma, response) of the responses that no neighbour in position and scale exceeds.

    ``threshold(sigma, response)`` is the value that a maximum of this scale must exceed. Three scales are held at
    a time.
    """
    found: list[Blobs] = []
    before: Any = None
    pending: Any = None
    for sigma, response in responses:
        xp = namespace(response)
        if pending is not None:
            found.append(_settled(pending, response))
        highest = ndimage_of(response).maximum_filter(response, size=3, mode="nearest")
        y, x = xp.nonzero((response == highest) & (response > threshold(sigma, response)))
        if before is not None:
            kept = response[y, x] >= _around(before, y, x)
            y, x = y[kept], x[kept]
        pending = (sigma, response, y, x)
        before = response
    found.append(_settled(pending, None))
    return np.concatenate(found)


def _settled(pending: Any, after: Any) -> Blobs:
    """The rows of those candidates that the next scale does not exceed."""
    sigma, response, y, x = pending
    value = response[y, x]
    if after is not None:
        kept = value >= _around(after, y, x)
        y, x, value = y[kept], x[kept], value[kept]
    columns = [to_numpy(column).astype(np.float64) for column in (y, x, value)]
    return np.column_stack([columns[0], columns[1], np.full(len(columns[0]), sigma), columns[2]])


def _shared_part(one: Blobs, other: Blobs) -> NDArray[np.float64]:
    """Common area of two discs of radius sqrt(2) sigma as part of the smaller one, row by row."""
    distance = np.hypot(one[:, 0] - other[:, 0], one[:, 1] - other[:, 1])
    large = math.sqrt(2) * np.maximum(one[:, 2], other[:, 2])
    small = math.sqrt(2) * np.minimum(one[:, 2], other[:, 2])
    apart = np.maximum(distance, 1e-12)
    angles = [
        np.arccos(np.clip((apart**2 + near**2 - far**2) / (2 * apart * near), -1, 1))
        for near, far in ((large, small), (small, large))
    ]
    corners = (
        (-apart + large + small) * (apart + large - small) * (apart - large + small) * (apart + large + small)
    )
    lens = large**2 * angles[0] + small**2 * angles[1] - np.sqrt(np.maximum(corners, 0)) / 2
    inside = distance <= large - small
    return np.where(inside, 1.0, lens / (math.pi * small**2))


def prune(blobs: Blobs, overlap: float) -> Blobs:
    """Of two blobs that share more than ``overlap`` of the smaller one's area, the smaller one goes; of equal ones
    that with the weaker response."""
    from scipy.spatial import cKDTree

    if len(blobs) < 2:
        return blobs
    reach = 2 * math.sqrt(2) * float(blobs[:, 2].max())
    pairs = cKDTree(blobs[:, :2]).query_pairs(reach, output_type="ndarray")
    pairs = pairs[_shared_part(blobs[pairs[:, 0]], blobs[pairs[:, 1]]) > overlap]
    # Best first, so that what a lost blob would have suppressed stays.
    rank = np.empty(len(blobs), dtype=np.int64)
    rank[np.lexsort((blobs[:, 1], blobs[:, 0], -blobs[:, 3], -blobs[:, 2]))] = np.arange(len(blobs))
    ranked = np.sort(rank[pairs], axis=1)
    kept = np.ones(len(blobs), dtype=bool)
    for better, worse in ranked[np.lexsort((ranked[:, 1], ranked[:, 0]))].tolist():
        if kept[better]:
            kept[worse] = False
    return blobs[kept[rank]]


def paint(blobs: Blobs, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Discs of radius sqrt(2) sigma with labels 1..n; the relatively nearer centre owns a shared pixel."""
    radii = math.sqrt(2) * blobs[:, 2]
    reach = np.ceil(radii).astype(np.int64) + 1
    parts: list[tuple[NDArray[Any], ...]] = []
    for size in np.unique(reach):
        steps = np.mgrid[-size : size + 1, -size : size + 1].reshape(2, -1)
        those = np.flatnonzero(reach == size)
        y, x = (np.round(blobs[those, axis]).astype(np.int64)[:, None] + steps[axis] for axis in (0, 1))
        distance = np.hypot(y - blobs[those, :1], x - blobs[those, 1:2]) / radii[those, None]
        inside = (distance <= 1) & (y >= 0) & (x >= 0) & (y < shape[0]) & (x < shape[1])
        number = np.broadcast_to(those[:, None], y.shape)
        parts.append((y[inside] * shape[1] + x[inside], distance[inside], number[inside]))
    labels = np.zeros(shape, dtype=np.int32)
    if parts:
        pixel, distance, number = (np.concatenate(column) for column in zip(*parts, strict=True))
        # The last one written stays: the nearest, of equally near ones the first.
        order = np.lexsort((-number, -distance))
        labels.ravel()[pixel[order]] = number[order] + 1
    return labels


def segment_blobs(plane: NDArray[Any], options: BlobOptions) -> NDArray[np.int32]:
    """Label the bright blobs of one (Y, X) plane as discs; 0 is background."""
    scaled = plane.astype(np.float32)
    low, high = float(scaled.min()), float(scaled.max())
    if not high > low:
        return np.zeros(plane.shape, dtype=np.int32)
    scaled = (scaled - np.float32(low)) / np.float32(high - low)
    # The scale-normalised Laplacian of unit white noise has the standard deviation 1 / (sqrt(2 pi) sigma).
    noise = noise_level(scaled) / (math.sqrt(2 * math.pi) * options.min_sigma)
    threshold = max(options.threshold, NOISE_RESPONSES * noise)
    if options.method == "log":
        responses = log_responses(scaled, options.min_sigma, options.max_sigma, options.num_sigma)
    else:
        responses = dog_responses(scaled, options.min_sigma, options.max_sigma)
    blobs = maxima(responses, lambda sigma, response: threshold)
    return paint(prune(blobs, options.overlap), (plane.shape[0], plane.shape[1]))
