"""A plate of 384 wells through three stages on the test Slurm: ``.venv-slurm/bin/python benchmarks/slurm.py``.

Tiny images, so that what is measured is the way there and back: wall time, submissions, and what the main Snakemake
process takes of a processor while it waits. The first stage asks for a GPU, of which there are two. With ``--faults``
everything that goes wrong on a cluster goes wrong on the way, and the results are verified in the end. Root on Debian
12, after ``make .venv-slurm/.ready``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
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
    parser.add_argument("--faults", action="store_true")
    arguments = parser.parse_args()
    cluster.start()
    os.environ.update(cluster.ENVIRONMENT)
    try:
        with tempfile.TemporaryDirectory(prefix="hcs-slurm-") as folder:
            home = Path(folder)
            lab = lay_out(home, arguments.wells, arguments.units_per_job)
            if arguments.faults:
                return suffer(home, lab, arguments.wells * len(STAGES))
            return measure(home, lab, arguments.wells, arguments.units_per_job)
    finally:
        cluster.stop()


def lay_out(home: Path, count: int, units_per_job: int) -> Path:
    """A lab of one plate."""
    wells = [f"{row}{column:02d}" for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25)][:count]
    make_plate(home / "P1", wells=wells, sites=(1, 1), channels=["DAPI"], shape=(48, 48), cells_per_well=4)
    lab = home / "lab"
    copy_template(lab)
    (lab / "config/pipelines/p.yaml").write_text(yaml.safe_dump(PIPELINE, sort_keys=False))
    defaults = {"pipeline": "config/pipelines/p.yaml", "units_per_job": units_per_job}
    config = {"output": "results", "defaults": defaults, "plates": [{"path": "../P1"}]}
    (lab / "config/config.yaml").write_text(yaml.safe_dump(config))
    return lab


def start(home: Path, lab: Path) -> subprocess.Popen[bytes]:
    """``snakemake`` with the profile; it writes to ``out``."""
    profile = str(template_folder() / "profiles" / "slurm")
    words = [sys.executable, "-m", "snakemake", "--profile", profile, "--set-resources", f"{STAGES[0]}:gpu=1"]
    with (home / "out").open("a") as out:
        return subprocess.Popen(words, cwd=lab, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)


def records_of(lab: Path) -> int:
    """How many units have been through how many stages."""
    return sum(1 for stage in STAGES for _ in (lab / f"results/P1/records/{stage}").glob("[!.]*.json"))


def measure(home: Path, lab: Path, count: int, units_per_job: int) -> int:
    """Run, and print what it took."""
    before = len(sacct("state"))
    began, load = time.perf_counter(), []
    main_process = start(home, lab)
    while main_process.poll() is None:
        load.append(load_of(main_process.pid))
    wall = time.perf_counter() - began
    busy = [value for value in load if value is not None]
    states = sacct("state")[before:]
    print(f"exit code                     {main_process.returncode}")
    print(
        f"wells x stages                {count} x {len(STAGES)}, {units_per_job} per job; {records_of(lab)} records"
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


def suffer(home: Path, lab: Path, units: int) -> int:
    """Run with one fault after the other, each at a share of all units; print what came of it."""
    before, began = len(sacct("state")), time.perf_counter()
    load: list[float | None] = []
    raw = sorted((home / "P1").rglob("*.TIF"))[30]
    whole = raw.read_bytes()
    raw.write_bytes(whole[:100])
    process = start(home, lab)

    def tell(what: str) -> None:
        print(f"{time.perf_counter() - began:4.0f} s, {records_of(lab):4d} of {units}: {what}", flush=True)

    def wait(share: float) -> None:
        while process.poll() is None and records_of(lab) < share * units:
            load.append(load_of(process.pid))

    wait(0.05)
    job, _ = running()[0]
    tell(f"scancel {job}")
    asked("scancel", job)
    wait(0.15)
    tell("kill -9 of a unit's process")
    os.kill(holder_of_a_unit(lab), signal.SIGKILL)
    wait(0.25)
    _, node = running()[0]
    tell(f"node {node} goes down")
    asked("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    time.sleep(10)
    # It may be back by itself.
    subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], capture_output=True)
    tell(f"node {node} is back")
    wait(0.4)
    tell("kill -9 of the main process; its jobs run on; the same command again")
    process.kill()
    process.wait()
    process = start(home, lab)
    wait(0.65)
    tell("Ctrl-C")
    os.killpg(process.pid, signal.SIGINT)
    tell(f"exit code {process.wait()}; the same command again")
    process = start(home, lab)
    tell(f"exit code {process.wait()}: one well has a broken file")
    raw.write_bytes(whole)
    process = start(home, lab)
    code = process.wait()
    tell(f"exit code {code} with the file as it was")
    verified = subprocess.run(
        [sys.executable, "-m", "hcs_steps.cli", "verify"], cwd=lab, capture_output=True, text=True
    )
    print(f"hcs verify: exit code {verified.returncode}, {verified.stdout.strip().splitlines()[-1]}")
    states = Counter(word.split()[0] for word in sacct("state")[before:])
    busy = statistics.median(value for value in load if value is not None)
    print(f"main process: {busy:.1f} % of a processor in the median {WINDOW_S:.0f} s")
    print("submissions: " + ", ".join(f"{count} {state}" for state, count in states.most_common()))
    return code or verified.returncode or records_of(lab) != units


def holder_of_a_unit(lab: Path) -> int:
    """The process that sees to a unit; waits until there is one."""
    while True:
        for path in lab.glob("results/P1/running/*/[!.]*"):
            with suppress(OSError, ValueError):  # the unit has ended meanwhile
                return int(json.loads(path.read_text())["pid"])
        time.sleep(0.02)


def running() -> list[list[str]]:
    """Id and node of the jobs that run; waits until there is one."""
    while not (found := asked("squeue", "-h", "-t", "R", "-o", "%A %N")):
        time.sleep(0.2)
    return [line.split() for line in found]


def asked(*command: str) -> list[str]:
    """The lines that a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


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
    return asked("sacct", "-X", "-n", "-P", "-S", "now-1days", f"--format={field}")


if __name__ == "__main__":
    raise SystemExit(main())
