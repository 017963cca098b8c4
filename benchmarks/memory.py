"""Memory of every built-in step function: what the compiler predicts, and what a unit really takes.

python benchmarks/memory.py [--sizes 1080 2160] [--planes 4] [--dtypes uint16] [--only tophat cells] [--markdown]

Each case is a plate of one well on disk and a pipeline whose last step is the function; its stage runs over the well
in a process of its own, through ``hcs step``, as a job of the workflow does. Predicted is the plan's ``mem_mb`` of the
stage, measured the ``peak_host_mb`` of its record: the largest resident set of that process in MB, Python and
libraries included. The shipped pipelines follow, on a plate of 2 x 2 sites in 2 channels, stage by stage. Exits with 1
if a peak exceeds its prediction or is below half of it.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.declare import step_function
from hcs_steps.run.measure import machine

PIPELINES = Path(__file__).resolve().parents[1] / "config" / "pipelines"
LARGEST_RATIO = 2.0
"""How many times the measured peak a prediction may be."""


@step_function(outputs={"nuclei": "labels"}, changes_image=False)
def bright_objects(stack: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.uint32]]:
    """Regions well above the median, which cost little to find: labels for the functions that need some."""
    from scipy import ndimage

    labels = np.zeros(stack.shape, np.uint32)
    for plane, found in zip(stack, labels, strict=True):
        high = plane > np.median(plane) + plane[::4, ::4].std()
        ndimage.label(ndimage.binary_opening(high, iterations=2), output=found)
    return stack, labels


@step_function(outputs={"axon_skeleton": "labels"}, changes_image=False)
def skeleton_lines(stack: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.uint32]]:
    """A grid of lines in the place of neurites."""
    lines = np.zeros(stack.shape, np.uint32)
    lines[:, ::97, :] = 1
    lines[:, :, ::89] = 1
    return stack, lines


NUCLEI = {"name": "nuclei", "func": {"1": "bright_objects"}, "unlisted": "pass"}
CELLS = {
    "name": "cells",
    "func": {"1": {"use": "bright_objects", "as": {"nuclei": "cells"}}},
    "unlisted": "pass",
}
LINES = {"name": "lines", "func": "skeleton_lines"}
FLATFIELD = {"name": "flatfield", "func": "estimate_flatfield", "scope": "plate"}
POSITIONS = {
    "name": "positions",
    "func": "compute_tile_positions",
}


@dataclass(frozen=True)
class Case:
    """A function with arguments, the steps before it, and what its stacks are made of.

    ``stacks`` is the component that has as many values as the stack is to have planes.
    """

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[Mapping[str, Any], ...] = ()
    stacks: str = "site"
    scope: str = "unit"
    needs: str = ""

    @property
    def name(self) -> str:
        """The function with its arguments and the steps before it, as a table shows them."""
        told = ", ".join(f"{name}={value}" for name, value in self.arguments.items() if name != "weights")
        after = ", ".join(str(step["name"]) for step in self.before)
        return f"{self.function}({told})" + (f" after {after}" if after else "")

    def steps(self) -> list[dict[str, Any]]:
        """The pipeline's steps; each is a stage."""
        mine = {"use": self.function, "with": dict(self.arguments)}
        last = {"name": "measured", "func": mine, "scope": self.scope}
        if self.scope == "unit":
            last["variable_components"] = [self.stacks]
        return [*({"force_disk_output": s.get("scope") != "plate", **s} for s in self.before), last]


