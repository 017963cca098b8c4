"""Zarr's gzip codec without the time of writing, which would make every copy of an image differ.

Imports Zarr, so it is itself imported only where arrays are written. Any gzip reader reads the result.
"""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

from zarr.codecs import GzipCodec


class SteadyGzipCodec(GzipCodec):  # type: ignore[misc]
    """Writes what `GzipCodec` reads; the same bytes for the same chunk."""

    def _encode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        packed = gzip.compress(chunk_bytes.as_numpy_array(), compresslevel=self.level, mtime=0)
        return chunk_spec.prototype.buffer.from_bytes(packed)

    async def _encode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        return await asyncio.to_thread(self._encode_sync, chunk_bytes, chunk_spec)
