"""Segmentation of nuclei in a channel of a nuclear stain."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import to_numpy
from hcs_steps.functions._checks import (
    LARGEST_PX,
    plane_column,
    require_at_most,
    require_not_negative,
    require_numbers,
    require_positive,
)
from hcs_steps.functions._stacks import choice, require_stack
from hcs_steps.functions.declare import Table, step_function
from hcs_steps.functions.segmentation._objects import number_objects
from hcs_steps.functions.segmentation._thresholds import ThresholdOptions
from hcs_steps.functions.segmentation._watershed import WatershedOptions, segment

THRESHOLD_METHODS = ("otsu", "li", "triangle", "manual")
THRESHOLD_SCOPES = ("auto", "global", "local")
DECLUMP_METHODS = ("shape", "intensity", "none")


def threshold_options(
    method: str,
    value: float | None,
    correction: float = 1.0,
    lower: float | None = None,
    upper: float | None = None,
) -> ThresholdOptions:
    """The checked parameters of a threshold; ValueError if they do not fit together."""
    if (method == "manual") != (value is not None):
        raise ValueError(
            f"threshold_method={method!r} with threshold={value}: 'manual' needs a threshold in "
            "units of the image, and only 'manual' takes one."
        )
    require_positive(threshold_correction=correction)
    given = {"threshold": value, "threshold_min": lower, "threshold_max": upper}
    require_numbers(**{name: number for name, number in given.items() if number is not None})
    if lower is not None and upper is not None and lower > upper:
        raise ValueError(f"threshold_min={lower} is above threshold_max={upper}.")
    return ThresholdOptions(method, value, correction, lower, upper)


def _area_limits(
    min_area: int | None,
    max_area: int | None,
    min_diameter_um: float | None,
    max_diameter_um: float | None,
    pixel_size: float,
) -> tuple[float | None, float | None]:
    """The stricter of the limits in px and in micrometres, in px; None where there is none."""
    if (min_diameter_um, max_diameter_um) != (None, None) and not pixel_size > 0:
        raise ValueError(
            "min_diameter_um and max_diameter_um need a known pixel size, but the plane table has none. "
            "Give min_area and max_area in px instead."
        )
    discs = [
        None if diameter is None else math.pi / 4 * (diameter / pixel_size) ** 2
        for diameter in (min_diameter_um, max_diameter_um)
    ]
    lowest = [limit for limit in (min_area, discs[0]) if limit is not None]
    highest = [limit for limit in (max_area, discs[1]) if limit is not None]
    low, high = max(lowest, default=None), min(highest, default=None)
    if low is not None and high is not None and high < low:
        raise ValueError(f"The largest area, {high:g} px, is below the smallest, {low:g} px.")
    return low, high


@step_function(
    outputs={"nuclei": "labels"},
    changes_image=False,
    memory=1.1,
    scratch=76.0,
    packages=("scipy.ndimage", "scipy.linalg", "skimage"),
)
def segment_nuclei(
    stack: Any,
    threshold_method: str | Enum = "otsu",
    threshold: float | None = None,
    threshold_scope: str | Enum = "auto",
    threshold_window: float | None = None,
    threshold_correction: float = 1.0,
    threshold_min: float | None = None,
    threshold_max: float | None = None,
    gaussian_sigma: float = 1.0,
    declump_method: str | Enum = "shape",
    local_contrast: float = 1.15,
    outline_level: float = 0.6,
    min_distance: float | None = None,
    min_area: int | None = None,
    max_area: int | None = None,
    min_diameter_um: float | None = None,
    max_diameter_um: float | None = None,
    remove_border: bool = False,
    planes: Table | None = None,
) -> tuple[Any, NDArray[np.uint32]]:
    """Label the nuclei of each plane. The image passes through unchanged.

    1. Gaussian smoothing, and a threshold that tells roughly where nuclei are and how large.
    2. Seeds: pixels above ``local_contrast`` times the mean of their neighbourhood (a Gaussian of 0.7 typical
       radii) and 0.4 times the threshold, both above background. This opens gaps between crowded nuclei and
       finds dim nuclei beside bright ones. Seeds are cut at their necks by a watershed of the distance
       transform, lowered where the image is dim (N. Malpica et al., Cytometry 28, 1997).
    3. Seeds grow up to the outline of their nucleus: ``outline_level`` of its own brightness above background.
    4. Nuclei that are neither above the threshold nor much brighter than the ring around them are dropped.
    5. Touching pieces are joined if their union is convex and they are equally bright.

    All lengths follow from the typical radius in the plane, so one parameter set serves from 4x to 60x. Automatic
    thresholds lie eight standard deviations of the noise above background, unless Otsu's is lower, and step 2 goes
    down to three and a half of them. In a plane whose pixels do not fall into two classes, neither as a whole nor in
    tiles, e.g. pure noise, gradients or empty wells, only what rises eight robust standard deviations above the
    median is kept; nuclei that cover more than some 60 % of a plane may look like that too and need ``manual``. A
    few specks that outshine all else (debris) do not hide many dimmer nuclei, nor does the dark outside of a well
    hide those in it: where the counts of regions tell so, the threshold is found again without. With ``manual``,
    ``declump_method="none"`` or ``local_contrast=0`` the foreground is all that exceeds the threshold, without
    steps 2 to 4.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy, worked on by the CPU. Planes are independent. NaN counts as
        background.
    threshold_method, threshold
        ``otsu``: Otsu's threshold (IEEE Trans. SMC 9, 1979) on the square root of the background-subtracted
        intensity, so that dim nuclei beside bright ones are kept, and at least four robust standard deviations
        above background. ``li`` (C. H. Li, P. K. S. Tam, Pattern Recognition Letters 19, 1998). ``triangle``
        (G. W. Zack et al., J. Histochem. Cytochem. 25, 1977). ``manual``: ``threshold`` in units of the image.
    threshold_scope, threshold_window
        ``global``: one threshold for the plane. ``local``, for uneven background: one for each tile of about
        ``threshold_window`` px (None: twelve typical radii), interpolated between their centres; its height above
        background stays between half and twice that of the whole plane. ``auto``: local if the pixels of the
        plane do not fall into two classes, but those of at least half of the tiles do.
    threshold_correction
        Factor on the height of the threshold above background; below 1 for more, above 1 for fewer pixels.
    threshold_min, threshold_max
        Bounds of the threshold in units of the image. The correction and the bounds do not apply to ``manual``.
    gaussian_sigma
        Standard deviation of the smoothing in px; 0 for none. Outlines of nuclei with radii above 17 px are
        smoothed with 0.06 radii if that is more.
    declump_method
        ``shape``: cut at necks. ``intensity``: cut along dark lines. ``none``: touching nuclei stay one.
    local_contrast
        See step 2; higher values separate more, and split textured nuclei.
    outline_level
        Between 0 and 1; see step 3.
    min_distance
        Least distance between two seeds in px; None: half the typical radius.
    min_area, max_area
        Limits in px, inclusive. None: at least 10 px and 0.8 % of a disc of the typical radius; no upper limit.
    min_diameter_um, max_diameter_um
        Limits of the diameter of a disc of equal area, in micrometres; they need the pixel size.
    remove_border
        Drop nuclei that touch the edge of the plane.
    planes
        The plane table; its ``pixel_size_um`` is needed for the limits in micrometres.

    Returns
    -------
    stack
        The object that was passed in.
    nuclei
        uint32 (N, Y, X), 0 is background; 1..n in each plane in raster order of the first pixel.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), a name is unknown, a number is out of range, ``manual`` has no threshold
        or another method has one, or the pixel size is needed and unknown.
    """
    require_stack(stack, "segment_nuclei")
    require_at_most(LARGEST_PX, gaussian_sigma=gaussian_sigma)
    require_not_negative(gaussian_sigma=gaussian_sigma, local_contrast=local_contrast, min_area=min_area)
    require_positive(max_area=max_area, min_distance=min_distance, threshold_window=threshold_window)
    require_positive(min_diameter_um=min_diameter_um, max_diameter_um=max_diameter_um)
    if not 0 < outline_level < 1:
        raise ValueError(f"outline_level must be between 0 and 1, but is {outline_level}.")
    method = choice(threshold_method, THRESHOLD_METHODS, "threshold_method")
    thresholds = threshold_options(method, threshold, threshold_correction, threshold_min, threshold_max)
    scope = choice(threshold_scope, THRESHOLD_SCOPES, "threshold_scope")
    declump = choice(declump_method, DECLUMP_METHODS, "declump_method")
    sizes = plane_column(planes, "pixel_size_um", stack.shape[0])
    limits = [_area_limits(min_area, max_area, min_diameter_um, max_diameter_um, size) for size in sizes]
    nuclei = np.zeros(stack.shape, dtype=np.uint32)
    for plane, labels, (low, high) in zip(stack, nuclei, limits, strict=True):
        options = WatershedOptions(
            thresholds, scope, threshold_window, gaussian_sigma, declump, local_contrast, outline_level, low,
            min_distance,
        )  # fmt: skip
        found = segment(to_numpy(plane), options)
        labels[...] = number_objects(found, min_area=low or 0, max_area=high, remove_border=remove_border)
    return stack, nuclei
