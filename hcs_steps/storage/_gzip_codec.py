"""Zarr's gzip codecs without the time of writing, which would make every copy of an image differ.

Imports Zarr, so it is itself imported only where arrays are written. Any gzip reader reads the result.
"""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import numcodecs
from zarr.codecs import GzipCodec


class SteadyGzipCodec(GzipCodec):  # type: ignore[misc]
    """Writes what `GzipCodec` reads; the same bytes for the same chunk. For Zarr 3."""

    def _encode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        packed = gzip.compress(chunk_bytes.as_numpy_array(), compresslevel=self.level, mtime=0)
        return chunk_spec.prototype.buffer.from_bytes(packed)

    async def _encode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        return await asyncio.to_thread(self._encode_sync, chunk_bytes, chunk_spec)


class SteadyGzip(numcodecs.GZip):  # type: ignore[misc]
    """The same for Zarr 2."""

    def encode(self, buf: Any) -> bytes:
        """The packed bytes of a contiguous array."""
        return gzip.compress(memoryview(buf).cast("B"), compresslevel=self.level, mtime=0)
