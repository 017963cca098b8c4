"""Granularity: how much of an object's intensity is in structures of each size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hcs_steps.arrays import namespace, ndimage_of, to_numpy
from hcs_steps.functions.measuring.regions import Floats, Regions, ratio
from hcs_steps.functions.preprocessing.background import tophat

_BACKGROUND_REDUCTION = 4
_LEAST_RADIUS = 10


@dataclass(frozen=True)
class GranularityOptions:
    """Number of sizes, reduction of the plane, and radius (in pixels of the reduced plane) of the background."""

    sizes: int
    downsample: int
    background: int


def granular_spectrum(plane: Any, options: GranularityOptions) -> Iterator[Any]:
    """The reduced plane less its background, and then what is left of it after each step.

    The background is a grey opening by a disk, on a copy of the reduced plane that is reduced once more by 4, or by
    less where the disk's radius would fall below 10 px there; see `tophat`. Step n erodes n times by a cross of
    3 x 3 px and reconstructs under the plane, which removes whole bright structures of up to about n px in radius
    (CellProfiler's MeasureGranularity; L. Vincent, IEEE Trans. Image Proc. 2, 1993). float32.
    """
    from skimage.morphology import reconstruction

    xp = namespace(plane)
    factor = options.downsample
    rows, columns = (-(-size // factor) for size in plane.shape)
    fill = ((0, rows * factor - plane.shape[0]), (0, columns * factor - plane.shape[1]))
    tiles = xp.pad(plane, fill, mode="edge").reshape(rows, factor, columns, factor)
    small = tiles.mean(axis=(1, 3), dtype=xp.float32)
    if options.background:
        again = min(max(options.background // _LEAST_RADIUS, 1), _BACKGROUND_REDUCTION)
        small = tophat(small[None], selem_radius=options.background, downsample_factor=again)[0]
    yield small
    cross = ndimage_of(plane).generate_binary_structure(2, 1)
    eroded, above, footprint = small, to_numpy(small), to_numpy(cross)
    for _ in range(options.sizes):
        eroded = ndimage_of(eroded).grey_erosion(eroded, footprint=cross, mode="reflect")
        left = reconstruction(to_numpy(eroded), above, method="dilation", footprint=footprint)
        yield xp.asarray(left)


def granularities(
    sets: Mapping[str, Regions], name: str, plane: Any, options: GranularityOptions
) -> dict[str, dict[str, Floats]]:
    """Columns ``Granularity_<n>_<channel>`` of each set of objects: per cent of the intensity that step n removes.

    The intensity is the mean over the object's pixels of `granular_spectrum`, each pixel reading the pixel of
    the reduced plane that it lies in. NaN for an object with nothing above the background.
    """
    covers = {key: _cover(regions, options.downsample) for key, regions in sets.items()}
    columns: dict[str, dict[str, Floats]] = {key: {} for key in sets}
    before: dict[str, Any] = {}
    start: dict[str, Any] = {}
    for step, image in enumerate(granular_spectrum(plane, options)):
        for key, cover in covers.items():
            mean = cover.mean(image, sets[key].count)
            if step == 0:
                start[key] = mean
            else:
                removed = ratio(100 * (before[key] - mean), start[key])
                columns[key][f"Granularity_{step}_{name}"] = to_numpy(removed)
            before[key] = mean
    return columns


@dataclass(frozen=True)
class _Cover:
    """How many pixels of which object lie in which pixel of the reduced plane."""

    owner: Any
    place: Any
    pixels: Any

    def mean(self, image: Any, count: int) -> Any:
        """Mean over each object's pixels."""
        xp = namespace(image)
        values = image.ravel()[self.place].astype(xp.float64)
        total = xp.bincount(self.owner, weights=values * self.pixels, minlength=count)
        return total / xp.bincount(self.owner, weights=self.pixels, minlength=count)


def _cover(regions: Regions, factor: int) -> _Cover:
    xp = namespace(regions.plane)
    height, width = (-(-size // factor) for size in regions.plane.shape)
    owners, places, pixels = [], [], []
    for block in regions.blocks():
        place = block.y // factor * width + block.x // factor
        cells, count = xp.unique(block.owner * (height * width) + place, return_counts=True)
        owners.append(cells // (height * width) + block.objects.start)
        places.append(cells % (height * width))
        pixels.append(count.astype(xp.float64))
    if not owners:
        nothing = xp.zeros(0, dtype=xp.int64)
        return _Cover(nothing, nothing, xp.zeros(0))
    return _Cover(xp.concatenate(owners), xp.concatenate(places), xp.concatenate(pixels))
