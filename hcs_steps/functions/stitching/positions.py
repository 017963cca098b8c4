"""Where the tiles of a well lie, from the overlaps of their images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions._checks import plane_column, require_not_negative, require_numbers, require_positive
from hcs_steps.functions._stacks import require_stack
from hcs_steps.functions.declare import Table, step_function
from hcs_steps.functions.stitching.measure import Registration, register_pairs
from hcs_steps.functions.stitching.nominal import Tiles, nominal_positions, pixel_size_of, tiles_of
from hcs_steps.functions.stitching.pairs import Pair, neighbours
from hcs_steps.functions.stitching.solve import Solution, solve


@step_function(
    outputs={"positions": "array", "tile_positions": "table", "tile_pairs": "table"},
    rows={"tile_positions": "other", "tile_pairs": "other"},
    changes_image=False,
    memory=1.1,
    scratch=17.0,
    packages=("scipy.linalg",),
    devices=("cpu", "gpu"),
    stacks="site",
    needs_stacks=True,
)
def compute_tile_positions(
    stack: Any,
    overlap_ratio: float = 0.1,
    max_shift: float = 15.0,
    stitch_alpha: float = 0.2,
    filter_sigma: float = 0.0,
    order: str | Enum = "rows",
    reference_channel: int | str | None = None,
    pixel_size_um: float | None = None,
    seed: int = 0,
    grid_dimensions: tuple[int, int] | None = None,
    planes: Table | None = None,
) -> tuple[Any, NDArray[np.float64], dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Find where overlapping tiles lie to each other. The image passes through unchanged.

    1. Nominal positions: from stage positions (``x_um``, ``y_um``) where every tile has one and the pixel size
       is known; else from the cells of the grid and ``overlap_ratio``.
    2. The overlap of each pair of neighbours is band-passed; the highest peaks of its phase correlation within
       ``max_shift`` are compared by the normalised cross-correlation of what overlaps, and the best is refined
       to a fraction of a pixel (see `register` and `subpixel`). The error of a pair is -log of its correlation.
    3. The same is done with sides of tiles that are no neighbours. A pair counts if its error is clearly less
       than that of all of them (see `solve.limits`). A pair whose error is only less than their quantile
       ``stitch_alpha`` counts if one of its shifts agrees with the linear model of the others.
    4. The best edges span a tree; least squares over all edges refine it, and edges that contradict it are left
       out (see `place.adjust`).
    5. Tiles that no edge connects to the largest part are placed by the linear model nominal -> fitted of that
       part; with no edges at all, all tiles are placed at their nominal positions.

    Steps 2, 3 and 5 follow ASHLAR (Muhlich et al., Bioinformatics 38, 2022), the check of correlated peaks and
    the second look by a model of the stage MIST (Chalfoun et al., Sci. Rep. 7, 2017).

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy. NaN counts as background.
    overlap_ratio
        Nominal overlap of neighbours as a part of a tile's size, from 0 to below 1. Used with a grid only: stage
        positions win where both are known.
    max_shift
        Farthest that a tile may lie from its nominal place beside its neighbour, in micrometres; in pixels where
        the pixel size is unknown. At most half of a tile is searched.
    stitch_alpha
        Quantile of the errors of unrelated pairs, 0 to 1.
    filter_sigma
        Above 0: whitening by a Laplacian of Gaussian of this standard deviation in px, for faint or hazy tiles.
    order
        Without metadata, the order of acquisition in ``grid_dimensions``: ``rows``, ``columns``,
        ``snake rows``, ``snake columns`` or ``spiral``; see `nominal.cells_in_order`.
    reference_channel
        Number or name of the channel that is registered if the stack has several per site; None: the lowest.
        Of several z planes the middle one is taken, of timepoints the first. All planes of a site get its
        position.
    pixel_size_um
        Pixel size in micrometres; None: the plane table's.
    seed
        For the choice of unrelated pairs.
    grid_dimensions
        (rows, columns) of the grid.
    planes
        The plane table. Without it every plane is a tile.

    Returns
    -------
    stack
        The object that was passed in.
    positions
        float64 (N, 2): x and y of each plane's upper left corner in pixels, with fractions; the least is 0.
    tile_positions
        One row per plane: ``plane``, ``x_px``, ``y_px``, ``nominal_x_px``, ``nominal_y_px``, ``placed_by``
        (``registered``: connected to the largest part; ``model``: by the linear model; ``nominal``),
        ``component`` (number of the connected part), ``edges`` (accepted pairs of the tile).
    tile_pairs
        One row per pair of neighbours: ``plane``, ``neighbour_plane``, ``neighbour_site`` (its site's number, or
        the plane without a plane table), ``direction`` (``right`` or ``below``),
        ``nominal_dx_px``, ``nominal_dy_px``, ``dx_px``, ``dy_px`` (measured offset of the neighbour's corner),
        ``correlation``, ``error``, ``shift_error_px`` (standard error of the measured offset by the noise),
        ``residual_px`` (distance of the measured from the final offset),
        ``accepted`` and ``in_tree`` (0 or 1), ``reason``: ``accepted``, ``no overlap`` (nominally none),
        ``empty overlap`` (one side is constant), ``above threshold`` (no more alike than unrelated tiles, as empty
        overlaps of real images are), ``unclear shift`` (cannot be refined, or disagrees with the model),
        ``inconsistent`` (with other pairs). NaN where
        nothing was measured.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), a number is out of range, or nothing tells where the tiles lie.
    """
    require_stack(stack, "compute_tile_positions")
    require_positive(pixel_size_um=pixel_size_um)
    require_not_negative(max_shift=max_shift, filter_sigma=filter_sigma)
    require_numbers(overlap_ratio=overlap_ratio, stitch_alpha=stitch_alpha)
    if not 0 <= overlap_ratio < 1:
        raise ValueError(f"overlap_ratio is a part of a tile, from 0 to below 1, but is {overlap_ratio}.")
    if not 0 <= stitch_alpha <= 1:
        raise ValueError(f"stitch_alpha is a quantile, from 0 to 1, but is {stitch_alpha}.")
    shape = int(stack.shape[1]), int(stack.shape[2])
    tiles = tiles_of(planes, stack.shape[0], reference_channel)
    nominal = nominal_positions(tiles, shape, planes, grid_dimensions, overlap_ratio, order, pixel_size_um)
    size = pixel_size_of(planes, stack.shape[0], pixel_size_um)
    reach = min(max_shift / size if math.isfinite(size) else max_shift, min(shape) / 2)
    pairs = neighbours(nominal, shape, reach)
    task = Registration([stack[plane] for plane in tiles.reference.tolist()], reach, filter_sigma)
    found, chance = register_pairs(task, pairs, seed)
    solution = solve(task, nominal, pairs, found, chance, stitch_alpha)
    positions = solution.positions[tiles.of_plane]
    tile_pairs = _pair_table(tiles, pairs, solution)
    tile_pairs["neighbour_site"] = _sites(planes, stack.shape[0])[tile_pairs["neighbour_plane"]]
    return stack, positions, _tile_table(tiles, nominal, solution), tile_pairs


