"""Images as TIFF files, one per plane or one per well, as OME-TIFF or as ImageJ itself writes them.

Layout: ``<store>/<well>/s<site>/`` with the files of one site, labels in ``labels/`` below, and
``planes.json``, which says where each plane is. A site is a folder of its own, published as a whole: planes
of different sites may have been delivered under one name, and the unit of another site must not be able to
touch them. In it, by ``tiff_files``:

- ``plane``: ``<name>.tif`` and ``labels/<label>/<name>.tif``, under the name a plane was delivered with;
- ``well``: ``<well>_s<site>.ome.tif`` and ``labels/<label>.ome.tif``. If a unit publishes all sites that its
  well has, there is one file for all of them, an image (series) each: ``<store>/<well>/<well>.ome.tif``, with
  labels and index beside it, and the well's folder is published as a whole. A unit that publishes some sites
  of a well writes the files of these only. A site's folder, where there is one, is newer than the well's file.

``tiff_metadata`` ``imagej`` writes files (``.tif``) that ImageJ opens as calibrated hyperstacks with names, colours and
display range of the channels. They hold one site each, for ImageJ knows no series, and uint8, uint16 or float32;
`TiffStore.read` gives what was published.

Compressors: ``none`` and ``zstd`` are those; ``gzip`` is deflate at the level asked for; ``lz4``, which
TIFF does not have, is deflate at its fastest level, and so is ``zstd``, at its own level, in files for ImageJ.
ImageJ 1.x without plugins opens no ``zstd``, no float64 or 64-bit integers, no compressed booleans and no BigTIFF.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hcs_steps.errors import MEND, ConfigError, StorageError, nearest
from hcs_steps.storage._names import well_position
from hcs_steps.storage._tiff_layout import INDEX, Page, TiffFile, TiffIndex, index_of, lay_out, read_index
from hcs_steps.storage._tiff_write import write_file
from hcs_steps.storage._unit import SiteImages, StampedCache, check_compressor, missing_plane, split_sites
from hcs_steps.storage.atomic import (
    make_folder,
    measure,
    publish_dir,
    remove_path,
    storage_errors,
    write_bytes,
)
from hcs_steps.storage.protocol import Image, ImageMeta, PlaneKey, Published, StoreSpec

_CHOICES = {"tiff_files": ("plane", "well"), "tiff_metadata": ("imagej", "ome")}


class TiffStore:
    """An `ImageStore` of TIFF files; see the module's docstring for the layout."""

    def __init__(self, spec: StoreSpec) -> None:
        check_compressor(spec)
        for name, allowed in _CHOICES.items():
            value = getattr(spec, name)
            if value not in allowed:
                raise ConfigError(f"Unknown {name} {value!r}.", hint=nearest(value, allowed))
        self.spec = spec
        self._indices = StampedCache(read_index)

    def declare(self) -> None:
        """Create the store's folder."""
        with storage_errors("create", self.spec.path):
            make_folder(self.spec.path)

    def publish(
        self,
        well: str,
        images: Mapping[PlaneKey, Image],
        labels: Mapping[str, Mapping[PlaneKey, Image]],
        meta: ImageMeta,
    ) -> list[Published]:
        """Write each site, or the whole well, as one folder, replacing an older one as a whole."""
        parts = split_sites(self.spec, well, images, labels)
        if self._is_whole_well(well, parts):
            files = lay_out(self.spec, well, parts, meta, whole_well=True)
            folder = self._well_folder(well)
            self._write(folder, well, files, meta)
            # Named one by one, not as the folder: sites published later lie in it, and are other units'.
            return [self._published(folder / name) for name in [*(file.path for file in files), INDEX]]
        folders = {
            self._site_folder(well, part.site): lay_out(self.spec, well, [part], meta, whole_well=False)
            for part in parts
        }
        for folder, files in folders.items():
            self._write(folder, well, files, meta)
        return [self._published(folder) for folder in folders]

    def read(self, well: str, key: PlaneKey, labels: str | None = None) -> Image:
        """One plane (Y, X), or its labels of that name, as published. Only its page is decoded."""
        folder = self._site_folder(well, key[0])
        index = self._indices.get(folder / INDEX)
        if index is None:
            folder = self._well_folder(well)
            index = self._indices.get(folder / INDEX) or TiffIndex()
        pages = index.pages(labels)
        if key not in pages:
            raise missing_plane(self.spec, well, key, self.keys(well, labels), labels)
        return _read_plane(folder, pages[key])

    def keys(self, well: str, labels: str | None = None) -> Iterable[PlaneKey]:
        """The published planes of a well (with labels of that name), in stacking order."""
        sites = self._site_indices(well)
        together = self._indices.get(self._well_folder(well) / INDEX) or TiffIndex()
        indices = [together.without(list(sites)), *sites.values()]
        return sorted(key for index in indices for key in index.pages(labels))

    def remove(self, well: str, sites: Sequence[int]) -> None:
        """Delete the folders of sites, and the well's file when none of its sites is left. Idempotent."""
        for site in sites:
            remove_path(self._site_folder(well, site))
        folder = self._well_folder(well)
        index = self._indices.get(folder / INDEX)
        if index is None or index.sites().isdisjoint(sites):
            return
        rest = index.without(sites)
        if rest.sites():
            write_bytes(folder / INDEX, rest.to_bytes())
            return
        for name in (INDEX, *index.files()):
            remove_path(folder / name)

    def _is_whole_well(self, well: str, parts: Sequence[SiteImages]) -> bool:
        """Whether what is published is one file: then the unit owns all that the well's folder can hold."""
        together = self.spec.tiff_files == "well" and self.spec.tiff_metadata == "ome"
        return together and {part.site for part in parts} == set(self.spec.wells[well])

    def _well_folder(self, well: str) -> Path:
        well_position(well)
        return self.spec.path / well

    def _site_folder(self, well: str, site: int) -> Path:
        return self._well_folder(well) / f"s{int(site)}"

    def _site_indices(self, well: str) -> dict[int, TiffIndex]:
        found = self._well_folder(well).glob(f"s*/{INDEX}")
        sites = {int(path.parent.name[1:]): path for path in found if path.parent.name[1:].isdecimal()}
        indices = {site: self._indices.get(sites[site]) for site in sorted(sites)}
        return {site: index for site, index in indices.items() if index is not None}

    def _write(self, folder: Path, well: str, files: Sequence[TiffFile], meta: ImageMeta) -> None:
        with publish_dir(folder) as temporary:
            for file in files:
                write_file(temporary / file.path, file, well, self.spec, meta)
            (temporary / INDEX).write_bytes(index_of(files).to_bytes())

    def _published(self, path: Path) -> Published:
        size, checksum = measure(path)
        return Published(path.relative_to(self.spec.path.parent).as_posix(), size, checksum)


def _read_plane(folder: Path, place: Page) -> Image:
    import tifffile

    path = folder / place.file
    with storage_errors("read", path):
        try:
            with tifffile.TiffFile(path) as file:
                plane: Image = file.pages[place.page].asarray()
        except OSError:
            raise
        except Exception as error:  # decoders fail in ways of their own on damaged bytes
            raise StorageError(f"{path} is damaged: {error}.", hint=MEND) from error
    return plane.astype(place.dtype, copy=False)
