"""What running costs: the workflow against a bare process pool that does the same reading, computing and writing.

python benchmarks/execution.py [--cases fused steps ...] [--cores 1 2] [--executors hcs local] [--raw memory disk]

Each case is a generated plate and a pipeline. The bare pool imports everything once, forks its processes, and takes
every well through all steps in one call: no plan is made, nothing is recorded, nothing can be resumed. The workflow is
what a user types, ``snakemake`` in the lab: ``run s`` from the first byte of Python until the last well is done,
``with page s`` to the end of the plate's tables and report, which the pool knows nothing of. ``plan s`` is a dry run.
``ms/job`` is by how much a run takes longer than the pool, by job. ``again s`` is like ``run s`` where every job finds
its results up to date, for nothing but Snakemake's notes and markers has been removed. ``raw from``: the system has all
raw files in memory, or none of them (Linux). With ``--markdown`` it prints the table of docs/performance.md.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
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


NORMALISE_AND_COUNT = """\
name: bench
steps:
  - {name: normalize, func: stack_percentile_normalize}
  - {name: cell_count, func: {1: count_cells_single_channel}}
"""

CASES = (
    Case("fused", (8, 12), (2, 2), ("DAPI", "GFP"), 512, COUNT.format(config="")),
    Case("steps", (8, 12), (2, 2), ("DAPI", "GFP"), 512, COUNT.format(config=ON_DISK)),
    Case("short", (8, 12), (1, 1), ("DAPI",), 256, COUNT.format(config=ON_DISK)),
    Case("bbbc013", (8, 12), (1, 1), ("FKHR", "DNA"), 640, COUNT.format(config="")),
    Case("large", (8, 12), (3, 3), ("DAPI", "GFP", "RFP", "Cy5"), 1080, NORMALISE_AND_COUNT),
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
    parser.add_argument("--cores", type=int, nargs="+", default=[os.cpu_count() or 1])
    parser.add_argument("--raw", nargs="+", choices=["memory", "disk"], default=["memory"])
    parser.add_argument("--markdown", action="store_true", help="print a table for docs/performance.md")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        bare(arguments.bare, *arguments.cores)
        return
    lines = [TITLES, ["---"] * len(TITLES)] if arguments.markdown else [TITLES]
    for line in lines:
        show(line, arguments.markdown)
    for case in CASES:
        if case.name in arguments.cases:
            for line in measure(case, arguments.executors, arguments.cores, arguments.raw):
                show(line, arguments.markdown)


TITLES = [
    "case", "jobs", "cores", "raw from", "pool s", "executor", "plan s", "run s", "ratio", "ms/job", "with page s",
    "again s",
]  # fmt: skip


def show(line: Sequence[str], markdown: bool) -> None:
    if markdown:
        print(f"| {' | '.join(line)} |", flush=True)
    else:
        print(
            "  ".join(word.rjust(max(7, len(title))) for word, title in zip(line, TITLES, strict=True)),
            flush=True,
        )


def measure(
    case: Case, executors: Sequence[str], cores: Sequence[int], sources: Sequence[str]
) -> Iterator[list[str]]:
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
        shutil.copytree(results, lab / "kept")
        for number, source in product(cores, sources):
            prepare(lab, results, source)
            pool = timed([sys.executable, __file__, "--bare", str(results), "--cores", str(number)], lab)
            for executor in executors:
                prepare(lab, results, source)
                words = run_workflow(lab, results, executor, number, pool)
                yield [case.name, words[0], f"{number}", source, f"{pool:.1f}", executor, *words[1:]]


def prepare(lab: Path, results: Path, source: str) -> None:
    """The plate is compiled, nothing has run, and raw files are in memory, or not."""
    shutil.rmtree(results)
    shutil.copytree(lab / "kept", results)
    shutil.rmtree(lab / ".snakemake", ignore_errors=True)
    os.sync()
    for path in (lab / "plate").rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                if source == "disk":
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                else:
                    while file.read(1 << 24):
                        pass


def run_workflow(lab: Path, results: Path, executor: str, cores: int, pool: float) -> list[str]:
    """Jobs, and what they took."""
    snakemake = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        f"{cores}",
        "--executor",
        executor,
        "--quiet",
        "all",
    ]
    stages = stages_of_wells(results)
    plan = timed([*snakemake, "--dry-run"], lab)
    run, page = timed_run(snakemake, lab, results, stages)
    jobs = sum(1 for stage in stages for _ in (results / "jobs" / stage).glob("*.json"))
    shutil.rmtree(lab / ".snakemake")
    shutil.rmtree(results / "jobs")
    again, _ = timed_run(snakemake, lab, results, stages)
    per_job = (run - pool) / jobs * 1000
    return [
        f"{jobs}",
        f"{plan:.1f}",
        f"{run:.1f}",
        f"{run / pool:.2f}",
        f"{per_job:.0f}",
        f"{page:.1f}",
        f"{again:.1f}",
    ]


def timed_run(command: list[str], lab: Path, results: Path, stages: Sequence[str]) -> tuple[float, float]:
    """Seconds of a run until the last well is done, and until its end."""
    started = time.time()
    whole = timed(command, lab)
    markers = [marker for stage in stages for marker in (results / "jobs" / stage).glob("*.json")]
    return max(marker.stat().st_mtime for marker in markers) - started, whole


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
