"""Real plates, which are not part of the repository, and synthetic nuclei with known truth."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """``real_data("set")`` is the folder of a real data set; the test is skipped where it is absent."""
    root = Path(os.environ.get("HCS_STEPS_DATA") or REPOSITORY.parent / "shared" / "data")

    def folder(name: str) -> Path:
        path = root / name
        if not path.is_dir():
            pytest.skip(
                f"real data set {name!r} is not there; set HCS_STEPS_DATA to the folder that holds it"
            )
        return path

    return folder


@pytest.fixture
def draw_disks() -> Callable[..., np.ndarray]:
    """``draw_disks(shape, [(y, x, radius), ...])``: bright disks, slightly blurred, on a noisy background."""

    def draw(shape, disks, *, height=1000, background=200, noise=10, seed=0):
        from scipy import ndimage

        rows, columns = np.ogrid[: shape[0], : shape[1]]
        image = np.zeros(shape, dtype=np.float64)
        for y, x, radius in disks:
            image[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = height
        image = ndimage.gaussian_filter(image, 0.8)
        image += np.random.default_rng(seed).normal(background, noise, shape)
        return image.clip(0, 65535).astype(np.uint16)

    return draw
