"""What all stores check and share before anything is written: a unit's images sorted into whole sites."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

import numpy as np

from hcs_steps.errors import ConfigError, StorageError, nearest
from hcs_steps.storage._names import well_position
from hcs_steps.storage.protocol import Image, PlaneKey, StoreSpec

T = TypeVar("T")


@dataclass(frozen=True)
class SiteImages:
    """Images and labels of one site in stacking order, all of one (Y, X) ``shape``, images of one dtype."""

    site: int
    shape: tuple[int, int]
    images: dict[PlaneKey, Image] = field(default_factory=dict)
    labels: dict[str, dict[PlaneKey, Image]] = field(default_factory=dict)

    def planes(self, labels: str | None) -> dict[PlaneKey, Image]:
        """The images, or the labels of that name; empty if there are none."""
        return self.images if labels is None else self.labels.get(labels, {})


COMPRESSORS = ("gzip", "lz4", "none", "zstd")


def check_compressor(spec: StoreSpec) -> None:
    """Refuse a compressor that no store knows, before a job meets it."""
    if spec.compressor not in COMPRESSORS:
        raise ConfigError(
            f"Unknown compressor {spec.compressor!r}.", hint=nearest(spec.compressor, COMPRESSORS)
        )


def split_sites(
    spec: StoreSpec,
    well: str,
    images: Mapping[PlaneKey, Image],
    labels: Mapping[str, Mapping[PlaneKey, Image]],
) -> list[SiteImages]:
    """A unit's images by site, checked. Raises `StorageError` before anything is written.

    The well and the sites must be declared; planes are (Y, X) arrays of booleans, integers or floats,
    labels are integers; within a site all have one shape, and the images one dtype.
    """
    well_position(well)
    if well not in spec.wells:
        _refuse(
            spec,
            f"well {well}",
            "is not declared",
            "Declare the store with all wells that will be published.",
        )
    keys = set(images).union(*labels.values())
    sites = sorted({key[0] for key in keys})
    for site in sites:
        if site not in spec.wells[well] or site < 0:
            declared = ", ".join(map(str, spec.wells[well])) or "none"
            _refuse(spec, f"well {well}, site {site}", "is not declared", f"Declared sites: {declared}.")
    return [_one_site(spec, well, site, images, labels) for site in sites]


def _one_site(
    spec: StoreSpec,
    well: str,
    site: int,
    images: Mapping[PlaneKey, Image],
    labels: Mapping[str, Mapping[PlaneKey, Image]],
) -> SiteImages:
    what = f"well {well}, site {site}"
    own_images = _of_site(images, site)
    own_labels = {name: own for name in sorted(labels) if (own := _of_site(labels[name], site))}
    planes = [*own_images.values(), *(plane for own in own_labels.values() for plane in own.values())]
    for plane in planes:
        if plane.ndim != 2 or plane.size == 0:
            _refuse(
                spec,
                what,
                f"has a plane of shape {plane.shape}",
                "A plane is a 2-D (Y, X) array with pixels.",
            )
        if plane.dtype.kind not in "buif":
            _refuse(spec, what, f"has a plane of dtype {plane.dtype}", "Return booleans, integers or floats.")
    shapes = sorted({plane.shape for plane in planes})
    if len(shapes) > 1:
        _refuse(
            spec, what, f"has planes of several shapes: {shapes}", "Bring the planes of a site to one shape."
        )
    dtypes = sorted({str(plane.dtype) for plane in own_images.values()})
    if len(dtypes) > 1:
        _refuse(
            spec,
            what,
            f"has planes of several dtypes: {dtypes}",
            "Convert the planes of a site to one dtype.",
        )
    for name, own in own_labels.items():
        kinds = sorted({str(plane.dtype) for plane in own.values()})
        if len(kinds) > 1 or np.dtype(kinds[0]).kind not in "iu":
            _refuse(
                spec, what, f"has labels {name!r} of dtype {', '.join(kinds)}", "Return labels as uint32."
            )
    return SiteImages(site, shapes[0], own_images, own_labels)


def _of_site(planes: Mapping[PlaneKey, Image], site: int) -> dict[PlaneKey, Image]:
    own = sorted((key for key in planes if key[0] == site), key=tuple)
    return {PlaneKey(*map(int, key)): np.asarray(planes[key]) for key in own}


def _refuse(spec: StoreSpec, what: str, problem: str, hint: str) -> NoReturn:
    raise StorageError(f"Cannot publish to {spec.path}: {what} {problem}.", hint=hint)


def missing_plane(
    spec: StoreSpec, well: str, key: PlaneKey, published: Iterable[PlaneKey], labels: str | None
) -> StorageError:
    """The error for a plane that was never published: which, where, and what there is instead."""
    site, channel, z_index, timepoint = key
    count = len(list(published))
    what = "" if labels is None else f"labels {labels!r} of "
    found = f"{count} other planes of this well are there" if count else "nothing of this well is there"
    return StorageError(
        f"Cannot read {what}well {well}, site {site}, channel {channel}, z_index {z_index}, "
        f"timepoint {timepoint} from {spec.path}: it was not published ({found}).",
        hint="Run the step that writes it, or see its failure record.",
    )


class StampedCache(Generic[T]):
    """Parsed files, parsed again only when the file was replaced; the few last used are kept."""

    def __init__(self, parse: Callable[[Path], T], size: int = 16) -> None:
        self._parse = parse
        self._size = size
        self._entries: dict[Path, tuple[Hashable, T]] = {}

    def get(self, path: Path) -> T | None:
        """The parsed file, None if there is none."""
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        entry = self._entries.pop(path, None)
        if entry is None or entry[0] != stamp:
            entry = (stamp, self._parse(path))
        self._entries[path] = entry
        while len(self._entries) > self._size:
            del self._entries[next(iter(self._entries))]
        return entry[1]
