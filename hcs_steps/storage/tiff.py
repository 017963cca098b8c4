"""Images as one TIFF file per plane, under the name it was delivered with.

Layout: ``<store>/<well>/s<site>/<name>.tif``, labels in
``<store>/<well>/s<site>/labels/<label>/<name>.tif``, and ``planes.json``, which says which plane is which
file. A site is a folder of its own, published as a whole: planes of different sites may have been delivered
under one name, and the unit of another site must not be able to touch them.

Compressors: ``none`` and ``zstd`` are those; ``gzip`` is deflate at the level asked for; ``lz4``, which
TIFF does not have, is deflate at its fastest level. Everything but ``zstd`` opens in ImageJ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.errors import StorageError
from hcs_steps.storage._names import safe_name, unique_names, well_position
from hcs_steps.storage._ome_xml import describe_plane
from hcs_steps.storage._unit import SiteImages, StampedCache, check_compressor, missing_plane, split_sites
from hcs_steps.storage.atomic import json_bytes, measure, publish_dir, remove_path, storage_errors
from hcs_steps.storage.protocol import Image, ImageMeta, PlaneKey, Published, StoreSpec

_INDEX = "planes.json"


@dataclass(frozen=True)
class _Index:
    """Which plane is which file, relative to the site's folder."""

    images: dict[PlaneKey, str] = field(default_factory=dict)
    labels: dict[str, dict[PlaneKey, str]] = field(default_factory=dict)

    def files(self, labels: str | None) -> dict[PlaneKey, str]:
        return self.images if labels is None else self.labels.get(labels, {})


class TiffStore:
    """An `ImageStore` of TIFF files; see the module's docstring for the layout."""

    def __init__(self, spec: StoreSpec) -> None:
        check_compressor(spec)
        self.spec = spec
        self._indices = StampedCache(_read_index)

    def declare(self) -> None:
        """Create the store's folder."""
        with storage_errors("create", self.spec.path):
            self.spec.path.mkdir(parents=True, exist_ok=True)

    def publish(
        self,
        well: str,
        images: Mapping[PlaneKey, Image],
        labels: Mapping[str, Mapping[PlaneKey, Image]],
        meta: ImageMeta,
    ) -> list[Published]:
        """Write each site as one folder, replacing an older one as a whole."""
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
        """One plane (Y, X), or its labels of that name, as published."""
        folder = self._site_folder(well, key[0])
        index = self._indices.get(folder / _INDEX)
        files = {} if index is None else index.files(labels)
        if key not in files:
            raise missing_plane(self.spec, well, key, self.keys(well, labels), labels)
        return _read_plane(folder / files[key])

    def keys(self, well: str, labels: str | None = None) -> Iterable[PlaneKey]:
        """The published planes of a well (with labels of that name), in stacking order."""
        return [key for index in self._well_indices(well) for key in index.files(labels)]

    def remove(self, well: str, sites: Sequence[int]) -> None:
        """Delete the folders of sites. Idempotent."""
        for site in sites:
            remove_path(self._site_folder(well, site))

    def _site_folder(self, well: str, site: int) -> Path:
        well_position(well)
        return self.spec.path / well / f"s{int(site)}"

    def _well_indices(self, well: str) -> list[_Index]:
        well_position(well)
        found = (self.spec.path / well).glob(f"s*/{_INDEX}")
        sites = {int(path.parent.name[1:]): path for path in found if path.parent.name[1:].isdecimal()}
        indices = (self._indices.get(sites[site]) for site in sorted(sites))
        return [index for index in indices if index is not None]

    def _write_site(self, folder: Path, well: str, part: SiteImages, meta: ImageMeta) -> None:
        label_folders = unique_names({name: name for name in part.labels}, part.labels)
        groups = [(".", part.images)]
        groups += [(f"labels/{label_folders[name]}", planes) for name, planes in part.labels.items()]
        files = []
        for group, planes in groups:
            (folder / group).mkdir(parents=True, exist_ok=True)
            names = unique_names({key: _plane_name(well, key, meta) for key in planes}, planes)
            for key, plane in planes.items():
                self._write_plane(folder / group / f"{names[key]}.tif", names[key], plane, well, key, meta)
            prefix = "" if group == "." else f"{group}/"
            files.append([[*key, f"{prefix}{names[key]}.tif"] for key in planes])
        index = {
            "columns": [*PlaneKey._fields, "file"],
            "images": files[0],
            "labels": dict(zip(part.labels, files[1:], strict=True)),
        }
        (folder / _INDEX).write_bytes(json_bytes(index))

    def _write_plane(
        self, path: Path, name: str, plane: Image, well: str, key: PlaneKey, meta: ImageMeta
    ) -> None:
        import tifffile

        options: dict[str, Any] = {}
        if math.isfinite(meta.pixel_size_um) and meta.pixel_size_um > 0:
            per_centimetre = 1e4 / meta.pixel_size_um
            options = {"resolution": (per_centimetre, per_centimetre), "resolutionunit": "CENTIMETER"}
        tifffile.imwrite(
            path,
            np.ascontiguousarray(plane),
            photometric="minisblack",
            description=describe_plane(name, plane, well, key, meta),
            metadata=None,
            software="hcs-steps",
            maxworkers=1,
            **_compression(self.spec, plane.dtype),
            **options,
        )


def _compression(spec: StoreSpec, dtype: np.dtype[Any]) -> dict[str, Any]:
    compression, level = {
        "none": (None, 0),
        "lz4": ("zlib", 1),
        "gzip": ("zlib", spec.compression_level),
        "zstd": ("zstd", spec.compression_level),
    }[spec.compressor]
    if compression is None:
        return {}
    # ImageJ undoes the differences for integers of up to 16 bits only.
    predictor = dtype.kind in "iu" and dtype.itemsize <= 2
    return {"compression": compression, "compressionargs": {"level": level}, "predictor": predictor}


def _plane_name(well: str, key: PlaneKey, meta: ImageMeta) -> str:
    site, channel, z_index, timepoint = key
    default = f"{well}_s{site}_w{channel}_z{z_index}_t{timepoint}"
    return safe_name(meta.names.get(key, default))


def _read_index(path: Path) -> _Index:
    def by_key(rows: list[list[Any]]) -> dict[PlaneKey, str]:
        return {PlaneKey(*row[:4]): str(row[4]) for row in rows}

    with storage_errors("read", path):
        data = path.read_bytes()
    try:
        content = json.loads(data)
        labels = {name: by_key(rows) for name, rows in content["labels"].items()}
        return _Index(by_key(content["images"]), labels)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise StorageError(
            f"{path} is damaged: {error}.", hint="Delete its folder and run the step again."
        ) from error


def _read_plane(path: Path) -> Image:
    import tifffile

    with storage_errors("read", path):
        try:
            with tifffile.TiffFile(path) as file:
                plane: Image = file.pages[0].asarray()
                return plane
        except OSError:
            raise
        except Exception as error:  # decoders fail in ways of their own on damaged bytes
            raise StorageError(
                f"{path} is damaged: {error}.", hint="Run the step that wrote it again."
            ) from error
