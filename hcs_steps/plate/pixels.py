"""The pixels of a plane, from whatever kind of file holds it.

A kind of file is told by its name: a TIFF, a Zarr array (a folder), or a vendor's own container. Nothing is
kept open between two planes, and nothing is written.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.containers.czi import read_czi_plane
from hcs_steps.plate.formats.containers.nd2 import read_nd2_plane
from hcs_steps.plate.formats.ome_tiff.opened import BIG_SUFFIXES
from hcs_steps.plate.formats.ome_zarr.pixels import read_zarr_plane
from hcs_steps.plate.inventory import GIANT, Plane
from hcs_steps.plate.listing import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from numpy.typing import NDArray

PlaneReader = Callable[[Path, Plane], "NDArray[Any]"]
"""(file or array folder, plane) -> pixels; may raise anything that the file's library raises."""


def read_plane(plate: Path, plane: Plane) -> NDArray[Any]:
    """The pixels (Y, X) of a plane of the plate in the folder ``plate``, in the file's own dtype.

    Raises `PlateError` if the file cannot be read, or holds no grey plane there: colour and other shapes are
    refused, not guessed at.
    """
    path = plate / plane.path
    try:
        status = path.stat()
        # Opening a named pipe would wait for a writer for ever, and a device may have no end.
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise ValueError("it is a pipe, a socket or a device, not a file")
        image = np.asarray(_reader_of(plane.path)(path, plane))
    except Exception as error:  # a damaged file can raise anything from deep inside a codec
        raise PlateError(
            f"The image file {plane.path} cannot be read{_size_of(path)}: {_reason(error, path)}.",
            hint="Get permission to read it, then run again: only this unit is computed."
            if isinstance(error, PermissionError)
            else "Copy it again from the microscope, then run again: only this unit is computed.",
        ) from error
    if image.ndim != 2:
        raise PlateError(
            f"The image file {plane.path} holds an image of shape {image.shape}, not a grey plane.",
            hint="Export it as single-channel images.",
        )
    return image


def _size_of(path: Path) -> str:
    return f" (it has {path.stat().st_size} bytes)" if path.is_file() else ""


def _reason(error: Exception, path: Path) -> str:
    """Why a file cannot be read, without its path, which is told already."""
    if path.is_symlink() and not path.exists():
        return "it is a link to a file that is not there"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _read_tiff(path: Path, plane: Plane) -> NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages[plane.page]
        _refuse_giant(page.shape, plane)
        # tifffile fills a strip that is not there with zeros.
        if not all(page.databytecounts):
            raise ValueError("some of its strips or tiles were never written")
        image: NDArray[Any] = page.asarray()
        return image


def _read_zarr(path: Path, plane: Plane) -> NDArray[Any]:
    return read_zarr_plane(path, plane.page, lambda shape: _refuse_giant(shape, plane))


def _refuse_giant(shape: Sequence[int], plane: Plane) -> None:
    """Before it is unpacked: a few bytes can claim any number of pixels."""
    planned = plane.height * plane.width
    if planned and prod(shape) > GIANT * planned:
        claimed = " x ".join(map(str, shape))
        raise ValueError(f"it claims {claimed} pixels, but the others have {plane.height} x {plane.width}")


_READERS: Mapping[str, PlaneReader] = {
    **dict.fromkeys((*IMAGE_SUFFIXES, *BIG_SUFFIXES), _read_tiff),
    ".czi": lambda path, plane: read_czi_plane(path, plane.page),
    ".nd2": lambda path, plane: read_nd2_plane(path, plane.page),
}
"""Suffix -> how the planes of a file are read; a path with none of them is a Zarr array."""


def _reader_of(path: str) -> PlaneReader:
    return _READERS.get(Path(path).suffix.lower(), _read_zarr)
