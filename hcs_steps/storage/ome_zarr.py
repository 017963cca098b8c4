"""Images as an OME-NGFF 0.5 plate on Zarr 3: ``<step>.ome.zarr/<row>/<column>/<site>``.

`OmeZarrStore.declare` writes the plate, row and well groups; a unit publishes whole site groups, each with
its pyramid, labels and metadata, in one rename. The metadata of the plate thus lists sites that are not
there yet, or never will be when their unit failed; viewers show those empty.

A level is one file (a shard of chunks), so a site takes few files however many planes it has, and one plane
is still read by fetching only its own chunks.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.errors import StorageError
from hcs_steps.storage import _ngff
from hcs_steps.storage._names import unique_names, well_position
from hcs_steps.storage._ngff import Grid
from hcs_steps.storage._pyramid import halve, level_count
from hcs_steps.storage._unit import SiteImages, StampedCache, check_compressor, missing_plane, split_sites
from hcs_steps.storage._zarr_layout import array_options, check_strategy, codecs
from hcs_steps.storage.atomic import (
    json_bytes,
    measure,
    publish_dir,
    remove_path,
    storage_errors,
    sweep_leftovers,
    write_bytes,
)
from hcs_steps.storage.protocol import Image, ImageMeta, PlaneKey, Published, StoreSpec

_GROUP = "zarr.json"
_ABANDONED_S = 3600.0
"""Age after which a temporary file beside shared metadata cannot belong to a live process any more."""


@dataclass(frozen=True)
class _Stored:
    """One image or label group on disk: its planes and its full-resolution array."""

    grid: Grid
    array: Any
    folder: Path
    label: str

    def read(self, key: PlaneKey) -> Image:
        index = self.grid.index(key)
        # A chunk file that is gone reads as zeros; every chunk was written, so say that it is gone.
        steps = self.array.shards or self.array.chunks
        chunk = self.folder.joinpath(
            "c", *(str(i // step) for i, step in zip(index, steps, strict=False)), "0", "0"
        )
        if not chunk.is_file():
            raise StorageError(f"{chunk} is gone.", hint="Run the step that wrote it again.")
        try:
            plane: Image = self.array[index]
        except Exception as error:  # codecs fail in ways of their own on damaged bytes
            raise StorageError(
                f"{chunk} is damaged: {error}.", hint="Run the step that wrote it again."
            ) from error
        return plane


class OmeZarrStore:
    """An `ImageStore` that is an OME-NGFF plate; see the module's docstring for the layout."""

    def __init__(self, spec: StoreSpec) -> None:
        check_compressor(spec)
        check_strategy(spec.chunk_strategy)
        self.spec = spec
        self._groups: StampedCache[_Stored] = StampedCache(_open_group)

    def declare(self) -> None:
        """Write the metadata of plate, rows and wells. The plate's comes last and tells that all is there."""
        spec = self.spec
        wells = {well: well_position(well) for well in spec.wells}
        for well, place in wells.items():
            if place.row >= spec.rows or place.column >= spec.columns:
                size = f"{spec.rows} x {spec.columns}"
                raise StorageError(
                    f"Cannot declare {spec.path}: well {well} lies outside a plate of {size} wells.",
                    hint="Correct the well or the dimensions of the plate.",
                )
        layout = json_bytes({well: sorted(set(sites)) for well, sites in spec.wells.items()})
        attributes = _ngff.plate_attributes(spec)
        attributes["hcs_steps"] = {"layout": hashlib.blake2b(layout, digest_size=16).hexdigest()}
        plate = json_bytes(_ngff.group(attributes))
        if _content(spec.path / _GROUP) == plate:
            return
        for letters in sorted({place.row_folder for place in wells.values()}):
            _write_shared(spec.path / letters / _GROUP, json_bytes(_ngff.group({})))
        for well, sites in spec.wells.items():
            attributes = _ngff.well_attributes(sites)
            _write_shared(self._well_folder(well) / _GROUP, json_bytes(_ngff.group(attributes)))
        _write_shared(spec.path / _GROUP, plate)

    def publish(
        self,
        well: str,
        images: Mapping[PlaneKey, Image],
        labels: Mapping[str, Mapping[PlaneKey, Image]],
        meta: ImageMeta,
    ) -> list[Published]:
        """Write each site as one image group, replacing an older one as a whole.

        A site with labels but no images becomes a valid image, too: its first label image, shared not copied.
        """
        published = []
        for part in split_sites(self.spec, well, images, labels):
            folder = self._site_folder(well, part.site)
            with publish_dir(folder) as temporary:
                self._write_site(temporary, well, part, meta)
            size, checksum = measure(folder)
            relative = folder.relative_to(self.spec.path.parent).as_posix()
            published.append(Published(relative, size, checksum))
        return published

    def read(self, well: str, key: PlaneKey, labels: str | None = None) -> Image:
        """One plane (Y, X), or its labels of that name, as published; fetches that plane's chunks only."""
        stored = self._stored(self._site_folder(well, key[0]), labels)
        if stored is None or key not in stored.grid.planes:
            raise missing_plane(self.spec, well, key, self.keys(well, labels), labels)
        return stored.read(PlaneKey(*key))

    def keys(self, well: str, labels: str | None = None) -> Iterable[PlaneKey]:
        """The published planes of a well (with labels of that name), in stacking order."""
        found = (self._stored(folder, labels) for folder in self._site_folders(well))
        return [key for stored in found if stored is not None for key in stored.grid.planes]

    def remove(self, well: str, sites: Sequence[int]) -> None:
        """Delete the image groups of sites. Idempotent; the well's metadata stays as declared."""
        for site in sites:
            remove_path(self._site_folder(well, site))

    def _well_folder(self, well: str) -> Path:
        place = well_position(well)
        return self.spec.path / place.row_folder / place.column_folder

    def _site_folder(self, well: str, site: int) -> Path:
        return self._well_folder(well) / str(int(site))

    def _site_folders(self, well: str) -> list[Path]:
        folder = self._well_folder(well)
        sites = [int(path.parent.name) for path in folder.glob(f"*/{_GROUP}") if path.parent.name.isdecimal()]
        return [folder / str(site) for site in sorted(sites)]

    def _stored(self, site_folder: Path, labels: str | None) -> _Stored | None:
        if labels is None:
            return self._groups.get(site_folder / _GROUP)
        groups = (self._groups.get(path) for path in sorted(site_folder.glob(f"labels/*/{_GROUP}")))
        return next((stored for stored in groups if stored is not None and stored.label == labels), None)

    def _write_site(self, folder: Path, well: str, part: SiteImages, meta: ImageMeta) -> None:
        title = f"{well} site {part.site}"
        shown: list[dict[str, Any]] = []
        folders = unique_names({name: name for name in part.labels}, part.labels)
        for name, planes in part.labels.items():
            grid = Grid.of(part.site, planes)
            where = f"labels/{folders[name]}"
            paths = self._write_levels(folder / where, grid, planes, labels=True)
            scales = _ngff.multiscales(f"{title} {name}", grid, meta, *part.shape, paths, labels=True)
            _write_group(folder / where, _ngff.label_attributes(name, grid, meta, scales))
            if not shown:
                nested = [f"{where}/{path}" for path in paths]
                shown = _ngff.multiscales(title, grid, meta, *part.shape, nested, labels=True)
        if part.labels:
            _write_group(folder / "labels", _ngff.labels_attributes(list(folders.values())))
        grid = Grid.of(part.site, part.images)
        if part.images:
            paths = self._write_levels(folder, grid, part.images, labels=False)
            shown = _ngff.multiscales(title, grid, meta, *part.shape, paths)
        _write_group(folder, _ngff.image_attributes(grid, meta, shown, part.images))

    def _write_levels(
        self, folder: Path, grid: Grid, planes: Mapping[PlaneKey, Image], *, labels: bool
    ) -> list[str]:
        height, width = next(iter(planes.values())).shape
        count = level_count(height, width) if self.spec.pyramid else 1
        level = dict(planes)
        for number in range(count):
            if number:
                level = {key: halve(plane, labels=labels) for key, plane in level.items()}
            _write_level(folder / str(number), self.spec, grid, level)
        return [str(number) for number in range(count)]


