"""One plane out of a stack: projections, the plane in best focus, and extended depth of field."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

from hcs_steps.arrays import is_cupy, namespace, ndimage_of, round_saturate
from hcs_steps.functions._checks import require_positive
from hcs_steps.functions._stacks import choice, choice_text, require_stack, row_blocks
from hcs_steps.functions.declare import Cost, PlateSize, step_function
from hcs_steps.functions.preprocessing.filters import working_dtype

METHODS = ("max", "mean", "sum", "best_focus", "edf")


def _blocks(stack: Any) -> list[slice]:
    return [slice(None)] if is_cupy(stack) else list(row_blocks(stack.shape[1]))


def _total(stack: Any, method: str) -> Any:
    """Sum or mean of the planes in the dtype of ``stack``, block by block."""
    xp = namespace(stack)
    result = xp.empty(stack.shape[1:], dtype=stack.dtype)
    wide = xp.int64 if stack.dtype.kind in "ui" and stack.dtype.itemsize <= 4 else xp.float64
    for rows in _blocks(stack):
        total = stack[:, rows].sum(axis=0, dtype=wide)
        result[rows] = round_saturate(total / len(stack) if method == "mean" else total, stack.dtype)
    return result


def _finite(plane: Any) -> Any:
    """``plane`` as float32, which is enough to compare planes, with 0 where it is not finite."""
    xp = namespace(plane)
    values = plane.astype(xp.float32)
    if plane.dtype.kind == "f":
        values[~xp.isfinite(values)] = 0
    return values


def focus_measure(plane: Any) -> float:
    """Vollath's autocorrelation F4 of a (Y, X) plane over both axes, per pixel: higher is sharper.

    The covariance of pixels 1 px apart less that of pixels 2 px apart: noise that is independent from pixel to pixel
    drops out (D. Vollath, J. Microsc. 147, 1987; found best for fluorescence by A. Santos et al., J. Microsc. 188,
    1997). 0 for planes of less than 3 x 3 px.
    """
    xp = namespace(plane)
    height, width = plane.shape
    if min(height, width) < 3:
        return 0.0
    values = _finite(plane)
    values -= values.mean(dtype=xp.float64).astype(values.dtype)
    down = (values[:-2] * (values[1:-1] - values[2:])).mean(dtype=xp.float64)
    across = (values[:, :-2] * (values[:, 1:-1] - values[:, 2:])).mean(dtype=xp.float64)
    return float(down + across)


def best_plane(stack: Any) -> int:
    """Index of the sharpest plane of a stack by `focus_measure`; the first of equals."""
    return int(np.argmax([focus_measure(plane) for plane in stack]))


def _sharpness(plane: Any, detail: float, extent: float) -> Any:
    """Local mean of the squared Laplacian of Gaussian."""
    ndimage = ndimage_of(plane)
    response = ndimage.gaussian_laplace(_finite(plane), detail, mode="reflect")
    response *= response
    return ndimage.gaussian_filter(response, extent, mode="reflect", output=response.dtype)


def _depth(stack: Any, detail: float, extent: float) -> Any:
    """(Y, X): the sharpest plane at each pixel, smoothed, so that it has fractions."""
    xp, ndimage = namespace(stack), ndimage_of(stack)
    best = _sharpness(stack[0], detail, extent)
    mean = best / len(stack)
    depth = xp.zeros_like(best)
    for number, plane in enumerate(stack[1:], start=1):
        sharpness = _sharpness(plane, detail, extent)
        mean += sharpness / len(stack)
        depth = xp.where(sharpness > best, best.dtype.type(number), depth)
        best = xp.maximum(best, sharpness)
    # Where planes are alike, the sharpest is chance: such pixels follow neighbours that know.
    certain = best - mean
    certain += max(float(certain.max()) * 1e-6, float(np.finfo(best.dtype).tiny))
    depth = ndimage.gaussian_filter(depth * certain, extent, mode="reflect", output=best.dtype)
    depth /= ndimage.gaussian_filter(certain, extent, mode="reflect", output=best.dtype)
    return depth


def _extended(stack: Any, detail: float, extent: float) -> Any:
    """The pixels of the sharpest planes, blended linearly between the two planes next to the depth."""
    xp = namespace(stack)
    depth = _depth(stack, detail, extent)
    total = xp.zeros(depth.shape, dtype=working_dtype(stack.dtype))
    for number, plane in enumerate(stack):
        for rows in _blocks(stack):
            share = xp.clip(1 - xp.abs(depth[rows] - depth.dtype.type(number)), 0, 1)
            total[rows] += share * xp.where(share > 0, plane[rows], 0)
    return round_saturate(total, stack.dtype)


def _needs(params: Mapping[str, Any], plate: PlateSize) -> Cost:
    """Most for ``edf``, which keeps maps of the planes' sharpness."""
    method = choice_text(params.get("method", "max"))
    return Cost(1.1, {"edf": 28.0, "best_focus": 10.0}.get(method, 5.0))


@step_function(
    reduces=True, stacks="z_index", needs=_needs, packages=("scipy.ndimage",), devices=("cpu", "gpu")
)
def project(
    stack: Any,
    method: str | Enum = "max",
    detail_sigma: float = 1.5,
    smoothing_sigma: float = 4.0,
) -> Any:
    """Make one plane of a stack, e.g. of the focal planes of a site.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy. The planes show the same place.
    method
        ``max``, ``mean``, ``sum``: over the planes, pixel by pixel.

        ``best_focus``: the sharpest plane, as it is, by Vollath's F4 (see `focus_measure`). A plane with more cells or
        brighter ones counts as sharper, so the planes should differ in focus only.

        ``edf``: extended depth of field. At each pixel the plane is chosen that has most detail around it, the
        local mean of the squared Laplacian of Gaussian; the map of chosen planes is smoothed, weighted by how
        clear the choice was, and pixels are blended between the two nearest planes, so that there are no seams
        (after P. Burt, R. Kolczynski, ICCV 1993, and B. Forster et al., Microsc. Res. Tech. 65, 2004).
    detail_sigma
        ``edf``: standard deviation in px of the Laplacian of Gaussian: the scale of the detail that counts.
    smoothing_sigma
        ``edf``: standard deviation in px of the local mean and of the smoothing of the map.

    Returns
    -------
    (1, Y, X) in the dtype of ``stack``. Integers are rounded half to even and saturated; a sum of integers ends
    at the dtype's limits, so sum in a wider dtype where it could reach them. NaN pixels make NaN in ``max``,
    ``mean``, ``sum`` and ``edf``, there if their plane is chosen; sharpness takes pixels that are not finite as 0.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), ``method`` is not known or a standard deviation not above 0.
    """
    require_stack(stack, "project")
    how = choice(method, METHODS, "method")
    require_positive(detail_sigma=detail_sigma, smoothing_sigma=smoothing_sigma)
    if how == "max":
        return stack.max(axis=0)[None]
    if how == "best_focus":
        return stack[best_plane(stack)][None].copy()
    if how == "edf":
        return _extended(stack, detail_sigma, smoothing_sigma)[None]
    return _total(stack, how)[None]
