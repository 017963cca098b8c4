"""One plane at about the size it is shown at, without reading more of it than that needs."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from hcs_steps.storage._pyramid import halve
from hcs_steps.storage.protocol import Image, ImageStore, PlaneKey


@runtime_checkable
class HasLevels(Protocol):
    """What a store can offer besides the methods of `ImageStore`: the smaller copies that it keeps."""

    def level_shapes(self, well: str, key: PlaneKey, labels: str | None = None) -> list[tuple[int, int]]:
        """(height, width) of every level of a plane, the full resolution first."""

    def read_level(self, well: str, key: PlaneKey, labels: str | None = None, *, level: int) -> Image:
        """The plane (Y, X), or its labels of that name, at that level."""


def preview(store: ImageStore, well: str, key: PlaneKey, labels: str | None, pixels: int) -> Image:
    """A plane (Y, X), or its labels of that name, halved as long as its longer side keeps ``pixels`` pixels.

    The same pixels from every store: one that keeps a pyramid is asked for the level, of any other the plane is
    read and halved here (images by area mean, labels by nearest pixel). Raises what reading raises.
    """
    if isinstance(store, HasLevels):
        shapes = store.level_shapes(well, key, labels)
        fitting = [level for level, shape in enumerate(shapes) if max(shape) >= pixels]
        plane = store.read_level(well, key, labels, level=max(fitting, default=0))
    else:
        plane = store.read(well, key, labels)
    # A store without a pyramid, or with a shorter one, leaves the rest to do.
    while (max(plane.shape) + 1) // 2 >= pixels:
        plane = halve(plane, labels=labels is not None)
    return plane
