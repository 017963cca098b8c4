"""Jobs whose units crash, hang, run out of memory or are stopped: real processes, killed for real."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from hcs_steps.compile.plan import Plan
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.results import Results
from hcs_steps.run import _deaths, _memory, supervise
from hcs_steps.run._processes import process_start
from hcs_steps.run.running import Progress
from hcs_steps.run.supervise import MAIN_PROCESS

WELLS = ("A01", "A02", "A03", "A04", "A05")
STAGE = "behave"

# A machine that is busy with other tests takes longer to import what cleaning up needs.
# Tests that run in the background are started with signals switched off, which stay off.
PATIENT = """\
import signal, sys
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
from hcs_steps.run import supervise
supervise.CLEAN_UP_S = 60
from hcs_steps.cli import main
sys.exit(main(["step", *sys.argv[1:]]))
"""

FUNCTIONS = '''\
"""What a function of a lab can do to the process that it runs in."""

import ctypes, os, signal, subprocess, sys, time

from hcs_steps.functions.declare import step_function
from hcs_steps.run.running import detail


def leave_programs():
    subprocess.Popen(["sleep", os.environ["NAP"]])
    subprocess.Popen(["sleep", os.environ["NAP"]], start_new_session=True)


def sleep():
    time.sleep(100)


def nap():
    time.sleep(7)


def sleep_with_programs():
    leave_programs()
    sleep()


def crash_with_programs():
    leave_programs()
    ctypes.string_at(1)


def ignore_signals():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    detail("frame 7 of 9")
    sleep()


def need_memory():
    blocks = [bytearray(1 << 28) for _ in range(1000)]


def exit_at_once():
    os._exit(3)


def exit_properly():
    sys.exit(4)


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


@step_function(outputs={"rows": "table"})
def behave(stack):
    """Do what the environment says, at the unit that it says."""
    with open(os.environ["CALLS"], "ab") as calls:
        calls.write(b".")
        calls.flush()
        if calls.tell() == int(os.environ["AT"]):
            globals()[os.environ["HOW"]]()
    return stack + 1, {"value": [1]}
'''


@dataclass(frozen=True)
class Job:
    """A job of five units, one of which is told how to behave; its results, and how it is called."""

    results: Results
    marker: Path
    log: Path
    environment: dict[str, str]
    arguments: tuple[str, ...]

    def start(self, how: str = "", at: int = 3, before=(), **environment: str) -> subprocess.Popen:
        """Start it; the unit ``at`` behaves. ``before`` goes before the command."""
        Path(self.environment["CALLS"]).unlink(missing_ok=True)
        return self.start_again(how, at, before, **environment)

    def start_again(self, how: str = "", at: int = 3, before=(), **environment: str) -> subprocess.Popen:
        """The same while another process has begun it; units are counted on."""
        command = [*before, sys.executable, "-c", PATIENT, *self.arguments]
        told = {**self.environment, "HOW": how, "AT": str(at if how else 0), **environment}
        return subprocess.Popen(command, env=told, stderr=subprocess.PIPE, text=True)

    def run(self, how: str = "", at: int = 3, before=(), **environment: str) -> int:
        """Run it to its end; the exit code."""
        with self.start(how, at, before, **environment) as process:
            process.communicate(timeout=60)
        return process.returncode

    def limited(self, **stage: object) -> Plan:
        """Change the only stage of units in the plan on disk."""
        plan = Plan.load(self.results.plan)
        stages = tuple(replace(s, **stage) if s.name == STAGE else s for s in plan.stages)
        self.results.plan.write_text(replace(plan, stages=stages).to_json())
        return plan

    @property
    def ended(self) -> dict:
        """What the marker says, for short: letters by well."""
        found = json.loads(self.marker.read_text())
        return {state: [unit[-1] for unit in sorted(found[state])] for state in ("done", "failed", "blocked")}

    def failure(self, unit: str = "A03") -> dict:
        return json.loads(self.results.failure(STAGE, unit).read_text())

    def wait_for_running(self, unit: str = "A03", word: str = "") -> dict:
        """Until the unit is being computed: what its running file says."""
        path = self.results.running(STAGE, unit)
        for _ in range(600):
            text = path.read_text() if path.exists() else ""
            if text and word in text and json.loads(text).get("step"):
                return json.loads(text)
            time.sleep(0.05)
        raise AssertionError(f"{unit} never ran")

    def left(self) -> list[str]:
        """Files that say that something is going on, or was not finished."""
        root = self.results.root
        found = [*root.glob("running/*/*"), *root.rglob(".*tmp*"), *root.rglob(".*old*")]
        return [str(path.relative_to(root)) for path in found]

    def files_of(self, unit: str) -> list[str]:
        """Everything that the results hold of a unit's images and tables."""
        root = self.results.root
        images = [p for p in root.rglob("images/*/*") if unit in p.name and p.is_file()]
        return sorted(str(p.relative_to(root)) for p in [*images, *root.rglob(f"by_unit/*/{unit}.*")])

    def processes(self) -> list[psutil.Process]:
        """What runs for this job, whoever its parent is: found by what only its environment or arguments hold."""
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                if process.status() != psutil.STATUS_ZOMBIE and (
                    words == ["sleep", self.environment["NAP"]] or str(self.results.plan) in words
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def all_gone(self, seconds: float = 5.0) -> bool:
        """Whether nothing runs for this job, at the latest after some time."""
        deadline = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in left:
            process.kill()
        return not left


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, write_one_step):
    """A plate, a lab with one function, and the plan."""
    home = tmp_path_factory.mktemp("lab")
    (home / "behaviour.py").write_text(FUNCTIONS)
    make_plate(home / "plate", wells=WELLS, sites=(1, 1), channels=["DAPI"], shape=(32, 32), cells_per_well=2)
    options = {"search_path": (str(home),), "units_per_job": 5}
    return write_one_step(home / "plate", home / "results", "behaviour:behave", STAGE, **options).root


