"""How an image level is cut into chunks and shards, and which codec packs them."""

from __future__ import annotations

from typing import Any

from hcs_steps.errors import ConfigError, nearest

Shape = tuple[int, int, int, int, int]

CHUNK_BYTES = 4 << 20
"""Largest adaptive chunk: small enough to fetch a viewport, large enough to compress well."""

SHARD_BYTES = 1 << 30
"""Largest shard, which is held in memory while it is written; also less than Blosc's largest chunk."""


def _adaptive(shape: Shape, itemsize: int) -> Shape:
    height, width = shape[3:]
    rows = columns = 1
    tile = (height, width)
    while tile[0] * tile[1] * itemsize > CHUNK_BYTES:
        if tile[0] >= tile[1]:
            rows += 1
        else:
            columns += 1
        # Dividing evenly wastes less than tiles of a fixed size, which would be padded at the edges.
        tile = (-(-height // rows), -(-width // columns))
    return (1, 1, 1, *tile)


def _plane(shape: Shape, itemsize: int) -> Shape:
    return (1, 1, 1, *shape[3:])


def _well(shape: Shape, itemsize: int) -> Shape:
    return _bounded(shape, shape, itemsize)


_STRATEGIES = {"adaptive": _adaptive, "plane": _plane, "well": _well}


def check_strategy(strategy: str) -> None:
    """Refuse a chunk strategy that is none, before a job meets it."""
    if strategy not in _STRATEGIES:
        raise ConfigError(f"Unknown chunk strategy {strategy!r}.", hint=nearest(strategy, _STRATEGIES))


def chunk_shape(strategy: str, shape: Shape, itemsize: int) -> Shape:
    """Chunk of a (T, C, Z, Y, X) level.

    ``adaptive``: a plane or an even share of it, at most 4 MiB; ``plane``: a plane; ``well``: all there is
    of the well's site (fastest to read whole, up to 1 GiB).
    """
    return _STRATEGIES[strategy](shape, itemsize)


def shard_shape(shape: Shape, chunk: Shape, itemsize: int) -> Shape:
    """Shard of a level: all of it, padded to whole chunks; cut by t, c, then z where that exceeds 1 GiB."""
    padded = tuple(-(-size // step) * step for size, step in zip(shape, chunk, strict=True))
    return _bounded(padded, chunk, itemsize)  # type: ignore[arg-type]


def _bounded(shape: Shape, least: Shape, itemsize: int) -> Shape:
    result = list(shape)
    for axis in range(3):
        size = itemsize
        for length in result:
            size *= length
        if size <= SHARD_BYTES:
            break
        result[axis] = 1 if least is shape else least[axis]
    return (result[0], result[1], result[2], result[3], result[4])


def array_options(strategy: str, shape: Shape, itemsize: int) -> dict[str, Any]:
    """``chunks`` and ``shards`` of ``zarr.create_array``; no shards where one would hold a single chunk."""
    chunk = chunk_shape(strategy, shape, itemsize)
    shard = shard_shape(shape, chunk, itemsize)
    return {"chunks": chunk, "shards": None if shard == chunk else shard}


def codecs(compressor: str, level: int, zarr_format: int = 3) -> Any:
    """``compressors`` of ``zarr.create_array``. Blosc's byte shuffle roughly halves 12-bit camera images."""
    if compressor == "none":
        return None
    if zarr_format == 2:
        if compressor == "gzip":
            return {"id": "gzip", "level": level}
        return {"id": "blosc", "cname": compressor, "clevel": level, "shuffle": 1, "blocksize": 0}
    from zarr.codecs import BloscCodec, GzipCodec

    if compressor == "gzip":
        return GzipCodec(level=level)
    return BloscCodec(cname=compressor, clevel=level, shuffle="shuffle")
