"""Tiles with known places, drawn from formulas: no resampling stands between the truth and the pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest


@pytest.fixture(scope="session")
def cut_tiles() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """``cut_tiles(rows, columns, shape)``: tiles of a scene of blurred spots in row order, and their corners.

    Every spot is a Gaussian, evaluated at each tile's pixels, so corners may be fractions. Poisson noise and
    read noise are added; ``vignetting`` is the loss of light in the corners.
    """

    def cut(
        rows,
        columns,
        shape,
        *,
        overlap=0.1,
        jitter=4.0,
        density=1 / 150,
        signal=200,
        vignetting=0.0,
        linear=((1, 0), (0, 1)),
        empty=(),
        seed=0,
        dtype=np.uint16,
    ):
        generator = np.random.default_rng(seed)
        sizes = np.array([shape[1], shape[0]])
        cells = np.array([(column, row) for row in range(rows) for column in range(columns)])
        corners = (cells * sizes * (1 - overlap)) @ np.array(linear) + generator.normal(
            0, jitter, cells.shape
        )
        corners += 40 - corners.min(axis=0)
        extent = corners.max(axis=0) + sizes + 20
        count = int(density * extent.prod())
        spots = np.stack(
            [
                generator.uniform(0, extent[0], count),
                generator.uniform(0, extent[1], count),
                generator.choice([1.2, 2, 3, 5], count),
                generator.gamma(2, 0.5, count) * signal,
            ],
            axis=1,
        )
        y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
        light = 1 - vignetting * (x**2 + y**2) / 2
        tiles = []
        for number, corner in enumerate(corners):
            image = np.full(shape, 100.0)
            if number not in empty:
                _draw(image, spots - [*corner, 0, 0])
            noisy = generator.poisson(image * light) + generator.normal(100, 5, shape)
            limits = np.iinfo(dtype)
            tiles.append(np.clip(np.rint(noisy), limits.min, limits.max).astype(dtype))
        return np.stack(tiles), corners - corners.min(axis=0)

    return cut


def _draw(image: np.ndarray, spots: np.ndarray) -> None:
    near = (spots[:, :2] > -25).all(axis=1) & (spots[:, :2] < np.array(image.shape[::-1]) + 25).all(axis=1)
    for x, y, sigma, height in spots[near]:
        reach = 5 * sigma
        columns = slice(max(0, int(x - reach)), max(0, int(x + reach) + 1))
        rows = slice(max(0, int(y - reach)), max(0, int(y + reach) + 1))
        part = image[rows, columns]
        along = np.arange(columns.start, columns.start + part.shape[1]) - x
        down = np.arange(rows.start, rows.start + part.shape[0]) - y
        part += height * np.exp(-(down[:, None] ** 2 + along**2) / (2 * sigma**2))
