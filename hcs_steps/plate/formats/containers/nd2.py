"""Nikon ND2 files, read with bioio-nd2 and, for stage positions, with nd2, on which it is built.

A scene is an XY position of the experiment. Where the file has the matrix from pixels to the stage (``NIS Microscope
Absolute frame in um = pixelToStageTransformationMatrix * (X_in_px, Y_in_px, 1) + stagePositionUm``, says
`nd2.structures`), stage positions are turned by it into the image's axes. Where it does not, nothing tells which way
the stage's axes run in the image, and positions are not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.containers.facts import ContainerFacts, FieldFacts, Sizes, positive
from hcs_steps.plate.inventory import NAN

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PLAIN_AXES = frozenset("TCZYX")
_NO_MATRIX = (
    "Stage positions are not used, because the file does not say how the stage's axes lie in the image."
)


def read_nd2(path: Path) -> ContainerFacts:
    """What an ND2 file holds; `PlateError` for colour images and for axes that a plate does not have."""
    from bioio_nd2 import Reader

    reader = Reader(path)
    names = tuple(str(name) for name in reader.scenes)
    lengths = dict(zip(reader.dims.order, reader.dims.shape, strict=True))
    for axis, count in lengths.items():
        if axis not in _PLAIN_AXES and count > 1:
            raise PlateError(
                f"{path} has an axis {axis} of {count}; planes of a plate are grey and have none.",
                hint="Export it as grey planes.",
            )
    times, channels, depth = (lengths.get(axis, 1) for axis in "TCZ")
    planes = frozenset((t, c, z) for t in range(times) for c in range(channels) for z in range(depth))
    pixel = reader.physical_pixel_sizes
    pixel_size = positive(pixel.X)
    positions = stage_positions(path, len(names), pixel_size)
    interval = reader.time_interval
    stated = [str(name) for name in reader.channel_names or ()]
    return ContainerFacts(
        sizes=Sizes(len(names), 1, times, channels, depth),
        scene_names=tuple((name,) for name in names),
        fields={
            (scene, 0): FieldFacts(lengths["Y"], lengths["X"], *position, planes)
            for scene, position in enumerate(positions)
        },
        channels=(*stated[:channels], *[""] * (channels - len(stated))),
        dtype=str(reader.dtype),
        pixel_size_um=pixel_size,
        z_step_um=positive(pixel.Z),
        interval_s=positive(interval.total_seconds() if hasattr(interval, "total_seconds") else None),
        notes=(_NO_MATRIX,) if positions and all(x != x for x, _ in positions) else (),
    )


def read_nd2_plane(path: Path, page: int) -> NDArray[Any]:
    """The pixels (Y, X) of one plane."""
    from bioio_nd2 import Reader

    reader = Reader(path)
    lengths = dict(zip(reader.dims.order, reader.dims.shape, strict=True))
    sizes = Sizes(len(reader.scenes), 1, *(lengths.get(axis, 1) for axis in "TCZ"))
    index = sizes.place(page)
    reader.set_scene(index.scene)
    at = {"T": index.time, "C": index.channel, "Z": index.z}
    stated = {axis: place for axis, place in at.items() if axis in lengths}
    image: NDArray[Any] = reader.get_image_data("YX", **stated)
    return image


def stage_positions(path: Path, scenes: int, pixel_size_um: float) -> list[tuple[float, float]]:
    """(x, y) of every scene in micrometres along the image's columns and rows, NaN where it cannot be told."""
    import nd2

    unknown = [(NAN, NAN)] * scenes
    with nd2.ND2File(path) as file:
        matrix = _matrix(file)
        loops = [loop for loop in file.experiment if loop.type == "XYPosLoop"]
        points = [point.stagePositionUm for point in loops[0].parameters.points] if loops else []
    if matrix is None or len(points) != scenes:
        return unknown
    a, b, c, d = matrix
    determinant = a * d - b * c
    if not determinant:
        return unknown
    scale = pixel_size_um / determinant
    return [((d * each.x - b * each.y) * scale, (a * each.y - c * each.x) * scale) for each in points]


def _matrix(file: Any) -> tuple[float, float, float, float] | None:
    """The part without offsets of the first channel's matrix from pixels to stage."""
    channels = getattr(file.metadata, "channels", None)
    if not channels:
        return None
    matrix = channels[0].volume.pixelToStageTransformationMatrix
    return None if matrix is None else (matrix[0], matrix[1], matrix[3], matrix[4])
