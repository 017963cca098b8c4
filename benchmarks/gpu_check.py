"""Does every image function give on the GPU what it gives on the CPU, and how much faster?

python benchmarks/gpu_check.py [--size 2160] [--only tophat gaussian] [--markdown FILE] [--stand-in]

One file that needs this repository, NumPy, SciPy, scikit-image, and CuPy or PyTorch with a CUDA device; neither
Snakemake nor Zarr. Prints a line per call with the seconds on either device (best of three, after a first call that
compiles kernels), the largest difference and what is allowed, and exits with 1 if a difference is larger. Without
``--only``, `gpu_machinery` follows: leasing, transfers, memory that runs out, DLPack.
``--stand-in`` puts NumPy in the place of CuPy and the CPU in that of CUDA: it shows that the paths run and agree, not
how fast they are.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import gpu_machinery  # noqa: E402
from hcs_steps import functions  # noqa: E402
from hcs_steps.functions.declare import spec_of  # noqa: E402


@dataclass(frozen=True)
class Case:
    """One call: the function, what makes its stack and arguments for a plane size, and how far devices may differ.

    ``tolerance`` bounds pixels (grey values), table columns and arrays (relative to the largest value of each), and
    the share of the objects' pixels that no matching object of the other device has.
    """

    function: str
    stack: Callable[[int], Any]
    arguments: Mapping[str, Any] | Callable[[int], Mapping[str, Any]] = field(default_factory=dict)
    tolerance: float = 0.0
    note: str = ""


def cells(size: int, planes: int = 1, seed: int = 0) -> np.ndarray:
    """(N, Y, X) uint16: blurred discs of about 10 px radius, one per 40 x 40 px, on an uneven noisy background."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    stack = np.zeros((planes, size, size), np.float32)
    for plane in stack:
        count = max(3, size * size // 1600)
        y, x = rng.integers(0, size, (2, count))
        plane[y, x] = rng.uniform(0.3, 1.0, count)
        plane[:] = ndimage.maximum_filter(plane, footprint=disc(9))
        plane[:] = ndimage.gaussian_filter(plane, 1.5) * 4000
    ramp = 300 + 200 * np.linspace(0, 1, size, dtype=np.float32)
    stack += ramp + rng.normal(0, 20, stack.shape).astype(np.float32)
    return stack.clip(0, 65535).astype(np.uint16)


def disc(radius: int) -> np.ndarray:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return y * y + x * x <= radius * radius


def labels(size: int) -> np.ndarray:
    """(1, Y, X) uint32: the discs of `cells`, thresholded and numbered."""
    from scipy import ndimage

    return ndimage.label(cells(size)[0] > 1500)[0][None].astype(np.uint32)


def channels(size: int) -> np.ndarray:
    return cells(size, planes=3)


def five_channels(size: int) -> np.ndarray:
    return cells(size, planes=5)


def objects(*features: str) -> Callable[[int], dict[str, Any]]:
    """Nuclei, cells around them and cytoplasms, for `measure_objects`."""

    def make(size: int) -> dict[str, Any]:
        from skimage.segmentation import expand_labels

        nuclei = labels(size)
        bodies = expand_labels(nuclei[0], 6)[None]
        sets = {"nuclei": nuclei, "cells": bodies, "cytoplasm": np.where(nuclei > 0, 0, bodies)}
        return sets | ({"features": features} if features else {})

    return make


def spots(size: int) -> np.ndarray:
    """(1, Y, X) uint16: photon noise and a spot of sigma 1.5 px per 40 x 40 px."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    plane = np.zeros((size, size), np.float32)
    y, x = rng.integers(0, size, (2, max(3, size * size // 1600)))
    plane[y, x] = 900
    return rng.poisson(100 + ndimage.gaussian_filter(plane, 1.5))[None].astype(np.uint16)


def phase_contrast(size: int) -> np.ndarray:
    """(1, Y, X) uint16: a bright, almost even plane, textured where there are cells."""
    rng = np.random.default_rng(0)
    textured = cells(size)[0] > 1500
    return (rng.normal(20000, 5, (size, size)) + textured * rng.normal(0, 40, (size, size))).astype(
        np.uint16
    )[None]


OVERLAP = 0.1


def corners(size: int) -> np.ndarray:
    """Corners (x, y) in px of 2 x 3 tiles that overlap, a few px off their grid."""
    pitch = round(size * (1 - OVERLAP))
    grid = [(column * pitch, row * pitch) for row in range(2) for column in range(3)]
    return np.array(grid, float) + np.random.default_rng(0).integers(0, 5, (6, 2))


def tiles(size: int) -> np.ndarray:
    """(6, Y, X) uint16: the tiles at `corners` of one scene, each with noise of its own."""
    scene = cells(int(corners(size).max()) + size + 1)[0]
    noise = np.random.default_rng(1).integers(0, 20, (6, size, size), dtype=np.uint16)
    places = corners(size).astype(int)
    return np.stack([scene[y : y + size, x : x + size] for x, y in places]) + noise


def at_fractions(**arguments: Any) -> Callable[[int], dict[str, Any]]:
    shifts = np.random.default_rng(2).uniform(0, 1, (6, 2))
    return lambda size: {"positions": corners(size) + shifts, **arguments}


def flat_field(size: int) -> dict[str, Any]:
    """A field that falls off towards the corners, for `apply_flatfield`."""
    y, x = np.mgrid[-1 : 1 : 1j * size, -1 : 1 : 1j * size]
    gain = 1 - 0.2 * (x**2 + y**2)
    layers = np.stack([gain / gain.mean(), np.full_like(gain, 100)])[None].astype(np.float32)
    return {"flatfield": layers, "flatfield_channels": [1]}


def tiny_model(size: int) -> dict[str, Any]:
    """A TorchScript model on disk, for `segment_model`: the probability rises with the smoothed intensity."""
    import torch

    class Smooth(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(8 * (torch.nn.functional.avg_pool2d(x, 5, 1, 2) - 0.5))

    path = Path(tempfile.mkdtemp()) / "smooth.pt"
    torch.jit.script(Smooth()).save(str(path))
    return {"weights": str(path)}


def as_float(size: int) -> np.ndarray:
    """`cells` as float32, with a NaN."""
    stack = cells(size).astype(np.float32)
    stack[0, 7, 9] = np.nan
    return stack


CASES = [
    Case("stack_percentile_normalize", cells),
    Case("stack_percentile_normalize", as_float, tolerance=1e-5, note="float32"),
    Case("tophat", cells, tolerance=1),
    Case("tophat", cells, {"selem_radius": 50, "downsample_factor": 1}, note="exact disk"),
    Case(
        "tophat",
        cells,
        {"selem_radius": 50, "downsample_factor": 1, "footprint": "octagon"},
        note="exact octagon",
    ),
    Case("gaussian", cells, {"sigma": 2}, tolerance=1),
    Case("gaussian", as_float, {"sigma": 5}, tolerance=0.01, note="float32 with NaN"),
    Case("median", cells, {"radius": 3}),
    Case("subtract_background", cells, tolerance=1),
    Case("apply_flatfield", cells, flat_field, 1),
    *(
        Case("project", five_channels, {"method": method}, note=method)
        for method in ("max", "mean", "best_focus")
    ),
    Case("project", five_channels, {"method": "edf"}, 2, "edf"),
    Case("image_quality", cells, tolerance=1e-4),
    Case("rescale", cells, {"factor": 0.5}, tolerance=1),
    Case("rescale", cells, {"factor": 1.3, "order": 3}, tolerance=1, note="cubic"),
    Case("crop", cells, {"margin": 20}),
    Case("create_composite", channels, {"weights": [1, 2, 3]}, tolerance=1),
    Case("measure_objects", five_channels, objects(), 1e-9, "5 channels, 3 sets"),
    Case("measure_objects", channels, objects("texture"), 1e-6, "texture, 3 channels"),
    Case("measure_objects", channels, objects("radial"), 1e-6, "radial, 3 channels"),
    Case("measure_objects", channels, objects("granularity"), 1e-5, "granularity, 3 channels"),
    Case("segment_spots", spots, tolerance=1e-3),
    Case("segment_model", cells, tiny_model, 0.01, "TorchScript"),
    Case("segment_log_std", phase_contrast, tolerance=1e-3),
    Case(
        "segment_cytoplasm",
        cells,
        lambda size: {"nuclei": labels(size), "ring_width": 4, "ring_gap": 1},
        5e-3,
        "ring",
    ),
    Case("measure_translocation", cells, lambda size: {"nuclei": labels(size)}, 1e-2),
    Case("compute_tile_positions", tiles, {"grid_dimensions": (2, 3)}, 1e-4, "6 tiles"),
    Case("assemble_stack", tiles, at_fractions(), 1, "6 tiles"),
    Case("assemble_stack", tiles, lambda size: {"positions": corners(size)}, 1, "6 tiles, whole pixels"),
    Case("create_composite", channels, {"colors": ["blue", "green", "red"]}, tolerance=1, note="RGB"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2160, help="edge length of the planes in pixels")
    parser.add_argument("--only", nargs="+", default=(), help="these functions")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    parser.add_argument("--stand-in", action="store_true", help="NumPy in the place of CuPy")
    arguments = parser.parse_args()
    with device(arguments.stand_in) as (cupy, torch_device, name):
        print(f"{name}, planes of {arguments.size} x {arguments.size}", flush=True)
        rows = [
            row
            for case in CASES
            if not arguments.only or case.function in arguments.only
            for row in check(case, arguments.size, cupy, torch_device)
        ]
        failed = 0 if arguments.only else check_machinery(cupy)
    if arguments.markdown:
        arguments.markdown.write_text(markdown(rows, name, arguments.size))
    bad = [row for row in rows if not row.agrees]
    print(f"{len(rows) - len(bad)} of {len(rows)} agree")
    raise SystemExit(1 if bad or failed else 0)


def check_machinery(cupy: Any) -> int:
    """Run the checks of the runner; returns how many failed."""
    failed = 0
    for name, run in gpu_machinery.CHECKS.items():
        try:
            said = run(cupy)
        except Exception as error:
            failed += 1
            said = f"FAILED: {type(error).__name__}: {error}"
        print(f"{name:<46}{said}", flush=True)
    return failed


@contextlib.contextmanager
def device(stand_in: bool) -> Iterator[tuple[Any, str, str]]:
    """(cupy or None, Torch's name of the device, a name for people)."""
    if stand_in:
        path = REPOSITORY / "tests" / "cupy_standin.py"
        spec = importlib.util.spec_from_file_location("cupy_standin", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        os.environ["CUDA_VISIBLE_DEVICES"] = "0"
        with module.installed() as cupy:
            yield cupy, "cpu", "NumPy in the place of CuPy"
        return
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(0)
    yield cupy, "cuda", properties["name"].decode()


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    cpu_s: float
    gpu_s: float
    difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.difference <= self.tolerance

    def cells(self) -> list[str]:
        gain = f"{self.cpu_s / self.gpu_s:.1f}" if self.gpu_s else "-"
        verdict = "" if self.agrees else " DIFFERS"
        return [
            self.what,
            f"{self.cpu_s:.3f}",
            f"{self.gpu_s:.4f}",
            gain,
            f"{self.difference:.3g}{verdict}",
            f"{self.tolerance:g}",
        ]


def check(case: Case, size: int, cupy: Any, torch_device: str) -> Iterator[Row]:
    """The case's function on every device that it is for."""
    has_torch = importlib.util.find_spec("torch") is not None
    if case.arguments is tiny_model and not has_torch:
        print(f"{case.function}: PyTorch is not installed")
        return
    function = getattr(functions, case.function)
    given = case.arguments
    stack, arguments = case.stack(size), dict(given(size) if callable(given) else given)
    what = f"{case.function}{' ' if case.note else ''}{case.note}"
    wanted, cpu_s = timed(lambda: function(stack, **arguments), lambda: None)
    if "gpu" in spec_of(function).devices:
        there = {name: cupy.asarray(v) if isinstance(v, np.ndarray) else v for name, v in arguments.items()}
        on_device = cupy.asarray(stack)
        wait = cupy.cuda.Device().synchronize if hasattr(cupy, "cuda") else lambda: None
        found, gpu_s = timed(lambda: function(on_device, **there), wait)
        yield shown(Row(what, cpu_s, gpu_s, difference(wanted, found), case.tolerance))
    if case.function in TORCH and has_torch:
        import torch

        tensor = torch.from_numpy(stack).to(torch_device)
        wait = torch.cuda.synchronize if torch_device == "cuda" else lambda: None
        found, gpu_s = timed(lambda: function(tensor, **arguments), wait)
        yield shown(Row(f"{what} (Torch)", cpu_s, gpu_s, difference(wanted, found), case.tolerance))


TORCH = {"stack_percentile_normalize"}
"""Functions that also take Torch tensors."""


def shown(row: Row) -> Row:
    what, *figures = row.cells()
    print(f"{what:<46}" + "".join(f"{figure:>14}" for figure in figures), flush=True)
    return row


def timed(call: Callable[[], Any], wait: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a call and its seconds: best of three after one that is not counted."""
    result = call()
    wait()
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        call()
        wait()
        best = min(best, time.perf_counter() - start)
        if best > 5:
            break
    return result, best


def difference(wanted: Any, found: Any) -> float:
    """The largest difference between the results of two devices; see `Case.tolerance`."""
    if isinstance(wanted, tuple):
        return max(difference(a, b) for a, b in zip(wanted, found, strict=True))
    if isinstance(wanted, Mapping):
        assert list(wanted) == list(found), f"other columns: {set(wanted) ^ set(found)}"
        return max((relative(wanted[name], found[name]) for name in wanted), default=0.0)
    if isinstance(wanted, np.ndarray):
        host = on_host(found)
        if wanted.shape != host.shape or wanted.dtype != host.dtype:
            return float("inf")
        if wanted.dtype == np.uint32:
            return unmatched(wanted, host)
        return relative(wanted, host) if wanted.ndim < 3 else largest(wanted, host)
    return 0.0 if wanted == found else float("inf")


def on_host(array: Any) -> np.ndarray:
    if hasattr(array, "get"):
        return array.get()
    return array.cpu().numpy() if hasattr(array, "cpu") else np.asarray(array)


def largest(wanted: np.ndarray, found: np.ndarray) -> float:
    return float(np.nanmax(np.abs(wanted.astype(np.float64) - found.astype(np.float64)), initial=0.0))


def relative(wanted: Any, found: Any) -> float:
    wanted, found = np.asarray(wanted), on_host(found)
    if wanted.shape != found.shape:
        return float("inf")
    if wanted.dtype.kind not in "uifb":
        return 0.0 if (wanted == found).all() else float("inf")
    if (np.isnan(wanted) != np.isnan(found)).any():
        return float("inf")
    scale = float(np.nanmax(np.abs(wanted.astype(np.float64)), initial=0.0)) or 1.0
    return largest(wanted, found) / scale


def unmatched(wanted: np.ndarray, found: np.ndarray) -> float:
    """Share of the objects' pixels (of either) outside the overlap with the object that matches best."""
    either = (wanted > 0) | (found > 0)
    if not either.any():
        return 0.0
    pairs, counts = np.unique(np.stack([wanted[either], found[either]]), axis=1, return_counts=True)
    best: dict[int, int] = {}
    for one, other, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        if one and other:
            best[one] = max(best.get(one, 0), count)
    return 1 - sum(best.values()) / int(either.sum())


def markdown(rows: list[Row], name: str, size: int) -> str:
    heads = ["function", "CPU s", "GPU s", "times faster", "largest difference", "allowed"]
    lines = [
        "| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * 6, *(row.cells() for row in rows)]
    ]
    title = f"Image functions on {name} against the CPU, planes of {size} x {size}"
    return "\n".join([f"# {title}", "", "`python benchmarks/gpu_check.py --markdown FILE`", "", *lines, ""])


if __name__ == "__main__":
    main()
