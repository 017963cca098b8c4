"""OME-NGFF 0.5 metadata as pure functions: plate, well, image, labels.

Beside ``ome``, an image group has the attribute ``hcs_steps``: its site, what each index of the t, c and z
axes stands for, and which planes were stored, so that nothing has to be guessed from the array's shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hcs_steps.storage._names import column_name, row_name, well_position
from hcs_steps.storage.protocol import Image, ImageMeta, PlaneKey, StoreSpec

VERSION = "0.5"

_COLORS = (
    ("0000FF", ("dapi", "hoechst", "405", "dna", "nucle", "bfp", "alexa 350")),
    ("00FF00", ("gfp", "fitc", "488", "alexa488", "phalloidin", "actin")),
    ("FF0000", ("rfp", "tritc", "cy3", "561", "555", "568", "mcherry", "texas", "tubulin", "dsred")),
    ("FF00FF", ("cy5", "640", "647", "far red", "far-red", "mito")),
    ("FFFF00", ("yfp", "532", "514", "golgi")),
    ("00FFFF", ("cfp", "445")),
    ("FFFFFF", ("bright", "phase", "dic", "trans", "bf", "gray", "grey")),
)
_OTHER_COLORS = ("0000FF", "00FF00", "FF0000", "FF00FF", "FFFF00", "00FFFF", "FFFFFF")
_WINDOW_SAMPLES = 1 << 20


def group(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The ``zarr.json`` of a group."""
    return {"attributes": dict(attributes), "node_type": "group", "zarr_format": 3}


def plate_attributes(spec: StoreSpec) -> dict[str, Any]:
    """Attributes of a plate: all rows and columns it has, and the wells that will be published."""
    positions = sorted((well_position(well)[1:], well) for well in spec.wells)
    plate = {
        "name": spec.plate_name,
        "version": VERSION,
        "rows": [{"name": row_name(row)} for row in range(spec.rows)],
        "columns": [{"name": column_name(column)} for column in range(spec.columns)],
        "wells": [
            {"path": f"{row_name(row)}/{column_name(column)}", "rowIndex": row, "columnIndex": column}
            for (row, column), _ in positions
        ],
        "field_count": max((len(set(sites)) for sites in spec.wells.values()), default=0) or 1,
    }
    return {"ome": {"version": VERSION, "plate": plate}}


def well_attributes(sites: Iterable[int]) -> dict[str, Any]:
    """Attributes of a well: one image per site."""
    images = [{"path": str(site)} for site in sorted(set(sites))]
    return {"ome": {"version": VERSION, "well": {"version": VERSION, "images": images}}}


@dataclass(frozen=True)
class Grid:
    """The (T, C, Z) grid that the planes of one site span, and which of its points were stored."""

    site: int
    channels: tuple[int, ...]
    z_indices: tuple[int, ...]
    timepoints: tuple[int, ...]
    planes: tuple[PlaneKey, ...]

    @classmethod
    def of(cls, site: int, keys: Iterable[PlaneKey]) -> Grid:
        """The smallest grid that holds the planes."""
        planes = tuple(sorted(keys))
        channels, z_indices, timepoints = (tuple(sorted({key[axis] for key in planes})) for axis in (1, 2, 3))
        return cls(site, channels, z_indices, timepoints, planes)

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Grid:
        """Inverse of `attributes`."""
        axes = {name: tuple(map(int, attributes[name])) for name in ("channels", "z_indices", "timepoints")}
        site = int(attributes["site"])
        return cls(
            site=site, **axes, planes=tuple(PlaneKey(site, *map(int, czt)) for czt in attributes["planes"])
        )

    def attributes(self) -> dict[str, Any]:
        """What goes into the group's attribute ``hcs_steps``."""
        return {
            "site": self.site,
            "channels": self.channels,
            "z_indices": self.z_indices,
            "timepoints": self.timepoints,
            "planes": [key[1:] for key in self.planes],
        }

    @property
    def shape(self) -> tuple[int, int, int]:
        """Lengths of the t, c and z axes."""
        return len(self.timepoints), len(self.channels), len(self.z_indices)

    def index(self, key: PlaneKey) -> tuple[int, int, int]:
        """Where a plane is along t, c and z."""
        return (
            self.timepoints.index(key.timepoint),
            self.channels.index(key.channel),
            self.z_indices.index(key.z_index),
        )


