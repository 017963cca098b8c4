"""Other places or another pixel size: rescaling and cropping planes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hcs_steps.arrays import namespace, ndimage_of
from hcs_steps.functions._checks import finite, plane_column, require_at_most, require_positive, require_whole
from hcs_steps.functions._stacks import require_stack
from hcs_steps.functions.declare import Cost, PlateSize, Table, step_function
from hcs_steps.functions.preprocessing.filters import store, working_dtype

LARGEST_FACTOR = 100
"""Of `rescale`."""

Shape = tuple[int, int, int]


def _factor(factor: float | None, pixel_size_um: float | None, planes: Table | None, count: int) -> float:
    """Pixels of the result per pixel of the stack."""
    require_positive(factor=factor, pixel_size_um=pixel_size_um)
    require_at_most(LARGEST_FACTOR, factor=factor)
    if (factor is None) == (pixel_size_um is None):
        raise ValueError("rescale needs either factor or pixel_size_um (micrometres), and not both.")
    if factor is not None:
        return float(factor)
    assert pixel_size_um is not None
    sizes = plane_column(planes, "pixel_size_um", count)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(
            "rescale to a pixel_size_um needs the pixel size of every plane, which is not known. Give a factor."
        )
    if not np.allclose(sizes, sizes[0], rtol=1e-6):
        raise ValueError(
            f"rescale needs planes of one pixel size, but the stack has sizes from {sizes.min()} to "
            f"{sizes.max()} micrometres."
        )
    factor = float(sizes[0] / pixel_size_um)
    require_at_most(LARGEST_FACTOR, **{"the factor from one pixel size to the other": factor})
    return factor


def _rescaled_planes(planes: Table, before: Shape, after: Shape, params: Mapping[str, Any]) -> Table:
    if "pixel_size_um" not in planes:
        return planes
    sizes = np.asarray(planes["pixel_size_um"], dtype=np.float64)
    target = params.get("pixel_size_um")
    new = np.full(sizes.shape, float(target)) if target is not None else sizes / float(params["factor"])
    return {**planes, "pixel_size_um": new}


def _scale(params: Mapping[str, Any], pixel_size_um: float) -> float:
    factor, target = params.get("factor"), params.get("pixel_size_um")
    if factor is None and np.isnan(pixel_size_um):  # a function before it may set the pixel size when it runs
        return 1.0
    return _factor(factor, target, {"pixel_size_um": np.array([pixel_size_um])}, 1)


def _rescale_needs(params: Mapping[str, Any], plate: PlateSize) -> Cost:
    """The stack, the result, and both of a plane as floats; splines of order 2 and up are filtered in float64."""
    order = params.get("order", 1)
    return Cost(2.1, 20.0 if isinstance(order, int | float) and order > 1 else 12.5)


@step_function(
    needs=_rescale_needs,
    packages=("scipy.ndimage",),
    devices=("cpu", "gpu"),
    planewise=True,
    scale=_scale,
    geometry=_rescaled_planes,
)
def rescale(
    stack: Any,
    factor: float | None = None,
    pixel_size_um: float | None = None,
    order: int = 1,
    anti_aliasing: bool | None = None,
    planes: Table | None = None,
) -> Any:
    """Enlarge or shrink each plane about its centre.

    The result has ``round(size * factor)`` px along each axis, at least 1, spaced exactly ``1 / factor`` px of the
    stack: where a size is no multiple, the field of view changes by up to half a new pixel on each side, so that
    the pixel size is exact and the centre stays where it was. Where sizes come out even this is
    `skimage.transform.rescale`: pixel centres aligned, mirrored about the outermost pixel centres. Before
    shrinking, a Gaussian of ``(1 / factor - 1) / 2`` px can take out what the larger pixels cannot hold.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy. NaN and infinite pixels count as the plane's lowest finite
        value.
    factor
        New pixels per old pixel, above 0: 0.5 halves the size.
    pixel_size_um
        The pixel size of the result in micrometres, instead of ``factor``; needs that of the stack.
    order
        Of the spline, 0 to 5: 0 nearest pixel (for labels), 1 linear, 3 cubic. Splines of order 2 and up can
        overshoot; results stay within the range of the plane.
    anti_aliasing
        Smooth before shrinking; None: if ``order`` is above 0.
    planes
        The plane table; its ``pixel_size_um`` serves ``pixel_size_um``.

    Returns
    -------
    (N, round(Y * factor), round(X * factor)) in the dtype of ``stack``; integers are rounded half to even. In the
    plane table the pixel size changes.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), not exactly one of ``factor`` and ``pixel_size_um`` is given, a number is
        out of range, or the pixel size of the planes is not known or not one.
    """
    require_stack(stack, "rescale")
    ratio = _factor(factor, pixel_size_um, planes, stack.shape[0])
    if order not in range(6):
        raise ValueError(f"order must be a whole number from 0 to 5, but is {order}.")
    order = int(order)  # 1.0 passes, but not in SciPy
    smooth = ratio < 1 and (order > 0 if anti_aliasing is None else anti_aliasing)
    xp, ndimage = namespace(stack), ndimage_of(stack)
    height, width = (max(1, round(size * ratio)) for size in stack.shape[1:])
    offset = [
        (size - 1) / 2 - (new - 1) / 2 / ratio
        for size, new in zip(stack.shape[1:], (height, width), strict=True)
    ]
    steps = xp.asarray([1 / ratio, 1 / ratio])
    result = xp.empty((stack.shape[0], height, width), dtype=stack.dtype)
    for source, target in zip(stack, result, strict=True):
        plane = finite(source).astype(working_dtype(stack.dtype))
        low, high = plane.min(), plane.max()
        if smooth:
            plane = ndimage.gaussian_filter(plane, (1 / ratio - 1) / 2, mode="mirror")
        with warnings.catch_warnings():
            # SciPy warns of a change in 2016 of what one step per axis means.
            warnings.filterwarnings("ignore", "The behavior of affine_transform")
            values = ndimage.affine_transform(
                plane, steps, offset=offset, output_shape=(height, width), order=order, mode="mirror"
            )
        store(xp.clip(values, low, high, out=values), target)
    return result


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    """One number for both axes, or (y, x)."""
    numbers = list(value) if isinstance(value, Sequence) else [value, value]
    if len(numbers) != 2:
        raise ValueError(f"crop takes one number or (y, x), but got {value}.")
    for number in numbers:
        require_whole(0, **{"a size or margin": number})
    return int(numbers[0]), int(numbers[1])


def _region(shape: Shape, params: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Top, left, height and width of what `crop` keeps of a plane."""
    _, height, width = shape
    size, margin = params.get("size"), params.get("margin")
    sides = {name: params.get(name) for name in ("top", "left", "height", "width")}
    ways = (size is not None) + (margin is not None) + any(value is not None for value in sides.values())
    if ways != 1:
        raise ValueError(
            "crop needs exactly one of: a box (top, left, height, width), a centred size, or a margin."
        )
    for name, value in sides.items():
        if value is not None:
            require_whole(1 if name in ("height", "width") else 0, **{name: value})
    if size is not None:
        rows, columns = _pair(size)
        top, left = (height - rows) // 2, (width - columns) // 2
    elif margin is not None:
        top, left = _pair(margin)
        rows, columns = height - 2 * top, width - 2 * left
    else:
        top, left = int(sides["top"] or 0), int(sides["left"] or 0)
        rows = height - top if sides["height"] is None else int(sides["height"])
        columns = width - left if sides["width"] is None else int(sides["width"])
    if min(top, left) < 0 or min(rows, columns) < 1 or top + rows > height or left + columns > width:
        raise ValueError(
            f"crop asks for rows {top} to {top + rows} and columns {left} to {left + columns}, but the planes "
            f"have {height} rows and {width} columns."
        )
    return top, left, rows, columns


