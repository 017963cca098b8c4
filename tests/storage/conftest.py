"""A small plate to store, and the three backends to store it in."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hcs_steps.storage import Image, ImageMeta, ImageStore, PlaneKey, StorageRegistry, StoreSpec

FOLDERS = {"memory": "kept", "disk": "images/blur", "zarr": "images/blur.ome.zarr"}


def spec_for(root: Path, backend: str = "zarr", **changes: object) -> StoreSpec:
    values: dict[str, object] = {
        "path": root / FOLDERS[backend],
        "plate_name": "Plate 1",
        "rows": 8,
        "columns": 12,
        "wells": {"A01": (1, 2), "B12": (1,)},
    }
    return StoreSpec(**(values | changes))  # type: ignore[arg-type]


def planes(
    *keys: tuple[int, int, int, int], shape: tuple[int, int] = (40, 50), dtype: str = "uint16"
) -> dict[PlaneKey, Image]:
    rng = np.random.default_rng(len(keys))
    return {PlaneKey(*key): (rng.random(shape) * 200).astype(dtype) for key in keys}


META = ImageMeta(
    channels={1: "DAPI", 2: "Näme <2>"},
    pixel_size_um=0.65,
    z_step_um=2.0,
    positions_um={1: (1000.0, -200.0)},
)
BARE = ImageMeta(channels={})


@pytest.fixture(params=["memory", "disk", "zarr"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_store(tmp_path: Path) -> Callable[..., ImageStore]:
    def open_it(backend: str, **changes: object) -> ImageStore:
        store = StorageRegistry().open(backend, spec_for(tmp_path, backend, **changes))
        store.declare()
        return store

    return open_it


@pytest.fixture
def plate() -> "type[Helpers]":
    return Helpers


class Helpers:
    """What tests share; handed out by the fixture ``plate`` because test folders are not packages."""

    META = META
    BARE = BARE
    spec_for = staticmethod(spec_for)
    planes = staticmethod(planes)
