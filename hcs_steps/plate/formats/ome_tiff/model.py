"""What an OME-XML says of images, wells and TIFF pages, as small values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from hcs_steps.plate.inventory import NAN

Place = tuple[int, int, int]
"""Channel, z and time of a plane, from 0."""


class PlaneFacts(NamedTuple):
    """A ``Plane``: stage position and focus in micrometres, times in seconds; NaN where unknown."""

    x_um: float = NAN
    y_um: float = NAN
    z_um: float = NAN
    time_s: float = NAN
    exposure_s: float = NAN


class TiffBlock(NamedTuple):
    """A ``TiffData``: pages from ``ifd`` on, of the file with this name or UUID, hold planes from ``first`` on.

    ``ifd`` and ``pages`` are None where not stated; without name and UUID it is the file that holds the XML.
    """

    first: Place
    ifd: int | None
    pages: int | None
    file_name: str
    uuid: str


@dataclass(frozen=True)
class OmeImage:
    """An ``Image`` with its ``Pixels``.

    Attributes
    ----------
    id, name, stage_label
        Its identifier, its name, and the name of the stage position.
    height, width, dtype
        Pixels per axis, and the NumPy dtype, empty for complex numbers.
    axes
        ``Z``, ``C`` and ``T``, the fastest first.
    sizes
        Number of channels, z planes and times.
    channels
        The channels' names, as far as there are any.
    samples
        The most samples per pixel; 1 is grey.
    pixel_size_um, pixel_height_um, z_step_um, interval_s
        Edges of a pixel, and the steps in z and time, NaN where unknown.
    x_um, y_um
        Where the stage label is, NaN where unknown.
    unit_lost
        Whether a position other than 0 is stated without a unit of length.
    blocks, planes
        Its ``TiffData`` and its ``Plane`` elements.
    """

    id: str
    name: str
    stage_label: str
    height: int
    width: int
    dtype: str
    axes: str
    sizes: Place
    channels: tuple[str, ...]
    samples: int
    pixel_size_um: float
    pixel_height_um: float
    z_step_um: float
    interval_s: float
    x_um: float
    y_um: float
    unit_lost: bool
    blocks: tuple[TiffBlock, ...]
    planes: Mapping[Place, PlaneFacts]

    @property
    def count(self) -> int:
        """The number of its planes."""
        return math.prod(self.sizes)

    def places(self) -> Iterator[Place]:
        """All its planes in the order of its axes."""
        return map(self.place, range(self.count))

    def place(self, index: int) -> Place:
        """The plane that is the ``index``-th in the order of the axes, from 0."""
        found = {}
        for axis in self.axes:
            index, found[axis] = divmod(index, self._size(axis))
        return found["C"], found["Z"], found["T"]

    def index(self, place: Place) -> int:
        """Where a plane stands in the order of the axes, from 0."""
        at = dict(zip("CZT", place, strict=True))
        index = 0
        for axis in reversed(self.axes):
            index = index * self._size(axis) + at[axis]
        return index

    def _size(self, axis: str) -> int:
        return self.sizes["CZT".index(axis)]


class WellSample(NamedTuple):
    """A ``WellSample``: indices of its well, its rank in the well from 1, and its position if it has one."""

    row: int
    column: int
    rank: int
    x_um: float
    y_um: float


@dataclass(frozen=True)
class OmeDocument:
    """An OME-XML.

    ``samples`` go by the identifier of their image; ``metadata_file`` is the name of the file that holds the
    metadata, if this XML holds none (``BinaryOnly``); ``damage`` says why it could not be read to its end.
    """

    uuid: str = ""
    images: tuple[OmeImage, ...] = ()
    samples: Mapping[str, WellSample] = field(default_factory=dict)
    plate_name: str = ""
    rows: int = 0
    columns: int = 0
    objective: str = ""
    metadata_file: str = ""
    damage: str = ""

    @cached_property
    def file_names(self) -> frozenset[str]:
        """The names of all files that hold its planes, as far as it tells."""
        return frozenset(block.file_name for image in self.images for block in image.blocks)
