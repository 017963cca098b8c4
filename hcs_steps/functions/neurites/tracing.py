"""Neurites: segmentation, skeleton, branches and lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import to_numpy
from hcs_steps.functions._checks import require_not_negative, require_positive
from hcs_steps.functions._coverage import fill
from hcs_steps.functions._stacks import choice, choice_text, require_stack
from hcs_steps.functions.declare import Cost, PlateSize, Table, step_function
from hcs_steps.functions.neurites._neurite_masks import (
    CANDIDATE,
    CERTAIN_LEVEL,
    SKELETON_METHODS,
    THRESHOLD_METHODS,
    MaskOptions,
    members,
    neurite_levels,
    neurite_skeleton,
    soma_mask,
    thin_in_depth,
)
from hcs_steps.functions.neurites._neurite_tables import Columns, joined, measure, plane_of
from hcs_steps.functions.neurites._skeletons import Graph, build_graph, prune, require_skan
from hcs_steps.functions.neurites._volumes import Volume, length_in_pixels, volumes_of

_MIN_TREE = 5.0
_SOMA = 6.0


@dataclass(frozen=True)
class SegmentationOptions:
    """Parameters of the segmentation in px; see `skan_axon_skeletonize_and_analyze`."""

    mask: MaskOptions
    dark_neurites: bool
    min_branch_length: float
    min_tree_length: float
    soma_width: float
    exclude_soma: bool


def _needs(params: Mapping[str, Any], plate: PlateSize) -> Cost:
    """In 3-D the stack is worked on as a whole, else plane by plane."""
    volumes = choice_text(params.get("analysis_dimension", "2d")) == "3d"
    return Cost(6.6 if volumes else 1.2, 65.0)


@step_function(
    outputs={"axon_branches": "table", "axon_summary": "table", "axon_skeleton": "labels"},
    rows={"axon_summary": "planes"},
    changes_image=False,
    needs=_needs,
    packages=("scipy.ndimage", "scipy.linalg", "skimage", "skan"),
)
def skan_axon_skeletonize_and_analyze(
    stack: NDArray[Any],
    threshold_method: str | Enum = "ridge",
    threshold: float | None = None,
    neurite_width: float = 4.0,
    neurite_width_um: float | None = None,
    gaussian_sigma: float = 0.0,
    dark_neurites: bool = False,
    min_object_size: int | None = None,
    skeleton_method: str | Enum | None = None,
    min_branch_length: float | None = None,
    min_tree_length: float | None = None,
    exclude_soma: bool = False,
    soma_width: float | None = None,
    analysis_dimension: str | Enum = "2d",
    z_spacing_um: float | None = None,
    planes: Table | None = None,
) -> tuple[NDArray[Any], dict[str, NDArray[Any]], dict[str, NDArray[Any]], NDArray[np.uint32]]:
    """Trace neurites: threshold, skeleton, pruning, then lengths and counts. The image passes through unchanged.

    ``ridge``, the default, finds thin bright lines at four scales around ``neurite_width``, whatever the
    brightness of the soma and the slope of the background. A ridge begins where it exceeds the plane's own
    texture and pixel noise and is kept if part of it is certain, so nothing is found in noise. The skeleton
    runs through the somata, which are filled first, unless ``exclude_soma`` takes them out. Branches are
    traced with skan (J. Nunez-Iglesias et al., PeerJ 6, e4312, 2018).

    Lengths are taken along the smoothed branches, so that they do not depend on the direction of a neurite:
    within 0.5 % on straight lines and 2 % on circles of 10 px radius, where the sum of steps between pixels is
    up to 8 % too long. The skeleton of a neurite ends about half its width before its tip.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float. NaN counts as background.
    threshold_method, threshold
        ``ridge``, ``otsu``, ``li``, ``triangle`` (of the whole plane), ``local`` (3 robust standard deviations
        above a Gaussian mean over 5 neurite widths), or ``manual`` with ``threshold`` in units of the image:
        neurites are then exactly the pixels above it, or below it with ``dark_neurites``.
    neurite_width, neurite_width_um
        Typical full width of a neurite in px, or in micrometres where the plane table gives the pixel size.
        All lengths below that are None follow it. Neurites from a third of it to one and a half times as wide
        are traced alike; wider ones are found, too, but with spurious side branches.
    gaussian_sigma
        Standard deviation in px of a smoothing before the threshold; ``ridge`` needs none.
    dark_neurites
        Neurites are darker than the background.
    min_object_size
        Least number of pixels of a connected object. None: the square of the width.
    skeleton_method
        ``zhang`` (T. Zhang and C. Suen, CACM 27, 1984; planes only) follows short side branches and spines,
        and corners of a thick outline too; ``lee`` (T.-C. Lee et al., CVGIP 56, 1994) keeps to the main
        course and gives the better counts of branches. None: ``zhang`` for ``ridge`` in planes, else ``lee``.
    min_branch_length
        Branches from a junction to an end which are shorter than this (px) are pruned, the shortest first.
        None: the width, which keeps spines and short side branches; 3 widths leave the main course.
    min_tree_length
        Trees with less total length (px) are left out. None: 5 widths.
    exclude_soma, soma_width
        True: leave somata out of skeleton, lengths and area; each primary neurite is then a tree of its own.
        Somata are bright regions at least ``soma_width`` px wide. None: 6 widths. They are filled in either
        case, except for ``manual``, which takes them as the threshold does.
    analysis_dimension, z_spacing_um
        ``2d``: each plane by itself. ``3d``: the planes of one well, site, channel and timepoint are one
        volume; without a plane table the whole stack is. Thresholds are still taken plane by plane, and a
        ridge less than half as strong as in the planes above or below is out of focus and left out. The
        distance of the planes comes from ``z_spacing_um``, else from the plane table; where neither knows it,
        pixels count as cubes and lengths in micrometres are NaN.
    planes
        The plane table; ``pixel_size_um`` and ``z_um`` give the lengths in micrometres.

    Returns
    -------
    stack
        The object that was passed in.
    axon_branches
        One row per branch: ``plane`` (of a volume the first one), ``branch`` (from 1 in each plane or
        volume), ``tree`` (as in ``axon_skeleton``), ``branch_type`` (0 end to end, 1 junction to end,
        2 junction to junction, 3 closed loop), ``length_px``, ``length_um``, ``chain_length_px`` (the plain sum of
        steps, skan's branch distance), ``euclidean_px``, ``euclidean_um``, ``tortuosity`` (length / Euclidean
        distance; NaN for loops), ``mean_intensity``, and the ends ``start_plane``, ``start_y_px``,
        ``start_x_px``, ``end_plane``, ``end_y_px``, ``end_x_px``. No branches: no rows.
    axon_summary
        One row per plane or volume: ``plane``, ``planes`` (how many), ``total_length_px``,
        ``total_length_um``, ``trees``, ``branches``, ``junctions`` (junctions closer than the width are one,
        and what lies between them is no branch but counts in the total length), ``endpoints`` (pixels with
        one neighbour; a loop has none), ``mean_branch_length_px`` and ``_um``, ``longest_branch_px`` and
        ``_um``, ``mean_tortuosity``, ``area_px`` and ``area_um2`` (of the segmented neurites; of a volume,
        of its projection along z). Micrometre columns are NaN where a size is unknown, means where there is
        no branch.
    axon_skeleton
        uint32 (N, Y, X), 0 is background; the number of its tree, 1..n in each plane or volume, at each
        skeleton pixel.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), a name is unknown, a number is out of range, ``manual`` has no
        threshold or another method has one, or ``neurite_width_um`` is given without a pixel size.
    ImportError
        If skan is not installed.
    """
    require_stack(stack, "skan_axon_skeletonize_and_analyze")
    method = choice(threshold_method, THRESHOLD_METHODS, "threshold_method")
    dimension = choice(analysis_dimension, ("2d", "3d"), "analysis_dimension")
    if (method == "manual") != (threshold is not None):
        raise ValueError(
            f"threshold_method={method!r} with threshold={threshold}: 'manual' needs a threshold in units of "
            "the image, and only 'manual' takes one."
        )
    thinning = "zhang" if method == "ridge" and dimension == "2d" else "lee"
    if skeleton_method is not None:
        thinning = choice(skeleton_method, SKELETON_METHODS, "skeleton_method")
        if thinning == "zhang" and dimension == "3d":
            raise ValueError("skeleton_method='zhang' is for planes; for analysis_dimension='3d' use 'lee'.")
    require_positive(
        neurite_width=neurite_width,
        neurite_width_um=neurite_width_um,
        soma_width=soma_width,
        z_spacing_um=z_spacing_um,
    )
    require_not_negative(
        gaussian_sigma=gaussian_sigma,
        min_object_size=min_object_size,
        min_branch_length=min_branch_length,
        min_tree_length=min_tree_length,
    )
    require_skan()
    width = length_in_pixels(neurite_width, neurite_width_um, "neurite_width", planes, len(stack))
    if threshold is not None and dark_neurites:
        threshold = -threshold
    mask = MaskOptions(
        method,
        threshold,
        gaussian_sigma,
        width,
        round(width**2) if min_object_size is None else min_object_size,
        thinning,
    )
    options = SegmentationOptions(
        mask,
        dark_neurites,
        width if min_branch_length is None else min_branch_length,
        _MIN_TREE * width if min_tree_length is None else min_tree_length,
        _SOMA * width if soma_width is None else soma_width,
        exclude_soma,
    )
    images = to_numpy(stack)
    labels = np.zeros(images.shape, dtype=np.uint32)
    rows, summaries = [], []
    for volume in volumes_of(len(stack), planes, dimension == "3d", z_spacing_um):
        branches, summary = _analyse(images, volume, options, labels)
        rows.append(branches)
        summaries.append(summary)
    return stack, joined(rows), joined(summaries), labels


def _bright(image: NDArray[Any], dark_neurites: bool) -> NDArray[Any]:
    """A plane without NaN on which neurites are bright."""
    if not dark_neurites:
        return np.asarray(fill(image)[0])
    exact = image.dtype.itemsize <= 2 or image.dtype == np.float32
    return np.asarray(fill(np.negative(image.astype(np.float32 if exact else np.float64)))[0])


def segment_neurites(
    stack: NDArray[Any], volume: Volume, options: SegmentationOptions
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Mask and skeleton of the neurites of a plane, (Y, X), or of a z stack, (Z, Y, X)."""
    shape = (len(volume.planes), *stack.shape[1:])
    levels = np.empty(shape, dtype=np.uint8)
    soma = np.zeros(shape, dtype=bool)
    for level, body, index in zip(levels, soma, volume.planes, strict=True):
        plane = _bright(stack[index], options.dark_neurites)
        level[...] = neurite_levels(plane, options.mask)
        if options.exclude_soma or options.mask.method != "manual":
            body[...] = soma_mask(plane, level >= CERTAIN_LEVEL, options.soma_width)
    if len(volume.spacing) == 3:
        thin_in_depth(levels, math.ceil(options.mask.width / volume.spacing[0]))
    if options.mask.method != "manual":
        np.maximum(levels, CANDIDATE, out=levels, where=soma)
    shape = shape[3 - len(volume.spacing) :]
    mask, skeleton = neurite_skeleton(levels.reshape(shape), options.mask)
    if options.exclude_soma:
        mask &= ~soma.reshape(shape)
        skeleton &= mask
    return mask, skeleton


def _area(mask: NDArray[np.bool_], graph: Graph) -> int:
    """Pixels, seen along z, of the objects that a skeleton was kept of."""
    from scipy import ndimage

    objects, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim))
    keep = np.zeros(count + 1, dtype=bool)
    keep[objects[tuple(graph.coordinates.T)]] = True
    kept = members(objects, keep)
    return int(np.count_nonzero(kept if mask.ndim == 2 else kept.any(axis=0)))


def _analyse(
    stack: NDArray[Any], volume: Volume, options: SegmentationOptions, labels: NDArray[np.uint32]
) -> tuple[Columns, Columns]:
    """Branch table and summary of one plane or z stack; numbers the trees in ``labels``."""
    mask, skeleton = segment_neurites(stack, volume, options)
    width = options.mask.width
    graph, paths = prune(
        build_graph(skeleton, volume.spacing), options.min_branch_length, options.min_tree_length, width
    )
    where = (plane_of(graph.coordinates, volume), graph.coordinates[:, -2], graph.coordinates[:, -1])
    labels[where] = graph.trees()[1] + 1
    values = stack[where].astype(np.float64)
    return measure(graph, paths, values, volume, _area(mask, graph), width)