ashlar_compute_tile_positions_cpu = compute_tile_positions
ashlar_compute_tile_positions_gpu = compute_tile_positions


def _sites(planes: Table | None, count: int) -> NDArray[np.int64]:
    known = planes is not None and "site" in planes
    return plane_column(planes, "site", count).astype(np.int64) if known else np.arange(count)


def _tile_table(tiles: Tiles, nominal: NDArray[np.float64], solution: Solution) -> dict[str, NDArray[Any]]:
    tile = tiles.of_plane
    return {
        "plane": np.arange(len(tile)),
        "x_px": solution.positions[tile, 0],
        "y_px": solution.positions[tile, 1],
        "nominal_x_px": nominal[tile, 0],
        "nominal_y_px": nominal[tile, 1],
        "placed_by": solution.placed_by[tile],
        "component": solution.component[tile],
        "edges": solution.edges[tile],
    }


def _pair_table(tiles: Tiles, pairs: Sequence[Pair], solution: Solution) -> dict[str, NDArray[Any]]:
    ends = np.array([(pair.first, pair.second) for pair in pairs], dtype=np.int64).reshape(-1, 2)
    offsets = np.array([pair.offset for pair in pairs], dtype=np.float64).reshape(-1, 2)
    measured = solution.measured
    with np.errstate(divide="ignore"):
        error = -np.log(np.maximum(measured.correlation, 0.0))
    return {
        "plane": tiles.reference[ends[:, 0]],
        "neighbour_plane": tiles.reference[ends[:, 1]],
        "direction": np.array(["right" if pair.horizontal else "below" for pair in pairs], dtype="U5"),
        "nominal_dx_px": offsets[:, 0],
        "nominal_dy_px": offsets[:, 1],
        "dx_px": measured.offsets[:, 0],
        "dy_px": measured.offsets[:, 1],
        "correlation": measured.correlation,
        "error": error,
        "shift_error_px": measured.shift_error,
        "residual_px": solution.residual,
        "accepted": solution.accepted.astype(np.int64),
        "in_tree": solution.in_tree.astype(np.int64),
        "reason": solution.reason,
    }
