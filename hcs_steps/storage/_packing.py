"""The chunks and shards of an array, written as files without going through Zarr.

Zarr takes some milliseconds of its event loop for each array, however small, and copies a shard several times
before it is on disk; much of the time to write a pyramid goes there. What a chunk and a shard are is simple:
a chunk is its packed bytes; a shard is chunks one after the other, then for each, in C order, where it begins
and how long it is (unsigned 64-bit, all ones for none), then the CRC-32C of that index. Sources: the
specifications of Zarr 2 and 3 and of the codec ``sharding_indexed`` at https://zarr-specs.readthedocs.io.
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.storage.protocol import Image

_AT_ONCE = 2
"""Chunks that are packed at a time."""

_WORTH_A_THREAD = 1 << 20
"""Bytes of an array below which handing its chunks to threads takes longer than packing them."""

_NONE = 2**64 - 1

Corner = tuple[int, ...]


@dataclass(frozen=True)
class Blocks:
    """How a (T, C, Z, Y, X) array is cut: its shape, that of a file (a shard or a chunk), and that of a chunk."""

    shape: Corner
    file: Corner
    chunk: Corner

    def files(self) -> Iterator[Corner]:
        """Where each file begins."""
        return _corners((0,) * 5, self.shape, self.file)

    def slots(self, start: Corner) -> Iterator[Corner]:
        """Where each chunk of a file begins, in C order, those beyond the array's end included."""
        end = tuple(a + size for a, size in zip(start, self.file, strict=True))
        return _corners(start, end, self.chunk)

    def holds(self, corner: Corner) -> bool:
        """Whether anything of the array is at or after the corner."""
        return all(a < size for a, size in zip(corner, self.shape, strict=True))


def _corners(start: Corner, end: Corner, steps: Corner) -> Iterator[Corner]:
    return itertools.product(*(range(a, b, step) for a, b, step in zip(start, end, steps, strict=True)))


def write_chunks(
    folder: Path,
    blocks: Blocks,
    planes: Mapping[tuple[int, int, int], Image],
    dtype: np.dtype[Any],
    pack: Callable[[Image], Any],
) -> None:
    """Write the planes, by their index (t, c, z), as the chunk files of an array below ``folder``.

    Planes that are not given are written as zeros. Each file is written once and whole.
    """
    sharded = blocks.file != blocks.chunk
    size = sum(plane.nbytes for plane in planes.values())
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        run = map if size < _WORTH_A_THREAD else pool.map
        for start in blocks.files():
            places = (str(a // step) for a, step in zip(start, blocks.file, strict=True))
            path = folder.joinpath(*places)
            path.parent.mkdir(parents=True, exist_ok=True)
            slots = list(blocks.slots(start))
            filled = [slot for slot in slots if blocks.holds(slot)]
            packed = run(lambda slot: pack(_tile(slot, blocks, planes, dtype)), filled)
            with path.open("xb", buffering=0) as file:
                if sharded:
                    _write_shard(file, slots, zip(filled, packed, strict=True))
                else:
                    file.write(next(iter(packed)))


def _write_shard(file: Any, slots: Sequence[Corner], packed: Iterable[tuple[Corner, Any]]) -> None:
    index = np.full((len(slots), 2), _NONE, "<u8")
    numbers = {slot: number for number, slot in enumerate(slots)}
    offset = 0
    for slot, content in packed:
        length = memoryview(content).nbytes
        file.write(content)
        index[numbers[slot]] = offset, length
        offset += length
    content = index.tobytes()
    file.write(content + crc32c(content).to_bytes(4, "little"))


def _tile(
    corner: Corner, blocks: Blocks, planes: Mapping[tuple[int, int, int], Image], dtype: np.dtype[Any]
) -> Image:
    """A chunk: contiguous, little-endian, of the full shape, zeros where there is nothing."""
    (t, c, z, y, x), (depth_t, depth_c, depth_z, height, width) = corner, blocks.chunk
    window = (slice(y, y + height), slice(x, x + width))
    if (depth_t, depth_c, depth_z) == (1, 1, 1) and (t, c, z) in planes:
        tile = planes[t, c, z][window]
        if tile.shape == (height, width):
            return np.ascontiguousarray(tile, dtype)
    whole = np.zeros(blocks.chunk, dtype)
    inside = itertools.product(range(depth_t), range(depth_c), range(depth_z))
    for i, j, k in inside:
        plane = planes.get((t + i, c + j, z + k))
        if plane is not None:
            tile = plane[window]
            whole[i, j, k, : tile.shape[0], : tile.shape[1]] = tile
    return whole


def packer(compressor: str, level: int) -> Callable[[Image], Any]:
    """What turns a chunk into its packed bytes, as `hcs_steps.storage._zarr_layout.codecs` describes it."""
    if compressor == "none":
        return lambda tile: tile.reshape(-1).view(np.uint8).data
    if compressor == "gzip":  # without the time of writing, which would make every copy differ
        return lambda tile: gzip.compress(tile.reshape(-1).view(np.uint8).data, compresslevel=level, mtime=0)
    import numcodecs  # type: ignore[import-untyped]

    blosc = numcodecs.Blosc(cname=compressor, clevel=level, shuffle=numcodecs.Blosc.SHUFFLE)
    return lambda tile: blosc.encode(tile.view(f"u{tile.itemsize}").reshape(-1))


def crc32c(content: bytes) -> int:
    """CRC-32C (Castagnoli) by RFC 3720, appendix B.4. In Python, for the few bytes of an index."""
    table = _crc_table()
    value = 0xFFFFFFFF
    for byte in content:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)
