"""A plate of 384 wells through three stages on the test Slurm: ``.venv-slurm/bin/python benchmarks/slurm.py``.

Tiny images, so that what is measured is the way there and back: wall time, submissions, how late the end of jobs was
noticed, and what the main Snakemake process takes of a processor while it waits. The first stage asks for a GPU, of
which there are two. Root on Debian 12, after ``make .venv-slurm/.ready``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "slurm"))

import cluster

from hcs_steps.commands.lab import copy_template, template_folder
from hcs_steps.plate.synthetic import make_plate

STAGES = ("normalize", "tophat", "count")
PIPELINE = {
    "config": {"vfs": {"intermediate_backend": "disk"}},
    "steps": [
        {"name": "normalize", "func": "stack_percentile_normalize"},
        {"name": "tophat", "func": {"use": "tophat", "with": {"selem_radius": 6, "downsample_factor": 1}}},
        {"name": "count", "func": "count_cells_single_channel"},
    ],
}
WINDOW_S = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wells", type=int, default=384)
    parser.add_argument("--units-per-job", type=int, default=24)
    arguments = parser.parse_args()
    cluster.start()
    os.environ.update(cluster.ENVIRONMENT)
    try:
        with tempfile.TemporaryDirectory(prefix="hcs-slurm-") as folder:
            return measure(Path(folder), arguments.wells, arguments.units_per_job)
    finally:
        cluster.stop()


def measure(home: Path, count: int, units_per_job: int) -> int:
    """Run, and print what it took."""
    wells = [f"{row}{column:02d}" for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25)][:count]
    make_plate(home / "P1", wells=wells, sites=(1, 1), channels=["DAPI"], shape=(48, 48), cells_per_well=4)
    lab = home / "lab"
    copy_template(lab)
    (lab / "config/pipelines/p.yaml").write_text(yaml.safe_dump(PIPELINE, sort_keys=False))
    defaults = {"pipeline": "config/pipelines/p.yaml", "units_per_job": units_per_job}
    config = {"output": "results", "defaults": defaults, "plates": [{"path": "../P1"}]}
    (lab / "config/config.yaml").write_text(yaml.safe_dump(config))
    before = len(sacct("state"))
    start, load = time.perf_counter(), []
    words = [
        "--profile",
        str(template_folder() / "profiles" / "slurm"),
        "--set-resources",
        f"{STAGES[0]}:gpu=1",
    ]
    with (home / "out").open("w") as out:
        main_process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *words], cwd=lab, stdout=out, stderr=subprocess.STDOUT
        )
        while main_process.poll() is None:
            load.append(load_of(main_process.pid))
    wall = time.perf_counter() - start
    busy = [value for value in load if value is not None]
    records = len(list(lab.glob("results/P1/records/*/*.json")))
    states = sacct("state")[before:]
    print(f"exit code                     {main_process.returncode}")
    print(
        f"wells x stages                {count} x {len(STAGES)}, {units_per_job} wells per job; {records} records"
    )
    print(f"wall time                     {wall:.0f} s")
    print(f"submissions                   {len(states)}, of which {states.count('COMPLETED')} completed")
    print(
        f"main process, of a processor  {statistics.mean(busy):.1f} % on average, start and submissions included"
    )
    print(f"                              {statistics.median(busy):.1f} % in the median {WINDOW_S:.0f} s")
    if main_process.returncode:
        print((home / "out").read_text()[-3000:], file=sys.stderr)
    return main_process.returncode


def load_of(pid: int) -> float | None:
    """Percent of a processor that a process takes in the next seconds; None if it ends in them."""
    try:
        process = psutil.Process(pid)
        process.cpu_percent()
        time.sleep(WINDOW_S)
        return process.cpu_percent() if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def sacct(field: str) -> list[str]:
    """A field of all jobs that Slurm has had, in the order of their submission."""
    words = ["sacct", "-X", "-n", "-P", "-S", "now-1days", f"--format={field}"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]


if __name__ == "__main__":
    raise SystemExit(main())
