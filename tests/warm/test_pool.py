"""Warm processes: real ones, which take real jobs whose units crash, hang, leak, or change what they can reach."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from hcs_steps.compile.plan import Plan
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.results import Results
from hcs_steps.run import supervise
from hcs_steps.run._processes import process_start
from hcs_steps.run._surroundings import environment_of_job
from hcs_steps.warm.pool import Pool

STAGE = "behave"
WELLS = ("A01", "A02", "A03")

FUNCTIONS = '''\
"""What a function of a lab can do to the process that it runs in."""

import ctypes, json, logging, os, random, signal, subprocess, sys, tempfile, time, warnings
from pathlib import Path

import numpy as np

from hcs_steps.functions.declare import step_function

kept = []


def change_everything():
    os.environ["LEFT"] = "behind"
    os.environ.pop("OMP_NUM_THREADS")
    os.chdir("/")
    os.umask(0o077)
    sys.argv = ["other"]
    sys.setrecursionlimit(500)
    np.seterr(all="raise")
    np.random.seed(1)
    random.seed(1)
    warnings.simplefilter("error")
    logging.getLogger().setLevel(logging.CRITICAL)
    logging.disable(logging.CRITICAL)
    tempfile.tempdir = "/nowhere"
    sys.stdout = open(os.devnull, "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def extend_the_path():
    sys.path.insert(0, "/nowhere")


def fail_where_no_failure_can_be_written():
    Path(os.environ["FAILURES"]).write_text("a file in the place of the folder")
    raise ValueError("it fails")


def draw_with_torch():
    import torch

    with open(os.environ["DRAWN"], "a") as file:
        file.write(f"{torch.rand(1).item()}\\n")


def take_signals():
    signal.signal(signal.SIGALRM, lambda *_: None)


def leave_a_program():
    subprocess.Popen(["sleep", "1000.25"])


def hold_memory():
    kept.append(bytearray(os.urandom(1 << 20)) * 300)


def crash():
    ctypes.string_at(1)


def sleep():
    time.sleep(100)


def fail():
    raise ValueError("it fails")


def nothing():
    pass


def said():
    """Everything of the process that a job could find changed."""
    umask = os.umask(0o022)
    os.umask(umask)
    return {
        "pid": os.getpid(),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "umask": umask,
        "path": sys.path,
        "argv": sys.argv,
        "recursion": sys.getrecursionlimit(),
        "numpy": np.geterr(),
        "random": [random.random(), np.random.random()],
        "warnings": len(warnings.filters),
        "logging": [logging.getLogger().level, logging.root.manager.disable],
        "temporary": tempfile.gettempdir(),
        "descriptors": [os.readlink(f"/proc/self/fd/{number}") for number in (1, 2)],
    }


@step_function(outputs={"rows": "table"})
def behave(stack):
    """Write down what it finds, then do what the environment says."""
    with open(os.environ["FOUND"], "a") as file:
        file.write(json.dumps(said()) + "\\n")
    globals()[os.environ.get("HOW", "nothing")]()
    print("the function speaks")
    return stack + 1, {"value": [1]}
'''


@dataclass(frozen=True)
class Warm:
    """A pool, and a plate whose units it runs."""

    pool: Pool
    results: Results
    found: Path

    def run(self, unit: str = "A01", how: str = "nothing", threads: int = 1, **environment: str) -> int:
        """Run one unit as a job of its own; the exit code."""
        command = ["step", "--plan", str(self.results.plan), "--stage", STAGE, "--job", unit, "--force"]
        command += ["--marker", str(self.marker(unit)), "--log", str(self.log(unit))]
        told = {"FOUND": str(self.found), "HOW": how, **environment}
        return self.pool.run(command, {**environment_of_job(threads, ""), **told})

    def marker(self, unit: str) -> Path:
        return self.results.root / f"{unit}.marker"

    def log(self, unit: str) -> Path:
        return self.results.root / f"{unit}.log"

    def seen(self) -> list[dict]:
        """What the jobs found, in their order."""
        return [json.loads(line) for line in self.found.read_text().splitlines()]

    def in_background(self, **told: str) -> tuple[threading.Thread, list[int]]:
        """A job that has begun; its thread, and where its exit code will be."""
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(self.run(**told)))
        before = len(self.seen()) if self.found.exists() else 0
        thread.start()
        wait_until(lambda: self.found.exists() and len(self.seen()) > before)
        return thread, codes


def wait_until(true) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, write_one_step):
    """A plate, a lab with one function, and the plan."""
    home = tmp_path_factory.mktemp("lab")
    (home / "warm_behaviour.py").write_text(FUNCTIONS)
    make_plate(home / "plate", wells=WELLS, sites=(1, 1), channels=["DAPI"], shape=(32, 32), cells_per_well=2)
    options = {"search_path": (str(home),)}
    return write_one_step(home / "plate", home / "results", "warm_behaviour:behave", STAGE, **options).root


@pytest.fixture
def warm(compiled, tmp_path):
    """A pool that has run nothing yet."""
    shutil.copytree(compiled, tmp_path / "results")
    pool = Pool((), (), 2)
    yield Warm(pool, Results(tmp_path / "results"), tmp_path / "found")
    pool.close()


def test_jobs_one_after_the_other_share_a_process_and_leave_nothing_in_it(warm):
    assert [warm.run("A01", how) for how in ("change_everything", "nothing")] == [0, 0]
    changed, after = warm.seen()
    drawn = [given.pop("random") for given in (changed, after)]
    for given in (changed, after):
        given["environment"].pop("HOW")  # the two jobs differ in what they were told only
    assert after == changed
    assert not set(drawn[0]) & set(drawn[1]), "two jobs have drawn the same"
    assert after["environment"]["OMP_NUM_THREADS"] == "1"


def test_no_two_jobs_draw_the_same_with_torch(compiled, tmp_path):
    pytest.importorskip("torch")
    shutil.copytree(compiled, tmp_path / "results")
    warm = Warm(Pool(("torch",), (), 1), Results(tmp_path / "results"), tmp_path / "found")
    told = {"unit": "A01", "how": "draw_with_torch", "DRAWN": str(tmp_path / "drawn")}
    threads = [threading.Thread(target=warm.run, kwargs={**told, "unit": unit}) for unit in WELLS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert warm.run(**told) == 0
    warm.pool.close()
    drawn = (tmp_path / "drawn").read_text().split()
    assert len(set(drawn)) == len(drawn) == 4


def test_a_job_has_the_environment_and_folder_that_it_is_given_and_no_other(warm, monkeypatch, tmp_path):
    assert warm.run(threads=2, ONLY="here") == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME")
    assert warm.run() == 0
    first, second = warm.seen()
    assert first["environment"]["ONLY"] == "here"
    assert first["environment"]["OMP_NUM_THREADS"] == "2"
    assert "ONLY" not in second["environment"]
    assert "HOME" not in second["environment"]
    assert second["folder"] == str(tmp_path)
    assert first["pid"] == second["pid"]


def test_what_a_job_prints_and_its_programs_print_goes_to_its_own_log(warm):
    for unit in ("A01", "A02"):
        assert warm.run(unit) == 0
        text = warm.log(unit).read_text()
        assert f"{STAGE}: {unit} done" in text
        assert text.count("the function speaks") == 1
    assert [seen["descriptors"] for seen in warm.seen()] == [
        [str(warm.log(unit))] * 2 for unit in ("A01", "A02")
    ]


@pytest.mark.parametrize("how", ["take_signals", "leave_a_program", "fail", "extend_the_path"])
def test_a_process_that_cannot_be_put_right_takes_no_second_job(warm, how):
    warm.run(how=how)
    assert warm.run() == 0
    first, second = warm.seen()
    assert first["pid"] != second["pid"]
    children = psutil.Process().children(recursive=True)
    assert not [p for p in children if p.name() == "sleep" and p.status() != psutil.STATUS_ZOMBIE]


def test_a_unit_whose_failure_cannot_be_written_is_waited_for_by_nobody(warm):
    failures = warm.results.failure(STAGE, "A01").parent.parent
    assert warm.run("A01", "fail_where_no_failure_can_be_written", FAILURES=str(failures)) == 2
    assert not list(warm.results.root.glob("running/*/*"))
    failures.unlink()
    thread, codes = warm.in_background(unit="A01")
    thread.join(20)
    assert codes == [0]
    first, second = warm.seen()
    assert first["pid"] != second["pid"]


def test_a_process_that_is_told_to_end_takes_no_further_job(warm):
    thread, codes = warm.in_background(unit="A01", how="sleep")
    (seen,) = warm.seen()
    psutil.Process(seen["pid"]).parent().terminate()
    thread.join(20)
    assert codes == [supervise.INTERRUPTED]
    assert [warm.run("A02"), warm.run("A03")] == [0, 0]


def test_a_process_that_has_grown_takes_no_further_job(warm):
    assert [warm.run(how=how) for how in ("nothing", "nothing", "hold_memory", "nothing")] == [0] * 4
    first, second, third, fourth = (seen["pid"] for seen in warm.seen())
    assert first == second == third != fourth


def test_a_process_takes_a_limited_number_of_jobs(compiled, tmp_path, monkeypatch):
    limited = "import hcs_steps.run._hired as s; s.MOST_JOBS = 2\n"
    (tmp_path / "sitecustomize.py").write_text(limited)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    shutil.copytree(compiled, tmp_path / "results")
    pool = Pool((), (), 1)
    warm = Warm(pool, Results(tmp_path / "results"), tmp_path / "found")
    assert [warm.run() for _ in range(4)] == [0] * 4
    pool.close()
    pids = [seen["pid"] for seen in warm.seen()]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_a_crash_fails_its_unit_alone_and_the_process_is_replaced(warm):
    assert [warm.run("A01"), warm.run("A02", "crash"), warm.run("A03")] == [0, 0, 0]
    assert json.loads(warm.marker("A02").read_text())["failed"]
    assert json.loads(warm.results.failure(STAGE, "A02").read_text())["kind"] == "died"
    assert list(json.loads(warm.marker("A03").read_text())["done"]) == ["A03"]
    pids = [seen["pid"] for seen in warm.seen()]
    assert pids[0] == pids[1] != pids[2]


def test_a_unit_that_takes_too_long_ends_its_own_process_only(warm):
    plan = Plan.load(warm.results.plan)
    stages = tuple(replace(s, timeout_s=1.0) if s.name == STAGE else s for s in plan.stages)
    warm.results.plan.write_text(replace(plan, stages=stages).to_json())
    other = Warm(warm.pool, warm.results, warm.found)
    assert [warm.run("A01"), other.run("A02", "sleep"), warm.run("A03")] == [0, 0, 0]
    assert json.loads(warm.results.failure(STAGE, "A02").read_text())["kind"] == "time limit"
    first, slow, after = (seen["pid"] for seen in warm.seen())
    assert first == slow != after
    assert not process_start(slow)


def test_a_plan_that_changes_is_read_by_a_new_process(warm):
    assert warm.run() == 0
    plan = Plan.load(warm.results.plan)
    warm.results.plan.write_text(replace(plan, notes=("changed",)).to_json())
    assert warm.run() == 0
    first, second = warm.seen()
    assert first["pid"] != second["pid"]
    record = json.loads(warm.results.record(STAGE, "A01").read_text())
    assert record["plan"] == Plan.load(warm.results.plan).hash


def test_jobs_at_the_same_time_run_in_processes_of_their_own(warm):
    thread, codes = warm.in_background(unit="A01", how="sleep")
    assert warm.run("A02") == 0
    first, second = warm.seen()
    assert first["pid"] != second["pid"]
    warm.pool.stop()
    thread.join(10)
    assert codes == [supervise.INTERRUPTED]


def test_stopping_ends_jobs_cleanly_and_leaves_no_process(warm):
    thread, codes = warm.in_background(unit="A01", how="sleep")
    children = psutil.Process().children(recursive=True)
    warm.pool.close()
    thread.join(10)
    assert codes == [supervise.INTERRUPTED]
    assert not warm.marker("A01").exists()
    assert not list(warm.results.root.glob("running/*/*"))
    wait_until(lambda: not any(process_start(child.pid) for child in children))
    assert warm.run("A02") != 0, "nothing starts after the end"


def test_jobs_end_when_their_pool_is_killed(compiled, tmp_path):
    shutil.copytree(compiled, tmp_path / "results")
    warm = Warm(Pool((), (), 1), Results(tmp_path / "results"), tmp_path / "found")
    pid = os.fork()
    if pid == 0:
        try:
            warm.run(how="sleep")
        finally:
            os._exit(0)
    wait_until(lambda: warm.found.exists() and warm.seen())
    (seen,) = warm.seen()
    others = psutil.Process(pid).children(recursive=True)
    assert seen["pid"] in {process.pid for process in others}
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_until(lambda: not any(process_start(process.pid) for process in others))
    assert not list(warm.results.root.glob("running/*/*"))


def test_a_killed_watcher_fails_its_job_and_is_replaced(warm):
    thread, codes = warm.in_background(unit="A01", how="sleep")
    (seen,) = warm.seen()
    psutil.Process(seen["pid"]).parent().kill()
    thread.join(10)
    assert codes == [1]
    wait_until(lambda: not process_start(seen["pid"]))
    assert warm.run("A02") == 0


def test_a_killed_server_is_replaced_when_it_is_next_needed(warm):
    thread, codes = warm.in_background(unit="A01", how="sleep")
    (seen,) = warm.seen()
    psutil.Process(seen["pid"]).parent().parent().kill()
    time.sleep(0.2)
    assert warm.run("A02") == 0
    warm.pool.stop()
    thread.join(10)
    assert codes == [supervise.INTERRUPTED]


def test_what_lies_in_the_folder_of_a_lab_is_not_taken_for_a_module(warm, tmp_path, monkeypatch):
    (tmp_path / "argparse.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    assert warm.run() == 0


def test_what_is_still_loading_is_not_waited_for_at_the_end(tmp_path, monkeypatch):
    text = "import time\nfrom pathlib import Path\n"
    text += f"Path({str(tmp_path / 'begun')!r}).touch()\ntime.sleep(20)\nPath({str(tmp_path / 'ended')!r}).touch()"
    (tmp_path / "slow_to_load.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    pool = Pool((), ("slow_to_load",), 1)
    pool.open()
    wait_until((tmp_path / "begun").exists)
    pool.close()
    assert not (tmp_path / "ended").exists()


def test_a_command_that_is_no_job_says_what_is_wrong_with_it(warm, capfd):
    assert warm.pool.run(["step", "--plan", "nowhere.json"], dict(os.environ)) == 2
    assert (
        warm.pool.run(["step", "--plan", "nowhere.json", "--stage", "s", "--job", "j"], dict(os.environ)) == 2
    )
    told = capfd.readouterr().err
    assert "--stage" in told
    assert "The plan nowhere.json cannot be read" in told
