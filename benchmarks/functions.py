"""What the image functions cost, as ratios in one run against the plain NumPy or scikit-image call.

python benchmarks/functions.py [--size 2160] [--only tophat]

Prints a line per comparison: seconds of ours and of the reference (best of three; the slow reference once), the ratio,
and the bar that the project sets itself. One process, one thread of Python; the libraries may use more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from gpu_check import cells  # beside this file

from hcs_steps import functions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2160, help="edge length of the planes in pixels")
    parser.add_argument("--only", nargs="+", choices=COMPARISONS, default=list(COMPARISONS))
    arguments = parser.parse_args()
    print(f"planes of {arguments.size} x {arguments.size} uint16")
    for name in arguments.only:
        COMPARISONS[name](arguments.size)


def seconds(call: Callable[[], object], times: int = 3) -> float:
    """Best of several calls."""
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def line(what: str, ours: float, reference: float, bar: str) -> None:
    print(f"{what:<58} {ours:9.4f} s {reference:9.4f} s  x {reference / ours:7.2f}   {bar}", flush=True)


def tophat(size: int) -> None:
    from skimage.morphology import disk, white_tophat

    stack = cells(size)
    ours = functions.tophat(stack, selem_radius=50, downsample_factor=1)
    start = time.perf_counter()
    reference = white_tophat(stack[0], disk(50))
    slow = time.perf_counter() - start
    assert (ours[0] == reference).all()
    for footprint in ("disk", "octagon", "square"):
        fast = seconds(lambda f=footprint: functions.tophat(stack, 50, 1, f))
        line(f"tophat radius 50, {footprint}, exact", fast, slow, "disk >= 10" if footprint == "disk" else "")
    line("tophat radius 50, disk, default", seconds(lambda: functions.tophat(stack)), slow, "")


def normalize(size: int) -> None:
    stack = cells(size)
    target = np.empty_like(stack)
    copy = seconds(lambda: np.copyto(target, stack), 9)
    normalize = functions.stack_percentile_normalize
    ours = seconds(lambda: normalize(stack, target_max=65535.0))
    line("stack_percentile_normalize, against 2 copies", ours, 2 * copy, ">= 0.5")

    def plain() -> None:
        low, high = np.percentile(stack, [1, 99])
        scaled = np.clip((stack - low) / (high - low), 0, 1) * 65535
        np.round(scaled).astype(np.uint16)

    line("stack_percentile_normalize, against plain NumPy", ours, seconds(plain), "")


SAME_COLUMNS = (
    "label", "area", "centroid", "bbox", "perimeter", "eccentricity", "solidity", "area_convex", "axis_major_length",
    "axis_minor_length", "orientation", "extent", "equivalent_diameter_area", "intensity_mean", "intensity_min",
    "intensity_max", "intensity_std", "intensity_median", "centroid_weighted",
)  # fmt: skip


def wavy_discs(size: int) -> np.ndarray:
    """Labels (1, Y, X): about 2,000 wavy discs at 2160 px, on a jittered grid, cut where they touch."""
    rng = np.random.default_rng(0)
    step = 48
    rows, columns = np.mgrid[:size, :size]
    cell_y, cell_x = rows // step, columns // step
    count = -(-size // step)
    middle = (np.arange(count) + 0.5) * step
    centre_y = middle[:, None] + rng.uniform(-8, 8, (count, count))
    centre_x = middle[None, :] + rng.uniform(-8, 8, (count, count))
    radius = rng.uniform(9, 18, (count, count))
    dy, dx = rows - centre_y[cell_y, cell_x], columns - centre_x[cell_y, cell_x]
    wave = 1 + 0.15 * np.sin(3 * np.arctan2(dy, dx))
    inside = np.hypot(dy, dx) <= radius[cell_y, cell_x] * wave
    return np.where(inside, cell_y * count + cell_x + 1, 0).astype(np.uint32)[None]


def measure(size: int) -> None:
    from skimage.measure import regionprops_table

    labels = wavy_discs(size)
    stack = np.random.default_rng(1).poisson(300 + 2000 * (labels > 0)).astype(np.uint16)

    def ours() -> dict[str, np.ndarray]:
        return functions.measure_objects(stack, labels=labels, features=("shape", "intensity"))[1]

    start = time.perf_counter()
    table = regionprops_table(labels[0].astype(np.int32), stack[0], properties=SAME_COLUMNS)
    slow = time.perf_counter() - start
    assert np.allclose(ours()["Objects_AreaShape_Solidity"], table["solidity"], rtol=1e-9)
    assert np.allclose(ours()["Objects_AreaShape_Perimeter"], table["perimeter"], rtol=1e-9)
    count = len(table["label"])
    line(f"measure_objects, {count} objects, against regionprops_table", seconds(ours), slow, ">= 5")


def stitch(size: int) -> None:
    rng = np.random.default_rng(0)
    pitch = round(size * 0.9)
    scene = cells(4 * pitch + size + 10)[0]
    grid = np.array([(column, row) for row in range(5) for column in range(5)]) * pitch
    corners = grid + rng.integers(0, 9, grid.shape)
    noise = rng.integers(0, 20, (size, size), dtype=np.uint16)
    stack = np.stack([scene[y : y + size, x : x + size] + np.roll(noise, x) for x, y in corners])
    copy = seconds(lambda: stack.copy())

    start = time.perf_counter()
    _, positions, _, _ = functions.compute_tile_positions(stack, grid_dimensions=(5, 5))
    print(f"compute_tile_positions, 25 tiles: {time.perf_counter() - start:.1f} s   (bar: < 10 s)")
    error = positions - corners
    print(f"  {np.sqrt(((error - error.mean(axis=0)) ** 2).sum(axis=1).mean()):.4f} px rms from the truth")
    print(f"  a copy of the tiles: {2 * stack.nbytes / copy / 1e9:.1f} GB/s")
    for what, places in (
        ("whole pixels", corners.astype(float)),
        ("fractions", positions + np.linspace(0, 0.9, 25)[:, None]),
    ):
        for method in ("none", "fixed", "dynamic"):
            mosaic = functions.assemble_stack(stack, places, method)
            best = seconds(lambda p=places, m=method: functions.assemble_stack(stack, p, m))
            rate = (stack.nbytes + mosaic.nbytes) / best / 1e9
            print(f"  assemble_stack, {what}, {method}: {best:.2f} s, {rate:.2f} GB/s", flush=True)


COMPARISONS = {"tophat": tophat, "normalize": normalize, "measure": measure, "stitch": stitch}


if __name__ == "__main__":
    main()
