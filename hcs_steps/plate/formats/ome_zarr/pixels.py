"""The pixels of a plane in a Zarr array."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcs_steps.plate.formats.ome_zarr.image import leading_axes
from hcs_steps.plate.formats.ome_zarr.metadata import image_axes

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_zarr_plane(array: Path, page: int) -> NDArray[Any]:
    """Plane number ``page`` (Y, X) of the array in a folder, counting in C order along all other axes.

    Only the chunks of this plane are read. Which axes are y and x is what the image's group says, else the
    last two. Raises whatever Zarr raises on a damaged store, `IndexError` on a page that is not there.
    """
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
    plane = np.asarray(stored[index])
    if axes.index("x") < axes.index("y"):
        plane = plane.T
    return plane.astype(plane.dtype.newbyteorder("="), copy=False)


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
