"""Where a step's images come from: the plate's files, an earlier step's store, or memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hcs_steps.compile.plan import Layout
from hcs_steps.errors import PlateError, StepError
from hcs_steps.plate import read_plane
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
        return read_raw_plane(self.plate, self.planes[key])


def read_raw_plane(plate: Path, plane: Plane) -> Image:
    """The pixels (Y, X) of a plane of a plate; `ImageFileError` if they cannot be read."""
    try:
        return read_plane(plate, plane)
    except PlateError as error:
        raise ImageFileError(error.message, file=plane.path, hint=error.hint) from error