CASES = (
    Case("apply_flatfield", before=(FLATFIELD,)),
    Case("assemble_stack", before=(POSITIONS,)),
    Case("compute_tile_positions"),
    Case("count_cells_single_channel"),
    Case("create_composite", stacks="channel"),
    Case("crop", {"margin": 10}),
    Case("estimate_flatfield", scope="plate"),
    Case("focus_score"),
    Case("gaussian"),
    Case("image_quality"),
    Case("measure_objects", before=(NUCLEI, CELLS), stacks="channel"),
    Case("measure_translocation", before=(NUCLEI,)),
    Case("median"),
    Case("project", stacks="z_index"),
    Case("rescale", {"factor": 0.5}),
    Case("saturation"),
    Case("segment_cells", before=(NUCLEI,)),
    Case("segment_cytoplasm", before=(NUCLEI,)),
    Case("segment_log_std"),
    Case("segment_model", {"weights": "model.pt"}, needs="torch"),
    Case("segment_nuclei"),
    Case("segment_spots"),
    Case("sholl", before=(LINES,)),
    Case("sholl", needs="skan"),
    Case("signal_to_background"),
    Case("skan_axon_skeletonize_and_analyze", needs="skan"),
    Case("stack_percentile_normalize"),
    Case("subtract_background"),
    Case("tophat"),
)
"""One for each built-in function, and for each way in which it takes another amount."""


@dataclass(frozen=True)
class Measured:
    """One stage over one unit: the predicted and the measured peak in MB."""

    stage: str
    predicted: int
    measured: int

    @property
    def ratio(self) -> float:
        return self.predicted / self.measured

    @property
    def holds(self) -> bool:
        """Whether the prediction is an upper bound, and not more than twice what was taken."""
        return 1 <= self.ratio <= LARGEST_RATIO


