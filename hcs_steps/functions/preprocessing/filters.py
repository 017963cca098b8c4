"""Smoothing of planes: Gaussian and median."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np

from hcs_steps.arrays import is_cupy, namespace, ndimage_of, round_saturate
from hcs_steps.functions._checks import (
    LARGEST_PX,
    plane_column,
    require_at_most,
    require_not_negative,
    require_numbers,
    require_positive,
    require_whole,
)
from hcs_steps.functions._stacks import choice, require_stack, row_blocks
from hcs_steps.functions.declare import Table, step_function
from hcs_steps.functions.preprocessing._morphology import half_widths
from hcs_steps.functions.preprocessing._percentiles import histogram, is_small

LARGEST_TRUNCATE = 40
"""Standard deviations at which a Gaussian may end; beyond, it is 0 even in float64."""

_FOOTPRINTS = ("disk", "square")


def working_dtype(dtype: Any) -> np.dtype[Any]:
    """The float type that holds every value of an image dtype: float32 up to 16 bits and for float32."""
    kind = np.dtype(dtype)
    exact = kind.itemsize <= 2 if kind.kind in "ui" else kind.itemsize <= 4
    return np.dtype(np.float32 if exact else np.float64)


def store(values: Any, target: Any) -> None:
    """Write float ``values`` to the plane ``target``, rounded and saturated where that has integers."""
    for rows in [slice(None)] if is_cupy(values) else row_blocks(values.shape[0]):
        target[rows] = round_saturate(values[rows], target.dtype)


def _sigmas(sigma: float | None, sigma_um: float | None, planes: Table | None, count: int) -> list[float]:
    """The standard deviation in px for each plane."""
    require_not_negative(sigma=sigma, sigma_um=sigma_um)
    require_at_most(LARGEST_PX, sigma=sigma)
    if sigma is not None and sigma_um is not None:
        raise ValueError("gaussian takes sigma (px) or sigma_um (micrometres), not both.")
    if sigma_um is None:
        return [1.0 if sigma is None else float(sigma)] * count
    sizes = plane_column(planes, "pixel_size_um", count)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(
            "sigma_um needs the pixel size of every plane, which is not known. Give sigma in px."
        )
    sigmas = [float(sigma_um / size) for size in sizes]
    require_at_most(LARGEST_PX, **{"sigma_um in px": max(sigmas, default=0.0)})
    return sigmas


def _smooth(plane: Any, sigma: float, truncate: float) -> Any:
    """Gaussian mean of the finite pixels around each pixel; pixels that are not finite stay."""
    xp, ndimage = namespace(plane), ndimage_of(plane)
    dtype = working_dtype(plane.dtype)

    def smooth(values: Any) -> Any:
        return ndimage.gaussian_filter(values, sigma, output=dtype, mode="reflect", truncate=truncate)

    if plane.dtype.kind != "f":
        return smooth(plane)
    plane = plane.astype(dtype, copy=False)  # SciPy has no filters of float16
    good = xp.isfinite(plane)
    if bool(good.all()):
        return smooth(plane)
    values = smooth(xp.where(good, plane, 0))
    share = smooth(good.astype(dtype))
    share[~good] = 1
    values /= share
    return xp.where(good, values, plane)


@step_function(memory=2.1, scratch=7.0, packages=("scipy.ndimage",), devices=("cpu", "gpu"), planewise=True)
def gaussian(
    stack: Any,
    sigma: float | None = None,
    sigma_um: float | None = None,
    truncate: float = 4.0,
    planes: Table | None = None,
) -> Any:
    """Smooth each plane by a Gaussian; planes are mirrored at their edges.

    `scipy.ndimage.gaussian_filter` with mode ``reflect``, in float32 for 8- and 16-bit integers and float32, in
    float64 for other types.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy.
    sigma
        Standard deviation in px, 0 or more; 1 if neither is given.
    sigma_um
        Standard deviation in micrometres instead, by the pixel size in the plane table.
    truncate
        The Gaussian ends after this many standard deviations, at most 40.
    planes
        The plane table; its ``pixel_size_um`` serves ``sigma_um``.

    Returns
    -------
    (N, Y, X) in the dtype of ``stack``; integers are rounded half to even and saturated. NaN and infinite
    pixels stay and are left out of the mean of their neighbours.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), a number is out of range, both standard deviations are given, or
        ``sigma_um`` is and a pixel size is not known.
    """
    require_stack(stack, "gaussian")
    require_numbers(truncate=truncate)
    require_positive(truncate=truncate)
    require_at_most(LARGEST_TRUNCATE, truncate=truncate)
    sigmas = _sigmas(sigma, sigma_um, planes, stack.shape[0])
    result = namespace(stack).empty(stack.shape, dtype=stack.dtype)
    for source, target, width in zip(stack, result, sigmas, strict=True):
        if width:
            store(_smooth(source, width, truncate), target)
        else:
            target[...] = source
    return result


def _median_of_places(plane: Any, footprint: Any, values: Any) -> Any:
    """The median of a plane of small integers, by a histogram that moves along (T. Huang et al., IEEE Trans. ASSP
    27, 1979); pixels stand for their place among the ``values`` that occur, so that no bin is empty.
    """
    import warnings

    from skimage.filters import rank

    radius = footprint.shape[0] // 2
    dtype = np.uint8 if values.size <= 256 else np.uint16
    low = int(values[0])
    place_of = np.zeros(int(values[-1]) - low + 1, dtype=dtype)
    place_of[values - low] = np.arange(values.size)
    places = np.empty(plane.shape, dtype=dtype)
    for rows in row_blocks(plane.shape[0]):
        places[rows] = place_of[plane[rows].astype(np.intp) - low]
    padded = np.pad(places, radius, mode="symmetric")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Bad rank filter performance")
        found = rank.median(padded, footprint)
    inside = slice(radius, -radius)
    return values.astype(plane.dtype)[found[inside, inside]]


def _is_faster_by_histogram(bins: int, footprint: Any) -> bool:
    """Whether moving a histogram costs less than sorting each neighbourhood, by the nanoseconds that both took."""
    moving = 130 + 90 * (footprint.shape[0] // 2) + 0.3 * bins
    return bool(moving < 11 * np.count_nonzero(footprint))


def _median(plane: Any, footprint: Any) -> Any:
    """Median of a NumPy or CuPy plane over a ``footprint`` in host memory."""
    xp, ndimage = namespace(plane), ndimage_of(plane)
    if not is_cupy(plane) and is_small(plane.dtype):
        lowest = int(np.iinfo(plane.dtype).min)
        values = np.flatnonzero(histogram(plane[None])) + lowest
        if _is_faster_by_histogram(values.size, footprint):
            return _median_of_places(plane, footprint, values)
    around = xp.asarray(footprint)
    if plane.dtype.kind != "f":
        return ndimage.median_filter(plane, footprint=around, mode="reflect")
    plane = plane.astype(working_dtype(plane.dtype), copy=False)
    missing = xp.isnan(plane)
    if not bool(missing.any()):
        return ndimage.median_filter(plane, footprint=around, mode="reflect")
    found = ndimage.median_filter(
        xp.where(missing, plane.dtype.type(-np.inf), plane), footprint=around, mode="reflect"
    )
    xp.copyto(found, xp.nan, where=missing & xp.isinf(found))
    return found


@step_function(memory=2.1, scratch=7.0, packages=("scipy.ndimage",), devices=("cpu", "gpu"), planewise=True)
def median(stack: Any, radius: int = 1, footprint: str | Enum = "disk") -> Any:
    """Replace each pixel by the median of its neighbourhood; planes are mirrored at their edges.

    `scipy.ndimage.median_filter` with mode ``reflect``. On the host, 8- and 16-bit integers go through a moving
    histogram where that is faster, with the same result.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy. NaN counts as the lowest value.
    radius
        Whole number of px, 0 or more. The neighbourhood is 2 * radius + 1 px wide.
    footprint
        ``disk``, as `skimage.morphology.disk`, or ``square``.

    Returns
    -------
    (N, Y, X) in the dtype of ``stack``. NaN pixels stay NaN where most of their neighbours are.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), ``footprint`` is not known or ``radius`` no whole number from 0 up.
    """
    require_stack(stack, "median")
    shape = choice(footprint, _FOOTPRINTS, "footprint")
    require_whole(0, radius=radius)
    require_at_most(LARGEST_PX, radius=radius)
    widths = half_widths(shape, int(radius))
    around = np.abs(np.arange(-int(radius), int(radius) + 1)) <= widths[:, None]
    result = stack.copy()
    if radius:
        for source, target in zip(stack, result, strict=True):
            target[...] = _median(source, around)
    return result