def _cropped_planes(planes: Table, before: Shape, after: Shape, params: Mapping[str, Any]) -> Table:
    top, left, rows, columns = _region(before, params)
    moved = {
        "x_um": left + columns / 2 - before[2] / 2,
        "y_um": top + rows / 2 - before[1] / 2,
    }
    count = before[0]
    sizes = plane_column(planes, "pixel_size_um", count)
    shifted = {
        name: plane_column(planes, name, count) + pixels * sizes for name, pixels in moved.items() if pixels
    }
    return {**planes, **shifted}


@step_function(memory=2.1, packages=(), devices=("cpu", "gpu"), planewise=True, geometry=_cropped_planes)
def crop(
    stack: Any,
    top: int | None = None,
    left: int | None = None,
    height: int | None = None,
    width: int | None = None,
    size: int | Sequence[int] | None = None,
    margin: int | Sequence[int] | None = None,
) -> Any:
    """Keep one rectangle of each plane, given in one of three ways, in px.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy.
    top, left, height, width
        A box: its first row and column, from 0, and its size; what is left out reaches to the plane's edge.
    size
        A centred rectangle: one number, or (height, width). Where a row or column remains over, it goes at the
        bottom or right.
    margin
        What is cut off at each edge: one number, or (top and bottom, left and right).

    Returns
    -------
    (N, height, width) in the dtype of ``stack``, a copy. In the plane table the stage position moves to the centre
    of the rectangle; if that is another place, it becomes
    NaN where the pixel size is not known.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), the rectangle is given in no way or in several, is empty or leaves the
        plane.
    """
    require_stack(stack, "crop")
    box = {"top": top, "left": left, "height": height, "width": width, "size": size, "margin": margin}
    first, start, rows, columns = _region(stack.shape, box)
    return stack[:, first : first + rows, start : start + columns].copy()
