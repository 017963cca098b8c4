"""A lab on the test Slurm, whose wells do what they are told; what Slurm knows of its jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from e2e_lab import Lab, small_plate

from hcs_steps.commands.lab import profiles
from hcs_steps.storage.tables import read_table

STAGE = "behave"
PATIENCE_S = 120.0
_started: list[subprocess.Popen[str]] = []

FUNCTIONS = '''\
"""Wells that do what a file of their name says, once."""

import os
import signal
import time
from pathlib import Path

from hcs_steps.functions.declare import step_function


def sleep():
    time.sleep(300)


def fail():
    raise ValueError("told to")


def nap():
    time.sleep(4)


def take_memory():
    block = bytearray(900 << 20)
    block[::4096] = b"x" * len(block[::4096])
    time.sleep(30)


def long_nap():
    time.sleep(40)


def kill_job():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(30)


@step_function(outputs={"seen": "table"}, rows={"seen": "other"})
def behave(stack, planes):
    """Note that the well has begun, do what it is told, note that it has ended."""
    folder, well = Path(os.environ["BEHAVE"]), str(planes["well"][0])
    with open(folder / "log", "a") as log:
        log.write(f"{well} begins\\n")
    told = folder / well
    if told.exists():
        what = told.read_text()
        told.rename(told.with_suffix(".done"))
        globals()[what]()
    with open(folder / "log", "a") as log:
        log.write(f"{well} ends\\n")
    return stack + 1, {"device": [os.environ.get("CUDA_VISIBLE_DEVICES", "")]}
'''


@dataclass(frozen=True)
class SlurmLab:
    """A lab of one plate and one stage of units, the profiles in a configuration folder of its own."""

    lab: Lab
    home: Path
    environment: dict[str, str]

    @classmethod
    def create(cls, home: Path, wells: Sequence[str], units_per_job: int = 1) -> SlurmLab:
        plate = small_plate(home / "P1", wells=wells, sites=(1, 1), channels=["DAPI"], shape=(32, 32))
        steps = {"steps": [{"name": STAGE, "func": "functions.behaviour:behave"}]}
        lab = Lab.create(home / "lab", [plate], steps, units_per_job=units_per_job)
        (lab.root / "functions" / "behaviour.py").write_text(FUNCTIONS)
        (home / "behave").mkdir()
        return cls(lab, home, with_profiles(home, BEHAVE=str(home / "behave")))

    def tell(self, **wells: str) -> None:
        """What wells are to do when they are computed next: functions of the lab."""
        for well, what in wells.items():
            (self.home / "behave" / well).write_text(what)

    def count(self, what: str = "begins") -> Counter[str]:
        """How often each well has begun to be computed, or has ended."""
        log = self.home / "behave" / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return Counter(line.split()[0] for line in lines if line.endswith(what))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """``snakemake --profile slurm``, as typed."""
        log = (self.home / "out").open("w")
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--profile", "slurm", *arguments],
            cwd=self.lab.root,
            env={**os.environ, **self.environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        _started.append(process)
        return process

    def run(self, *arguments: str) -> tuple[int, str]:
        """The same to its end: exit code and what it said."""
        process = self.start(*arguments)
        return finished(process), self.said()

    def said(self) -> str:
        return (self.home / "out").read_text()

    def running(self) -> set[str]:
        """Wells that have a running file."""
        return {path.stem for path in self.lab.root.glob(f"results/P1/running/{STAGE}/*.json")}

    def holder(self, well: str) -> int:
        """The process whose running file a well has."""
        path = self.lab.root / f"results/P1/running/{STAGE}/{well}.json"
        return int(json.loads(path.read_text())["pid"])

    def records(self) -> set[str]:
        return {unit for stage, unit in self.lab.records(self.lab.root / "results/P1") if stage == STAGE}


def run_profile(lab: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """``snakemake --profile slurm`` in a lab: exit code and what it said."""
    words = [sys.executable, "-m", "snakemake", "--profile", "slurm"]
    environment = {**os.environ, **environment}
    done = subprocess.run(
        words,
        cwd=lab,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    return done.returncode, done.stdout


def device(lab: SlurmLab, well: str) -> str:
    """CUDA_VISIBLE_DEVICES as a well's function saw it."""
    (path,) = lab.lab.root.glob(f"results/P1/tables/by_unit/{STAGE}/{well}.seen.parquet")
    return str(read_table(path)["device"][0])


def with_profiles(home: Path, **environment: str) -> dict[str, str]:
    """What to add to the environment so that ``snakemake --profile slurm`` finds what ``hcs profiles install`` made."""
    before = os.environ.get("XDG_CONFIG_HOME")
    os.environ["XDG_CONFIG_HOME"] = str(home / "config")
    try:
        assert profiles(Namespace(action="install", force=False)) == 0
    finally:
        os.environ.pop("XDG_CONFIG_HOME")
        if before is not None:
            os.environ["XDG_CONFIG_HOME"] = before
    path = home / "config" / "snakemake" / "slurm" / "config.yaml"
    assert yaml.safe_load(path.read_text())["executor"] == "slurm"
    return {"XDG_CONFIG_HOME": str(home / "config"), **environment}


def end_all() -> None:
    """Leave nothing of what tests that failed have started."""
    for process in _started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def end_jobs_of(folder: Path) -> None:
    """Kill processes that Slurm has started for labs in a folder."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(word.startswith(f"{folder}/") for word in process.cmdline()):
                process.kill()


def finished(process: subprocess.Popen[str], seconds: float = 240.0) -> int:
    """The exit code of a process and its group, which are killed if they take too long."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise


def wait_until(true: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """Until something holds; a failure of the test if it does not."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def output(*command: str) -> list[str]:
    """The lines that a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split("\n")[
        :-1
    ]


def queued() -> list[str]:
    """Ids of the jobs that wait, run or end."""
    return output("squeue", "-h", "-o", "%A")


@dataclass(frozen=True)
class SlurmJob:
    """A job as Slurm has it: what it was for, from the plugin's comment; how it ended; what it asked for."""

    id: str
    wildcards: str
    state: str
    mem_mb: int
    minutes: int
    node: str


def current(well: str) -> SlurmJob:
    """The running job that has a well in its name."""
    rows = [line.split("|") for line in output("squeue", "-h", "-t", "R", "-o", "%A|%k|%N")]
    ((id, comment, node),) = [row for row in rows if well in row[1]]
    return SlurmJob(id, comment, "RUNNING", 0, 0, node)


def jobs(first: int, rule: str = STAGE) -> list[SlurmJob]:
    """All jobs of a rule since the one of that id that have ended, in the order of their submission."""
    fields = "jobid,comment%200,state%30,reqmem,timelimitraw,nodelist"
    rows = [
        line.split("|") for line in output("sacct", "-X", "-n", "-P", "-S", "now-1days", f"--format={fields}")
    ]
    return [
        SlurmJob(id, comment, state.split()[0], int(mem.rstrip("M")), int(minutes), node)
        for id, comment, state, mem, minutes, node in rows
        if int(id) >= first and f"rule_{rule}" in comment
    ]


def next_id() -> int:
    """The id that the next job will have, or less."""
    rows = output("sacct", "-X", "-n", "-P", "-S", "now-1days", "--format=jobid")
    return max((int(row) for row in rows), default=0) + 1
