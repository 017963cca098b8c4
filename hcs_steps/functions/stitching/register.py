"""How far two overlapping images are shifted: phase correlation, checked by the correlation of the overlap.

The peaks of the phase correlation (Kuglin and Hines, 1975) are candidates; the normalised cross-correlation of the
pixels that overlap decides among them, as in Preibisch et al., Bioinformatics 25, 2009, and Chalfoun et al., Sci.
Rep. 7, 2017 (MIST). `subpixel` refines the winner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace, ndimage_of, to_numpy
from hcs_steps.functions._checks import finite
from hcs_steps.functions.stitching.pairs import MIN_OVERLAP

BACKGROUND_PX = 21
"""Structures wider than this are taken out: the field's illumination correlates everywhere."""
SMOOTHING_PX = 1.0
CANDIDATES = 8
"""Peaks of the phase correlation that are looked at."""


@dataclass(frozen=True)
class Candidates:
    """Possible shifts of a pair, best first.

    Attributes
    ----------
    offsets
        int64 (n, 2), x and y of the second image's corner minus the first's.
    correlation
        float64 (n,), normalised cross-correlation of the pixels that overlap, -1 to 1.
    """

    offsets: NDArray[np.int64]
    correlation: NDArray[np.float64]


@dataclass(frozen=True)
class Strip:
    """One side of an overlap, band-passed, and its padded spectrum."""

    image: Any
    spectrum: Any


def band_pass(image: Any, filter_sigma: float) -> Any:
    """float32 copy without background and pixel noise.

    ``filter_sigma`` above 0: the negative Laplacian of Gaussian, which whitens the spectrum (as ASHLAR does,
    Muhlich et al., Bioinformatics 38, 2022). 0: Gaussian smoothing by 1 px minus the mean of 21 x 21 px.
    """
    xp, ndimage = namespace(image), ndimage_of(image)
    values = finite(image).astype(xp.float32)
    if filter_sigma > 0:
        return -ndimage.gaussian_laplace(values, filter_sigma, mode="nearest")
    values -= values.mean()
    smooth = ndimage.gaussian_filter(values, SMOOTHING_PX, mode="nearest", truncate=3.0)
    smooth -= ndimage.uniform_filter(values, BACKGROUND_PX, mode="nearest")
    return smooth


def spectrum(image: Any, shape: tuple[int, int]) -> Any:
    """Spectrum of ``image``, padded with zeros to ``shape``."""
    xp = namespace(image)
    return fft_of(xp).rfft2(image, shape)


def fft_of(xp: Any) -> Any:
    """Fourier transforms that keep single precision: `scipy.fft` for NumPy, else the namespace's own."""
    if xp is np:
        import scipy.fft

        return scipy.fft
    return xp.fft


def padded_shape(shape: tuple[int, int], reach: int) -> tuple[int, int]:
    """A size for fast transforms in which images of ``shape`` do not wrap around at lags up to ``reach``."""
    from scipy.fft import next_fast_len

    rows, columns = (int(next_fast_len(size + reach, real=True)) for size in shape)
    return rows, columns


def candidates(
    first: Strip,
    second: Strip,
    shape: tuple[int, int],
    origin: tuple[int, int],
    centre: tuple[float, float],
    reach: float,
) -> Candidates:
    """The best offsets within ``reach`` px of ``centre``; none if one side has no signal."""
    surface, columns, rows = _phase_correlation(first, second, shape, origin, centre, reach)
    found = []
    for row, column in _peaks(surface):
        offset = int(columns[column]), int(rows[row])
        value, pixels = correlation(first.image, second.image, (offset[0] - origin[0], offset[1] - origin[1]))
        if pixels:
            found.append((_significance(value, pixels), value, offset))
    found.sort(key=lambda item: (-item[0], item[2]))
    return Candidates(
        np.array([offset for _, _, offset in found], dtype=np.int64).reshape(-1, 2),
        np.array([value for _, value, _ in found], dtype=np.float64),
    )


