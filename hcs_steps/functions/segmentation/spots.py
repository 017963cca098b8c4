"""Detection of spots: vesicles, foci, speckles, FISH signals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace, ndimage_of, to_numpy
from hcs_steps.functions._checks import (
    LARGEST_PX,
    plane_column,
    require_at_most,
    require_labels,
    require_not_negative,
    require_numbers,
    require_positive,
    require_whole,
)
from hcs_steps.functions._coverage import fill
from hcs_steps.functions._stacks import require_stack
from hcs_steps.functions.declare import Table, step_function
from hcs_steps.functions.segmentation._blobs import Blobs, log_responses, maxima, paint, prune

CLIP = 4.0
"""Responses beyond this number of standard deviations are spots, not noise."""

ROUNDS = 10
"""How often the noise is estimated anew at most."""

DEEPEST = 1e-4
"""Part of the pixels whose response is so far below 0 that one as far above 0 is likely no noise."""

SETTLED = 0.9
"""The noise is known once taking out the spots leaves this part of it or more at every scale."""


def _noise(response: Any) -> float:
    """Standard deviation of a response around 0 without spots: values beyond `CLIP` are left out until none is."""
    xp = namespace(response)
    squares = response * response
    level = float(squares.mean(dtype=xp.float64))
    for _ in range(ROUNDS):
        rest = squares[squares <= CLIP**2 * level]
        if rest.size in (0, squares.size):
            break
        level, squares = float(rest.mean(dtype=xp.float64)), rest
    return math.sqrt(level)


def _depth(response: Any) -> float:
    """How far the response's lowest values, save a few of holes and dead pixels, lie below 0."""
    rank = int(DEEPEST * response.size)
    return max(0.0, -float(namespace(response).partition(response.ravel(), rank)[rank]))


def _without(plane: Any, blobs: Blobs) -> Any:
    """A float plane less a Gaussian for each blob."""
    xp, ndimage = namespace(plane), ndimage_of(plane)
    rest = plane.copy()
    for sigma in np.unique(blobs[:, 2]).tolist():
        y, x, _, response = blobs[blobs[:, 2] == sigma].T
        volumes = xp.zeros_like(plane)
        # The scale-normalised Laplacian in the middle of a Gaussian of the same sigma is half its height.
        volumes[xp.asarray(y.astype(np.int64)), xp.asarray(x.astype(np.int64))] = xp.asarray(
            (2 * response * 2 * math.pi * sigma**2).astype(np.float32)
        )
        rest -= ndimage.gaussian_filter(volumes, sigma)
    return rest


