"""Measuring objects: size, shape, intensities and more of each nucleus, cell and cytoplasm, in one table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace, to_numpy
from hcs_steps.functions._checks import (
    LARGEST_PX,
    plane_column,
    require_at_most,
    require_not_negative,
    require_numbers,
    require_positive,
    require_whole,
)
from hcs_steps.functions._stacks import choice, require_stack
from hcs_steps.functions.declare import Table, step_function
from hcs_steps.functions.measuring.correlation import correlations
from hcs_steps.functions.measuring.fields import Field, fields_of, label_plane
from hcs_steps.functions.measuring.granularity import GranularityOptions, granularities
from hcs_steps.functions.measuring.intensity import intensities
from hcs_steps.functions.measuring.neighbours import neighbours
from hcs_steps.functions.measuring.outline import find_outline
from hcs_steps.functions.measuring.radial import radial_distributions
from hcs_steps.functions.measuring.regions import Floats, Regions, find_regions
from hcs_steps.functions.measuring.shape import locations, shapes
from hcs_steps.functions.measuring.table import PRIMARY_ORDER, Columns, below_one_another, field_table
from hcs_steps.functions.measuring.texture import TextureOptions, textures

FEATURES = ("shape", "intensity", "correlation", "neighbors", "texture", "granularity", "radial")
CHEAP_FEATURES = FEATURES[:4]


@dataclass(frozen=True)
class _Options:
    features: frozenset[str]
    neighbor_distance: float
    manders_threshold: float
    texture: TextureOptions
    granularity: GranularityOptions
    radial_bins: int


@step_function(
    outputs={"objects": "table"},
    changes_image=False,
    stacks="channel",
    memory=1.5,
    scratch=31.0,
    packages=("scipy.linalg",),
    devices=("cpu", "gpu"),
)
def measure_objects(
    stack: Any,
    nuclei: Any = None,
    cells: Any = None,
    cytoplasm: Any = None,
    labels: Any = None,
    spots: Any = None,
    planes: Table | None = None,
    name: str = "Objects",
    features: str | Enum | Sequence[str | Enum] = CHEAP_FEATURES,
    neighbor_distance: float = 5.0,
    manders_threshold: float = 15.0,
    texture_scales: int | Sequence[int] = (3,),
    texture_levels: int = 64,
    texture_directions: str | Enum = "mean",
    texture_limits: Sequence[float] | None = None,
    granularity_sizes: int = 16,
    granularity_downsample: int = 4,
    granularity_background: int = 40,
    radial_bins: int = 4,
) -> tuple[Any, Columns]:
    """Measure every object of a field in all its channels: one row per object. The image passes through unchanged.

    Objects may touch, have holes, lie at the border or consist of a single pixel; labels need not be consecutive. The
    column names are those of CellProfiler (C. McQuin et al., PLoS Biol. 16, 2018), with the name of the set before
    them: ``Nuclei_AreaShape_Area``, ``Cells_Intensity_MeanIntensity_GFP``. Lengths are in px unless the name ends in
    ``_um``; intensities are in units of the image (CellProfiler scales them to 0..1).

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy. With a plane table, the planes of the same site, z_index and
        timepoint are the channels of a field; without one, all planes are the channels of one field. An object
        with NaN or infinite pixels in a channel has NaN in that channel's columns.
    nuclei, cells, cytoplasm, labels
        Sets of objects, at least one: labels, 0 for background, shaped like ``stack`` with the same labels in all
        channels of a field, or (1, Y, X). The sets are called Nuclei, Cells, Cytoplasm and ``name``.
    spots
        Labels of small objects which are counted in each object and get no rows of their own.
    planes
        The plane table; its ``channel_name`` names the columns ("Channel1", ... where there is none), its
        ``pixel_size_um`` gives the columns in micrometres.
    name
        What the objects in ``labels`` are called.
    features
        Groups of columns, see below; by default the cheap ones: shape, intensity, correlation and neighbors. Five
        channels of 2160 x 2160 with 2,000 nuclei, their cells and cytoplasms take about 3 s; texture adds 9 s,
        granularity 12 s and radial 2 s.
    neighbor_distance
        Objects at most this far apart, in px between the centres of their nearest pixels, are neighbours.
    manders_threshold
        Limit of the co-localisation measures, in per cent (0 to 100) of the greatest intensity of the object.
    texture_scales, texture_levels, texture_directions, texture_limits
        Distances in px; number of grey levels; ``mean`` of four directions or ``each``; and the intensities (low,
        high) between which the grey levels lie. None: each object's own extremes, so that neither exposure nor
        brightness matter.
    granularity_sizes, granularity_downsample, granularity_background
        Number of sizes; reduction of the plane by the mean of so many x so many pixels; radius of the background's
        opening in px of the reduced plane, 0 for none: it must exceed the radius of the largest object. The defaults
        are CellProfiler's, whose radius of 10 px counts on a copy that is reduced by 4 twice: 160 px of the plane.
    radial_bins
        Number of rings.

    Returns
    -------
    stack
        The object that was passed in.
    objects
        Rows follow the first of nuclei, cells, cytoplasm and labels that is given. The other sets are joined to it:
        each nucleus gets the cell that it shares most pixels with (several nuclei can share one), each cell its
        cytoplasm likewise; without cells a nucleus gets the cytoplasm of its number. Objects that no row gets, e.g.
        cells without a nucleus, have rows of their own: numbers are 0 and measurements NaN where a row has no object.

        - ``plane``: the field's first plane along axis 0. ``ObjectNumber``: unique in the field, the label of the
          leading object; rows without one count on from the highest.
        - Of each set: ``Number_Object_Number`` (its label), ``Location_Center_X``, ``_Y`` (the centre of the first
          pixel is 0) and ``..._um`` (from the upper left corner of the plane, so that it is half a pixel);
          ``Parent_Cells`` (largest overlap; 0 for none), ``Children_Nuclei_Count``, ``Children_Spots_Count``, ...
        - shape: ``AreaShape_...``, as `skimage.measure.regionprops`: Area, BoundingBoxMinimum_X (Maximum is
          exclusive), BoundingBoxArea, Extent, Perimeter, ConvexArea (pixels), Solidity, FormFactor
          (4 pi area / perimeter^2), EquivalentDiameter, MajorAxisLength, MinorAxisLength, Eccentricity, Orientation
          (degrees, -90 to 90, from the y axis towards x), MaxFeretDiameter, MinFeretDiameter (over the middles of
          the pixels' edges).
        - intensity, per channel: ``Intensity_...``, see `measuring.intensity.intensities`, and
          ``Location_CenterMassIntensity_X``.
        - correlation, per pair of channels: see `measuring.correlation.correlations`.
        - neighbors: ``Neighbors_...``, see `measuring.neighbours.neighbours`.
        - texture: ``Texture_<feature>_<channel>_<scale>_<direction>_<levels>``, see `measuring.texture.textures`.
        - granularity: ``Granularity_<n>_<channel>``, see `measuring.granularity.granularities`.
        - radial: ``RadialDistribution_<feature>_<channel>_<i>of<n>``, see
          `measuring.radial.radial_distributions`.

        Numbers are int64, measurements float64. No objects: no rows, all columns.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), there are no objects to measure, labels do not fit the stack or differ between
        the channels of a field, a name is unknown or a number out of range.
    """
    require_stack(stack, "measure_objects")
    sets = {"Nuclei": nuclei, "Cells": cells, "Cytoplasm": cytoplasm}
    if labels is not None:
        if not name or name in (*PRIMARY_ORDER, "Spots"):
            raise ValueError(
                f"name={name!r} cannot be the name of the labels; choose another than {list(sets)}."
            )
        sets[name] = labels
    sets = {key: value for key, value in sets.items() if value is not None}
    if not sets:
        raise ValueError(
            "measure_objects got no objects. Give at least one of nuclei, cells, cytoplasm and labels, e.g. from an "
            "earlier segmentation step."
        )
    options = _options(
        features, neighbor_distance, manders_threshold, texture_scales, texture_levels, texture_directions,
        texture_limits, granularity_sizes, granularity_downsample, granularity_background, radial_bins,
    )  # fmt: skip
    sizes = plane_column(planes, "pixel_size_um", stack.shape[0])
    tables = []
    for field in fields_of(planes, stack.shape[0]):
        regions = {key: find_regions(label_plane(value, field, stack, key)) for key, value in sets.items()}
        children = None if spots is None else find_regions(label_plane(spots, field, stack, "Spots"))
        measured = _measure(stack, field, regions, _known(sizes[list(field.planes)]), options)
        tables.append(field_table(field, regions, children, measured))
    return stack, below_one_another(tables)


def _known(sizes: Floats) -> float:
    """The first known pixel size of a field's planes, NaN if there is none."""
    known = sizes[np.isfinite(sizes)]
    return float(known[0]) if known.size else float("nan")


