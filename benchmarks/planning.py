"""What it costs to plan: compile, dry run and no-op rerun of a plate with seven disk-backed steps.

python benchmarks/planning.py [--wells 96 384 1536] [--rerun]

Prints a table of seconds. ``--rerun`` also finishes the workflow (tiny images, without starting a process per job) and
times a call that has nothing to do; it takes minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hcs_steps.commands.lab import lay_out
from hcs_steps.emit.prepare import prepare_plates
from hcs_steps.emit.workflow import Workflow
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.plate.wells import plate_dimensions, well_name
from hcs_steps.run.records import write_marker
from hcs_steps.run.runner import Runner
from hcs_steps.settings import load_settings

STEPS = 7
SNAKEMAKE = [sys.executable, "-m", "snakemake"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wells", type=int, nargs="+", default=[96, 384, 1536])
    parser.add_argument("--rerun", action="store_true")
    arguments = parser.parse_args()
    print(
        f"{'wells':>6} {'jobs':>6} {'read s':>8} {'compile s':>10} {'dry run s':>10} {'rerun s':>8}",
        flush=True,
    )
    for wells in arguments.wells:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), wells, arguments.rerun)


def measure(lab: Path, wells: int, rerun: bool) -> None:
    """One line of the table."""
    rows, columns = {96: (8, 12), 384: (16, 24), 1536: (32, 48)}.get(wells, plate_dimensions(["AF48"]))
    names = [well_name(row, column) for row in range(rows) for column in range(columns)][:wells]
    make_plate(lab / "plate", wells=names, sites=(1, 1), channels=("DAPI",), shape=(32, 32), cells_per_well=2)
    lay_out(lab, lab / "plate")
    (lab / "config/pipelines/count.yaml").write_text(pipeline())
    settings = load_settings(lab / "config/config.yaml").model_copy(update={"output": lab / "results"})
    plates = [
        plate.model_copy(update={"path": lab / "plate", "pipeline": lab / "config/pipelines/count.yaml"})
        for plate in settings.plates
    ]
    settings = settings.model_copy(update={"plates": plates})
    cold, prepared = timed(lambda: prepare_plates(settings, root=lab))
    Workflow({p.results.root.as_posix(): p.plan for p in prepared}, prepared).write()
    (prepared[0].results.plan).unlink()
    warm, prepared = timed(lambda: prepare_plates(settings, root=lab))
    dry, _ = timed(lambda: call(lab, "-n", "--quiet", "all"))
    again = ""
    if rerun:
        finish(prepared, lab)
        again = f"{timed(lambda: call(lab))[0]:8.2f}"
    print(f"{wells:>6} {wells * STEPS:>6} {cold - warm:8.2f} {warm:10.2f} {dry:10.2f} {again:>8}", flush=True)


def finish(prepared: list, lab: Path) -> None:
    """Do the work of all jobs in this process, then let Snakemake take note of it."""
    for item in prepared:
        Workflow({item.results.root.as_posix(): item.plan}, [item]).write()
        runner = Runner(item.plan, item.results)
        for stage in item.plan.stages:
            for job, units in item.plan.jobs_of(stage).items():
                outcome = runner.run(stage, units)
                write_marker(item.results.marker(stage.name, job), stage.name, job, outcome.done, [], [])
    call(lab, "--touch", "--quiet", "all")
    call(lab, "--quiet", "all")


def call(lab: Path, *arguments: str) -> None:
    subprocess.run([*SNAKEMAKE, *arguments], cwd=lab, check=True, capture_output=True)


def timed(action: Callable) -> tuple:
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def pipeline(count: int = STEPS) -> str:
    """So many steps that each write their images."""
    steps = "".join(f"  - {{name: step{n}, func: stack_percentile_normalize}}\n" for n in range(1, count + 1))
    return (
        "name: many\nconfig:\n  vfs: {intermediate_backend: disk, materialization_backend: disk}\nsteps:\n"
        + steps
    )


if __name__ == "__main__":
    main()