@pytest.fixture(scope="module")
def finished(compiled, tmp_path_factory):
    """The same when all units are done."""
    root = tmp_path_factory.mktemp("finished")
    assert _job(compiled, root, "none").run() == 0
    return root / "results"


@pytest.fixture
def job(compiled, tmp_path, request):
    """A job that has not run."""
    yield from _ended(_job(compiled, tmp_path, request.node.nodeid))


@pytest.fixture
def done_job(finished, tmp_path, request):
    """A job that computes again what is done."""
    made = _job(finished, tmp_path, request.node.nodeid)
    yield from _ended(replace(made, arguments=(*made.arguments, "--force")))


def _ended(made):
    yield made
    for process in made.processes():
        process.kill()


def _job(source, tmp_path, name):
    results = Results(tmp_path / "results")
    shutil.copytree(source, results.root)
    nap = f"1000.{abs(hash(name)) % 10**6:06}"
    environment = {**os.environ, "CALLS": str(tmp_path / "calls"), "NAP": nap}
    marker, log = tmp_path / "marker.json", tmp_path / "job.log"
    (name,) = Plan.load(results.plan).jobs
    arguments = ("--plan", str(results.plan), "--stage", STAGE, "--job", name)
    return Job(results, marker, log, environment, (*arguments, "--marker", str(marker), "--log", str(log)))


@pytest.mark.parametrize(
    ("how", "kind", "said", "in_stack"),
    [
        (
            "crash_with_programs",
            "died",
            "signal 11, SIGSEGV (a crash of native code",
            "in crash_with_programs",
        ),
        ("exit_at_once", "died", "exited with code 3 in the middle of the unit", ""),
        ("be_killed", "died", "signal 9, SIGKILL", ""),
        ("exit_properly", "SystemExit", "called sys.exit(4)", "in exit_properly"),
    ],
)
def test_a_unit_that_ends_its_process_fails_alone(job, how, kind, said, in_stack):
    assert job.run(how) == 0
    assert job.ended == {"done": ["1", "2", "4", "5"], "failed": ["3"], "blocked": []}
    failure = job.failure()
    assert (failure["kind"], failure["step"], failure["attempt"]) == (kind, STAGE, 1)
    assert said in failure["error"]
    assert in_stack in failure["stack"]
    assert failure["log"] == str(job.log)
    text = job.log.read_text()
    assert all(f"{unit} starts" in text for unit in WELLS), "the log was begun anew"
    assert f"A03 failed: {failure['error']}" in text
    assert job.left() == []
    assert job.all_gone(0)


