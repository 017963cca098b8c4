"""The pixels of a plane, from whatever kind of file holds it.

A kind of file is told by its name: a TIFF, a Zarr array (a folder), or a vendor's own container. Nothing is
kept open between two planes, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.containers.czi import read_czi_plane
from hcs_steps.plate.formats.containers.nd2 import read_nd2_plane
from hcs_steps.plate.formats.ome_tiff.opened import BIG_SUFFIXES
from hcs_steps.plate.formats.ome_zarr.pixels import read_zarr_plane
from hcs_steps.plate.inventory import Plane
from hcs_steps.plate.listing import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from numpy.typing import NDArray

PlaneReader = Callable[[Path, int], "NDArray[Any]"]
"""(file or array folder, page) -> pixels; may raise anything that the file's library raises."""


def read_plane(plate: Path, plane: Plane) -> NDArray[Any]:
    """The pixels (Y, X) of a plane of the plate in the folder ``plate``, in the file's own dtype.

    Raises `PlateError` if the file cannot be read, or holds no grey plane there: colour and other shapes are
    refused, not guessed at.
    """
    path = plate / plane.path
    try:
        size = path.stat().st_size if path.is_file() else None
        image = np.asarray(_reader_of(plane.path)(path, plane.page))
    except Exception as error:  # a damaged file can raise anything from deep inside a codec
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        expected = f" (it has {size} bytes)" if "size" in locals() and size is not None else ""
        raise PlateError(
            f"The image file {plane.path} cannot be read{expected}: {reason}.",
            hint="Copy it again from the microscope, then run snakemake again: only this unit is computed.",
        ) from error
    if image.ndim != 2:
        raise PlateError(
            f"The image file {plane.path} holds an image of shape {image.shape}, not a grey plane.",
            hint="Export it as single-channel images.",
        )
    return image


def _read_tiff(path: Path, page: int) -> NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        image: NDArray[Any] = file.pages[page].asarray()
        return image


_READERS: Mapping[str, PlaneReader] = {
    **dict.fromkeys((*IMAGE_SUFFIXES, *BIG_SUFFIXES), _read_tiff),
    ".czi": read_czi_plane,
    ".nd2": read_nd2_plane,
}
"""Suffix -> how the planes of a file are read; a path with none of them is a Zarr array."""


def _reader_of(path: str) -> PlaneReader:
    return _READERS.get(Path(path).suffix.lower(), read_zarr_plane)
