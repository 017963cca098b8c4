"""The pixels of a plane in a Zarr array."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcs_steps.plate.formats.ome_zarr.image import leading_axes
from hcs_steps.plate.formats.ome_zarr.metadata import image_axes

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_CHUNKS = 65_536
"""Chunks of one plane: an image of 65,536 x 65,536 pixels in chunks of 256 x 256."""


def read_zarr_plane(
    array: Path, page: int, check: Callable[[Sequence[int]], None] = lambda shape: None
) -> NDArray[Any]:
    """Plane number ``page`` (Y, X) of the array in a folder, counting in C order along all other axes.

    Only the chunks of this plane are read, after ``check`` has seen its shape. Which axes are y and x is what the
    image's group says, else the last two. Raises whatever Zarr raises on a damaged store, `IndexError` on a page that
    is not there.
    """
    import numpy as np

    stored, axes, index = _located(array, page)
    check([stored.shape[axis] for axis, part in enumerate(index) if isinstance(part, slice)])
    plane = np.asarray(stored[index])
    if axes.index("x") < axes.index("y"):
        plane = plane.T
    return plane.astype(plane.dtype.newbyteorder("="), copy=False)


def plane_files(array: Path, page: int) -> list[Path]:
    """The array's own file and those of the chunks that hold plane number ``page`` if all are stored.

    Raises like `read_zarr_plane`, and `ValueError` for more chunks than a plane can have.
    """
    stored, _, index = _located(array, page)
    chunks = stored.shards or stored.chunks
    places = [
        range(-(-length // size)) if isinstance(part, slice) else [part // size]
        for part, length, size in zip(index, stored.shape, chunks, strict=True)
    ]
    if prod(map(len, places)) > MOST_CHUNKS:
        raise ValueError(f"a plane of {array} has {prod(map(len, places))} chunks")
    own = array / ("zarr.json" if stored.metadata.zarr_format == 3 else ".zarray")
    return [own, *(array / stored.metadata.encode_chunk_key(place) for place in product(*places))]


def _located(array: Path, page: int) -> tuple[Any, tuple[str, ...], tuple[Any, ...]]:
    """The array in a folder, its axes, and what to index it with to get a plane."""
    import numpy as np
    import zarr

    stored = zarr.open_array(zarr.storage.LocalStore(array, read_only=True), mode="r")
    axes = _axes(array) or (*("?" * (stored.ndim - 2)), "y", "x")
    leading = leading_axes(axes)
    lengths = [stored.shape[axis] for axis in leading]
    if page >= np.prod(lengths, dtype=object):
        raise IndexError(f"there is no plane {page} in an array of shape {stored.shape}")
    place = dict(zip(leading, np.unravel_index(page, lengths), strict=True)) if leading else {}
    index = tuple(int(place[axis]) if axis in place else slice(None) for axis in range(stored.ndim))
    return stored, axes, index


def _axes(array: Path) -> tuple[str, ...]:
    """The array's axes, from the group above it that has it for a level."""
    for group in array.parents:
        for name in ("zarr.json", ".zattrs"):
            if (group / name).is_file():
                document = json.loads((group / name).read_bytes())
                axes = image_axes(document, array.relative_to(group).as_posix())
                if axes:
                    return axes
    return ()
