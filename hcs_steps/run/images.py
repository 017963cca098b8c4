"""Where a step's images come from: the plate's files, an earlier step's store, or memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hcs_steps.compile.plan import Layout
from hcs_steps.errors import StepError
from hcs_steps.plate.inventory import Plane
from hcs_steps.storage.protocol import Image, PlaneKey


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
        return read_plane(self.plate, self.planes[key])


def read_plane(plate: Path, plane: Plane) -> Image:
    """The pixels (Y, X) of a plane of a plate; colour and other shapes are refused, not guessed at."""
    import tifffile

    path = plate / plane.path
    try:
        size = os.stat(path).st_size
        with tifffile.TiffFile(path) as file:
            image = np.asarray(file.pages[plane.page].asarray())
    except Exception as error:  # a damaged file can raise anything from deep inside a codec
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        expected = f" (it has {size} bytes)" if "size" in locals() else ""
        raise ImageFileError(
            f"The image file {plane.path} cannot be read{expected}: {reason}.",
            file=plane.path,
            hint="Copy it again from the microscope, then run snakemake again: only this unit is computed.",
        ) from error
    if image.ndim != 2:
        raise ImageFileError(
            f"The image file {plane.path} holds an image of shape {image.shape}, not a grey plane.",
            file=plane.path,
            hint="Export it as single-channel images.",
        )
    return image