def _find(plane: Any, scales: tuple[float, float, int], threshold: float, overlap: float) -> Blobs:
    """Rows (y, x, sigma, response, response / noise) of the spots of one plane."""
    xp = namespace(plane)
    smooth = plane.astype(xp.float32)
    smooth -= xp.median(smooth)
    noise: dict[float, float] = {}
    first: dict[float, float] = {}

    def least(sigma: float, response: Any) -> float:
        noise[sigma] = _noise(response)
        first[sigma] = min(threshold * noise[sigma], _depth(response))
        return 0.0

    every = maxima(log_responses(smooth, *scales), least)

    def above(limits: dict[float, float]) -> Blobs:
        limit = np.array([limits[sigma] for sigma in every[:, 2].tolist()], dtype=np.float64)
        return prune(every[every[:, 3] > limit], overlap)

    # Where spots lie densely, nothing of the plane shows the noise alone. So what rises higher than the plane falls
    # is taken for spots first: noise and texture do both alike. Their rest then shows how much noise there is; if
    # there are pits in it that the spots do not explain, it stays high.
    blobs = above(first)
    for _ in range(ROUNDS):
        if not len(blobs):
            break
        before = noise.copy()
        for sigma, response in log_responses(_without(smooth, blobs), *scales):
            noise[sigma] = min(before[sigma], _noise(response))
        blobs = above({sigma: threshold * level for sigma, level in noise.items()})
        if all(noise[sigma] >= SETTLED * before[sigma] for sigma in noise):
            break
    levels = np.array([noise[sigma] for sigma in blobs[:, 2].tolist()], dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.column_stack([blobs, blobs[:, 3] / levels])


def _in_raster_order(blobs: Blobs, shape: tuple[int, int]) -> tuple[Blobs, NDArray[np.uint32]]:
    """The blobs and their labels, numbered by the raster order of each one's first pixel."""
    painted = paint(blobs, shape)
    numbers, first = np.unique(painted, return_index=True)
    seen = numbers > 0
    order = numbers[seen][np.argsort(first[seen])]
    new = np.zeros(len(blobs) + 1, dtype=np.uint32)
    new[order] = np.arange(1, len(order) + 1)
    return blobs[order - 1], new[painted]


def _at(cells: NDArray[Any] | None, blobs: Blobs) -> NDArray[np.uint32]:
    """The cell at each blob's centre, 0 without cells."""
    if cells is None:
        return np.zeros(len(blobs), dtype=np.uint32)
    owner: NDArray[np.uint32] = cells[tuple(blobs[:, :2].astype(np.int64).T)].astype(np.uint32)
    return owner


def _rows(
    plane: NDArray[Any], blobs: Blobs, labels: NDArray[np.uint32], owner: NDArray[np.uint32]
) -> dict[str, NDArray[Any]]:
    where = np.flatnonzero(labels)
    number = labels.ravel()[where]
    sums = np.bincount(number, plane.ravel()[where].astype(np.float64), len(blobs) + 1)[1:]
    return {
        "label": np.arange(1, len(blobs) + 1, dtype=np.uint32),
        "centroid_y_px": blobs[:, 0],
        "centroid_x_px": blobs[:, 1],
        "sigma_px": blobs[:, 2],
        "radius_px": math.sqrt(2) * blobs[:, 2],
        "response": blobs[:, 3],
        "signal_to_noise": blobs[:, 4],
        "mean_intensity": sums / np.bincount(number, minlength=len(blobs) + 1)[1:],
        "cell": owner,
    }


def _table(per_plane: list[dict[str, NDArray[Any]]], sizes: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    counts = [len(rows["label"]) for rows in per_plane]
    columns = {name: np.concatenate([rows[name] for rows in per_plane]) for name in per_plane[0]}
    size = np.repeat(sizes, counts)
    table = {
        "plane": np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        "label": columns.pop("label"),
    }
    for axis in ("y", "x"):
        table[f"centroid_{axis}_px"] = columns.pop(f"centroid_{axis}_px")
        table[f"centroid_{axis}_um"] = (table[f"centroid_{axis}_px"] + 0.5) * size
    table["sigma_px"], table["radius_px"] = columns.pop("sigma_px"), columns.pop("radius_px")
    table["radius_um"] = table["radius_px"] * size
    return {**table, **columns}


@step_function(
    outputs={"spots": "labels", "spot_table": "table"},
    changes_image=False,
    memory=1.1,
    scratch=34.0,
    packages=("scipy.ndimage", "scipy.linalg", "skimage"),
    devices=("cpu", "gpu"),
    planewise=True,
)
def segment_spots(
    stack: Any,
    min_sigma: float = 1.0,
    max_sigma: float = 3.0,
    num_sigma: int = 5,
    threshold: float = 8.0,
    overlap: float = 0.5,
    cells: Any = None,
    planes: Table | None = None,
) -> tuple[Any, Any, dict[str, NDArray[Any]]]:
    """Find bright spots in each plane: maxima of the Laplacian of Gaussian over position and scale. The image
    passes through unchanged.

    The negative Laplacian of Gaussian, times sigma squared, is taken at ``num_sigma`` scales (T. Lindeberg, IJCV
    30, 1998). A spot is a pixel whose response no neighbour in position and scale exceeds and which is
    ``threshold`` times the noise of its scale: the standard deviation of the response over the plane, taken
    repeatedly without what lies beyond four of it, and again after the spots, as Gaussians, are taken out of the
    plane, so that it does not depend on how many there are. So an empty plane has no spots, whatever its
    brightness and noise, as long as it has more than about one photon per pixel. The spot is a disc of radius
    sqrt(2) sigma.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy. Planes are independent. NaN counts as background.
    min_sigma, max_sigma, num_sigma
        Range of standard deviations in px (spot radius / sqrt(2)) and number of steps.
    threshold
        Least response in units of noise.
    overlap
        The overlapping part of the area, 0 to 1, from which the smaller of two spots is dropped.
    cells
        Labels of cells, shaped like ``stack``, or None; filled in by the runner if an earlier step returned
        ``cells``. Only spots whose centre lies in a cell are kept.
    planes
        The plane table; its ``pixel_size_um`` gives the lengths in micrometres.

    Returns
    -------
    stack
        The object that was passed in.
    spots
        uint32 (N, Y, X), 0 is background; 1..n in each plane in raster order of the first pixel. Where discs overlap,
        the relatively nearer centre owns the pixel. In the namespace of ``stack``.
    spot_table
        One row per spot: ``plane`` (along axis 0), ``label``, ``centroid_y_px`` and ``centroid_x_px`` (the pixel
        of the maximum; the centre of the first pixel is 0), ``centroid_y_um`` and ``centroid_x_um`` (from the
        plane's upper left corner), ``sigma_px``, ``radius_px``, ``radius_um``, ``response`` (in units of
        ``stack``), ``signal_to_noise`` (response in units of noise; infinite without noise), ``mean_intensity``
        (of ``stack`` over the spot's pixels), ``cell`` (its label, 0 without ``cells``). Micrometre columns are
        NaN where the pixel size is unknown.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), ``cells`` has another shape, or a number is out of range.
    """
    require_stack(stack, "segment_spots")
    require_numbers(min_sigma=min_sigma, max_sigma=max_sigma, threshold=threshold, overlap=overlap)
    require_positive(min_sigma=min_sigma, max_sigma=max_sigma, num_sigma=num_sigma, threshold=threshold)
    require_not_negative(overlap=overlap)
    require_at_most(1, overlap=overlap)
    if max_sigma < min_sigma:
        raise ValueError(f"max_sigma={max_sigma} is below min_sigma={min_sigma}.")
    require_whole(1, num_sigma=num_sigma)
    require_at_most(LARGEST_PX, max_sigma=max_sigma)
    if cells is not None:
        cells = require_labels(cells, stack, "cells", "segment_spots")
    sizes = plane_column(planes, "pixel_size_um", stack.shape[0])
    xp = namespace(stack)
    spots = xp.zeros(stack.shape, dtype=xp.uint32)
    per_plane = []
    for index, plane in enumerate(stack):
        blobs = _find(fill(plane)[0], (min_sigma, max_sigma, int(num_sigma)), threshold, overlap)
        owner = None if cells is None else to_numpy(cells[index])
        blobs = blobs[_at(owner, blobs) > 0] if owner is not None else blobs
        blobs, labels = _in_raster_order(blobs, (plane.shape[0], plane.shape[1]))
        per_plane.append(_rows(to_numpy(plane), blobs, labels, _at(owner, blobs)))
        spots[index] = xp.asarray(labels)
    return stack, spots, _table(per_plane, sizes)