def _options(
    features: str | Enum | Sequence[str | Enum],
    neighbor_distance: float,
    manders_threshold: float,
    scales: int | Sequence[int],
    levels: int,
    directions: str | Enum,
    limits: Sequence[float] | None,
    sizes: int,
    downsample: int,
    background: int,
    radial_bins: int,
) -> _Options:
    """The arguments, checked."""
    require_numbers(neighbor_distance=neighbor_distance, manders_threshold=manders_threshold)
    require_positive(neighbor_distance=neighbor_distance)
    require_not_negative(manders_threshold=manders_threshold)
    require_at_most(100, manders_threshold=manders_threshold)
    distances = _several(scales)
    for scale in distances:
        require_whole(1, texture_scales=scale)
    require_whole(2, texture_levels=levels)
    require_whole(1, granularity_sizes=sizes)
    require_whole(1, granularity_downsample=downsample)
    require_whole(0, granularity_background=background)
    require_at_most(LARGEST_PX, granularity_background=background)
    require_whole(1, radial_bins=radial_bins)
    return _Options(
        features=frozenset(choice(feature, FEATURES, "features") for feature in _several(features)),
        neighbor_distance=neighbor_distance,
        manders_threshold=manders_threshold,
        texture=TextureOptions(
            scales=[int(scale) for scale in distances],
            levels=int(levels),
            directions=choice(directions, ("mean", "each"), "texture_directions"),
            limits=_limits(limits),
        ),
        granularity=GranularityOptions(int(sizes), int(downsample), int(background)),
        radial_bins=int(radial_bins),
    )


