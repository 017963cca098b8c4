"""What a file of many images holds, whichever vendor's it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hcs_steps.plate.inventory import NAN


class PlaneIndex(NamedTuple):
    """The place of a plane in a file, all from 0; a tile is a field of a scene that is a mosaic."""

    scene: int
    tile: int
    time: int
    channel: int
    z: int


class Sizes(NamedTuple):
    """How many scenes, tiles, times, channels and z planes a file has at most."""

    scenes: int
    tiles: int
    times: int
    channels: int
    depth: int

    def page(self, index: PlaneIndex) -> int:
        """The number of a plane, counted in C order over these sizes, whether or not all of them exist."""
        number = 0
        for place, size in zip(index, self, strict=True):
            number = number * size + place
        return number

    def place(self, page: int) -> PlaneIndex:
        """The plane with a number."""
        places = []
        for size in reversed(self):
            page, place = divmod(page, size)
            places.append(place)
        return PlaneIndex(*reversed(places))


class FieldFacts(NamedTuple):
    """One field: pixels per axis, its position (um, y down), and (time, channel, z) of the planes it has."""

    height: int
    width: int
    x_um: float
    y_um: float
    planes: frozenset[tuple[int, int, int]]


@dataclass(frozen=True)
class ContainerFacts:
    """A file.

    Attributes
    ----------
    sizes
        The most that it has of everything.
    scene_names
        Texts of every scene that may hold its well.
    fields
        (scene, tile) -> what is there.
    channels
        The channels' names, empty where unknown.
    dtype
        NumPy dtype, empty if unknown.
    pixel_size_um, z_step_um, interval_s
        NaN where unknown.
    notes
        Sentences on what is not as it should be.
    """

    sizes: Sizes
    scene_names: tuple[tuple[str, ...], ...]
    fields: Mapping[tuple[int, int], FieldFacts]
    channels: tuple[str, ...]
    dtype: str
    pixel_size_um: float = NAN
    z_step_um: float = NAN
    interval_s: float = NAN
    notes: tuple[str, ...] = ()


def positive(value: float | None) -> float:
    """A size or a step, NaN if it is unknown or 0."""
    return value if value is not None and math.isfinite(value) and value > 0 else NAN
