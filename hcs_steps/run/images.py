"""Where a step's images come from: the plate's files, an earlier step's store, or memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hcs_steps.compile.plan import Layout
from hcs_steps.errors import PlateError, StepError
from hcs_steps.plate import read_plane
from hcs_steps.plate.inventory import Plane
from hcs_steps.storage.protocol import Image, PlaneKey

CLOCKS_NS = 2_000_000_000
"""Times of a file that differ by less are one: file systems round them, and two mounts of one do it differently."""


class ImageFileError(StepError):
    """A raw image that cannot be read. ``file`` is its path relative to the plate."""

    def __init__(self, message: str, *, file: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.file = file


class RawImages:
    """The raw planes of one unit, read from the plate's files when asked for; nothing is kept."""

    def __init__(self, plate: Path, planes: Mapping[PlaneKey, Plane], layout: Layout) -> None:
        self.plate = plate
        self.planes = planes
        self.layout = layout
        self.seconds = 0.0

    def read(self, well: str, key: PlaneKey) -> Image:
        """One plane (Y, X). A blank one is zeros; a file that cannot be read is an `ImageFileError`."""
        if key not in self.planes and key in self.layout.blank:
            return np.zeros((self.layout.height, self.layout.width), self.layout.dtype)
        return read_raw_plane(self.plate, self.planes[key])


def read_raw_plane(plate: Path, plane: Plane) -> Image:
    """The pixels (Y, X) of a plane of a plate, in the byte order of this machine.

    `ImageFileError` if they cannot be read, are none that can be computed with, are others than the plate was planned
    with, or if the file has changed since then: its pixels would go out under the fingerprint of the old ones.
    """
    try:
        image = read_plane(plate, plane)
    except PlateError as error:
        raise _changed(plate, plane) or ImageFileError(
            error.message, file=plane.path, hint=error.hint
        ) from error
    # After reading, so that a file that is written meanwhile is found out, too.
    wrong = _changed(plate, plane) or _unusable(image, plane)
    if wrong:
        raise wrong
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def _changed(plate: Path, plane: Plane) -> ImageFileError | None:
    """The error of a file that is not the one that the plate was read with."""
    if not (plane.size or plane.mtime_ns):  # it was a dangling link
        return None
    path = plate / plane.path
    try:
        size, mtime_ns = _stored(path, plane.page)
    except (FileNotFoundError, NotADirectoryError):
        return ImageFileError(
            f"The image file {plane.path} is gone; it was there when the plate was read.",
            file=plane.path,
            hint="Put it back, or check the drive or network share, and run again: only this unit is computed.",
        )
    except Exception:  # a damaged array fails in ways of its own; reading it has said so
        return None
    if size == plane.size and abs(mtime_ns - plane.mtime_ns) < CLOCKS_NS:
        return None
    sizes = f"{plane.size} bytes" if size == plane.size else f"{plane.size}, now {size} bytes"
    return ImageFileError(
        f"The image file {plane.path} has changed since the plate was read (it had {sizes}).",
        file=plane.path,
        hint="Wait until nothing is copied into the plate any more and run again: only what changed is computed.",
    )


def _stored(path: Path, page: int) -> tuple[int, int]:
    """Bytes and newest time of the file that holds a plane, or of its chunks that are there if it is of an array."""
    if not path.is_dir():
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    from hcs_steps.plate.formats.ome_zarr.pixels import plane_files

    found = [file.stat() for file in plane_files(path, page) if file.is_file()]
    return sum(each.st_size for each in found), max((each.st_mtime_ns for each in found), default=0)


def _unusable(image: Image, plane: Plane) -> ImageFileError | None:
    """The error of pixels that no step could make sense of, or that are not like those the plan is made for."""
    kind = f"{image.shape[0]} x {image.shape[1]} {image.dtype.name}"
    planned = f"{plane.height} x {plane.width} {plane.dtype}"
    if image.dtype.kind not in "uif" or not image.size:
        return ImageFileError(
            f"The image file {plane.path} holds {kind} pixels, which are no grey values.",
            file=plane.path,
            hint="Export it with 8 or 16 bits per pixel.",
        )
    if plane.dtype and kind != planned:
        return ImageFileError(
            f"The image file {plane.path} holds {kind} pixels, but those of its channel are {planned}.",
            file=plane.path,
            hint="Copy or export it again like the others, or leave its well or site out with 'select'.",
        )
    if image.dtype.kind == "f" and not (finite := np.isfinite(image)).all():
        row, column = np.argwhere(~finite)[0]
        return ImageFileError(
            f"The image file {plane.path} holds {finite.size - finite.sum()} pixels that are not a number or are "
            f"infinite, the first in row {row}, column {column}.",
            file=plane.path,
            hint="Export it again with a value in every pixel, or leave its well or site out with 'select'.",
        )
    return None
