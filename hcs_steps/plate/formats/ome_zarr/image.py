"""The planes of one image of an OME-Zarr plate: its metadata and its full-resolution array put together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.findings import Found
from hcs_steps.plate.formats.ome_zarr.array import ArrayMetadata, StoredChunks
from hcs_steps.plate.formats.ome_zarr.metadata import AXES, ImageMetadata, OwnGrid
from hcs_steps.plate.inventory import NAN, PlaneKey
from hcs_steps.plate.listing import FileEntry

ANISOTROPY = 1e-3
"""Relative difference of a pixel's edges that is worth a sentence."""


@dataclass(frozen=True)
class ZarrImage:
    """One image: what its group says, its array, and the file that describes the array."""

    metadata: ImageMetadata
    array: ArrayMetadata
    file: FileEntry
    axes: tuple[str, ...]

    @cached_property
    def leading(self) -> tuple[int, ...]:
        """The numbers of the axes that number planes, all but y and x; a page counts them in C order."""
        return leading_axes(self.axes)

    @property
    def planes(self) -> int:
        """Number of planes."""
        return prod(self.array.shape[axis] for axis in self.leading)

    def length(self, name: str) -> int:
        """Length of an axis, 1 if there is none of that name."""
        return self.array.shape[self.axes.index(name)] if name in self.axes else 1

    @property
    def own(self) -> OwnGrid | None:
        """The numbers of an image that hcs-steps wrote, unless its array has another shape."""
        own = self.metadata.own
        lengths = (self.length("c"), self.length("z"), self.length("t"))
        return own if own and lengths == tuple(map(len, own[:3])) else None

    def size_um(self, name: str) -> float:
        """Micrometres (seconds along t) from one index to the next, NaN if not stated with a unit."""
        if name not in self.axes or not self.metadata.scale:
            return NAN
        axis = self.axes.index(name)
        size = self.metadata.scale[axis] * self._unit(axis)
        return size if size > 0 else NAN

    def _unit(self, axis: int) -> float:
        return self.metadata.units[axis] if self.metadata.units else NAN

    def _start(self, name: str) -> float:
        """Where the first index of an axis lies, in micrometres or seconds, NaN if not stated."""
        shift = self.metadata.translation
        axis = self.axes.index(name) if name in self.axes else -1
        return shift[axis] * self._unit(axis) if shift and axis >= 0 else NAN

    @property
    def position_um(self) -> tuple[float, float]:
        """(x, y) of the image's centre, NaN without a stated translation.

        Coordinates are those of pixel centres, as in the coordinate convention of NGFF's RFC 5 and in
        the plates that hcs-steps writes, so the centre is half of n - 1 pixels from the first pixel.
        """
        x, y = (self._start(name) + (self.length(name) - 1) / 2 * self.size_um(name) for name in "xy")
        return x, y

    @property
    def at_origin(self) -> bool:
        """Whether the translation is stated to be nothing, as by writers that do not know it."""
        return self._start("x") == 0 and self._start("y") == 0

    def places(self, name: str) -> list[float]:
        """Where the indices of z (micrometres) or t (seconds) lie.

        NaN where it is not stated, which the scale of a single index is not: 1 stands for unknown.
        """
        start, step, count = self._start(name), self.size_um(name), self.length(name)
        if start != start:
            start = 0.0 if count > 1 else NAN
        return [start + index * step for index in range(count)]


class Numbers(NamedTuple):
    """What the indices of an image's axes stand for."""

    channels: Sequence[int]
    z_indices: Sequence[int]
    timepoints: Sequence[int]


def leading_axes(axes: Sequence[str]) -> tuple[int, ...]:
    """The numbers of all axes but y and x."""
    return tuple(number for number, name in enumerate(axes) if name not in ("y", "x"))


