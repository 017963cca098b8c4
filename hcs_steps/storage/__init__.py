"""Where results go: image stores (memory, TIFF, OME-Zarr), tables, and the atomic publication of any file.

Importing this package imports NumPy only; Zarr, tifffile and pyarrow are imported by the first call that
needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hcs_steps.lazy import lazy_names

if TYPE_CHECKING:
    from hcs_steps.storage._placeholder import (
        sweep_store,
    )
    from hcs_steps.storage.atomic import (
        checksum_file,
        checksum_tree,
        measure,
        publish_dir,
        publish_file,
        remove_path,
        sweep_leftovers,
        update_text,
        write_bytes,
        write_json,
        write_text,
    )
    from hcs_steps.storage.memory import (
        MemoryStore,
    )
    from hcs_steps.storage.ome_zarr import (
        OmeZarrStore,
    )
    from hcs_steps.storage.protocol import (
        Image,
        ImageMeta,
        ImageStore,
        PlaneKey,
        Published,
        StoreSpec,
    )
    from hcs_steps.storage.registry import (
        StorageRegistry,
        StoreFactory,
    )
    from hcs_steps.storage.tables import (
        as_columns,
        concat_tables,
        read_array,
        read_table,
        table_csv,
        write_array,
        write_table,
    )
    from hcs_steps.storage.tiff import (
        TiffStore,
    )

__all__ = [
    "Image",
    "ImageMeta",
    "ImageStore",
    "MemoryStore",
    "OmeZarrStore",
    "PlaneKey",
    "Published",
    "StorageRegistry",
    "StoreFactory",
    "StoreSpec",
    "TiffStore",
    "as_columns",
    "checksum_file",
    "checksum_tree",
    "concat_tables",
    "measure",
    "publish_dir",
    "publish_file",
    "read_array",
    "read_table",
    "remove_path",
    "sweep_leftovers",
    "sweep_store",
    "table_csv",
    "update_text",
    "write_array",
    "write_bytes",
    "write_json",
    "write_table",
    "write_text",
]

__getattr__ = lazy_names(
    __name__,
    {
        "hcs_steps.storage.atomic": [
            "checksum_file",
            "checksum_tree",
            "measure",
            "publish_dir",
            "publish_file",
            "remove_path",
            "sweep_leftovers",
            "update_text",
            "write_bytes",
            "write_json",
            "write_text",
        ],
        "hcs_steps.storage._placeholder": ["sweep_store"],
        "hcs_steps.storage.memory": ["MemoryStore"],
        "hcs_steps.storage.ome_zarr": ["OmeZarrStore"],
        "hcs_steps.storage.protocol": [
            "Image",
            "ImageMeta",
            "ImageStore",
            "PlaneKey",
            "Published",
            "StoreSpec",
        ],
        "hcs_steps.storage.registry": ["StorageRegistry", "StoreFactory"],
        "hcs_steps.storage.tables": [
            "as_columns",
            "concat_tables",
            "read_array",
            "read_table",
            "table_csv",
            "write_array",
            "write_table",
        ],
        "hcs_steps.storage.tiff": ["TiffStore"],
    },
)