def _several(values: Any) -> list[Any]:
    """What may be given as one value or as several."""
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [values]


def _limits(limits: Sequence[float] | None) -> tuple[float, float] | None:
    if limits is None:
        return None
    given = _several(limits)
    if len(given) == 2 and all(isinstance(value, Real) and math.isfinite(value) for value in given):
        low, high = (float(value) for value in given)
        if low < high:
            return low, high
    raise ValueError(f"texture_limits must be two finite intensities, the lower one first, but is {limits}.")


def _channel(plane: Any) -> tuple[Any, Any]:
    """The pixels of a plane as a flat array, with 0 for those that are not finite; and which those are, or None."""
    xp = namespace(plane)
    flat = xp.ascontiguousarray(plane).ravel()
    if np.dtype(flat.dtype).kind != "f":
        return flat, None
    finite = xp.isfinite(flat)
    return (flat, None) if bool(finite.all()) else (xp.where(finite, flat, flat.dtype.type(0)), ~finite)


def _measure(
    stack: Any, field: Field, sets: Mapping[str, Regions], pixel_size: float, options: _Options
) -> dict[str, dict[str, Floats]]:
    """The columns of each set of objects of a field."""
    channels = [_channel(stack[index]) for index in field.planes]
    names, pixels = field.channels, [flat for flat, _ in channels]
    result = {}
    for key, regions in sets.items():
        outline = find_outline(regions)
        columns = locations(regions, pixel_size)
        x, y = columns["Location_Center_X"], columns["Location_Center_Y"]
        if "shape" in options.features:
            columns |= shapes(regions, outline, pixel_size)
        if "neighbors" in options.features:
            columns |= neighbours(regions, outline, x, y, options.neighbor_distance, pixel_size)
        spoilt = [_spoilt(regions, unusable) for _, unusable in channels]
        for channel, flat, bad in zip(names, pixels, spoilt, strict=True):
            if "intensity" in options.features:
                measured = intensities(regions, outline, flat)
                columns |= _without({f"{name}_{channel}": values for name, values in measured.items()}, bad)
        if "texture" in options.features:
            for own, bad in zip(textures(regions, names, pixels, options.texture), spoilt, strict=True):
                columns |= _without(own, bad)
        if "radial" in options.features:
            rings = radial_distributions(regions, outline, names, pixels, options.radial_bins)
            for own, bad in zip(rings, spoilt, strict=True):
                columns |= _without(own, bad)
        if "correlation" in options.features:
            pairs = correlations(regions, names, pixels, options.manders_threshold)
            for (one, other), own in pairs.items():
                columns |= _without(own, spoilt[one] | spoilt[other])
        result[key] = columns
    if "granularity" in options.features:
        for channel, (flat, unusable) in zip(names, channels, strict=True):
            plane = flat.reshape(stack.shape[1:])
            for key, own in granularities(sets, channel, plane, options.granularity).items():
                result[key] |= _without(own, _spoilt(sets[key], unusable))
    return result


def _spoilt(regions: Regions, unusable: Any) -> NDArray[np.bool_]:
    """Which objects have pixels that are not finite."""
    result = np.zeros(regions.count, dtype=bool)
    for block in regions.blocks() if unusable is not None else ():
        result[block.objects] = to_numpy(block.sums(unusable[block.index].astype(np.float64))) > 0
    return result


def _without(columns: dict[str, Floats], objects: NDArray[np.bool_]) -> dict[str, Floats]:
    if not objects.any():
        return columns
    return {name: np.where(objects, np.nan, values) for name, values in columns.items()}