def resolve_axes(metadata: ImageMetadata, array: ArrayMetadata) -> tuple[str, ...]:
    """The names of the array's axes; `PlateError` if they do not describe grey planes."""
    axes = metadata.axes
    if not axes and len(array.shape) in (2, 5):
        axes = tuple(AXES[-len(array.shape) :])
    hint = "Write the image again."
    if len(axes) != len(array.shape):
        raise PlateError(f"It has {len(axes)} axes, its array {len(array.shape)}.", hint=hint)
    if len(set(axes)) < len(axes) or not {"y", "x"} <= set(axes):
        raise PlateError(f"Its axes are {', '.join(axes)[:60]}; it takes y and x, each once.", hint=hint)
    for name, length in zip(axes, array.shape, strict=True):
        if name not in AXES and length > 1:
            raise PlateError(f"It has an axis {name[:20]!r} that is none of t, c, z, y, x.", hint=hint)
    return axes


def image_planes(
    image: ZarrImage, numbers: Numbers, place: tuple[str, int], folder: str, stored: StoredChunks
) -> Iterator[tuple[PlaneKey, Found, int]]:
    """Every plane of an image with the number of its chunk files.

    ``place`` is the well and the site, ``folder`` the array's. A plane's file has the bytes of the chunk files
    that hold it and of the array's own file, and the newest of their times, so a plane changes with each of
    them, and is never an empty file.
    """
    files = {
        block: (FileEntry(folder, image.file.size + size, max(image.file.mtime_ns, mtime_ns)), count)
        for block, (count, size, mtime_ns) in stored.blocks.items()
    }
    nothing = (FileEntry(folder, image.file.size, image.file.mtime_ns), 0)
    height, width, dtype = image.length("y"), image.length("x"), image.array.dtype
    pixel_size_um, (x_um, y_um) = image.size_um("x"), image.position_um
    z_um, time_s = image.places("z"), image.places("t")
    own = image.own
    names = [image.axes[axis] for axis in image.leading]
    c, z, t = (names.index(name) if name in names else -1 for name in "czt")
    chunks = [image.array.chunks[axis] for axis in image.leading]
    ranges = [range(image.array.shape[axis]) for axis in image.leading]
    # Index 0 at the end, for the axes that the image does not have.
    for page, index in enumerate(itertools.product(*ranges, (0,))):
        ci, zi, ti = index[c], index[z], index[t]
        channel, z_index, timepoint = numbers.channels[ci], numbers.z_indices[zi], numbers.timepoints[ti]
        if own and (channel, z_index, timepoint) not in own.planes:
            continue
        block = tuple(i // chunk for i, chunk in zip(index, chunks, strict=False))
        file, count = files.get(block, nothing)
        yield (
            PlaneKey(*place, channel, z_index, timepoint),
            Found(file, page, height, width, dtype, pixel_size_um, x_um, y_um, z_um[zi], time_s[ti]),
            count,
        )


def channel_numbers(images: Mapping[str, ZarrImage]) -> tuple[dict[str, Numbers], dict[int, str]]:
    """Folder -> numbers of its indices, and channel -> name.

    The number of a channel is its place, from 1. Where images name their channels differently, a name has
    one number in all of them, so that two dyes are never taken for one; an image that does not name all its
    channels, each differently, goes by their places.
    """
    by_name: dict[str, int] = {}
    names: dict[int, str] = {}
    numbers = {}
    for folder, image in images.items():
        count = image.length("c")
        labels = [channel.label for channel in image.metadata.channels[:count]]
        labels += [""] * (count - len(labels))
        own = image.own
        if own:
            channels: Sequence[int] = own.channels
        elif all(labels) and len(set(labels)) == count:
            channels = _numbers_of(labels, by_name)
        else:
            channels = range(1, count + 1)
        for number, label in zip(channels, labels, strict=True):
            if label:
                names.setdefault(number, label)
        steps = (range(1, image.length("z") + 1), range(1, image.length("t") + 1))
        numbers[folder] = Numbers(channels, *(own[1:3] if own else steps))
    return numbers, names


def _numbers_of(labels: Sequence[str], by_name: dict[str, int]) -> list[int]:
    taken = set(by_name.values())
    for place, label in enumerate(labels, 1):
        if label not in by_name:
            number = place if place not in taken else max(taken) + 1
            by_name[label] = number
            taken.add(number)
    return [by_name[label] for label in labels]
