"""OME-NGFF 0.5 on Zarr 3 and 0.4 on Zarr 2: all that differs between the two in a store.

Sources: the specifications at https://ngff.openmicroscopy.org/0.4 and /0.5, and those of Zarr at
https://zarr-specs.readthedocs.io.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hcs_steps.errors import ConfigError, nearest
from hcs_steps.storage._zarr_layout import Shape, array_options, codecs
from hcs_steps.storage.atomic import json_bytes


@dataclass(frozen=True)
class Dialect:
    """One version of OME-NGFF.

    ``files`` are those of a group, the last of which holds its attributes and tells that the group is there;
    ``chunks`` is the folder of an array's chunks below the array's own, and ``versioned`` names the parts of
    the metadata that repeat the version.
    """

    version: str
    zarr_format: int
    files: tuple[str, ...]
    chunks: tuple[str, ...]
    versioned: frozenset[str]

    @property
    def marker(self) -> str:
        """The file without which there is no group."""
        return self.files[-1]

    @property
    def array_marker(self) -> str:
        """The file that makes a folder an array."""
        return "zarr.json" if self.zarr_format == 3 else ".zarray"

    def group(self, ome: Mapping[str, Any], own: Mapping[str, Any] | None = None) -> dict[str, bytes]:
        """The files of a group with this OME metadata and, as the attribute ``hcs_steps``, our own."""
        parts = {name: self._dated(part) if name in self.versioned else part for name, part in ome.items()}
        extra = {} if own is None else {"hcs_steps": own}
        if self.zarr_format == 2:
            return dict(
                zip(self.files, (json_bytes({"zarr_format": 2}), json_bytes(parts | extra)), strict=True)
            )
        nested = {"ome": {"version": self.version, **parts}} if parts else {}
        return {
            self.marker: json_bytes({"attributes": nested | extra, "node_type": "group", "zarr_format": 3})
        }

    def own(self, content: bytes) -> Mapping[str, Any]:
        """The attribute ``hcs_steps`` in a `marker`; raises what damaged JSON raises, or KeyError."""
        document = json.loads(content)
        own: Mapping[str, Any] = (document if self.zarr_format == 2 else document["attributes"])["hcs_steps"]
        return own

    def cut(self, strategy: str, shape: Shape, itemsize: int) -> tuple[Shape, Shape | None]:
        """Chunk and shard of a level; no shard where one would hold a single chunk, and none in Zarr 2."""
        options = array_options(strategy, shape, itemsize)
        return options["chunks"], options["shards"] if self.zarr_format == 3 else None

    def array(
        self, chunk: Shape, shard: Shape | None, compressor: str, compression_level: int
    ) -> dict[str, Any]:
        """What ``zarr.create_array`` is told of a level besides its shape and dtype."""
        options: dict[str, Any] = {"chunks": chunk, "zarr_format": self.zarr_format}
        options["compressors"] = codecs(compressor, compression_level, self.zarr_format)
        if self.zarr_format == 2:
            return {**options, "chunk_key_encoding": {"name": "v2", "separator": "/"}}
        return {**options, "shards": shard, "dimension_names": ("t", "c", "z", "y", "x")}

    def chunk_files(self, folder: Path, array: Any, index: Sequence[int]) -> Iterable[Path]:
        """The files of an array in ``folder`` that hold the plane at an index (t, c, z)."""
        steps = array.shards or array.chunks
        plane = [str(i // step) for i, step in zip(index, steps[:3], strict=True)]
        tiles = (range(-(-size // step)) for size, step in zip(array.shape[3:], steps[3:], strict=True))
        for row, column in itertools.product(*tiles):
            yield folder.joinpath(*self.chunks, *plane, str(row), str(column))

    def _dated(self, part: Any) -> Any:
        if isinstance(part, list):
            return [self._dated(each) for each in part]
        return {**part, "version": self.version}


DIALECTS: Mapping[str, Dialect] = {
    "0.5": Dialect(
        "0.5", 3, ("zarr.json",), ("c",), frozenset({"plate", "well", "image-label"})
    ),
    "0.4": Dialect(
        "0.4",
        2,
        (".zgroup", ".zattrs"),
        (),
        frozenset({"plate", "well", "multiscales", "omero", "image-label"}),
    ),
}  # fmt: skip


def dialect_of(version: str) -> Dialect:
    """The dialect of a version; `ConfigError` for one that is not written."""
    if version not in DIALECTS:
        raise ConfigError(f"OME-NGFF {version!r} cannot be written.", hint=nearest(version, DIALECTS))
    return DIALECTS[version]
