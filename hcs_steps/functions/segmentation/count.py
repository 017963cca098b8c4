"""Counting cells or nuclei in one channel."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions._checks import (
    LARGEST_PX,
    plane_column,
    require_at_most,
    require_not_negative,
    require_positive,
    require_whole,
)
from hcs_steps.functions._coverage import fill
from hcs_steps.functions._stacks import choice, choice_text, require_stack
from hcs_steps.functions.declare import Cost, PlateSize, Table, step_function
from hcs_steps.functions.segmentation._blobs import BlobOptions, segment_blobs
from hcs_steps.functions.segmentation._objects import measure, number_objects, object_table
from hcs_steps.functions.segmentation._watershed import WatershedOptions, segment
from hcs_steps.functions.segmentation.nuclei import threshold_options

DETECTION_METHODS = ("watershed", "log", "dog")
THRESHOLD_METHODS = ("otsu", "li", "manual")


def _needs(params: Mapping[str, Any], plate: PlateSize) -> Cost:
    """The watershed holds more images than the search for blobs."""
    method = choice_text(params.get("detection_method", "watershed"))
    return Cost(1.1, 62.0 if method == "watershed" else 30.0)


@step_function(
    outputs={"cell_counts": "table", "cells": "labels"},
    changes_image=False,
    needs=_needs,
    packages=("scipy.ndimage", "scipy.linalg", "skimage"),
)
def count_cells_single_channel(
    stack: NDArray[Any],
    detection_method: str | Enum = "watershed",
    threshold_method: str | Enum = "otsu",
    threshold: float | None = None,
    gaussian_sigma: float = 1.0,
    local_contrast: float = 1.15,
    min_cell_area: int | None = None,
    max_cell_area: int | None = None,
    min_distance: float | None = None,
    remove_border_cells: bool = False,
    min_sigma: float = 3.0,
    max_sigma: float = 12.0,
    num_sigma: int = 10,
    blob_threshold: float = 0.1,
    blob_overlap: float = 0.5,
    planes: Table | None = None,
) -> tuple[NDArray[Any], dict[str, NDArray[Any]], NDArray[np.uint32]]:
    """Find bright cells or nuclei in each plane, count and measure them. The image passes through unchanged.

    ``watershed``: the objects of `hcs_steps.functions.segmentation.nuclei.segment_nuclei` with the same parameters: a
    threshold, seeds by local contrast and shape, outlines by each object's own brightness.

    ``log``, ``dog``: maxima of the Laplacian (difference) of Gaussians over position and scale on the plane
    scaled to [0, 1] (T. Lindeberg, IJCV 30, 1998), for spots and small round nuclei; a cell is a disc of
    radius sqrt(2) sigma. Responses within the plane's own noise are left out.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float. Planes are independent. NaN counts as background.
    detection_method
        ``watershed``, ``log`` or ``dog``.
    threshold_method, threshold
        Watershed: ``otsu``, ``li``, or ``manual`` with ``threshold`` in units of the image: the
        foreground is then exactly the smoothed image above it, with its holes filled.
    gaussian_sigma
        Watershed: standard deviation of the smoothing in px; 0 for none.
    local_contrast
        Watershed without ``manual``: a seed's pixels exceed this part of the neighbourhood's mean above
        background. 0 switches that off; higher values separate more and split textured nuclei.
    min_cell_area, max_cell_area
        Limits in px, inclusive. None: for ``watershed`` at least 10 px and 0.8 % of a disc of the typical
        radius, no lower limit for blobs; no upper limit.
    min_distance
        Watershed: least distance between two seeds in px; None: half the typical radius.
    remove_border_cells
        Drop objects that touch the edge of the plane.
    min_sigma, max_sigma, num_sigma, blob_threshold, blob_overlap
        Blobs: range of standard deviations in px (blob radius / sqrt(2)), number of steps (``log`` only),
        least response, and the overlapping part of the area, 0 to 1, from which the smaller of two blobs is
        dropped.
    planes
        The plane table; its ``pixel_size_um`` gives the lengths in micrometres.

    Returns
    -------
    stack
        The object that was passed in.
    cell_counts
        One row per object: ``plane`` (along axis 0), ``label``, ``centroid_y_px`` and ``centroid_x_px``
        (the centre of the first pixel is 0), ``centroid_y_um`` and ``centroid_x_um`` (from the plane's
        upper left corner, so that the centre of the first pixel is half a pixel), ``area_px``,
        ``area_um2``, ``mean_intensity`` (of ``stack``). Micrometre columns are NaN where the pixel size is
        unknown. No objects: no rows.
    cells
        uint32 (N, Y, X), 0 is background; 1..n in each plane in raster order of the first pixel.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), a name is unknown, a number is out of range, ``manual`` has no
        threshold or another method has one.
    """
    require_stack(stack, "count_cells_single_channel")
    method = choice(detection_method, DETECTION_METHODS, "detection_method")
    thresholding = choice(threshold_method, THRESHOLD_METHODS, "threshold_method")
    thresholds = threshold_options(thresholding, threshold)
    require_at_most(LARGEST_PX, gaussian_sigma=gaussian_sigma)
    require_not_negative(gaussian_sigma=gaussian_sigma, local_contrast=local_contrast)
    require_not_negative(
        min_cell_area=min_cell_area, blob_threshold=blob_threshold, blob_overlap=blob_overlap
    )
    require_positive(max_cell_area=max_cell_area, min_distance=min_distance)
    require_positive(min_sigma=min_sigma, max_sigma=max_sigma)
    require_at_most(LARGEST_PX, max_sigma=max_sigma)
    require_whole(1, num_sigma=num_sigma)
    min_area = min_cell_area or 0
    if max_cell_area is not None and max_cell_area < min_area:
        raise ValueError(f"max_cell_area={max_cell_area} is below the smallest area, {min_area} px.")
    if max_sigma < min_sigma:
        raise ValueError(f"max_sigma={max_sigma} is below min_sigma={min_sigma}.")

    sizes = plane_column(planes, "pixel_size_um", stack.shape[0])
    shed = WatershedOptions(
        threshold=thresholds,
        gaussian_sigma=gaussian_sigma,
        local_contrast=local_contrast,
        min_area=min_cell_area,
        min_distance=min_distance,
    )
    blobs = BlobOptions(method, min_sigma, max_sigma, num_sigma, blob_threshold, blob_overlap)
    cells = np.zeros(stack.shape, dtype=np.uint32)
    rows = []
    for plane, labels in zip(stack, cells, strict=True):
        found = segment(plane, shed) if method == "watershed" else segment_blobs(fill(plane)[0], blobs)
        labels[...] = number_objects(
            found, min_area=min_area, max_area=max_cell_area, remove_border=remove_border_cells
        )
        rows.append(measure(plane, labels))
    return stack, object_table(rows, sizes), cells
