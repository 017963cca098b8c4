"""Which planes of a unit go into which TIFF file, and the index that says so to readers.

A folder that is published as a whole has an index, ``planes.json``: its file, page and published dtype for
every plane of the images and of each label set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hcs_steps.errors import MEND, StorageError
from hcs_steps.storage._imagej import MAX_BYTES, stored_dtype
from hcs_steps.storage._names import safe_name, unique_names
from hcs_steps.storage._ngff import Grid
from hcs_steps.storage._ome_xml import has_ome_type
from hcs_steps.storage._unit import SiteImages
from hcs_steps.storage.atomic import json_bytes, storage_errors
from hcs_steps.storage.protocol import Image, ImageMeta, PlaneKey, StoreSpec

INDEX = "planes.json"


class Page(NamedTuple):
    """Where a plane is: a file of the indexed folder, the page in it, and the dtype it was published with."""

    file: str
    page: int
    dtype: str


@dataclass(frozen=True)
class TiffIndex:
    """The planes of a folder's images and labels."""

    images: dict[PlaneKey, Page] = field(default_factory=dict)
    labels: dict[str, dict[PlaneKey, Page]] = field(default_factory=dict)

    def pages(self, labels: str | None) -> dict[PlaneKey, Page]:
        """The planes of the images, or of the labels of that name."""
        return self.images if labels is None else self.labels.get(labels, {})

    def files(self) -> list[str]:
        """The files, each once, sorted."""
        groups = (self.images, *self.labels.values())
        return sorted({page.file for group in groups for page in group.values()})

    def sites(self) -> set[int]:
        """The sites of all planes."""
        return {key.site for group in (self.images, *self.labels.values()) for key in group}

    def without(self, sites: Sequence[int]) -> TiffIndex:
        """The index of the other sites."""

        def others(pages: dict[PlaneKey, Page]) -> dict[PlaneKey, Page]:
            return {key: page for key, page in pages.items() if key.site not in sites}

        labels = {name: others(pages) for name, pages in self.labels.items()}
        return TiffIndex(others(self.images), {name: pages for name, pages in labels.items() if pages})

    def to_bytes(self) -> bytes:
        """Inverse of `read_index`."""

        def rows(pages: dict[PlaneKey, Page]) -> list[list[Any]]:
            return [[*key, *pages[key]] for key in sorted(pages)]

        labels = {name: rows(pages) for name, pages in self.labels.items()}
        columns = [*PlaneKey._fields, *Page._fields]
        return json_bytes({"columns": columns, "images": rows(self.images), "labels": labels})


def read_index(path: Path) -> TiffIndex:
    """The index in a file; `StorageError` if it is damaged."""

    def by_key(rows: list[list[Any]]) -> dict[PlaneKey, Page]:
        return {PlaneKey(*row[:4]): Page(str(row[4]), int(row[5]), str(row[6])) for row in rows}

    with storage_errors("read", path):
        data = path.read_bytes()
    try:
        content = json.loads(data)
        labels = {name: by_key(rows) for name, rows in content["labels"].items()}
        return TiffIndex(by_key(content["images"]), labels)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise StorageError(f"{path} is damaged: {error}.", hint=MEND) from error


