"""One site as an image group: its pyramid, its labels, and the metadata of both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hcs_steps.storage import _ngff
from hcs_steps.storage._dialect import Dialect
from hcs_steps.storage._display import contrast_window, label_colors
from hcs_steps.storage._levels import write_levels
from hcs_steps.storage._names import unique_names
from hcs_steps.storage._ngff import Grid
from hcs_steps.storage._unit import SiteImages
from hcs_steps.storage.protocol import ImageMeta, StoreSpec


def write_site(
    folder: Path, spec: StoreSpec, dialect: Dialect, well: str, part: SiteImages, meta: ImageMeta
) -> None:
    """Fill a folder with the image group of a site.

    A site with labels but no images becomes a valid image, too: its first label image, shared not copied.
    """
    title = f"{well} site {part.site}"
    shown = _write_labels(folder, spec, dialect, title, part, meta)
    grid = Grid.of(part.site, part.images)
    if part.images:
        paths = write_levels(folder, spec, dialect, grid, part.images, labels=False)
        shown = _ngff.multiscales(title, grid, meta, *part.shape, paths)
    windows = {
        channel: contrast_window([plane for key, plane in part.images.items() if key.channel == channel])
        for channel in grid.channels
    }
    ome = _ngff.image_attributes(grid, meta, shown, windows)
    _write_group(folder, dialect, ome, _ngff.own_attributes(grid, meta))


def _write_labels(
    folder: Path, spec: StoreSpec, dialect: Dialect, title: str, part: SiteImages, meta: ImageMeta
) -> list[dict[str, Any]]:
    """Write all labels; returns the first ones' multiscales as seen from the site's folder."""
    shown: list[dict[str, Any]] = []
    folders = unique_names({name: name for name in part.labels}, part.labels)
    for name, planes in part.labels.items():
        grid = Grid.of(part.site, planes)
        where = f"labels/{folders[name]}"
        paths = write_levels(folder / where, spec, dialect, grid, planes, labels=True)
        scales = _ngff.multiscales(f"{title} {name}", grid, meta, *part.shape, paths, labels=True)
        ome = _ngff.label_attributes(scales, label_colors(planes.values()))
        _write_group(folder / where, dialect, ome, _ngff.own_attributes(grid, meta) | {"label": name})
        if not shown:
            nested = [f"{where}/{path}" for path in paths]
            shown = _ngff.multiscales(title, grid, meta, *part.shape, nested, labels=True)
    if part.labels:
        _write_group(folder / "labels", dialect, _ngff.labels_attributes(list(folders.values())))
    return shown


def _write_group(
    folder: Path, dialect: Dialect, ome: Mapping[str, Any], own: Mapping[str, Any] | None = None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in dialect.group(ome, own).items():
        (folder / name).write_bytes(content)
