"""Images as an OME-NGFF plate, 0.5 on Zarr 3 or 0.4 on Zarr 2: ``<step>.ome.zarr/<row>/<column>/<site>``.

`OmeZarrStore.declare` writes the plate, row and well groups, and a placeholder for every image of which it is
known what it will look like; a unit publishes whole site groups, each with its pyramid, labels and metadata,
in one rename. So a plate is valid from the first minute on, and an image that is not there yet, or never will
be since its unit failed, reads as zeros and says so.

With 0.5 a level is one file (a shard of chunks), so a site takes few files however many planes it has, and one
plane is still read by fetching only its own chunks. 0.4 has no shards: there each chunk is a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hcs_steps.errors import MEND, StorageError
from hcs_steps.storage._codec_pipeline import check_pipeline
from hcs_steps.storage._declaration import Declaration, well_folder
from hcs_steps.storage._dialect import Dialect, dialect_of
from hcs_steps.storage._image_group import write_site
from hcs_steps.storage._levels import open_level
from hcs_steps.storage._names import well_position
from hcs_steps.storage._ngff import Grid
from hcs_steps.storage._placeholder import TAKEN, content_of, is_published
from hcs_steps.storage._pyramid import level_shapes
from hcs_steps.storage._unit import SiteImages, StampedCache, check_compressor, missing_plane, split_sites
from hcs_steps.storage._zarr_layout import check_strategy
from hcs_steps.storage.atomic import measure, publish_dir, remove_path, storage_errors
from hcs_steps.storage.protocol import Image, ImageMeta, PlaneKey, Published, StoreSpec

_SITES_AT_ONCE = 2
"""Sites that are published at a time: one is packed while the other waits for the disk or takes its checksum."""

_RACES = 3
"""Times that a publication is tried if another process puts a placeholder in its way."""

_NOTHING: Mapping[str, Any] = {"site": 0, "channels": (), "z_indices": (), "timepoints": (), "planes": ()}
"""What is stored in a placeholder."""


@dataclass(frozen=True)
class _Stored:
    """One image or label group on disk: its planes, and the arrays of its levels, each opened when it is read."""

    grid: Grid
    folder: Path
    label: str
    spec: StoreSpec
    dialect: Dialect
    arrays: dict[int, Any] = field(default_factory=dict)

    def shapes(self) -> list[tuple[int, int]]:
        """(height, width) of every level, the full resolution first."""
        path = self.folder / "0" / self.dialect.array_marker
        with storage_errors("read", path):
            try:
                height, width = json.loads(path.read_bytes())["shape"][3:]
            except (ValueError, KeyError, TypeError) as error:
                raise _damaged(path, error) from error
        return level_shapes(int(height), int(width), self.spec.pyramid)

    def read(self, key: PlaneKey, level: int = 0) -> Image:
        """A plane (Y, X) at a level."""
        array, index, folder = self._array(level), self.grid.index(key), self.folder / str(level)
        # A chunk file that is gone reads as zeros; every chunk was written, so say that it is gone.
        chunk = folder
        for chunk in self.dialect.chunk_files(folder, array, index):
            if not chunk.is_file():
                raise StorageError(f"{chunk} is gone.", hint=MEND)
        try:
            # Slices, not numbers: zarrs refuses numbers where a plane is of several chunks.
            plane: Image = array[tuple(slice(i, i + 1) for i in index)][0, 0, 0]
        except Exception as error:  # codecs fail in ways of their own on damaged bytes
            raise StorageError(f"{chunk} is damaged: {error}.", hint=MEND) from error
        return plane

    def _array(self, level: int) -> Any:
        if level not in self.arrays:
            path = self.folder / str(level)
            with storage_errors("read", path):
                try:
                    self.arrays[level] = open_level(path, self.spec, self.dialect)
                except OSError:
                    raise
                except (ValueError, KeyError, TypeError) as error:
                    raise _damaged(path, error) from error
        return self.arrays[level]


class OmeZarrStore:
    """An `ImageStore` that is an OME-NGFF plate; see the module's docstring for the layout."""

    def __init__(self, spec: StoreSpec) -> None:
        check_compressor(spec)
        check_strategy(spec.chunk_strategy)
        check_pipeline(spec)
        self.spec = spec
        self.dialect = dialect_of(spec.ngff_version)
        self._declaration = Declaration(spec, self.dialect)
        self._groups: StampedCache[_Stored] = StampedCache(self._open_group)

    def declare(self) -> None:
        """Write the metadata of plate, rows and wells, and placeholders for the images of ``spec.expected``.

        The plate's metadata comes last and tells that all is there.
        """
        self._declaration.write()

    def publish(
        self,
        well: str,
        images: Mapping[PlaneKey, Image],
        labels: Mapping[str, Mapping[PlaneKey, Image]],
        meta: ImageMeta,
    ) -> list[Published]:
        """Write each site as one image group, replacing an older one or a placeholder as a whole.

        A site with labels but no images becomes a valid image, too: its first label image, shared not copied.
        """
        parts = split_sites(self.spec, well, images, labels)
        with ThreadPoolExecutor(_SITES_AT_ONCE) as pool:
            sites = [pool.submit(self._publish_site, well, part, meta) for part in parts]
            return [site.result() for site in sites]

    def read(self, well: str, key: PlaneKey, labels: str | None = None) -> Image:
        """One plane (Y, X), or its labels of that name, as published; fetches that plane's chunks only."""
        return self._plane(well, key, labels).read(PlaneKey(*key))

    def level_shapes(self, well: str, key: PlaneKey, labels: str | None = None) -> list[tuple[int, int]]:
        """(height, width) of every level of a published plane, the full resolution first."""
        return self._plane(well, key, labels).shapes()

    def read_level(self, well: str, key: PlaneKey, labels: str | None = None, *, level: int) -> Image:
        """Like `read`, at a level of the pyramid."""
        return self._plane(well, key, labels).read(PlaneKey(*key), level)

    def _plane(self, well: str, key: PlaneKey, labels: str | None) -> _Stored:
        stored = self._stored(self._site_folder(well, key[0]), labels)
        if stored is None or key not in stored.grid.planes:
            raise missing_plane(self.spec, well, key, self.keys(well, labels), labels)
        return stored

    def keys(self, well: str, labels: str | None = None) -> Iterable[PlaneKey]:
        """The published planes of a well (with labels of that name), in stacking order."""
        found = (self._stored(folder, labels) for folder in self._site_folders(well))
        return [key for stored in found if stored is not None for key in stored.grid.planes]

    def remove(self, well: str, sites: Sequence[int]) -> None:
        """Delete the image groups of sites; placeholders take the place of expected images. Idempotent."""
        for site in sites:
            remove_path(self._site_folder(well, site))
        self._declaration.restore(well, sites)

    def missing(self) -> list[tuple[str, int]]:
        """The declared images (well, site) that are not published, in the order of the plate."""
        wells = sorted(self.spec.wells, key=lambda well: well_position(well)[1:])
        declared = ((well, site) for well in wells for site in sorted(set(self.spec.wells[well])))
        return [place for place in declared if not self._is_published(self._site_folder(*place))]

    def _publish_site(self, well: str, part: SiteImages, meta: ImageMeta) -> Published:
        folder = self._site_folder(well, part.site)
        for races in range(_RACES):
            try:
                with publish_dir(folder) as temporary:
                    write_site(temporary, self.spec, self.dialect, well, part, meta)
                break
            except StorageError as error:
                taken = isinstance(error.__cause__, OSError) and error.__cause__.errno in TAKEN
                if not taken or races + 1 == _RACES:
                    raise
        size, checksum = measure(folder)
        return Published(folder.relative_to(self.spec.path.parent).as_posix(), size, checksum)

    def _site_folder(self, well: str, site: int) -> Path:
        return well_folder(self.spec, well) / str(int(site))

    def _site_folders(self, well: str) -> list[Path]:
        folder = well_folder(self.spec, well)
        found = folder.glob(f"*/{self.dialect.marker}")
        sites = [int(path.parent.name) for path in found if path.parent.name.isdecimal()]
        return [folder / str(site) for site in sorted(sites)]

    def _stored(self, site_folder: Path, labels: str | None) -> _Stored | None:
        marker = self.dialect.marker
        if labels is None:
            return self._groups.get(site_folder / marker)
        groups = (self._groups.get(path) for path in sorted(site_folder.glob(f"labels/*/{marker}")))
        return next((stored for stored in groups if stored is not None and stored.label == labels), None)

    def _is_published(self, site_folder: Path) -> bool:
        path = site_folder / self.dialect.marker
        with storage_errors("read", path):
            return is_published(content_of(path), self.dialect)

    def _open_group(self, path: Path) -> _Stored:
        with storage_errors("read", path):
            content = path.read_bytes()
            try:
                own = self.dialect.own(content) if is_published(content, self.dialect) else _NOTHING
                return _Stored(
                    Grid.from_attributes(own), path.parent, own.get("label", ""), self.spec, self.dialect
                )
            except (ValueError, KeyError, TypeError) as error:
                raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StorageError:
    return StorageError(f"{path} is damaged: {error}.", hint=MEND)