def make_images(folder: Path, size: int, planes: int, stacks: str, dtype: str) -> None:
    """A plate of one well with stacks of ``planes`` planes, and two of everything else that there must be."""
    import tifffile

    from hcs_steps.plate.synthetic import make_plate

    rows = max(n for n in range(1, int(planes**0.5) + 1) if planes % n == 0)
    make_plate(
        folder,
        wells=["A01"],
        sites=(rows, planes // rows) if stacks == "site" else (1, 1),
        channels=[f"C{n + 1}" for n in range(planes)] if stacks == "channel" else ["C1"],
        z=planes if stacks == "z_index" else 1,
        shape=(size, size),
    )
    if dtype == "uint16":
        return
    for path in folder.rglob("*.tif"):
        with tifffile.TiffFile(path) as file:
            pixels, text = file.asarray(), file.pages[0].description
        tifffile.imwrite(path, pixels.astype(dtype), description=text, metadata=None)


def run_stages(plate: Path, results: Path, pipeline: Any, only: Iterable[str] = ()) -> Iterator[Measured]:
    """Compile a pipeline for a plate and run its stages one after the other, each in a process of its own.

    ``only`` names the steps in which the stages that are asked for end; those before them run as well.
    """
    from hcs_steps.compile import CompileOptions, compile_plate
    from hcs_steps.plate import open_plate, write_inventory
    from hcs_steps.results import Results
    from hcs_steps.run.records import read_json
    from hcs_steps.storage import write_text

    inventory = open_plate(plate)
    options = CompileOptions(plate_id="plate", gpu="never", search_path=(str(Path(__file__).parent),))
    plan = compile_plate(inventory, pipeline, options)
    found = Results(results)
    found.root.mkdir(parents=True)
    write_inventory(inventory, found.inventory)
    write_text(found.plan, plan.to_json())
    wanted = set(only)
    for stage in plan.stages:
        unit = plan.units_of(stage)[0]
        job = [sys.executable, "-m", "hcs_steps", "step", "--plan", str(found.plan)]
        done = subprocess.run([*job, "--stage", stage.name, "--unit", unit], capture_output=True, text=True)
        record = read_json(found.record(stage.name, unit))
        if record is None:
            raise SystemExit(f"{stage.name} did not run:\n{done.stdout}{done.stderr}")
        if not wanted or stage.name in wanted:
            yield Measured(stage.name, stage.mem_mb, record["peak_host_mb"])
            if wanted and stage.name == max(wanted):
                return


def pipeline_of(case: Case, folder: Path) -> Any:
    """The case's pipeline; the functions of this file are named by it."""
    from hcs_steps.pipeline.files import pipeline_from_dict

    own = {name: f"{Path(__file__).as_posix()}:{name}" for name in ("bright_objects", "skeleton_lines")}

    def placed(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: placed(item) for key, item in value.items()}
        if value == "model.pt":
            return str(_model(folder / "model.pt"))
        return own.get(value, value) if isinstance(value, str) else value

    return pipeline_from_dict(
        {"name": "memory", "steps": [placed(step) for step in case.steps()]}, where="memory"
    )


def _model(path: Path) -> Path:
    """A network that is hardly any: what `segment_model` takes apart from its network."""
    import torch

    class Bright(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(4 * (image - 1))

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.script(Bright()).save(str(path))
    return path


def measure(case: Case, plate: Path, folder: Path) -> Measured:
    """Run a case on a plate; ``folder`` takes its results."""
    return next(run_stages(plate, folder / "results", pipeline_of(case, folder), ["measured"]))


def measure_pipeline(name: str, size: int, folder: Path) -> Iterator[Measured]:
    """Run a shipped pipeline on a plate of its own, stage by stage."""
    from hcs_steps.pipeline.files import load_pipeline
    from hcs_steps.plate.synthetic import make_plate

    make_plate(folder / "plate", wells=["A01"], sites=(2, 2), channels=("DAPI", "GFP"), shape=(size, size))
    return run_stages(folder / "plate", folder / "results", load_pipeline(PIPELINES / f"{name}.yaml"))


def measure_all(chosen: argparse.Namespace) -> Iterator[tuple[str, str, Measured]]:
    """(what, images, measured) of the functions and the pipelines that are asked for."""
    cases = [case for case in CASES if not chosen.only or case.function in chosen.only]
    lacking = {case.needs for case in cases if case.needs and find_spec(case.needs) is None}
    for package in sorted(lacking):
        print(f"Without what needs {package}, which is not installed.", file=sys.stderr)
    cases = [case for case in cases if case.needs not in lacking]
    shapes = list(itertools.product(chosen.sizes, chosen.planes, chosen.dtypes))
    with tempfile.TemporaryDirectory() as scratch:
        for number, (case, (size, planes, dtype)) in enumerate(itertools.product(cases, shapes)):
            plate = Path(scratch) / f"{size}-{planes}-{dtype}-{case.stacks}"
            if not plate.exists():
                make_images(plate, size, planes, case.stacks, dtype)
            found = measure(case, plate, Path(scratch) / str(number))
            yield case.name, f"{planes} x {size} x {size} {dtype}", found
        shipped = [path.stem for path in sorted(PIPELINES.glob("*.yaml"))]
        shipped = [name for name in shipped if not chosen.only or name in chosen.only]
        for name, size in itertools.product(shipped, chosen.sizes):
            for found in measure_pipeline(name, size, Path(scratch) / f"{name}-{size}"):
                yield f"{name}: {found.stage}", f"8 x {size} x {size} uint16", found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[1080, 2160], help="edge lengths of planes in px"
    )
    parser.add_argument("--planes", type=int, nargs="+", default=[4], help="planes in a stack")
    parser.add_argument("--dtypes", nargs="+", default=["uint16"])
    parser.add_argument("--only", nargs="+", help="functions and shipped pipelines")
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/reliability.md")
    chosen = parser.parse_args(arguments)
    if chosen.markdown:
        print(f"{machine()}, Python {platform.python_version()}, NumPy {np.__version__}\n")
        print(
            "| function or stage | images | predicted (MB) | measured (MB) | ratio |\n|---|---|---:|---:|---:|"
        )
    row = (
        "| `{}` | {} | {:,} | {:,} | {:.2f}{} |" if chosen.markdown else "{:<46} {:<26} {:6,} {:6,} {:5.2f}{}"
    )
    bad = 0
    for what, images, found in measure_all(chosen):
        told = (what, images, found.predicted, found.measured, found.ratio, "" if found.holds else " !")
        print(row.format(*told), flush=True)
        bad += not found.holds
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
