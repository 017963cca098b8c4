"""Rings around objects, and checks of label stacks, in NumPy and CuPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from hcs_steps.arrays import namespace, ndimage_of, to_numpy
from hcs_steps.functions._stacks import row_blocks


def require_labels(labels: Any, stack: Any, name: str, function: str) -> Any:
    """``labels`` as a stack shaped like ``stack``, where that is; one plane, (1, Y, X), stands for all.

    Raises ValueError for labels that are missing, do not fit or are no labels.
    """
    shape = tuple(stack.shape)
    if labels is None:
        raise ValueError(
            f"{function} needs the labels {name!r}, e.g. from an earlier segmentation step of the pipeline with an "
            f"output of that name."
        )
    given = tuple(getattr(labels, "shape", ()))
    if given != shape and given != (1, *shape[1:]):
        raise ValueError(
            f"{function} got {name} of shape {given} for a stack of shape {shape}. Give a label plane for each "
            "plane of the stack, or one for all."
        )
    if np.dtype(labels.dtype).kind not in "ui":
        raise ValueError(
            f"{function} got {name} of dtype {labels.dtype}; labels are whole numbers, 0 for background."
        )
    if np.dtype(labels.dtype).kind == "i" and int(labels.min()) < 0:
        raise ValueError(f"{function} got negative numbers in {name}. Labels start at 1; 0 is background.")
    if labels.dtype.itemsize > 4 and int(labels.max()) > np.iinfo(np.uint32).max:
        raise ValueError(f"{function} got numbers in {name} that do not fit 32 bits.")
    xp = namespace(stack)
    return xp.broadcast_to(to_numpy(labels) if xp is np else xp.asarray(labels), shape)


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
