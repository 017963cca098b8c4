"""Label planes with everything that makes measuring hard."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def crowd() -> np.ndarray:
    """Touching, concave, holed, scattered, border-cut, one-pixel objects; labels with gaps and very large ones."""
    rng = np.random.default_rng(5)
    seeds = rng.uniform(0, 150, (60, 2))
    rows, columns = np.mgrid[:140, :150]
    distance = np.hypot(rows[..., None] - seeds[:, 0], columns[..., None] - seeds[:, 1])
    labels = np.where(distance.min(axis=2) < 11, distance.argmin(axis=2) * 3 + 1, 0).astype(np.uint32)
    labels[(rows - 70) ** 2 + (columns - 40) ** 2 < 9] = 0
    labels[np.isin(labels, [31, 61]) & (rng.random(labels.shape) < 0.5)] = 0
    labels[100:130, 100:102] = 4_000_000_000
    labels[128:130, 80:102] = 4_000_000_000
    labels[5, 5], labels[139, 149], labels[20, 30:37] = 1000, 1001, 1002
    return labels


@pytest.fixture(scope="session")
def texture_image(crowd) -> np.ndarray:
    """uint16 noise that is brighter in some objects than in others."""
    rng = np.random.default_rng(6)
    return (rng.integers(100, 3000, crowd.shape) + crowd % 700).astype(np.uint16)
