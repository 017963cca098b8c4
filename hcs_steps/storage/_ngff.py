"""OME-NGFF metadata as pure functions: plate, well, image, labels.

They are what both written versions have in common; a `Dialect` adds the version and puts them into files.

Beside them, an image group has the attribute ``hcs_steps``: its site, what each index of the t, c and z
axes stands for, and which planes were stored, so that nothing has to be guessed from the array's shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hcs_steps.storage._display import channel_color
from hcs_steps.storage._names import column_name, row_name, well_position
from hcs_steps.storage.protocol import ImageMeta, PlaneKey, StoreSpec


def plate_attributes(spec: StoreSpec) -> dict[str, Any]:
    """Metadata of a plate: all rows and columns it has, and the wells that will be published."""
    positions = sorted((well_position(well)[1:], well) for well in spec.wells)
    plate = {
        "name": spec.plate_name,
        "rows": [{"name": row_name(row)} for row in range(spec.rows)],
        "columns": [{"name": column_name(column)} for column in range(spec.columns)],
        "wells": [
            {"path": f"{row_name(row)}/{column_name(column)}", "rowIndex": row, "columnIndex": column}
            for (row, column), _ in positions
        ],
        "field_count": max((len(set(sites)) for sites in spec.wells.values()), default=0) or 1,
    }
    return {"plate": plate}


def well_attributes(sites: Iterable[int]) -> dict[str, Any]:
    """Metadata of a well: one image per site."""
    images = [{"path": str(site)} for site in sorted(set(sites))]
    return {"well": {"images": images}}


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
    grid: Grid,
    meta: ImageMeta,
    image_multiscales: list[dict[str, Any]],
    windows: Mapping[int, Mapping[str, float]],
) -> dict[str, Any]:
    """Metadata of a site's image group; ``windows`` is what is displayed of each channel, if it has images."""
    omero = {"omero": {"channels": _omero_channels(grid, meta, windows)}} if windows else {}
    return {"multiscales": image_multiscales, **omero}


def own_attributes(grid: Grid, meta: ImageMeta) -> dict[str, Any]:
    """The attribute ``hcs_steps`` of an image or label group."""
    return grid.attributes() | ({} if is_known(meta.pixel_size_um) else {"pixel_size": "unknown"})


def labels_attributes(names: Sequence[str]) -> dict[str, Any]:
    """Metadata of the ``labels`` group of an image."""
    return {"labels": list(names)}


def label_attributes(
    label_multiscales: list[dict[str, Any]], colors: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Metadata of one label image, which lies in the ``labels`` group of its image."""
    shown = {"source": {"image": "../../"}} | ({"colors": list(colors)} if colors else {})
    return {"multiscales": label_multiscales, "image-label": shown}


def _omero_channels(
    grid: Grid, meta: ImageMeta, windows: Mapping[int, Mapping[str, float]]
) -> list[dict[str, Any]]:
    channels = []
    for index, channel in enumerate(grid.channels):
        name = meta.channels.get(channel, f"channel {channel}")
        settings = {"label": name, "color": channel_color(name, index), "window": dict(windows[channel])}
        channels.append(settings | {"active": True})
    return channels