def _significance(value: float, pixels: int) -> float:
    """Fisher's z of a correlation over its standard deviation, so that small overlaps do not win by chance."""
    return math.atanh(min(max(value, -0.9999), 0.9999)) * math.sqrt(pixels)


def _phase_correlation(
    first: Strip,
    second: Strip,
    shape: tuple[int, int],
    origin: tuple[int, int],
    centre: tuple[float, float],
    reach: float,
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """The surface around ``centre`` on the host, -inf beyond ``reach``, with the offsets of its columns and rows."""
    xp = namespace(first.image)
    cross = first.spectrum * second.spectrum.conj()
    size = abs(cross)
    cross /= size + 1e-6 * size.mean() + 1e-30
    cross *= _low_pass(xp, shape)
    surface = fft_of(xp).irfft2(cross, shape)
    columns, rows = (np.arange(math.ceil(c - reach), math.floor(c + reach) + 1) for c in centre)
    if not (len(rows) and len(columns)):
        columns, rows = (np.array([round(c)]) for c in centre)
    at_rows, at_columns = (
        xp.asarray((rows - origin[1]) % shape[0]),
        xp.asarray((columns - origin[0]) % shape[1]),
    )
    window = to_numpy(surface[at_rows][:, at_columns])
    far = np.hypot(columns[None] - centre[0], rows[:, None] - centre[1]) > max(reach, 0.5**0.5)
    return np.where(far, -np.inf, window), columns, rows


def _low_pass(xp: Any, shape: tuple[int, int]) -> Any:
    """Gaussian weights of a real spectrum: beyond the optics' resolution there is only noise."""
    power = -2 * (math.pi * SMOOTHING_PX) ** 2
    down = xp.exp(power * xp.fft.fftfreq(shape[0]) ** 2).astype(xp.float32)
    along = xp.exp(power * xp.fft.rfftfreq(shape[1]) ** 2).astype(xp.float32)
    return down[:, None] * along[None, :]


def _peaks(surface: NDArray[Any]) -> list[tuple[int, int]]:
    """(row, column) of the highest local maxima, highest first."""
    padded = np.pad(surface, 1, constant_values=-np.inf)
    rows, columns = surface.shape
    around = [padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    at = np.argwhere(np.isfinite(surface) & (surface >= np.max(around, axis=0)))
    order = np.argsort(-surface[at[:, 0], at[:, 1]], kind="stable")[:CANDIDATES]
    return [(int(row), int(column)) for row, column in at[order]]


def overlapping(first: Any, second: Any, lag: tuple[int, int]) -> tuple[Any, Any]:
    """The parts of two images that overlap when the second's corner lies ``lag`` (x, y) from the first's."""
    parts_first, parts_second = [], []
    for axis, step in ((0, lag[1]), (1, lag[0])):
        length = min(first.shape[axis] - max(step, 0), second.shape[axis] - max(-step, 0))
        length = max(length, 0)
        parts_first.append(slice(max(step, 0), max(step, 0) + length))
        parts_second.append(slice(max(-step, 0), max(-step, 0) + length))
    return first[tuple(parts_first)], second[tuple(parts_second)]


def correlation(first: Any, second: Any, lag: tuple[int, int]) -> tuple[float, int]:
    """Normalised cross-correlation of what overlaps at ``lag``, and its pixels; (0, 0) where that says nothing."""
    one, other = overlapping(first, second, lag)
    if min(one.shape) < MIN_OVERLAP:
        return 0.0, 0
    xp = namespace(one)
    pixels = int(one.size)
    products = [xp.einsum("ij,ij->", a, b) for a, b in ((one, other), (one, one), (other, other))]
    sum_one, sum_other, both, square, square_other = (float(v) for v in (one.sum(), other.sum(), *products))
    energy = (square - sum_one**2 / pixels) * (square_other - sum_other**2 / pixels)
    if not energy > 1e-12 * square * square_other:
        return 0.0, 0
    return (both - sum_one * sum_other / pixels) / math.sqrt(energy), pixels