@dataclass(frozen=True)
class Series:
    """Planes of one site that are one image of a file, stored as ``dtype`` in pages from ``first_page`` on."""

    name: str
    planes: dict[PlaneKey, Image]
    dtype: np.dtype[Any]
    first_page: int = 0
    gaps: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X)."""
        height, width = next(iter(self.planes.values())).shape
        return height, width

    @property
    def slots(self) -> list[PlaneKey | None]:
        """What each page holds, in the order of pages: planes by timepoint, then as the file's format wants them.

        OME: channel, then z, and no pages for planes that were not published. ImageJ (``gaps``): z, then
        channel, and a page, here None, for every point of the grid.
        """
        if not self.gaps:
            return [*sorted(self.planes, key=lambda key: (key.timepoint, key.channel, key.z_index))]
        site = next(iter(self.planes)).site
        grid = Grid.of(site, self.planes)
        keys = [
            PlaneKey(site, c, z, t) for t in grid.timepoints for z in grid.z_indices for c in grid.channels
        ]
        return [key if key in self.planes else None for key in keys]

    @property
    def pages(self) -> dict[PlaneKey, int]:
        """The page that each plane is in."""
        return {key: page for page, key in enumerate(self.slots, self.first_page) if key is not None}

    @property
    def size(self) -> int:
        """Bytes of the pixels before compression."""
        height, width = self.shape
        return len(self.slots) * height * width * self.dtype.itemsize


@dataclass(frozen=True)
class TiffFile:
    """One file to write, at ``path`` in the folder, with images or, if ``labels`` names them, labels."""

    path: str
    series: tuple[Series, ...]
    labels: str | None = None


def index_of(files: Sequence[TiffFile]) -> TiffIndex:
    """The index of a folder with these files."""
    index = TiffIndex()
    for file in files:
        pages = index.images if file.labels is None else index.labels.setdefault(file.labels, {})
        for series in file.series:
            for key, page in series.pages.items():
                pages[key] = Page(file.path, page, str(series.planes[key].dtype))
    return index


def lay_out(
    spec: StoreSpec, well: str, parts: Sequence[SiteImages], meta: ImageMeta, *, whole_well: bool
) -> list[TiffFile]:
    """The files of one folder, which holds these sites of a well; ``whole_well`` says that these are all.

    Raises `StorageError` for planes that ImageJ cannot hold, where files are to be for ImageJ.
    """
    names = sorted({name for part in parts for name in part.labels})
    folders = unique_names({name: name for name in names}, names)
    files: list[TiffFile] = []
    for labels in (None, *names):
        own = [(part.site, part.planes(labels)) for part in parts if part.planes(labels)]
        if not own:
            continue
        what = "the images" if labels is None else f"the labels {labels!r}"
        if spec.tiff_files == "plane":
            folder = "" if labels is None else f"labels/{folders[labels]}/"
            for site, planes in own:
                files += _plane_files(spec, well, site, planes, meta, folder, labels, what)
        else:
            stem = well if whole_well else f"{well}_s{parts[0].site}"
            path = stem if labels is None else f"labels/{folders[labels]}"
            files.append(_joint_file(spec, well, own, path, labels, what))
    return files


def _plane_files(
    spec: StoreSpec,
    well: str,
    site: int,
    planes: dict[PlaneKey, Image],
    meta: ImageMeta,
    folder: str,
    labels: str | None,
    what: str,
) -> list[TiffFile]:
    names = unique_names({key: _plane_name(well, key, meta) for key in planes}, planes)
    dtype = _dtype(spec, planes, f"{what} of well {well}, site {site}")
    return [
        TiffFile(f"{folder}{names[key]}.tif", (Series(names[key], {key: plane}, dtype),), labels)
        for key, plane in planes.items()
    ]


def _joint_file(
    spec: StoreSpec,
    well: str,
    sites: Sequence[tuple[int, dict[PlaneKey, Image]]],
    path: str,
    labels: str | None,
    what: str,
) -> TiffFile:
    series: list[Series] = []
    imagej, page = spec.tiff_metadata == "imagej", 0
    for site, planes in sites:
        dtype = _dtype(spec, planes, f"{what} of well {well}, site {site}")
        series.append(Series(f"{well}_s{site}", planes, dtype, page, gaps=imagej))
        page += len(series[-1].slots)
    if imagej and (size := sum(own.size for own in series)) > MAX_BYTES:
        raise StorageError(
            f"ImageJ cannot hold {what} of well {well}, site {sites[0][0]}, in one file: they are "
            f"{size / 2**30:.1f} GB, and it reads no TIFF beyond 4.",
            hint="Write a file per plane (tiff_files: plane), OME-TIFF (tiff_metadata: ome) or OME-Zarr.",
        )
    ome = not imagej and all(has_ome_type(str(own.dtype)) for own in series)
    return TiffFile(f"{path}.ome.tif" if ome else f"{path}.tif", tuple(series), labels)


def _dtype(spec: StoreSpec, planes: Mapping[PlaneKey, Image], what: str) -> np.dtype[Any]:
    if spec.tiff_metadata == "imagej":
        return stored_dtype(planes, what)
    return next(iter(planes.values())).dtype


def _plane_name(well: str, key: PlaneKey, meta: ImageMeta) -> str:
    site, channel, z_index, timepoint = key
    default = f"{well}_s{site}_w{channel}_z{z_index}_t{timepoint}"
    return safe_name(meta.names.get(key, default))