def test_a_unit_that_takes_too_long_is_killed_with_everything_it_started(job):
    job.limited(timeout_s=6.0)  # the first unit of a process also waits for what is imported
    assert job.run("sleep_with_programs", at=5) == 0
    assert job.ended == {"done": ["1", "2", "3", "4"], "failed": ["5"], "blocked": []}
    failure = job.failure("A05")
    assert failure["kind"] == "time limit"
    assert failure["error"].startswith(
        "Step behave, item 1 of 1 (channel DAPI): The unit took longer than the 6 s that stage behave gives to each"
    )
    assert "'orchestration: stages: behave: timeout:' in config/config.yaml" in failure["error"]
    assert "in sleep_with_programs" in failure["stack"]
    assert job.all_gone(0)
    assert job.left() == []


def test_the_time_limit_also_holds_for_a_unit_called_by_hand(job):
    job.limited(timeout_s=1.0)
    by_hand = replace(job, arguments=(*job.arguments[:4], "--unit", "A03"))
    assert by_hand.run("sleep", at=1) == 1
    assert job.failure()["kind"] == "time limit"


def test_what_a_dead_unit_had_published_before_is_withdrawn(done_job):
    job = done_job
    assert job.files_of("A03")
    others = {unit: job.files_of(unit) for unit in WELLS if unit != "A03"}
    assert job.run("be_killed") == 0
    assert job.files_of("A03") == []
    assert {unit: job.files_of(unit) for unit in others} == others
    assert not job.results.record(STAGE, "A03").exists()


def test_too_little_memory_is_a_failure_that_says_so_with_its_figures(job):
    limit = 3 << 30
    job.limited(mem_mb=384)
    assert job.run("need_memory", before=("bash", "-c", f'ulimit -v {limit >> 10}; exec "$@"', "-")) == 0
    failure = job.failure()
    assert failure["kind"] == "out of memory"
    assert (
        "Step behave: MemoryError. It needed more memory than a process may have here (3072 MB): 384 MB were"
        in (failure["error"])
    )
    assert failure["error"].endswith("were measured at the peak. The next attempt is given more.")
    assert job.ended["done"] == ["1", "2", "4", "5"]


@pytest.mark.parametrize(
    ("status", "oom_killed", "peak_mb", "kind"),
    [
        (signal.SIGKILL, True, 10, "out of memory"),
        (signal.SIGKILL, False, 960, "out of memory"),
        (signal.SIGABRT, False, 960, "out of memory"),
        (signal.SIGKILL, False, 10, "died"),
        (signal.SIGSEGV, True, 10, "died"),
        (1 << 8, True, 960, "died"),
    ],
)
def test_a_process_died_of_memory_if_the_system_killed_for_it_or_the_limit_was_near(
    monkeypatch, status, oom_killed, peak_mb, kind
):
    monkeypatch.setattr(_deaths, "memory_limit_mb", lambda: 1000)
    death = _deaths.how_it_died("A01", Progress("segment"), int(status), oom_killed, 384, peak_mb, "")
    assert death.kind == kind
    if kind == "out of memory":
        assert f"384 MB were predicted, {peak_mb} MB were measured" in death.error


def test_control_groups_of_both_versions_are_asked(monkeypatch, tmp_path):
    def text(path):
        there = {
            "/proc/self/cgroup": "5:memory:/slurm/job_1\n1:cpu:/slurm\n0::/user/job_1\n",
            "/proc/vmstat": "pgfault 7\noom_kill 1\n",
        }
        return there.get(str(path)) or (path.read_text() if path.is_file() else "")

    for name, content in {
        "memory/slurm/job_1/memory.oom_control": "under_oom 0\noom_kill 2\n",
        "memory/slurm/memory.limit_in_bytes": f"{300 << 20}\n",
        "user/job_1/memory.events": "oom 9\noom_kill 4\n",
        "user/job_1/memory.max": "max\n",
        "user/memory.max": f"{200 << 20}\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(_memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(_memory, "_text", text)
    assert _memory.oom_kills() == 7
    assert _memory.memory_limit_mb() == 200


class OutOfMemoryError(RuntimeError):
    """As Torch has one, and CuPy another."""


@pytest.mark.parametrize(
    ("error", "it_is"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OutOfMemoryError("CUDA out of memory"), True),
        (OSError(errno.ENOSPC, "No space left"), False),
        (RuntimeError("out of memory"), False),
        (None, False),
    ],
)
def test_errors_that_mean_too_little_memory_are_known_by_their_class(error, it_is):
    assert _memory.is_out_of_memory(error) is it_is


