"""Simulated plates: what a microscope would have seen, handed to a layout that writes it.

Every well is one simulated scene; its sites are overlapping fields of view cut out of it, so stitching,
counting and missing-plane handling can all be checked against what was put in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from hcs_steps.errors import ConfigError, nearest
from hcs_steps.plate.inventory import Plane, PlaneKey
from hcs_steps.plate.open import open_plate
from hcs_steps.plate.synthetic.layouts import LAYOUTS
from hcs_steps.plate.synthetic.model import SyntheticPlate
from hcs_steps.plate.synthetic.scene import Scene, expose, make_scene, render_channel
from hcs_steps.plate.wells import canonical_well, parse_well, plate_dimensions, sort_wells

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WELL_PITCH_UM = 9000.0
Z_STEP_UM = 3.0
INTERVAL_S = 30.0
MARGIN_PX = 8

Corner = tuple[int, int]


def make_plate(
    folder: Path,
    *,
    wells: Sequence[str],
    sites: tuple[int, int] = (2, 2),
    overlap: float = 0.1,
    channels: Sequence[str] = ("DAPI", "GFP"),
    z: int = 1,
    timepoints: int = 1,
    shape: tuple[int, int] = (512, 512),
    seed: int = 0,
    cells_per_well: int | Mapping[str, int] | None = None,
    pixel_size_um: float = 0.65,
    jitter_px: int = 0,
    vignetting: float = 0.15,
    compression: str | None = None,
    broken_well: str | None = None,
    layout: str = "imagexpress",
) -> dict[str, Any]:
    """Write a plate into ``folder`` and return its truth; the same arguments give the same bytes.

    Parameters
    ----------
    folder
        The plate folder, made if needed.
    wells, sites, overlap, shape
        Well names; (rows, columns) of the sites, numbered row by row; share of a field that neighbours have
        in common; (height, width) of a field in pixels.
    channels
        Channel names; the first shows nuclei, the others the cells' bodies.
    z, timepoints
        Number of z planes, the middle one in focus, and of timepoints, over which cells drift slowly.
    cells_per_well
        One number for all wells or one per well; by default as many as give a moderately dense culture.
    jitter_px
        The stage misses its commanded position by up to this many pixels; the files state the commanded one.
    vignetting
        Relative loss of light at the corners.
    compression
        A compression that tifffile knows, such as ``zlib``.
    broken_well
        The first image of this well is cut to half of its bytes.
    layout
        Whose names, folders and metadata: a name in `hcs_steps.plate.synthetic.layouts.LAYOUTS`.

    Returns
    -------
    dict
        JSON-ready: ``plate``, ``shape``, ``pixel_size_um``, ``channels``, ``site_grid``, ``overlap``,
        ``broken`` (the cut file's path or None), and per well under ``wells``: ``cells`` (in the whole
        scene), ``nuclei`` (their centres [y, x] in scene pixels per timepoint), and per site ``count``
        (nuclei whose centre lies in the field, per timepoint), ``position_um`` [x, y] as written in the
        files, and ``offset_px`` [y, x], the true corner of the field in the scene.
    """
    import numpy as np

    names = sort_wells(wells)
    corners = _corners(sites, overlap, shape)
    scene_shape = tuple(int(edge) for edge in np.max(corners, axis=0) + shape + MARGIN_PX)
    made: dict[str, tuple[Scene, list[Corner]]] = {}
    for well in names:
        # A generator per well, so that a well looks the same whichever others are made.
        rng = np.random.default_rng([seed, crc32(well.encode())])
        cells = cells_per_well.get(well) if isinstance(cells_per_well, Mapping) else cells_per_well
        scene = make_scene((scene_shape[0], scene_shape[1]), shape, cells, timepoints, rng)
        made[well] = scene, _jittered(corners, jitter_px, rng)

    @lru_cache(maxsize=1)
    def picture(well: str, t: int, z_step: int, channel: int) -> NDArray[np.float32]:
        defocus = abs(z_step - (z + 1) / 2)
        return render_channel(made[well][0], t - 1, nuclei=channel == 1, defocus=defocus)

    def pixels(key: PlaneKey) -> NDArray[np.uint16]:
        y, x = made[key.well][1][key.site - 1]
        whole = picture(key.well, key.timepoint, key.z_index, key.channel)
        noise = np.random.default_rng([seed, crc32(repr(tuple(key)).encode())])
        return expose(whole[y : y + shape[0], x : x + shape[1]], vignetting, noise)

    positions = {
        well: [_position(well, corner, shape, pixel_size_um) for corner in corners] for well in names
    }
    planes = tuple(
        Plane(
            well,
            site,
            channel,
            z_step,
            t,
            path="",
            height=shape[0],
            width=shape[1],
            dtype="uint16",
            pixel_size_um=pixel_size_um,
            x_um=positions[well][site - 1][0],
            y_um=positions[well][site - 1][1],
            z_um=Z_STEP_UM * z_step,
            time_s=INTERVAL_S * (t - 1),
        )
        # The sites of one picture follow each other, so that it is rendered once.
        for well, t, z_step, channel, site in product(
            names,
            range(1, timepoints + 1),
            range(1, z + 1),
            range(1, len(channels) + 1),
            range(1, len(corners) + 1),
        )
    )
    plate = SyntheticPlate(
        name=folder.name,
        planes=planes,
        channels=dict(enumerate(channels, 1)),
        dimensions=plate_dimensions(names),
        site_grid=sites,
        pixels=pixels,
    )
    if layout not in LAYOUTS:
        raise ConfigError(f"There is no layout {layout!r}.", hint=nearest(layout, LAYOUTS))
    folder.mkdir(parents=True, exist_ok=True)
    LAYOUTS[layout].write(folder, plate, compression)
    return {
        "plate": folder.name,
        "shape": list(shape),
        "pixel_size_um": pixel_size_um,
        "channels": list(channels),
        "site_grid": list(sites),
        "overlap": overlap,
        "broken": None if broken_well is None else _cut_first_image(folder, canonical_well(broken_well)),
        "wells": {well: _well_truth(*made[well], positions[well], shape) for well in names},
    }


def _corners(sites: tuple[int, int], overlap: float, shape: tuple[int, int]) -> list[Corner]:
    """Upper left corner (y, x) of each field in the scene, row by row, inside a margin for jitter."""
    step_y, step_x = (max(1, round(size * (1 - overlap))) for size in shape)
    return [
        (MARGIN_PX + row * step_y, MARGIN_PX + column * step_x)
        for row in range(sites[0])
        for column in range(sites[1])
    ]


def _jittered(corners: Sequence[Corner], jitter: int, rng: np.random.Generator) -> list[Corner]:
    if not 0 <= jitter <= MARGIN_PX:
        raise ValueError(f"jitter_px is {jitter}, expected 0 to {MARGIN_PX}")
    shifts = rng.integers(-jitter, jitter + 1, size=(len(corners), 2))
    return [(y + int(dy), x + int(dx)) for (y, x), (dy, dx) in zip(corners, shifts, strict=True)]


def _position(well: str, corner: Corner, shape: tuple[int, int], pixel_size_um: float) -> tuple[float, float]:
    """Stage (x, y) in micrometres of a field's centre; y grows downwards, as on a plate's rows."""
    row, column = parse_well(well)
    y, x = (edge + size / 2 for edge, size in zip(corner, shape, strict=True))
    # Rounded as the files state it, so that truth and file agree exactly.
    return (
        round(WELL_PITCH_UM * (column + 1) + x * pixel_size_um, 3),
        round(WELL_PITCH_UM * (row + 1) + y * pixel_size_um, 3),
    )


def _well_truth(
    scene: Scene, actual: Sequence[Corner], positions: Sequence[tuple[float, float]], shape: tuple[int, int]
) -> dict[str, Any]:
    sites = {}
    for site, (y, x) in enumerate(actual, 1):
        inside = (
            (scene.centres[..., 0] >= y)
            & (scene.centres[..., 0] < y + shape[0])
            & (scene.centres[..., 1] >= x)
            & (scene.centres[..., 1] < x + shape[1])
        )
        sites[str(site)] = {
            "count": [int(count) for count in inside.sum(axis=1)],
            "position_um": list(positions[site - 1]),
            "offset_px": [y, x],
        }
    return {"cells": scene.centres.shape[1], "nuclei": scene.centres.round(2).tolist(), "sites": sites}


def _cut_first_image(folder: Path, well: str) -> str:
    """Cut the well's first image to half of its bytes and return its path relative to the plate."""
    place = next(plane.path for plane in open_plate(folder).planes if plane.well == well)
    image = folder / place
    if image.is_dir():  # a Zarr array
        image = max(
            (file for file in image.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size
        )
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])
    return place
