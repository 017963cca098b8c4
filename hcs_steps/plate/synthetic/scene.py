"""The simulated scene of one well: cells, their two kinds of images, and a camera.

Intensities are photons per pixel up to the camera, grey values after it. A nucleus is an ellipse with a soft
edge; a cell's body is a wider, weaker one around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BACKGROUND = 120.0
OFFSET = 100.0
READ_NOISE = 4.0
LARGEST_RADIUS = 9.0
BODY_SCALE = 2.2
DRIFT_PX = 1.5


@dataclass(frozen=True)
class Scene:
    """Cells in a field of ``shape`` pixels.

    ``centres`` is (timepoint, cell, 2) with y, x; ``axes`` (cell, 2) holds the half axes of the nuclei in
    pixels, ``angles`` their rotation in radians, ``brightness`` (cell, 2) photons of nucleus and body.
    """

    shape: tuple[int, int]
    centres: NDArray[np.float64]
    axes: NDArray[np.float64]
    angles: NDArray[np.float64]
    brightness: NDArray[np.float64]


def make_scene(
    shape: tuple[int, int],
    tile_shape: tuple[int, int],
    cells: int | None,
    timepoints: int,
    rng: np.random.Generator,
) -> Scene:
    """Place ``cells`` nuclei (None: a moderately dense culture), apart unless there are very many."""
    import numpy as np

    radius = min(LARGEST_RADIUS, min(tile_shape) / 8)
    count = max(1, round(shape[0] * shape[1] / (5.5 * radius) ** 2)) if cells is None else cells
    start = _scatter(shape, count, 2.4 * radius, rng)
    steps = rng.normal(0, DRIFT_PX, size=(timepoints, count, 2))
    steps[0] = 0
    limits = np.array(shape, dtype=float) - 1
    centres = np.clip(start + np.cumsum(steps, axis=0), 0, limits)
    return Scene(
        shape=shape,
        centres=centres,
        axes=radius * rng.uniform(0.75, 1.15, size=(count, 2)),
        angles=rng.uniform(0, np.pi, size=count),
        brightness=np.stack([rng.lognormal(6.6, 0.25, count), rng.lognormal(5.7, 0.4, count)], axis=1),
    )


def render_channel(scene: Scene, timepoint: int, *, nuclei: bool, defocus: float) -> NDArray[np.float32]:
    """Photons per pixel of the scene: nuclei, or cell bodies; ``defocus`` counts z steps from focus."""
    import numpy as np
    from scipy.ndimage import gaussian_filter

    picture = np.full(scene.shape, BACKGROUND, dtype=np.float32)
    scale = 1.0 if nuclei else BODY_SCALE
    brightness = scene.brightness[:, 0 if nuclei else 1]
    for centre, axes, angle, photons in zip(
        scene.centres[timepoint], scene.axes, scene.angles, brightness, strict=True
    ):
        _stamp(picture, centre, scale * axes, angle, photons, edge=0.25 if nuclei else 0.5)
    return np.asarray(gaussian_filter(picture, 1.0 + 1.5 * defocus), dtype=np.float32)


def expose(field: NDArray[np.float32], vignetting: float, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Take a 16-bit picture: light loss towards the corners, photon noise, read noise, offset.

    Photon noise is drawn from a normal distribution, which is close to Poisson above some 20 photons.
    """
    import numpy as np

    light = field * _light(field.shape[0], field.shape[1], vignetting)
    noise = rng.standard_normal(field.shape, dtype=np.float32) * np.sqrt(light + READ_NOISE**2)
    return np.asarray(np.clip(np.rint(light + noise + OFFSET), 0, 65535), dtype=np.uint16)


def _scatter(
    shape: tuple[int, int], count: int, distance: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """``count`` random points (y, x) at least ``distance`` apart; it shrinks where they do not fit."""
    import numpy as np

    points = np.empty((count, 2))
    placed, failures = 0, 0
    while placed < count:
        point = rng.uniform(0, 1, 2) * (np.array(shape) - 1)
        gaps = points[:placed] - point
        if placed == 0 or (gaps * gaps).sum(axis=1).min() >= distance**2:
            points[placed] = point
            placed, failures = placed + 1, 0
        else:
            failures += 1
            if failures == 200:
                distance, failures = distance * 0.9, 0
    return points


def _stamp(
    picture: NDArray[np.float32], centre: Any, axes: Any, angle: float, photons: float, *, edge: float
) -> None:
    """Add one ellipse in place; ``edge`` is the width of its soft rim as a share of its radius."""
    import numpy as np

    reach = int(axes.max() * (1 + edge)) + 1
    top, left = max(0, int(centre[0]) - reach), max(0, int(centre[1]) - reach)
    bottom, right = int(centre[0]) + reach + 1, int(centre[1]) + reach + 1
    window = picture[top:bottom, left:right]
    y = np.arange(top, top + window.shape[0], dtype=np.float32)[:, None] - np.float32(centre[0])
    x = np.arange(left, left + window.shape[1], dtype=np.float32)[None, :] - np.float32(centre[1])
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    along, across = (
        (x * cosine + y * sine) / np.float32(axes[0]),
        (y * cosine - x * sine) / np.float32(axes[1]),
    )
    rim = (1 + edge - np.sqrt(along * along + across * across)) / np.float32(2 * edge)
    window += np.float32(photons) * np.clip(rim, 0, 1)


@lru_cache(maxsize=8)
def _light(height: int, width: int, loss: float) -> NDArray[np.float32]:
    """Share of the light that reaches each pixel: 1 in the centre, 1 - ``loss`` in the corners."""
    import numpy as np

    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    return np.asarray(1 - loss * (x * x + y * y) / 2, dtype=np.float32)
