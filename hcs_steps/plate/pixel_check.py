"""Planes that hold nothing of their own: copies of another plane, and planes of a single value.

Some vendors' software pads a channel that was not acquired with the pixels of another timepoint, and a closed
shutter or a failed export leaves zeros. Both look like data to everything that reads only names and headers,
so pixels are compared: of a few planes by default, which finds what an acquisition does throughout a plate,
or of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.findings import plane_label
from hcs_steps.plate.inventory import Inventory, Plane, PlaneKey, Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

SITES = 3
TIMEPOINTS = 4
WORKERS = 4
_AT_ONCE = 64


class Layout(NamedTuple):
    """The shape and dtype of an image."""

    height: int
    width: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.height} x {self.width} {self.dtype}"


@dataclass(frozen=True)
class PixelCheck:
    """Problems of the kinds ``copy``, ``constant``, ``layout`` and ``unreadable``, and how much was looked at."""

    problems: tuple[Problem, ...]
    planes_read: int
    planes_total: int


def check_pixels(inventory: Inventory, *, deep: bool = False) -> PixelCheck:
    """Read planes and compare their pixels with each other.

    ``deep`` reads all of them; otherwise, at the first site of the first, the middle and the last well, every
    channel in the middle of its stack at the first timepoints.
    """
    chosen = inventory.planes if deep else _sample(inventory)
    # What the reader knows already is not told twice.
    known = {problem.what for problem in inventory.problems if problem.kind in ("unreadable", "constant")}
    first: dict[bytes, Plane] = {}
    problems = []
    readable = [plane for plane in chosen if plane.size and known.isdisjoint((plane.path, _label(plane)))]
    for plane, result in _read(Path(inventory.plate_path), readable):
        if isinstance(result, Layout):
            told = Layout(plane.height, plane.width, plane.dtype)
            problems.append(Problem("layout", _label(plane), f"The image is {result}, expected was {told}."))
        elif isinstance(result, str):
            problems.append(Problem("unreadable", plane.path, result))
        elif isinstance(result, bytes):
            original = first.setdefault(result, plane)
            if original is not plane:
                problems.append(
                    Problem("copy", _label(plane), f"Its pixels are exactly those of {_label(original)}.")
                )
        else:
            problems.append(Problem("constant", _label(plane), f"Every pixel is {result}."))
    return PixelCheck(tuple(problems), len(chosen), len(inventory.planes))


def _sample(inventory: Inventory) -> Sequence[Plane]:
    wells = inventory.wells
    sampled = {wells[place] for place in (0, len(wells) // 2, -1)}
    sites: dict[str, int] = {}
    stacks: dict[tuple[str, int, int], list[Plane]] = {}
    for plane in inventory.planes:
        if plane.well in sampled and sites.setdefault(plane.well, plane.site) == plane.site:
            stacks.setdefault((plane.well, plane.channel, plane.timepoint), []).append(plane)
    timepoints = inventory.values("timepoint")[:TIMEPOINTS]
    return [stack[len(stack) // 2] for (_, _, timepoint), stack in stacks.items() if timepoint in timepoints]


def _read(plate: Path, planes: Sequence[Plane]) -> Iterator[tuple[Plane, bytes | int | float | str | Layout]]:
    """Each plane with the hash of its pixels, its only value, the reason why it cannot be
    read, or its layout if that is not the inventory's.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        for batch in _batches(planes):
            yield from zip(batch, pool.map(lambda plane: _identity(plate, plane), batch), strict=True)


def _batches(planes: Sequence[Plane]) -> Iterable[Sequence[Plane]]:
    return (planes[start : start + _AT_ONCE] for start in range(0, len(planes), _AT_ONCE))


def _identity(plate: Path, plane: Plane) -> bytes | int | float | str | Layout:
    from hcs_steps.plate.pixels import read_plane

    try:
        image = read_plane(plate, plane)
    except PlateError as error:
        return error.message
    height, width = image.shape
    layout = Layout(height, width, image.dtype.name)
    if plane.dtype and layout != (plane.height, plane.width, plane.dtype):
        return layout
    if image.size and image.min() == image.max():
        value: int | float = image.flat[0].item()
        return value
    return _hash(image)


def _hash(image: NDArray[Any]) -> bytes:
    import numpy as np

    state = blake2b(f"{image.shape}{image.dtype}".encode(), digest_size=16)
    state.update(np.ascontiguousarray(image).data)
    return state.digest()


def _label(plane: Plane) -> str:
    return plane_label(PlaneKey(*plane[:5]))
