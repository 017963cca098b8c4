"""What running costs: the workflow against a bare process pool that does the same reading, computing and writing.

python benchmarks/execution.py [--cases fused steps short noop] [--cores 2] [--executors hcs local] [--markdown]

Each case is a generated plate and a pipeline. The bare pool imports everything once, forks its processes, and takes
every well through all steps in one call: no plan is made, nothing is recorded, nothing can be resumed. The workflow is
what a user types, ``snakemake`` in the lab: ``run s`` from the first byte of Python until the last well is done,
``with page s`` to the end of the plate's tables and report, which the pool knows nothing of. ``plan s`` is a dry run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hcs_steps.commands.lab import lay_out
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.plate.wells import well_name

COUNT = """\
name: bench
{config}steps:
  - {{name: normalize, func: stack_percentile_normalize}}
  - {{name: tophat, func: {{use: tophat, with: {{selem_radius: 50}}}}}}
  - {{name: cell_count, func: {{1: count_cells_single_channel}}}}
"""
ON_DISK = "config: {vfs: {intermediate_backend: disk}}\n"


@dataclass(frozen=True)
class Case:
    """A plate of so many rows and columns of wells, and a pipeline."""

    name: str
    wells: tuple[int, int]
    sites: tuple[int, int]
    channels: tuple[str, ...]
    size: int
    pipeline: str


CASES = (
    Case("fused", (8, 12), (2, 2), ("DAPI", "GFP"), 512, COUNT.format(config="")),
    Case("steps", (8, 12), (2, 2), ("DAPI", "GFP"), 512, COUNT.format(config=ON_DISK)),
    Case("short", (8, 12), (1, 1), ("DAPI",), 256, COUNT.format(config=ON_DISK)),
    Case(
        "noop",
        (16, 24),
        (1, 1),
        ("DAPI",),
        16,
        f"name: bench\n{ON_DISK}steps:\n"
        + "".join(
            f"  - {{name: step{number}, func: stack_percentile_normalize}}\n" for number in range(1, 8)
        ),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=[case.name for case in CASES])
    parser.add_argument("--executors", nargs="+", default=["hcs", "local"])
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--markdown", action="store_true", help="print a table for docs/performance.md")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        bare(arguments.bare, arguments.cores)
        return
    titles = ["case", "jobs", "cores", "pool s", "executor", "plan s", "run s", "ratio", "with page s"]
    lines = [titles, ["---"] * len(titles)] if arguments.markdown else [titles]
    for line in lines:
        show(line, arguments.markdown)
    for case in CASES:
        if case.name in arguments.cases:
            for line in measure(case, arguments.executors, arguments.cores):
                show(line, arguments.markdown)


def show(line: Sequence[str], markdown: bool) -> None:
    if markdown:
        print(f"| {' | '.join(line)} |", flush=True)
    else:
        print(
            "  ".join(
                word.rjust(width) for word, width in zip(line, (6, 5, 5, 7, 8, 7, 7, 6, 11), strict=True)
            ),
            flush=True,
        )


def measure(case: Case, executors: Sequence[str], cores: int) -> list[list[str]]:
    """The lines of a case."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Path(folder)
        rows, columns = case.wells
        wells = [well_name(row, column) for row in range(rows) for column in range(columns)]
        make_plate(
            lab / "plate", wells=wells, sites=case.sites, channels=case.channels, shape=(case.size,) * 2
        )
        lay_out(lab, lab / "plate")
        (lab / "config/pipelines/count.yaml").write_text(case.pipeline)
        subprocess.run(
            [sys.executable, "-m", "hcs_steps.cli", "compile", "--write"],
            cwd=lab,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        results = next((lab / "results").glob("*/plan.json")).parent
        kept = lab / "kept"
        shutil.copytree(results, kept)
        pool = timed([sys.executable, __file__, "--bare", str(results), "--cores", str(cores)], lab)
        stages = stages_of_wells(results)
        lines = []
        for executor in executors:
            shutil.rmtree(results)
            shutil.copytree(kept, results)
            shutil.rmtree(lab / ".snakemake", ignore_errors=True)
            snakemake = [
                sys.executable,
                "-m",
                "snakemake",
                "--cores",
                str(cores),
                "--executor",
                executor,
                "--quiet",
                "all",
            ]
            plan = timed([*snakemake, "--dry-run"], lab)
            started = time.time()
            page = timed(snakemake, lab)
            markers = [m for stage in stages for m in (results / "jobs" / stage).glob("*.json")]
            run = max(marker.stat().st_mtime for marker in markers) - started
            lines.append(
                [
                    case.name,
                    f"{len(markers)}",
                    f"{cores}",
                    f"{pool:.2f}",
                    executor,
                    f"{plan:.2f}",
                    f"{run:.2f}",
                    f"{run / pool:.2f}",
                    f"{page:.2f}",
                ]
            )
        return lines


def stages_of_wells(results: Path) -> list[str]:
    from hcs_steps.compile.plan import Plan

    return [stage.name for stage in Plan.load(results / "plan.json").stages if stage.scope == "unit"]


def timed(command: list[str], folder: Path) -> float:
    """Seconds of a command, Python's start included."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def bare(folder: Path, cores: int) -> None:
    """The hand-written script: all wells of a compiled plate, by a pool of processes."""
    from hcs_steps.compile.plan import Plan
    from hcs_steps.results import Results
    from hcs_steps.run.preload import loads_of, preload
    from hcs_steps.run.runner import Runner

    plan = Plan.load(folder / "plan.json")
    preload(*loads_of([plan]))
    global _runner
    _runner = Runner(plan, Results(folder))
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        for _ in pool.imap_unordered(take_through, plan.units, chunksize=1):
            pass


def take_through(unit: str) -> None:
    """All steps of one well, without a record."""
    from hcs_steps.run.publish import compute_unit

    plan, results = _runner.plan, _runner.results
    for stage in plan.stages:
        if stage.steps:
            made = compute_unit(plan, stage, unit, _runner.planes(unit), results, _runner.store, False)
            if stage.name != plan.stages[-3].name:  # what later stages look up of earlier ones
                note(stage.name, unit, made.outputs)


def note(stage: str, unit: str, outputs: dict) -> None:
    """As little as later stages need: what the records of a run say of named outputs."""
    from hcs_steps.storage import write_json

    if any(outputs.values()):
        write_json(
            _runner.results.record(stage, unit),
            {"stage": stage, "unit": unit, "success": True, "outputs": outputs},
        )


if __name__ == "__main__":
    main()