def _write_level(folder: Path, spec: StoreSpec, grid: Grid, planes: Mapping[PlaneKey, Image]) -> None:
    import zarr

    first = next(iter(planes.values()))
    shape = (*grid.shape, first.shape[0], first.shape[1])
    array = zarr.create_array(
        store=zarr.storage.LocalStore(folder),
        shape=shape,
        dtype=first.dtype,
        compressors=codecs(spec.compressor, spec.compression_level),
        fill_value=False if first.dtype.kind == "b" else 0,
        dimension_names=("t", "c", "z", "y", "x"),
        zarr_format=3,
        config={"write_empty_chunks": True},
        **array_options(spec.chunk_strategy, shape, first.dtype.itemsize),
    )
    indices = {grid.index(key): plane for key, plane in planes.items()}
    # One write per shard: a shard that is written in parts is packed anew for each of them.
    steps = (array.shards or array.chunks)[:3]
    for start in itertools.product(
        *(range(0, size, step) for size, step in zip(grid.shape, steps, strict=True))
    ):
        stop = tuple(min(a + step, size) for a, step, size in zip(start, steps, grid.shape, strict=True))
        block = np.zeros([b - a for a, b in zip(start, stop, strict=True)] + list(shape[3:]), first.dtype)
        for point in itertools.product(*(range(a, b) for a, b in zip(start, stop, strict=True))):
            if point in indices:
                block[tuple(i - a for i, a in zip(point, start, strict=True))] = indices[point]
        array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = block


def _write_group(folder: Path, attributes: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _GROUP).write_bytes(json_bytes(_ngff.group(attributes)))


def _write_shared(path: Path, content: bytes) -> None:
    """Write what every process would write alike; processes that race replace it by the same bytes."""
    if _content(path) != content:
        sweep_leftovers(path, older_than=_ABANDONED_S)
        write_bytes(path, content)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _open_group(path: Path) -> _Stored:
    import zarr

    with storage_errors("read", path):
        try:
            own = json.loads(path.read_bytes())["attributes"]["hcs_steps"]
            grid = Grid.from_attributes(own)
            array = (
                zarr.open_array(zarr.storage.LocalStore(path.parent / "0"), mode="r") if grid.planes else None
            )
            return _Stored(grid, array, path.parent / "0", own.get("label", ""))
        except OSError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            hint = "Delete its folder and run the step again."
            raise StorageError(f"{path} is damaged: {error}.", hint=hint) from error
