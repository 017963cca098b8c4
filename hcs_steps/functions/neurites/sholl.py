"""Sholl analysis: how often neurites cross circles, or spheres, around a centre."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import to_numpy
from hcs_steps.functions._checks import finite, require_labels, require_not_negative, require_positive
from hcs_steps.functions._stacks import choice, choice_text, require_stack
from hcs_steps.functions.declare import Cost, PlateSize, Table, spec_of, step_function
from hcs_steps.functions.neurites._neurite_masks import soma_mask
from hcs_steps.functions.neurites._neurite_tables import joined
from hcs_steps.functions.neurites._sholl_tables import Centre, no_circles, profile_rows, summary_row
from hcs_steps.functions.neurites._skeletons import Graph, build_graph
from hcs_steps.functions.neurites._volumes import Volume, length_in_pixels, volumes_of
from hcs_steps.functions.neurites.tracing import skan_axon_skeletonize_and_analyze

CENTRES = ("soma", "labels")
_SOMA = 6.0
_STEP_PX = 10.0


def _needs(params: Mapping[str, Any], plate: PlateSize) -> Cost:
    """In 3-D the stack is worked on as a whole, else plane by plane; it is traced first if no skeleton is given."""
    own = Cost(9.0, 50.0) if choice_text(params.get("analysis_dimension", "2d")) == "3d" else Cost(3.2, 30.0)
    if params.get("axon_skeleton") is not None:
        return own
    tracing = spec_of(skan_axon_skeletonize_and_analyze)
    traced = tracing.cost(params, plate)
    memory, scratch = max(own.memory, traced.memory), max(own.scratch, traced.scratch)
    return Cost(memory, scratch, packages=tracing.packages or ())


@step_function(
    outputs={"sholl_profile": "table", "sholl_summary": "table"},
    rows={"sholl_profile": "other"},
    changes_image=False,
    needs=_needs,
    packages=("scipy.ndimage", "scipy.linalg", "skimage"),
)
def sholl(
    stack: NDArray[Any],
    axon_skeleton: NDArray[Any] | None = None,
    nuclei: NDArray[Any] | None = None,
    centre: str | Enum | Sequence[float] = "soma",
    step_px: float | None = None,
    step_um: float | None = None,
    start_radius_px: float | None = None,
    neurite_width: float = 4.0,
    neurite_width_um: float | None = None,
    analysis_dimension: str | Enum = "2d",
    z_spacing_um: float | None = None,
    planes: Table | None = None,
) -> tuple[NDArray[Any], dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Count the crossings of a skeleton with circles (spheres in 3-D) around somata or a point.

    After D. Sholl (J. Anatomy 87, 1953) with the conventions of T. Ferreira et al. (Nature Methods 11, 2014):
    a crossing is a connected group of skeleton pixels that lie on both sides of the circle, however many
    they are. The image passes through unchanged.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float, in which somata are looked for.
    axon_skeleton
        The skeleton, not 0 where a neurite runs, shaped like ``stack``: the output of an earlier
        ``skan_axon_skeletonize_and_analyze``. None: it is called with ``neurite_width`` and its defaults.
    nuclei
        Labels shaped like ``stack``, for ``centre="labels"``: the output of an earlier step.
    centre
        ``soma``: the centroid of the largest cell body in the plane, at least 6 neurite widths wide (in 3-D
        of the projection of the brightest pixels). ``labels``: the centroid of each object in ``nuclei``; a
        skeleton pixel belongs to the nearest. Or a point (y, x), in 3-D (z, y, x), in px of the plane and
        plane numbers of the volume.
    step_px, step_um
        Distance of the circles; ``step_um`` needs the pixel size. Both None: 10 px.
    start_radius_px
        Radius of the first circle. None: that of a disk (or ball) as large as the soma or object; for a
        point, one step.
    neurite_width, neurite_width_um
        Typical width of a neurite, in px or in micrometres, for the skeleton and the least size of a soma.
    analysis_dimension, z_spacing_um
        ``2d``: circles in each plane; ``3d``: spheres; as in ``skan_axon_skeletonize_and_analyze``.
    planes
        The plane table; ``pixel_size_um`` and ``z_um`` give the lengths in micrometres.

    Returns
    -------
    stack
        The object that was passed in.
    sholl_profile
        One row per circle: ``plane`` (of a volume the first one), ``cell`` (the label; 1 for a soma or
        point), ``radius_px``, ``radius_um``, ``intersections``. The last circle is the largest that any
        pixel of the cell's skeleton lies outside of, or on.
    sholl_summary
        One row per cell: ``plane``, ``cell``, ``centre_y_px``, ``centre_x_px``, ``start_radius_px``,
        ``primary_intersections`` (with the first circle), ``max_intersections``, ``critical_radius_px`` and
        ``_um`` (the first radius with that many), ``enclosing_radius_px`` and ``_um`` (the last radius with
        any), ``total_intersections``, ``ramification_index`` (Schoenen: most / primary intersections),
        ``regression_coefficient_per_px`` and ``_per_um`` (k of log10(intersections / area of the circle) =
        m - k radius; volume of the sphere in 3-D), ``regression_r2``. A plane without a soma or object has
        one row with cell 0. What cannot be known is NaN.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), a name is unknown, a number is out of range, labels are missing or not
        shaped like ``stack``, or a length in micrometres is given without a pixel size.
    """
    require_stack(stack, "sholl")
    dimension = choice(analysis_dimension, ("2d", "3d"), "analysis_dimension")
    mode, point = _read_centre(centre, 3 if dimension == "3d" else 2)
    require_positive(step_px=step_px, step_um=step_um, neurite_width=neurite_width)
    require_positive(neurite_width_um=neurite_width_um, z_spacing_um=z_spacing_um)
    require_not_negative(start_radius_px=start_radius_px)
    if step_px is not None and step_um is not None:
        raise ValueError(f"step_px={step_px} and step_um={step_um} are both given. Give one of them.")
    if mode == "labels" and nuclei is None:
        raise ValueError("centre='labels' needs nuclei: labels that an earlier step found.")
    if nuclei is not None:
        nuclei = require_labels(nuclei, stack, "nuclei", "sholl")
    if axon_skeleton is not None:
        axon_skeleton = require_labels(axon_skeleton, stack, "axon_skeleton", "sholl")
    width = length_in_pixels(neurite_width, neurite_width_um, "neurite_width", planes, len(stack))
    step = length_in_pixels(step_px or _STEP_PX, step_um, "step", planes, len(stack))
    if axon_skeleton is None:
        axon_skeleton = skan_axon_skeletonize_and_analyze(
            stack,
            neurite_width=width,
            analysis_dimension=dimension,
            z_spacing_um=z_spacing_um,
            planes=planes,
        )[3]
    profiles, summaries = [no_circles()], []
    for volume in volumes_of(len(stack), planes, dimension == "3d", z_spacing_um):
        skeleton = _select(axon_skeleton, volume) != 0
        graph = build_graph(skeleton, volume.spacing)
        if mode == "labels":
            centres = _objects(_select(nuclei, volume), volume.spacing)
        elif mode == "soma":
            centres = _largest_soma(_select(stack, volume), skeleton, _SOMA * width)
        else:
            centres = [Centre(1, point, 0.0)]
        for cell, distances, part in _cells(graph, centres, volume.spacing):
            start = cell.radius if start_radius_px is None else start_radius_px
            profiles.append(profile_rows(part, distances, cell, start or step, step, volume))
            summaries.append(summary_row(profiles[-1], cell, start or step, volume))
        if not centres:
            nowhere = Centre(0, np.full(2, np.nan), np.nan)
            summaries.append(summary_row(no_circles(), nowhere, np.nan, volume))
    return stack, joined(profiles), joined(summaries)


