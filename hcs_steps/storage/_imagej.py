"""What ImageJ 1.x can hold, and the metadata that it reads: dimensions, scale, channels, display ranges.

ImageJ knows pixels of uint8, uint16 and float32 only. Other dtypes are stored as the one of these that holds
every value exactly; the store remembers what was published. Metadata are those of ``ij.io.TiffEncoder`` (the
description and the IJMetadata tag), written by tifffile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hcs_steps.errors import StorageError
from hcs_steps.storage._display import channel_color, contrast_window
from hcs_steps.storage._ngff import Grid, is_known
from hcs_steps.storage.protocol import Image, ImageMeta, PlaneKey

MAX_BYTES = 2**32 - 2**27
"""Most bytes of pixels in one file: ImageJ reads no BigTIFF, and pages and tags need room, too."""

_COMPOSITE_CHANNELS = 7
"""ImageJ overlays no more channels than this (``ij.CompositeImage.MAX_CHANNELS``)."""

_EXACT_IN_FLOAT32 = 2**24


def stored_dtype(planes: Mapping[PlaneKey, Image], what: str) -> np.dtype[Any]:
    """The dtype that ImageJ knows and that holds every value of the planes (all of one dtype) exactly.

    Booleans become uint8 (0 and 255, ImageJ's masks), integers uint16 where all are in 0..65535, else
    float32. `StorageError`, which calls the planes ``what``, if there is none.
    """
    (dtype,) = {plane.dtype for plane in planes.values()}
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.newbyteorder("=") in (np.uint8, np.uint16, np.float16, np.float32):
        return np.dtype(np.float32) if dtype.kind == "f" else dtype.newbyteorder("=")
    if dtype.kind in "iu":
        low = min(int(plane.min()) for plane in planes.values())
        high = max(int(plane.max()) for plane in planes.values())
        if low >= 0 and high <= 0xFFFF:
            return np.dtype(np.uint16)
        if max(-low, high) <= _EXACT_IN_FLOAT32:
            return np.dtype(np.float32)
        found = f"has values from {low} to {high}"
    elif all(_fits_float32(plane) for plane in planes.values()):
        return np.dtype(np.float32)
    else:
        found = "has values that float32 would round"
    raise StorageError(
        f"ImageJ cannot hold {what}: it is {dtype}, and {found}; ImageJ knows uint8, uint16 and float32 only.",
        hint="Let the step return one of these, or write OME-TIFF (tiff_metadata: ome) or OME-Zarr.",
    )


def _fits_float32(plane: Image) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        return np.array_equal(plane.astype(np.float32).astype(plane.dtype), plane, equal_nan=True)


def to_stored(plane: Image, dtype: np.dtype[Any]) -> Image:
    """A plane as it is stored; booleans as 0 and 255."""
    return plane.astype(dtype) * dtype.type(255) if plane.dtype.kind == "b" else plane.astype(dtype)


def hyperstack_metadata(
    planes: Mapping[PlaneKey, Image], well: str, meta: ImageMeta, *, labels: bool
) -> dict[str, Any]:
    """tifffile's ``metadata`` for the planes of one site as a (T, Z, C, Y, X) hyperstack.

    Every channel has its colour and its display range (labels: 0 to the largest); slices are labelled with
    the channel's name and, where there are several, z index and timepoint as the plate counts them. ImageJ reads
    slice labels from uncompressed files only, so the names are in the text of Image > Show Info as well.
    """
    grid = Grid.of(next(iter(planes)).site, planes)
    names = {channel: meta.channels.get(channel, f"channel {channel}") for channel in grid.channels}
    ranges, luts = [], []
    for index, channel in enumerate(grid.channels):
        own = [plane for key, plane in planes.items() if key.channel == channel]
        ranges.append(_display_range(own, labels=labels))
        luts.append(_lut("FFFFFF" if labels else channel_color(names[channel], index)))
    metadata: dict[str, Any] = {
        "axes": "TZCYX",
        "Info": _info(well, grid, names),
        "Labels": [
            _slice_label(names[c], grid, z, t)
            for t in grid.timepoints
            for z in grid.z_indices
            for c in grid.channels
        ],
    }
    if is_known(meta.pixel_size_um):
        metadata["unit"] = "micron"
        if is_known(meta.z_step_um) and len(grid.z_indices) > 1:
            metadata["spacing"] = float(meta.z_step_um)
    if len(grid.channels) == 1:
        return metadata | {"mode": "grayscale", "min": ranges[0][0], "max": ranges[0][1]}
    mode = "composite" if len(grid.channels) <= _COMPOSITE_CHANNELS else "color"
    return metadata | {
        "mode": mode,
        "Ranges": tuple(value for pair in ranges for value in pair),
        "LUTs": luts,
    }


def _info(well: str, grid: Grid, names: Mapping[int, str]) -> str:
    facts = {"Well": well, "Site": grid.site}
    facts |= {f"Channel {number}": names[channel] for number, channel in enumerate(grid.channels, 1)}
    for name, values in (("Z", grid.z_indices), ("Timepoint", grid.timepoints)):
        facts[name] = ", ".join(map(str, values))
    return "".join(f"{name}: {value}\n" for name, value in facts.items())


def _display_range(planes: Sequence[Image], *, labels: bool) -> tuple[float, float]:
    if planes[0].dtype.kind == "b":
        return 0.0, 255.0
    window = contrast_window(planes)
    return (0.0, max(1.0, window["max"])) if labels else (window["start"], window["end"])


def _slice_label(channel: str, grid: Grid, z_index: int, timepoint: int) -> str:
    z = f" z{z_index}" if len(grid.z_indices) > 1 else ""
    t = f" t{timepoint}" if len(grid.timepoints) > 1 else ""
    return f"{channel}{z}{t}"


def _lut(color: str) -> Image:
    """Black to RRGGBB as (3, 256) uint8."""
    end = np.frombuffer(bytes.fromhex(color), np.uint8).astype(np.float64)
    return np.rint(end[:, None] * np.arange(256) / 255).astype(np.uint8)