def multiscales(
    name: str,
    grid: Grid,
    meta: ImageMeta,
    height: int,
    width: int,
    paths: Sequence[str],
    *,
    labels: bool = False,
) -> list[dict[str, Any]]:
    """The one multiscale of an image whose levels are at ``paths``, each half of the one before.

    Physical coordinates are those of pixel centres: where the stage position is known, the centre of the
    image lies on it; where it is not, the first pixel lies on 0. An unknown size is 1 without a unit.
    """
    known = is_known(meta.pixel_size_um)
    pixel = float(meta.pixel_size_um) if known else 1.0
    z_known = is_known(meta.z_step_um)
    corner = (0.0, 0.0)
    x_um, y_um = meta.positions_um.get(grid.site, (math.nan, math.nan))
    if known and math.isfinite(x_um) and math.isfinite(y_um):
        corner = (y_um - (height - 1) / 2 * pixel, x_um - (width - 1) / 2 * pixel)
    datasets = []
    for level, path in enumerate(paths):
        size = pixel * 2**level
        shift = (size - pixel) / 2
        scale = [1.0, 1.0, float(meta.z_step_um) if z_known else 1.0, size, size]
        translation = [0.0, 0.0, 0.0, corner[0] + shift, corner[1] + shift]
        transforms = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": translation}]
        datasets.append({"path": path, "coordinateTransformations": transforms})
    axes = [
        {"name": "t", "type": "time"},
        {"name": "c", "type": "channel"},
        _space("z", z_known),
        _space("y", known),
        _space("x", known),
    ]
    return [{"name": name, "type": "nearest" if labels else "mean", "axes": axes, "datasets": datasets}]


def _space(name: str, known: bool) -> dict[str, str]:
    return {"name": name, "type": "space"} | ({"unit": "micrometer"} if known else {})


def is_known(size: float) -> bool:
    """Whether a physical size is given."""
    return math.isfinite(size) and size > 0


def image_attributes(
    grid: Grid, meta: ImageMeta, image_multiscales: list[dict[str, Any]], planes: Mapping[PlaneKey, Image]
) -> dict[str, Any]:
    """Attributes of a site's image group; contrast windows are taken from the full-resolution planes."""
    ome: dict[str, Any] = {"version": VERSION, "multiscales": image_multiscales}
    if planes:
        ome["omero"] = {"channels": _omero_channels(grid, meta, planes)}
    return {"ome": ome, "hcs_steps": own_attributes(grid, meta)}


def own_attributes(grid: Grid, meta: ImageMeta) -> dict[str, Any]:
    """The attribute ``hcs_steps`` of an image or label group."""
    return grid.attributes() | ({} if is_known(meta.pixel_size_um) else {"pixel_size": "unknown"})


def labels_attributes(names: Sequence[str]) -> dict[str, Any]:
    """Attributes of the ``labels`` group of an image."""
    return {"ome": {"version": VERSION, "labels": list(names)}}


def label_attributes(
    name: str, grid: Grid, meta: ImageMeta, label_multiscales: list[dict[str, Any]]
) -> dict[str, Any]:
    """Attributes of one label image; ``name`` is what it was published as, whatever its folder is called."""
    source = {"version": VERSION, "source": {"image": "../../"}}
    ome = {"version": VERSION, "multiscales": label_multiscales, "image-label": source}
    return {"ome": ome, "hcs_steps": own_attributes(grid, meta) | {"label": name}}


def _omero_channels(grid: Grid, meta: ImageMeta, planes: Mapping[PlaneKey, Image]) -> list[dict[str, Any]]:
    channels = []
    for index, channel in enumerate(grid.channels):
        name = meta.channels.get(channel, f"channel {channel}")
        own = [plane for key, plane in planes.items() if key.channel == channel]
        settings = {"label": name, "color": channel_color(name, index), "window": contrast_window(own)}
        channels.append(settings | {"active": True})
    return channels


def channel_color(name: str, index: int) -> str:
    """RRGGBB by the dye or laser line in a channel's name, else by its position."""
    lowered = name.lower()
    for color, words in _COLORS:
        if any(word in lowered for word in words):
            return color
    return _OTHER_COLORS[index % len(_OTHER_COLORS)]


def contrast_window(planes: Sequence[Image]) -> dict[str, float]:
    """Smallest and largest finite value, and the 1st and 99.8th percentile as the displayed range.

    Percentiles are those of about a million pixels on a regular grid, so that the cost does not grow with
    the stack.
    """
    pixels = sum(plane.size for plane in planes)
    step = max(1, math.isqrt(pixels // _WINDOW_SAMPLES))
    low, high = math.inf, -math.inf
    samples = []
    for plane in planes:
        if plane.dtype.kind == "f" and not np.isfinite(plane).all():
            plane = np.where(np.isfinite(plane), plane, np.nan)
        with np.errstate(all="ignore"):
            low, high = (
                float(np.fmin(low, np.fmin.reduce(plane, None))),
                float(np.fmax(high, np.fmax.reduce(plane, None))),
            )
        samples.append(plane[::step, ::step].ravel().astype(np.float64))
    sample = np.concatenate(samples)
    sample = sample[np.isfinite(sample)]
    if low > high or not sample.size:
        return {"min": 0.0, "max": 1.0, "start": 0.0, "end": 1.0}
    start, end = np.percentile(sample, [1.0, 99.8])
    return {"min": low, "max": high, "start": float(start), "end": float(end)}
