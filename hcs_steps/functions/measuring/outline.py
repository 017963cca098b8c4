"""The outermost pixels of each object: what the perimeter, the edge intensities and the neighbours are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hcs_steps.arrays import namespace
from hcs_steps.functions.measuring.regions import Regions


@dataclass(frozen=True)
class Outline:
    """Pixels with a pixel of another label, of background, or beyond the plane above, below, left or right of them.

    In raster order, in the memory of the label plane. ``owner``: index of the object. ``inside``: whether one of
    the four neighbours lies within the plane and differs (`skimage.segmentation.find_boundaries`, "inner").
    """

    y: Any
    x: Any
    owner: Any
    inside: Any

    def drawn(self, shape: tuple[int, int], margin: int) -> Any:
        """An int32 plane with a margin of zeros in which each outline pixel holds ``owner + 1``."""
        xp = namespace(self.y)
        canvas = xp.zeros((shape[0] + 2 * margin, shape[1] + 2 * margin), dtype=xp.int32)
        canvas[self.y + margin, self.x + margin] = (self.owner + 1).astype(xp.int32)
        return canvas


def find_outline(regions: Regions) -> Outline:
    """The outline of every object of a label plane."""
    plane = regions.plane
    xp = namespace(plane)
    inside = xp.zeros(plane.shape, dtype=bool)
    for axis in (0, 1):
        upper = (slice(None),) * axis + (slice(1, None),)
        lower = (slice(None),) * axis + (slice(None, -1),)
        differs = plane[upper] != plane[lower]
        inside[upper] |= differs
        inside[lower] |= differs
    outer = inside.copy()
    for frame in ((0,), (-1,), (slice(None), 0), (slice(None), -1)):
        outer[frame] = True
    outer &= plane != 0
    index = xp.flatnonzero(outer)
    return Outline(
        y=index // plane.shape[1],
        x=index % plane.shape[1],
        owner=xp.searchsorted(xp.asarray(regions.numbers), plane.ravel()[index].astype(xp.int64)),
        inside=inside.ravel()[index],
    )


# Keys: 1 for the pixel itself, 2 for each of the four nearest, 10 for each diagonal neighbour on the outline.
_STEPS = np.zeros(51)
_STEPS[[5, 7, 15, 17, 25, 27]] = 1
_STEPS[[21, 33]] = np.sqrt(2)
_STEPS[[13, 23]] = (1 + np.sqrt(2)) / 2


def perimeters(outline: Outline, regions: Regions) -> Any:
    """Perimeter of each object in px: a line through the centres of its outline pixels.

    K. Benkrid and D. Crookes, Design and FPGA Implementation of a Perimeter Estimator, 2000; as
    `skimage.measure.perimeter` of each object by itself, so that touching objects do not disturb each other.
    """
    xp = namespace(outline.y)
    canvas = outline.drawn(regions.plane.shape, 1)
    stride = canvas.shape[1]
    canvas = canvas.ravel()
    place = (outline.y + 1) * stride + outline.x + 1
    own = canvas[place]
    keys = xp.ones(own.shape, dtype=xp.int64)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy or dx:
                keys += (canvas[place + (dy * stride + dx)] == own) * (10 if dy and dx else 2)
    return xp.bincount(outline.owner, weights=xp.asarray(_STEPS)[keys], minlength=regions.count)
