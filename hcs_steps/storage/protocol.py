"""What a storage backend has to do, and the values that pass through it.

A store holds the images of one step of one plate. The compiler declares it once, each unit publishes its own
part, and any later step reads single planes back.

Two guarantees every backend gives:

1. *All or nothing.* `publish` writes to a temporary sibling, flushes, and renames. A kill at any instant
   leaves a unit's previous images, or none, or the new ones; never a part of a file or of an image group.
2. *A unit owns its part.* Two units of one step never write the same file, so any number of processes may
   publish at the same time without locks.

Precondition: `declare` has run before the first `publish` (it is idempotent and cheap).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from numpy.typing import NDArray

Image = NDArray[Any]


class PlaneKey(NamedTuple):
    """Which plane of a unit: the components beside the well, in stacking order."""

    site: int
    channel: int
    z_index: int
    timepoint: int


@dataclass(frozen=True)
class ImageMeta:
    """What a store needs to know of the images besides their pixels.

    ``names`` gives each plane the base name (no folder, no extension) it was delivered with; ``positions_um``
    the stage position (x, y) of each site's centre. Unknown sizes are NaN.
    """

    channels: Mapping[int, str]
    pixel_size_um: float = float("nan")
    z_step_um: float = float("nan")
    names: Mapping[PlaneKey, str] = field(default_factory=dict)
    positions_um: Mapping[int, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Expected:
    """What the images of one unit will look like, as far as that is known before they are made.

    ``height`` and ``width`` are in pixels, ``channels`` the names by number; an unknown pixel size is NaN.
    """

    planes: tuple[PlaneKey, ...]
    height: int
    width: int
    dtype: str
    channels: Mapping[int, str]
    pixel_size_um: float = float("nan")


@dataclass(frozen=True)
class StoreSpec:
    """One step's store: where it is, how it is written, and which wells and sites it will hold.

    ``wells`` maps each well (``A01``) to the sites that will be published, ``expected`` to what its units will
    publish; ``rows``/``columns`` are the plate's dimensions. ``compressor`` is ``lz4``, ``zstd``, ``gzip`` or
    ``none``; ``pyramid`` False writes full resolution only (intermediates).

    OME-Zarr: ``chunk_strategy`` is ``adaptive``, ``plane`` or ``well``, ``ngff_version`` ``0.5`` or ``0.4``, and
    ``codec_pipeline`` ``zarr`` or ``zarrs``. TIFF: ``tiff_files`` is ``plane`` or ``well`` (a file for each),
    ``tiff_metadata`` ``ome`` or ``imagej``.
    """

    path: Path
    plate_name: str
    rows: int
    columns: int
    wells: Mapping[str, Sequence[int]]
    compressor: str = "lz4"
    compression_level: int = 5
    chunk_strategy: str = "adaptive"
    pyramid: bool = True
    expected: Mapping[str, Sequence[Expected]] = field(default_factory=dict)
    ngff_version: str = "0.5"
    codec_pipeline: str = "zarr"
    tiff_files: str = "plane"
    tiff_metadata: str = "ome"


@dataclass(frozen=True)
class Published:
    """One file or image group that a unit published: path relative to the store's parent, bytes, checksum.

    ``checksum`` is ``blake2b:<hex, 16 bytes>`` over the file's bytes; for a group (a folder) over the sorted
    relative paths and checksums of the files in it.
    """

    path: str
    size: int
    checksum: str


@runtime_checkable
class ImageStore(Protocol):
    """Images of one step. See the module's docstring for the guarantees."""

    def declare(self) -> None:
        """Create what units share (folders, plate and well metadata). Idempotent, safe to race."""

    def publish(
        self,
        well: str,
        images: Mapping[PlaneKey, Image],
        labels: Mapping[str, Mapping[PlaneKey, Image]],
        meta: ImageMeta,
    ) -> list[Published]:
        """Write all that a unit owns (whole sites of one well), atomically; replace what was there.

        Images are (Y, X) arrays; a plane that is not in ``images`` is not stored, and reading it is an
        error, not a black image. Raises `StorageError` with the path and the reason.
        """

    def read(self, well: str, key: PlaneKey, labels: str | None = None) -> Image:
        """One plane (Y, X), or its labels of that name, as published, same dtype. `StorageError` if not."""

    def keys(self, well: str, labels: str | None = None) -> Iterable[PlaneKey]:
        """The planes of a well that were published (with labels of that name), in stacking order."""

    def remove(self, well: str, sites: Sequence[int]) -> None:
        """Take away what a unit published earlier, so that nothing stale is left. Idempotent."""
