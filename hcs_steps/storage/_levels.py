"""The arrays of an image: one for each level of its pyramid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.storage._codec_pipeline import codec_pipeline
from hcs_steps.storage._dialect import Dialect
from hcs_steps.storage._ngff import Grid
from hcs_steps.storage._packing import Blocks, packer, write_chunks
from hcs_steps.storage._pyramid import halve, level_shapes
from hcs_steps.storage._zarr_layout import Shape
from hcs_steps.storage.protocol import Image, PlaneKey, StoreSpec

Planes = Mapping[tuple[int, int, int], Image]


def level_files(
    spec: StoreSpec, dialect: Dialect, grid: tuple[int, int, int], plane: tuple[int, int], dtype: str
) -> dict[str, bytes]:
    """The metadata of the levels of a (T, C, Z) grid of (Y, X) planes, by path below the image group."""
    return {
        f"{number}/{name}": content
        for number, shape in enumerate(level_shapes(*plane, spec.pyramid))
        for name, content in _array_files(spec, dialect, (*grid, *shape), np.dtype(dtype)).items()
    }


def _array_files(spec: StoreSpec, dialect: Dialect, shape: Shape, dtype: np.dtype[Any]) -> dict[str, bytes]:
    cut = dialect.cut(spec.chunk_strategy, shape, dtype.itemsize)
    return _described(
        dialect, shape, dtype.newbyteorder("<"), (*cut, spec.compressor, spec.compression_level)
    )


@lru_cache(64)
def _described(
    dialect: Dialect, shape: Shape, dtype: np.dtype[Any], packing: tuple[Any, ...]
) -> dict[str, bytes]:
    """Zarr takes milliseconds to describe an array, and the images of a plate are mostly alike."""
    import zarr

    held: dict[str, Any] = {}
    zarr.create_array(
        store=zarr.storage.MemoryStore(held),
        shape=shape,
        dtype=dtype,
        fill_value=False if dtype.kind == "b" else 0,
        **dialect.array(*packing),
    )
    return {name: content.to_bytes() for name, content in sorted(held.items())}


def open_level(folder: Path, spec: StoreSpec, dialect: Dialect) -> Any:
    """The array in ``folder``, to be read. Its one metadata file is read here: Zarr looks for others as well."""
    import zarr

    described = json.loads((folder / dialect.array_marker).read_bytes())
    place = zarr.storage.StorePath(zarr.storage.LocalStore(folder, read_only=True))
    with codec_pipeline(spec):
        return zarr.Array(zarr.AsyncArray.from_dict(place, described))


def write_levels(
    folder: Path,
    spec: StoreSpec,
    dialect: Dialect,
    grid: Grid,
    planes: Mapping[PlaneKey, Image],
    *,
    labels: bool,
) -> list[str]:
    """Write the planes and their pyramid; returns the paths of the levels."""
    level = {grid.index(key): plane for key, plane in planes.items()}
    first = next(iter(level.values()))
    height, width = first.shape
    paths = []
    for number, plane in enumerate(level_shapes(height, width, spec.pyramid)):
        if number:
            level = {index: halve(plane, labels=labels) for index, plane in level.items()}
        shape = (*grid.shape, *plane)
        target = folder / str(number)
        target.mkdir(parents=True)
        for name, content in _array_files(spec, dialect, shape, first.dtype).items():
            (target / name).write_bytes(content)
        _write(target, spec, dialect, shape, level)
        paths.append(str(number))
    return paths


def _write(folder: Path, spec: StoreSpec, dialect: Dialect, shape: Shape, planes: Planes) -> None:
    dtype = next(iter(planes.values())).dtype.newbyteorder("<")
    chunk, shard = dialect.cut(spec.chunk_strategy, shape, dtype.itemsize)
    blocks = Blocks(shape, shard or chunk, chunk)
    pack = packer(spec.compressor, spec.compression_level)
    write_chunks(folder.joinpath(*dialect.chunks), blocks, planes, dtype, pack)
