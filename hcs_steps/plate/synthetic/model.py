"""What is to be written, and what a layout is: the two sides of every synthetic plate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hcs_steps.plate.inventory import Plane, PlaneKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

START = datetime(2024, 1, 1, 12, 0, 0)
"""When the first plane of every synthetic plate was taken, local time."""

Fact = Literal[
    "site",
    "z_index",
    "timepoint",
    "positions",
    "z_um",
    "time_s",
    "pixel_size_um",
    "channel_names",
    "dimensions",
    "site_list",
    "listed",
]
"""What names and metadata of a layout can state. ``positions`` may have an origin of their own; ``listed``
says that the metadata list every plane, so that a lost file is known whatever its neighbours have, ``site_list``
that they list the sites which every well has."""


@dataclass(frozen=True)
class SyntheticPlate:
    """A plate to be written.

    Attributes
    ----------
    name
        Of the plate; most layouts use it in names.
    planes
        Every plane with its components, positions (y downwards), focus, time and pixel size; ``path`` is
        empty, and sites are numbered from 1.
    lost
        Those of the planes that get no file, although the metadata list them.
    channels
        Channel number (from 1) -> name.
    dimensions, site_grid
        (rows, columns) of the plate, and of the sites in a well.
    pixels
        The image (Y, X) of a plane, uint16.
    """

    name: str
    planes: tuple[Plane, ...]
    channels: Mapping[int, str]
    dimensions: tuple[int, int]
    site_grid: tuple[int, int]
    pixels: Callable[[PlaneKey], NDArray[Any]]
    lost: frozenset[PlaneKey] = frozenset()

    @property
    def written(self) -> tuple[Plane, ...]:
        """The planes that get a file."""
        return tuple(plane for plane in self.planes if PlaneKey(*plane[:5]) not in self.lost)

    def values(self, component: str) -> tuple[int, ...]:
        """All values of a component, sorted."""
        return tuple(sorted({getattr(plane, component) for plane in self.planes}))


@dataclass(frozen=True)
class Layout:
    """How one vendor's software writes plates.

    ``write(folder, plate, compression)`` creates all files below ``folder``, the plate's folder, which
    exists; ``states`` are the facts that a reader can find again in what was written; ``format`` is the
    reader's name. A layout that does not state ``site``, ``z_index`` or ``timepoint`` is given plates without
    them. ``loses_planes`` says whether single planes can be lost, which they cannot where a file holds many;
    ``any_channel_name`` whether channels may be called anything, which they may not where names of files hold
    their names.
    """

    format: str
    write: Callable[[Path, SyntheticPlate, str | None], None]
    states: frozenset[Fact]
    loses_planes: bool = True
    any_channel_name: bool = True


def write_tiff(path: Path, pixels: NDArray[Any], *, compression: str | None, description: str = "") -> None:
    """Write one plane as a TIFF without any metadata but ``description``."""
    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path,
        pixels,
        description=description.encode() or None,  # tifffile takes text in ASCII only
        metadata=None,
        compression=compression,
        software=False,
        photometric="minisblack",
    )