def _read_centre(centre: Any, dimensions: int) -> tuple[str, NDArray[np.float64]]:
    """``soma`` or ``labels``, or ``point`` and the point."""
    none = np.zeros(0)
    if isinstance(centre, str | Enum):
        return choice(centre, CENTRES, "centre"), none
    point = np.asarray(centre, dtype=np.float64)
    if point.shape != (dimensions,) or not np.isfinite(point).all():
        axes = "(y, x)" if dimensions == 2 else "(z, y, x)"
        raise ValueError(f"centre={centre!r} is neither {' nor '.join(CENTRES)} nor a point {axes} in px.")
    return "point", point


def _select(array: Any, volume: Volume) -> NDArray[Any]:
    """A plane (Y, X) or a z stack (Z, Y, X) of a stack, in host memory."""
    return to_numpy(array[volume.planes[0]] if len(volume.spacing) == 2 else array[volume.planes])


def _objects(labels: NDArray[Any], spacing: Sequence[float]) -> list[Centre]:
    """Centroid and equivalent radius of each labelled object, in the order of the labels."""
    where = np.nonzero(labels)
    numbers, owner, sizes = np.unique(labels[where], return_inverse=True, return_counts=True)
    owner = owner.ravel()
    positions = np.stack([np.bincount(owner, weights=axis) / sizes for axis in where], axis=1)
    volumes = sizes * float(np.prod(spacing))
    radii = np.sqrt(volumes / np.pi) if labels.ndim == 2 else np.cbrt(0.75 * volumes / np.pi)
    return [
        Centre(int(number), position, float(radius))
        for number, position, radius in zip(numbers, positions, radii, strict=True)
    ]


def _largest_soma(image: NDArray[Any], skeleton: NDArray[np.bool_], width: float) -> list[Centre]:
    """The largest cell body, if there is one; of a volume in the plane where it is brightest."""
    from scipy import ndimage

    image = finite(image)
    deep = image.ndim == 3
    flat = image.max(axis=0) if deep else image
    neurites = np.asarray(skeleton.any(axis=0)) if deep else skeleton
    bodies, _ = ndimage.label(soma_mask(flat, neurites, width))
    areas = np.bincount(bodies.ravel())
    areas[0] = 0
    if not areas.any():
        return []
    body = bodies == areas.argmax()
    (soma,) = _objects(body, (1.0, 1.0))
    if not deep:
        return [soma]
    depth = float(image[:, body].mean(axis=1, dtype=np.float64).argmax())
    return [Centre(1, np.append(depth, soma.position), soma.radius)]


def _cells(
    graph: Graph, centres: Sequence[Centre], spacing: Sequence[float]
) -> Iterator[tuple[Centre, NDArray[np.float64], Graph]]:
    """Each centre with the skeleton pixels nearest to it, and their distances from it in px."""
    nearest = np.full(len(graph.coordinates), np.inf)
    owner = np.full(len(graph.coordinates), -1)
    for number, centre in enumerate(centres):
        distance = np.linalg.norm((graph.coordinates - centre.position) * np.asarray(spacing), axis=1)
        closer = distance < nearest
        owner[closer] = number
        nearest[closer] = distance[closer]
    for number, centre in enumerate(centres):
        yield centre, nearest[owner == number], graph.subset(owner == number)
