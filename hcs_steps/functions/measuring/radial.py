"""How the intensity of each object is spread between its centre and its edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hcs_steps.arrays import namespace, ndimage_of, to_numpy
from hcs_steps.functions.measuring.outline import Outline
from hcs_steps.functions.measuring.regions import Block, Floats, Regions, ratio, unmeasured

_WEDGES = 8


def radial_distributions(
    regions: Regions, outline: Outline, names: Sequence[str], channels: Sequence[Any], bins: int
) -> list[dict[str, Floats]]:
    """Columns of the category RadialDistribution of each flat channel, for ``bins`` rings from the centre.

    The centre is the pixel farthest from the edge (the first in raster order). A pixel at the distance c from
    the centre and e from the edge lies at c / (c + e), from 0 to 1, which is cut into equal parts; e is the distance
    from the nearest edge pixel plus 1, and the frame of the plane is no edge.
    FracAtD: the part of the object's intensity in the ring. MeanFrac: FracAtD over the ring's part of the pixels.
    RadialCV: coefficient of variation of the mean intensities of the ring's up to eight wedges. After
    CellProfiler's MeasureObjectIntensityDistribution; distances are straight, not within the object, which is
    the same for objects that can be seen whole from their centre. NaN in rings without pixels, and everywhere for
    an object that fills the plane, whose edge cannot be seen.
    """
    kinds = ("FracAtD", "MeanFrac", "RadialCV")
    result = [
        unmeasured((f"RadialDistribution_{kind}_{name}_{i + 1}of{bins}" for kind in kinds for i in range(bins)),
                   regions.count)
        for name in names
    ]  # fmt: skip
    nearest = _nearest_edge(regions, outline)
    for block in regions.blocks() if nearest is not None else ():
        cells = _cells(block, _from_edge(block, nearest), bins)
        for columns, pixels in zip(result, channels, strict=True):
            values = to_numpy(_measure(block, cells, pixels[block.index], bins))
            for column, per_object in zip(columns.values(), values, strict=True):
                column[block.objects] = per_object
    return result


def _nearest_edge(regions: Regions, outline: Outline) -> Any:
    """Row and column (flat planes) of each pixel's nearest edge pixel; None where there are no edges."""
    plane = regions.plane
    xp = namespace(plane)
    edge = xp.flatnonzero(outline.inside)
    if edge.size == 0:
        return None
    inside = xp.ones(plane.shape, dtype=bool)
    inside[outline.y[edge], outline.x[edge]] = False
    transform = ndimage_of(plane).distance_transform_edt
    return transform(inside, return_distances=False, return_indices=True).reshape(2, -1)


def _from_edge(block: Block, nearest: Any) -> Any:
    xp = namespace(block.index)
    dy, dx = (at[block.index] - here for at, here in zip(nearest, (block.y, block.x), strict=True))
    return xp.sqrt((dy * dy + dx * dx).astype(xp.float64)) + 1


def _cells(block: Block, from_edge: Any, bins: int) -> Any:
    """Of each pixel, its object, ring and wedge as one number."""
    xp = namespace(from_edge)
    farthest = xp.flatnonzero(from_edge == block.maxima(from_edge)[block.owner])
    owner = block.owner[farthest]
    first = xp.ones(owner.shape, dtype=bool)
    first[1:] = owner[1:] != owner[:-1]
    centre = farthest[xp.flatnonzero(first)]
    dy = block.y - block.y[centre][block.owner]
    dx = block.x - block.x[centre][block.owner]
    from_centre = xp.hypot(dy.astype(xp.float64), dx.astype(xp.float64))
    place = from_centre / (from_centre + from_edge)
    ring = block.owner * bins + xp.minimum((place * bins).astype(xp.int64), bins - 1)
    wedge = (dy > 0) + 2 * (dx > 0) + 4 * (xp.abs(dy) > xp.abs(dx))
    return ring * _WEDGES + wedge


def _measure(block: Block, cells: Any, values: Any, bins: int) -> Any:
    """FracAtD, MeanFrac and RadialCV of each ring (rows) and object (columns)."""
    xp = namespace(values)
    shape = (block.count, bins, _WEDGES)
    size = block.count * bins * _WEDGES
    count = xp.bincount(cells, minlength=size).reshape(shape)
    total = xp.bincount(cells, weights=values.astype(xp.float64), minlength=size).reshape(shape)
    pixels, sums = count.sum(axis=2), total.sum(axis=2)
    share = ratio(sums, sums.sum(axis=1, keepdims=True) + xp.zeros_like(sums))
    density = ratio(share * block.pixels[:, None], pixels)
    there = count > 0
    means = xp.where(there, total / xp.maximum(count, 1), 0)
    wedges = there.sum(axis=2)
    mean = ratio(means.sum(axis=2), wedges)
    away = xp.where(there, means - mean[:, :, None], 0)
    variation = ratio(xp.sqrt(ratio((away * away).sum(axis=2), wedges)), mean)
    return xp.concatenate([xp.where(pixels == 0, xp.nan, share).T, density.T, variation.T])