@pytest.mark.parametrize(
    ("how", "number"),
    [
        ("sleep", signal.SIGTERM),
        ("sleep_with_programs", signal.SIGINT),
        ("sleep", signal.SIGHUP),
        ("ignore_signals", signal.SIGTERM),
    ],
)
def test_a_stopped_job_leaves_nothing_of_its_unit(done_job, how, number):
    job = done_job
    assert job.files_of("A03")
    process = job.start(how)
    said = job.wait_for_running(word="frame 7 of 9" if how == "ignore_signals" else "")
    assert said["pid"] == process.pid
    assert said["process_start"] == pytest.approx(process_start(process.pid), abs=0.1)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert job.all_gone(0)
    assert not job.marker.exists()
    assert not job.results.failure(STAGE, "A03").exists()
    assert job.files_of("A03") == []
    assert job.files_of("A04")
    assert job.left() == []


def test_stopping_takes_less_than_ten_seconds():
    assert supervise.GRACE_S + supervise.CLEAN_UP_S < 10


def test_a_killed_job_leaves_no_process(job):
    process = job.start("sleep_with_programs")
    job.wait_for_running()
    away = [p for p in job.processes() if p.cmdline()[0] == "sleep" and os.getsid(p.pid) == p.pid]
    process.kill()
    process.communicate()
    for program in away:
        program.kill()  # what has left the job's group on purpose outlives a SIGKILL
    assert job.all_gone(2)
    assert job.run() == 0
    assert job.ended["done"] == ["1", "2", "3", "4", "5"]
    assert Path(job.environment["CALLS"]).read_text() == "...", "finished units were computed again"
    assert job.left() == []


def test_a_job_ends_when_the_main_process_that_it_descends_from_is_gone(job):
    script = f'export {MAIN_PROCESS}="$$:$(date +%s.%N)"; "$@"; exit 0'
    main = job.start("sleep", before=("bash", "-c", script, "-"))
    job.wait_for_running()
    main.kill()
    main.communicate()
    assert job.all_gone(6)
    assert job.left() == []
    assert not job.results.failure(STAGE, "A03").exists()


def test_a_main_process_elsewhere_is_none_of_the_jobs_business(job):
    other = subprocess.Popen(["sleep", "0.2"])
    try:
        assert job.run(**{MAIN_PROCESS: f"{other.pid}:{process_start(other.pid)}"}) == 0
    finally:
        other.wait()
    assert job.ended["done"] == ["1", "2", "3", "4", "5"]


def test_an_error_of_the_job_itself_is_told_and_ends_it_with_2(job):
    job.results.plan.write_text("{}")
    with job.start() as process:
        assert "hcs: " in process.communicate(timeout=30)[1]
    assert process.returncode == 2
    assert not job.marker.exists()


def test_the_process_that_watches_imports_nothing_heavy():
    code = "import sys, hcs_steps.commands.step, hcs_steps.run.supervise; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"numpy", "psutil", "pyarrow", "yaml", "filelock", "threading"}


def test_two_processes_at_the_same_job_compute_every_unit_once_and_waiting_is_not_what_a_limit_is_for(job):
    with job.start("nap") as first:
        job.wait_for_running()
        job.limited(timeout_s=5.0)
        log = job.log.with_name("second.log")
        second = replace(job, log=log, arguments=(*job.arguments[:-1], str(log)))
        with second.start_again() as other:
            other.communicate(timeout=60)
        first.communicate(timeout=60)
    assert (first.returncode, other.returncode) == (0, 0)
    assert job.ended == {"done": ["1", "2", "3", "4", "5"], "failed": [], "blocked": []}
    assert Path(job.environment["CALLS"]).read_text() == "." * 5
    assert "A03 is being computed by process" in log.read_text()
    assert job.left() == []


def test_who_waits_for_a_unit_computes_it_when_the_other_is_killed(job):
    with job.start("sleep") as first:
        there = job.wait_for_running()
        log = job.log.with_name("second.log")
        second = replace(job, log=log, arguments=(*job.arguments[:-1], str(log)))
        with second.start_again() as other:
            for _ in range(600):
                if log.exists() and "waiting for that" in log.read_text():
                    break
                time.sleep(0.05)
            assert first.pid == there["pid"]
            first.kill()
            other.communicate(timeout=60)
    assert other.returncode == 0
    assert job.ended == {"done": ["1", "2", "3", "4", "5"], "failed": [], "blocked": []}
    assert Path(job.environment["CALLS"]).read_text() == "." * 6, "the one that was lost, again"
    assert job.left() == []
    assert job.all_gone()
