"""Thin bright lines in an image: multi-scale ridge strength in units of the background's own texture and noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCALES = (0.25, 0.4, 0.6, 0.8)
"""Standard deviations of the smoothing, in neurite widths."""

TEXTURE = (2.1, 7.4)
"""Ridges begin at the first and are certain from the second of these multiples of the plane's typical valley, a
quantile of the Hessian's larger eigenvalue: on a background without structure dark lines are as strong as bright
ones, so valleys tell what is not a neurite. Noise reaches 7 on a plane of 5 megapixels."""

NOISE = (4.5, 8.5)
"""The same in typical valleys of the pixel noise alone. In pure noise the two valleys are equal and these count;
in a textured background, whose faint lines are real, noise is much weaker than texture."""

CERTAIN = 3.5
"""Strength of a certain ridge; a ridge's pixels begin at 1."""

VALLEY = 4.0
"""A pixel is no ridge where the image curves up across it by more than this multiple of what it curves down: on the
flanks of a bright neurite any bend or noise of it looks like a ridge."""

OUTSHONE = 0.03
"""Beside a ridge, within two widths, this part of its strength is no ridge: corners and ends of a bright neurite
have faint ridges of their own, which show where there is little noise."""

_VALLEY_OF_NOISE = 0.23
"""Median positive Hessian eigenvalue times scale squared of white noise of variance 1 at scale 1; goes with the
inverse of the scale."""

_VALLEY_RANK = 0.61
"""Rank of the median positive eigenvalue among all, in noise, where 78 % of the larger eigenvalues are positive. In
a clean image with few structures this is flat background, not their flanks."""

_QUANTISATION = 0.29
"""Standard deviation of rounding to integers."""

Image = NDArray[np.float32]


def _sampled_quantile(values: NDArray[Any], rank: float = 0.5) -> float:
    """Quantile of about a million of the values, or of all if they are fewer."""
    sample = values.ravel()[:: 1 + values.size // 1_000_000]
    place = min(sample.size - 1, int(rank * sample.size))
    return float(np.partition(sample, place)[place])


def pixel_noise(plane: Image) -> float:
    """Standard deviation of the pixel noise, blind to structure that is linear over three pixels.

    The second difference along y of that along x, as in J. Immerkaer, CVIU 64 (1996), with the median
    absolute deviation in place of the mean, because edges are outliers.
    """
    if min(plane.shape) < 3:
        return 0.0
    rows = plane[2:] + plane[:-2] - 2 * plane[1:-1]
    cross = rows[:, 2:] + rows[:, :-2] - 2 * rows[:, 1:-1]
    return 1.4826 / 6 * _sampled_quantile(np.abs(cross, out=cross))


def _curvatures(smooth: Image, margin: int) -> tuple[Image, Image]:
    """Smaller and larger eigenvalue of the Hessian, by finite differences.

    Within ``margin`` pixels of an edge the curvature across that edge is taken from further inside: there the
    mirrored image has a crease which a slope of the background makes.
    """
    padded = np.pad(smooth, 1, mode="edge")
    yy = padded[2:, 1:-1] + padded[:-2, 1:-1]
    xx = padded[1:-1, 2:] + padded[1:-1, :-2]
    yy -= 2 * smooth
    xx -= 2 * smooth
    for across in (yy, xx.T):
        if len(across) > 2 * margin:
            across[:margin] = across[margin]
            across[len(across) - margin :] = across[-margin - 1]
    middle = yy + xx
    middle *= np.float32(0.5)
    yy -= xx
    yy *= np.float32(0.5)
    np.subtract(padded[2:, 2:], padded[2:, :-2], out=xx)
    xx += padded[:-2, :-2]
    xx -= padded[:-2, 2:]
    xx *= np.float32(0.25)
    half = np.hypot(yy, xx, out=yy)
    return np.subtract(middle, half, out=xx), np.add(middle, half, out=middle)


def without_hot_pixels(image: Image, noise: float) -> Image:
    """Single pixels that no optics can make are lowered to their brightest neighbour.

    A pixel is hot if it rises above its brightest neighbour by more than 6 ``noise`` and by more than twice
    what that neighbour rises above the median of the plane; the image of a point is wider.
    """
    padded = np.pad(image, 1, mode="reflect" if min(image.shape) > 1 else "edge")
    three = np.maximum(np.maximum(padded[:, 2:], padded[:, :-2]), padded[:, 1:-1])
    around = np.maximum(three[2:], three[:-2])
    np.maximum(around, padded[1:-1, 2:], out=around)
    np.maximum(around, padded[1:-1, :-2], out=around)
    excess = image - around
    hot = excess > 6 * noise
    around -= np.float32(_sampled_quantile(image))
    hot &= excess > 2 * around
    image[hot] -= excess[hot]
    return image


def ridge_strength(plane: NDArray[Any], width: float) -> Image:
    """Strength of bright ridges about ``width`` px wide: a ridge's pixels begin at 1, `CERTAIN` is certain.

    The most negative eigenvalue of the Hessian at four scales (Y. Sato et al., Medical Image Analysis 2,
    1998), each in terms of the valleys of the plane (`TEXTURE`) and of its pixel noise (`NOISE`). Negative
    values have no meaning. The result does not depend on offset and gain of the image.
    """
    from scipy import ndimage

    image = plane.astype(np.float32)
    image -= np.float32(_sampled_quantile(image))
    rounding = _QUANTISATION if plane.dtype.kind in "ui" else 1e-5 * float(np.abs(image).max(initial=0))
    noise = max(pixel_noise(image), rounding)
    strength = np.zeros_like(image)
    if noise == 0:
        return strength
    image = without_hot_pixels(image, noise)
    for scale in SCALES:
        sigma = max(0.5, scale * width)
        low, high = _curvatures(ndimage.gaussian_filter(image, sigma, truncate=3.5), math.ceil(1.5 * sigma))
        valley = max(0.0, _sampled_quantile(high, _VALLEY_RANK))
        grain = _VALLEY_OF_NOISE * noise / sigma**3
        begin, certain = (max(t * valley, n * grain) for t, n in zip(TEXTURE, NOISE, strict=True))
        slope = (CERTAIN - 1) / (certain - begin)
        ridge = high < -VALLEY * low
        low *= np.float32(-slope)
        low += np.float32(1 - begin * slope)
        np.maximum(strength, low, out=strength, where=ridge)
    strongest = ndimage.maximum_filter(strength, size=2 * round(2 * width) + 1)
    strongest *= np.float32(OUTSHONE)
    strength[strength < strongest] = 0
    return strength
