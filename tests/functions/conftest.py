"""Synthetic nuclei with known truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest


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
