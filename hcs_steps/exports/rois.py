"""Outlines of a unit's objects as ImageJ ROIs and as GeoJSON for QuPath.

Both take the labels of one unit as they were published and follow the edges of pixels, so that filling an
outline gives back the pixels of its object. Coordinates are (x, y) in pixels of the plane; pixel (0, 0), top left,
spans 0..1 in both, as in ImageJ and QuPath. The same labels are the same bytes.

Neither format knows sites: outlines lie on the image of the site that their name says. Hand over one site at a
time to have a file for each image.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.errors import ConfigError
from hcs_steps.exports._outlines import Outline, Ring, outlines
from hcs_steps.storage._names import safe_name
from hcs_steps.storage._ngff import Grid
from hcs_steps.storage.atomic import publish_file
from hcs_steps.storage.protocol import Image, PlaneKey

_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0
"""Segment types of ``java.awt.geom.PathIterator``, of which ImageJ's composite ROIs are made."""

_MOST_CORNER = 60_535
"""Largest coordinate of a traced polygon (16 bit, of which ImageJ reads the largest 5,000 as negative)."""


def write_imagej_rois(
    path: Path,
    labels: Mapping[PlaneKey, Image],
    *,
    name: str,
    well: str,
    channels: Mapping[int, str],
    planes: Iterable[PlaneKey] | None = None,
) -> None:
    """Write the objects of the label set ``name`` as a zip of ImageJ ROIs, which the ROI Manager opens.

    ``labels`` are (Y, X) integer arrays, 0 is background. A ROI is called ``A01_s1_w1_z1_t1_<name>_0001``, the last
    being the object's number, and has its position (channel, slice, frame) in the hyperstack that ``planes``
    make (without them: of all ``channels``, and the z indices and timepoints of the labels). An object of one
    part without holes is a traced polygon; any other is a composite ROI, holes and all parts included. A file without
    objects is an empty zip. ``path`` is published atomically; `StorageError` if it cannot be.

    Format: ``ij.io.RoiEncoder`` of ImageJ 1.x, written by roifile.
    """
    rois = _imports_roifile()
    with publish_file(Path(path)) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for key, position, outline in _objects(labels, channels, planes):
            title = f"{well}_s{key.site}_w{key.channel}_z{key.z_index}_t{key.timepoint}_{_plain(name)}"
            title = f"{title}_{outline.label:04d}"
            roi = _roi(rois, outline)
            roi.name = title
            roi.c_position, roi.z_position, roi.t_position = (index + 1 for index in position)
            # A fixed time and system, for the same objects have to be the same bytes.
            entry = zipfile.ZipInfo(f"{title}.roi", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            file.writestr(entry, roi.tobytes())


def write_geojson(
    path: Path,
    labels: Mapping[PlaneKey, Image],
    *,
    name: str,
    well: str,
    channels: Mapping[int, str],
    planes: Iterable[PlaneKey] | None = None,
    object_type: str = "detection",
) -> None:
    """Write the objects of the label set ``name`` as a GeoJSON FeatureCollection as QuPath reads it.

    One feature per object and plane: a Polygon with its holes, or a MultiPolygon of all its parts, valid in the
    sense of the OGC; ``plane`` (``c`` -1, that is all channels, and 0-based ``z`` and ``t``) as for the positions
    of `write_imagej_rois`. Properties: ``objectType`` (``detection`` or ``annotation``), ``name``, ``classification``
    (the label set) and, in ``metadata``, well, site, channel, z index, timepoint and the object's number.
    ``path`` is published atomically; `StorageError` if it cannot be.

    Sources: RFC 7946; QuPath's ``QuPathTypeAdapters`` and ``ROITypeAdapters`` (0.5) for what is not GeoJSON.
    """
    with (
        publish_file(Path(path)) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.write('{"type":"FeatureCollection","features":[')
        separator = "\n"
        for key, position, outline in _objects(labels, channels, planes):
            feature = {
                "type": "Feature",
                "geometry": {
                    **_geometry(outline),
                    "plane": {"c": -1, "z": position[1], "t": position[2]},
                },
                "properties": {
                    "objectType": object_type,
                    "name": f"{name} {outline.label}",
                    "classification": {"name": name},
                    "metadata": _metadata(well, key, channels, outline.label),
                },
            }
            file.write(separator + json.dumps(feature, ensure_ascii=False, separators=(",", ":")))
            separator = ",\n"
        file.write("\n]}\n")


def _objects(
    labels: Mapping[PlaneKey, Image], channels: Mapping[int, str], planes: Iterable[PlaneKey] | None
) -> Iterator[tuple[PlaneKey, tuple[int, int, int], Outline]]:
    """Every object with its plane and the plane's 0-based (channel, z, t) in the image, in stacking order."""
    others = [PlaneKey(*map(int, key)) for key in planes or ()]
    for key in sorted(PlaneKey(*map(int, key)) for key in labels):
        own = [PlaneKey(*map(int, other)) for other in (*labels, *others) if other[0] == key.site]
        if planes is None:
            own += [other._replace(channel=channel) for other in own for channel in channels]
        t, c, z = Grid.of(key.site, own).index(key)
        for outline in outlines(np.asarray(labels[key])):
            yield key, (c, z, t), outline


def _imports_roifile() -> Any:
    try:
        import roifile
    except ImportError as error:
        raise ConfigError(
            "ROIs for ImageJ need the package roifile, which is not installed.",
            hint="Install it (pip install roifile), or export GeoJSON.",
        ) from error
    return roifile


def _roi(rois: Any, outline: Outline) -> Any:
    corners = np.concatenate([ring for part in outline.parts for ring in part])
    left, top = corners.min(axis=0).tolist()
    right, bottom = corners.max(axis=0).tolist()
    bounds = {"left": left, "top": top, "right": right, "bottom": bottom}
    if len(outline.parts) == 1 and len(outline.parts[0]) == 1 and max(right, bottom) <= _MOST_CORNER:
        return rois.ImagejRoi(
            roitype=rois.ROI_TYPE.TRACED,
            n_coordinates=len(corners),
            integer_coordinates=(corners - (left, top)).astype(np.int32),
            **bounds,
        )
    path = np.concatenate([_path(ring) for part in outline.parts for ring in part])
    return rois.ImagejRoi(
        roitype=rois.ROI_TYPE.RECT, shape_roi_size=len(path), multi_coordinates=path, **bounds
    )


def _path(ring: Ring) -> Image:
    segments = np.empty((len(ring), 3), np.float32)
    segments[:, 0], segments[:, 1:] = _LINE, ring
    segments[0, 0] = _MOVE
    return np.append(segments.ravel(), np.float32(_CLOSE))


def _geometry(outline: Outline) -> dict[str, Any]:
    polygons = [[[*ring.tolist(), ring[0].tolist()] for ring in part] for part in outline.parts]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _metadata(well: str, key: PlaneKey, channels: Mapping[int, str], label: int) -> dict[str, str]:
    """Text only, which is what QuPath takes."""
    return {
        "Well": well,
        "Site": str(key.site),
        "Channel": channels.get(key.channel, str(key.channel)),
        "Z": str(key.z_index),
        "Timepoint": str(key.timepoint),
        "Object": str(label),
    }


def _plain(name: str) -> str:
    """A label set's name as a part of a file name, without characters that ImageJ's UTF-16 lengths cannot count."""
    return safe_name("".join(c if ord(c) <= 0xFFFF else "_" for c in name))


ROI_FILES: Mapping[str, tuple[str, Callable[..., None]]] = {
    "geojson": (".geojson", write_geojson),
    "imagej": (".rois.zip", write_imagej_rois),
}
"""File name suffix and writer of each format, by the name it has in a pipeline's settings."""
