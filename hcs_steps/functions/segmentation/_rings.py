"""Rings around objects, in NumPy and CuPy."""

from __future__ import annotations

from typing import Any

from hcs_steps.arrays import namespace, ndimage_of
from hcs_steps.functions._stacks import row_blocks


def nearest(labels: Any) -> tuple[Any, Any]:
    """Row and column of the nearest pixel with a label, for each pixel of a (Y, X) plane which has some.

    Euclidean; of several nearest pixels it is always the same one, but CuPy may choose another than NumPy.
    """
    rows, columns = ndimage_of(labels).distance_transform_edt(
        labels == 0, return_distances=False, return_indices=True
    )
    return rows, columns


def ring_around(labels: Any, width: float, gap: float = 0.0) -> Any:
    """Rings of all objects of a (Y, X) label plane at once, with the numbers of their objects, as uint32.

    A pixel belongs to the ring of the nearest object if the centre of the object's nearest pixel is more than
    ``gap`` and at most ``gap + width`` px away; so rings enter neither objects nor the gaps around them, and
    between neighbours they end half-way.
    """
    xp = namespace(labels)
    ring = xp.zeros(labels.shape, dtype=xp.uint32)
    if not bool(labels.any()):
        return ring
    rows, columns = nearest(labels)
    x = xp.arange(labels.shape[1])
    for block in row_blocks(labels.shape[0]):
        y = xp.arange(block.start, block.stop)[:, None]
        squared = (rows[block].astype(xp.int64) - y) ** 2 + (columns[block].astype(xp.int64) - x) ** 2
        inside = (squared > gap**2) & (squared <= (gap + width) ** 2) & (squared > 0)
        ring[block] = labels[rows[block], columns[block]].astype(xp.uint32) * inside
    return ring
