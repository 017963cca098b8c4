"""The layouts of OME-Zarr plates: OME-NGFF 0.4 on Zarr v2, 0.5 on Zarr v3 with a shard per timepoint.

Metadata are written as plain JSON; every image has a second resolution level. All planes of a field are one
array, so single planes cannot be lost.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcs_steps.plate.inventory import Plane, PlaneKey
from hcs_steps.plate.synthetic.model import Fact, Layout, SyntheticPlate
from hcs_steps.plate.wells import parse_well, row_name, sort_wells

if TYPE_CHECKING:
    from numpy.typing import NDArray

AXES = "tczyx"
LEVELS = (1, 2)


def write_ome_zarr(folder: Path, plate: SyntheticPlate, compression: str | None, version: str) -> None:
    """``<row>/<column>/<site>/<level>``; any ``compression`` is Zstandard."""
    if plate.lost:
        raise ValueError("Single planes of an OME-Zarr plate cannot be lost: a field is one array.")
    wells = sort_wells(plane.well for plane in plate.planes)
    sites = plate.values("site")
    _write_group(folder, _plate(plate, wells, version), version)
    for well in wells:
        row, column = _place(well).split("/")
        _write_group(folder / row, {}, version)
        images = {"images": [{"path": str(site), "acquisition": 0} for site in sites], "version": version}
        _write_group(folder / row / column, {"well": images}, version)
    for _, planes in groupby(plate.planes, key=lambda plane: plane.well):
        _write_well(folder, plate, tuple(planes), compression, version)


def _write_well(
    folder: Path, plate: SyntheticPlate, planes: Sequence[Plane], compression: str | None, version: str
) -> None:
    """The fields of a well, whose pictures are rendered in the order of the planes."""
    import numpy as np

    fields: defaultdict[int, list[Plane]] = defaultdict(list)
    pictures: defaultdict[int, list[NDArray[Any]]] = defaultdict(list)
    for plane in planes:
        fields[plane.site].append(plane)
        pictures[plane.site].append(plate.pixels(PlaneKey(*plane[:5])))
    for site, field in fields.items():
        place = folder / _place(field[0].well) / str(site)
        _write_group(place, _image(plate.channels, field, version), version)
        order = sorted(
            range(len(field)), key=lambda n: (field[n].timepoint, field[n].channel, field[n].z_index)
        )
        for level, step in enumerate(LEVELS):
            array = _array(place / str(level), field, step, compression, version)
            stack = [pictures[site][n][::step, ::step] for n in order]
            array[:] = np.stack(stack).reshape(array.shape)


def _place(well: str) -> str:
    row, column = parse_well(well)
    return f"{row_name(row)}/{column + 1:02d}"


def _plate(plate: SyntheticPlate, wells: Sequence[str], version: str) -> dict[str, Any]:
    rows, columns = plate.dimensions
    places = {well: parse_well(well) for well in wells}
    listed = {
        "name": plate.name,
        "rows": [{"name": row_name(row)} for row in range(rows)],
        "columns": [{"name": f"{column + 1:02d}"} for column in range(columns)],
        "wells": [
            {"path": _place(well), "rowIndex": row, "columnIndex": column}
            for well, (row, column) in places.items()
        ],
        "acquisitions": [{"id": 0}],
        "field_count": len(plate.values("site")),
        "version": version,
    }
    return {"plate": listed}


def _image(channels: Mapping[int, str], field: Sequence[Plane], version: str) -> dict[str, Any]:
    """The image of the planes of a field; coordinates are those of pixel centres."""
    plane = field[0]
    heights, times = (sorted({getattr(each, name) for each in field}) for name in ("z_um", "time_s"))
    size = plane.pixel_size_um
    corner = [
        plane.y_um - (plane.height - 1) / 2 * size,
        plane.x_um - (plane.width - 1) / 2 * size,
    ]
    datasets = []
    for level, step in enumerate(LEVELS):
        scale = [_step(times), 1.0, _step(heights), size * step, size * step]
        moves = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": [times[0], 0.0, heights[0], *corner]},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": moves})
    units = {"t": ("time", "second"), "c": ("channel", None)}
    axes = [
        {"name": name, "type": kind} | ({"unit": unit} if unit else {})
        for name in AXES
        for kind, unit in [units.get(name, ("space", "micrometer"))]
    ]
    shown = [
        {"label": name, "color": "FFFFFF", "window": {"min": 0, "max": 65535, "start": 0, "end": 4000}}
        for name in channels.values()
    ]
    multiscales = [{"version": version, "axes": axes, "datasets": datasets, "type": "nearest"}]
    return {"multiscales": multiscales, "omero": {"version": version, "channels": shown}}


def _step(places: Sequence[float]) -> float:
    return (places[-1] - places[0]) / (len(places) - 1) if len(places) > 1 else 1.0


def _array(folder: Path, field: Sequence[Plane], step: int, compression: str | None, version: str) -> Any:
    import zarr
    from zarr.codecs import ZstdCodec

    plane = field[0]
    times, colors, depth = (len({each[axis] for each in field}) for axis in (4, 2, 3))
    size = (-(-plane.height // step), -(-plane.width // step))
    options: dict[str, Any] = {}
    if version == "0.4":
        options = {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}}
        options["compressors"] = {"id": "zstd", "level": 1} if compression else None
    else:
        options = {"zarr_format": 3, "shards": (1, colors, depth, *size), "dimension_names": tuple(AXES)}
        options["compressors"] = ZstdCodec() if compression else None
    return zarr.create_array(
        store=zarr.storage.LocalStore(folder),
        shape=(times, colors, depth, *size),
        chunks=(1, 1, 1, *size),
        dtype=plane.dtype,
        config={"write_empty_chunks": True},
        **options,
    )


def _write_group(folder: Path, attributes: Mapping[str, Any], version: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if version == "0.4":
        (folder / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
        if attributes:
            (folder / ".zattrs").write_text(json.dumps(attributes))
        return
    ome = {"ome": {"version": version, **attributes}} if attributes else {}
    document = {"zarr_format": 3, "node_type": "group", "attributes": ome}
    (folder / "zarr.json").write_text(json.dumps(document))


_STATES: frozenset[Fact] = frozenset(
    {
        "site",
        "z_index",
        "timepoint",
        "positions",
        "z_um",
        "time_s",
        "pixel_size_um",
        "channel_names",
        "dimensions",
    }
)

OME_ZARR_04, OME_ZARR_05 = (
    Layout("ome-zarr", partial(write_ome_zarr, version=version), _STATES, loses_planes=False)
    for version in ("0.4", "0.5")
)
