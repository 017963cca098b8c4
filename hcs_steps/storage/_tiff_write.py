"""Writes one TIFF file, as OME-TIFF or for ImageJ, so that the same planes are the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.storage._imagej import hyperstack_metadata, to_stored
from hcs_steps.storage._ngff import Grid, is_known
from hcs_steps.storage._ome_xml import OmePixels, OmePlate, describe_file
from hcs_steps.storage._tiff_layout import Series, TiffFile
from hcs_steps.storage.protocol import Image, ImageMeta, StoreSpec

_BIG = 2**32 - 2**27
"""Bytes of pixels from which a file is a BigTIFF; pages, tags and incompressible pixels need room below 4 GB."""

_DEFLATE_MAX = 9


def write_file(path: Path, file: TiffFile, well: str, spec: StoreSpec, meta: ImageMeta) -> None:
    """Write the file to ``path``, plane by plane; its series are of one well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if spec.tiff_metadata == "imagej":
        _write_imagej(path, file, well, spec, meta)
    else:
        _write_ome(path, file, well, spec, meta)


def _write_ome(path: Path, file: TiffFile, well: str, spec: StoreSpec, meta: ImageMeta) -> None:
    import tifffile

    plate = OmePlate(spec.plate_name, spec.rows, spec.columns) if spec.tiff_files == "well" else None
    images = [OmePixels(own.name, own.shape, str(own.dtype), own.pages) for own in file.series]
    description = describe_file(images, well, meta, plate)
    big = sum(series.size for series in file.series) > _BIG
    with tifffile.TiffWriter(path, bigtiff=big, ome=False) as writer:
        for series in file.series:
            _write_series(
                writer,
                series,
                description=description,
                metadata=None,
                **_resolution(meta, "CENTIMETER", 1e4),
                **_compression(spec),
            )
            description = None  # the first page's covers the whole file


def _write_imagej(path: Path, file: TiffFile, well: str, spec: StoreSpec, meta: ImageMeta) -> None:
    import tifffile

    (series,) = file.series
    metadata = hyperstack_metadata(series.planes, well, meta, labels=file.labels is not None)
    grid = Grid.of(next(iter(series.planes)).site, series.planes)
    frames, channels, slices = grid.shape
    with tifffile.TiffWriter(path, bigtiff=False, imagej=True) as writer:
        _write_series(
            writer,
            series,
            (frames, slices, channels),
            metadata=metadata,
            **_resolution(meta, "NONE", 1.0),
            **_compression(spec),
        )


def _write_series(
    writer: Any, series: Series, dimensions: tuple[int, ...] | None = None, **options: Any
) -> None:
    """One plane is held at a time; ``dimensions`` are those before (Y, X), else there is one: the pages."""
    pages = len(series.slots)
    writer.write(
        _pages(series),
        shape=(*(dimensions or (pages,)), *series.shape),
        dtype=series.dtype,
        photometric="minisblack",
        software="hcs-steps",
        maxworkers=1,
        **options,
    )


def _pages(series: Series) -> Iterator[Image]:
    for key in series.slots:
        if key is None:
            yield np.zeros(series.shape, series.dtype)
        else:
            yield np.ascontiguousarray(to_stored(series.planes[key], series.dtype))


def _resolution(meta: ImageMeta, unit: str, unit_um: float) -> dict[str, Any]:
    if not is_known(meta.pixel_size_um):
        return {}
    per_unit = unit_um / meta.pixel_size_um
    return {"resolution": (per_unit, per_unit), "resolutionunit": unit}


def _compression(spec: StoreSpec) -> dict[str, Any]:
    """tifffile's options. No predictor: ImageJ 1.52 ignores it and shows wrong pixels without a word."""
    compressor, level = spec.compressor, spec.compression_level
    if compressor == "none":
        return {}
    if compressor == "zstd" and spec.tiff_metadata == "imagej":
        compressor, level = "gzip", min(level, _DEFLATE_MAX)
    compression, level = {"lz4": ("zlib", 1), "gzip": ("zlib", level), "zstd": ("zstd", level)}[compressor]
    return {"compression": compression, "compressionargs": {"level": level}}
