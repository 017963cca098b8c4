"""``snakemake --executor hcs``: options mean what they mean to the standard local executor, on real runs of both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from hcs_steps.plate.synthetic import make_plate
from hcs_steps.results import Results
from hcs_steps.run._processes import process_start

pytestmark = pytest.mark.e2e

WELLS = ("A01", "A02", "A03", "A04")
EXECUTORS = ("hcs", "local")

FUNCTIONS = '''\
"""A function that writes down where and when it runs."""

import json, os, time
from pathlib import Path

from hcs_steps.functions.declare import step_function
from hcs_steps.run.running import progress


def known(name):
    return {n: v for n, v in os.environ.items() if n in ("TMPDIR", "OPENBLAS_NUM_THREADS", "MINE", "LEFT")}


@step_function(outputs={"rows": "table"})
def look(stack, planes):
    """Take a moment; fail in the wells that FAIL names, as often as it says."""
    well = planes["well"][0]
    told = Path(os.environ["FOUND"])
    began = time.time()
    before = sum(line.count(well) for line in told.read_text().splitlines()) if told.exists() else 0
    time.sleep(float(os.environ.get("TAKES", "0.3")))
    line = {"well": well, "began": began, "ended": time.time(), "pid": os.getpid(), "environment": known(1)}
    with told.open("a") as file:
        file.write(json.dumps(line) + "\\n")
    os.environ["LEFT"] = "behind"
    if before < json.loads(os.environ.get("FAIL", "{}")).get(well, 0):
        raise ValueError("it fails")
    return stack, {"value": [1]}
'''

SNAKEFILE = """\
WELLS = ["A01", "A02", "A03", "A04"]

rule all:
    input: expand("second/{well}", well=WELLS), "plain"

rule first:
    output: touch("first/{well}")
    log: "logs/{well}.log"
    threads: int(config.get("threads", 1))
    resources:
        slots=1,
        mem_mb=lambda wildcards, attempt: 100 * attempt,
    shell:
        "hcs step --plan results/plan.json --stage look --unit {wildcards.well:q} --force --log {log:q}"

rule second:
    input: "first/{well}"
    output: touch("second/{well}")
    shell: "true"

rule plain:
    output: "plain"
    shell: "echo $PPID > {output}"
"""

PROBE = '''\
"""A logger plugin that writes down what happens to jobs."""

import os

from snakemake_interface_logger_plugins.base import LogHandlerBase


class LogHandler(LogHandlerBase):
    def emit(self, record):
        event = getattr(record, "event", None)
        name = getattr(record, "rule_name", None) or getattr(record, "job_id", None)
        if event is not None and str(event).rpartition(".")[2].lower() in ("job_info", "job_finished", "job_error"):
            with open(os.environ["EVENTS"], "a") as file:
                file.write(str(event).rpartition(".")[2].lower() + chr(10))

    def no(self):
        return False

    writes_to_stream = writes_to_file = has_filter = has_formatter = needs_rulegraph = property(no)
'''


@dataclass(frozen=True)
class Runs:
    """A workflow of four jobs of the step runner, and how to run it."""

    home: Path

    def start(self, executor: str, *options: str, **environment: str) -> subprocess.Popen[str]:
        """Start it anew, in a folder of its own for the executor."""
        folder = self.folder(executor)
        if not folder.exists():
            folder.mkdir()
            (folder / "results").symlink_to(self.home / executor)
            (folder / "Snakefile").write_text(SNAKEFILE)
        told = {**os.environ, "FOUND": str(folder / "found"), "EVENTS": str(folder / "events"), **environment}
        told["PYTHONPATH"] = os.pathsep.join([str(self.home), os.environ.get("PYTHONPATH", "")])
        told["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        command = [sys.executable, "-m", "snakemake", "--executor", executor, "--nolock", *options]
        return subprocess.Popen(
            command,
            cwd=folder,
            env=told,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Tests that run in the background are started with this signal switched off, which stays off.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def run(self, executor: str, *options: str, **environment: str) -> tuple[int, str]:
        """Exit code and what was said."""
        with self.start(executor, *options, **environment) as process:
            said = process.communicate(timeout=120)[0]
        return process.returncode, said

    def folder(self, executor: str) -> Path:
        return self.home / f"run-{executor}"

    def found(self, executor: str) -> list[dict]:
        """What the function wrote down."""
        path = self.folder(executor) / "found"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wells(self, executor: str) -> list[str]:
        return sorted(line["well"] for line in self.found(executor))

    def most_at_once(self, executor: str) -> int:
        """How many jobs ran at the same time."""
        found = self.found(executor)
        return max(sum(o["began"] <= line["began"] < o["ended"] for o in found) for line in found)


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("plate")
    make_plate(home / "plate", wells=WELLS, sites=(1, 1), channels=["DAPI"], shape=(16, 16), cells_per_well=1)
    return home


@pytest.fixture
def runs(plate: Path, tmp_path: Path, write_one_step: Callable[..., Results]) -> Runs:
    (tmp_path / "executor_functions.py").write_text(FUNCTIONS)
    (tmp_path / "snakemake_logger_plugin_probe").mkdir()
    (tmp_path / "snakemake_logger_plugin_probe/__init__.py").write_text(PROBE)
    options = {"search_path": (str(tmp_path),)}
    for executor in EXECUTORS:
        write_one_step(plate / "plate", tmp_path / executor, "executor_functions:look", "look", **options)
    return Runs(tmp_path)


@pytest.mark.parametrize(
    ("options", "most"),
    [
        (("--cores", "2"), 2),
        (("--jobs", "3"), 3),
        (("--cores", "3", "--resources", "slots=1"), 1),
        (("--cores", "3", "--resources", "mem_mb=210"), 2),
        (("--cores", "3", "--config", "threads=2"), 1),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
def test_as_many_jobs_run_at_once_as_cores_and_resources_allow(
    runs: Runs, options: tuple[str, ...], most: int
) -> None:
    for executor in EXECUTORS:
        # Starting a process for every job takes long on a busy machine: jobs wait for each other.
        code, said = runs.run(executor, *options, "--until", "first", TAKES="2" if most > 1 else "0.2")
        assert code == 0, said
        assert runs.wells(executor) == list(WELLS)
        assert runs.most_at_once(executor) == most, executor


def test_jobs_have_the_environment_that_the_standard_executor_gives_them(runs: Runs, tmp_path: Path) -> None:
    given = {}
    options = ("--cores", "1", "--config", "threads=1", "--default-resources", f"tmpdir='{tmp_path}/tmp'")
    for executor in EXECUTORS:
        code, said = runs.run(executor, *options, MINE="yes")
        assert code == 0, said
        given[executor] = [line["environment"] for line in runs.found(executor)]
    assert given["hcs"] == given["local"]
    assert given["hcs"][-1] == {"MINE": "yes", "OPENBLAS_NUM_THREADS": "1", "TMPDIR": f"{tmp_path}/tmp"}
    assert len({line["pid"] for line in runs.found("hcs")}) == 1, "one process took all jobs"
    assert len({line["pid"] for line in runs.found("local")}) == len(WELLS)
    assert all((runs.folder(executor) / "plain").exists() for executor in EXECUTORS), "other rules run, too"


def test_failed_jobs_are_tried_again_and_others_go_on_as_asked(runs: Runs) -> None:
    fail = json.dumps({"A01": 1, "A02": 9})
    for executor in EXECUTORS:
        code, said = runs.run(executor, "--cores", "1", "--retries", "1", "--keep-going", FAIL=fail)
        assert code == 1, said
        assert runs.wells(executor) == ["A01", "A01", "A02", "A02", "A03", "A04"], executor
        done = sorted(path.name for path in (runs.folder(executor) / "second").iterdir())
        assert done == ["A01", "A03", "A04"], executor
        assert "A02" in said
        assert "it fails" in (runs.folder(executor) / "logs" / "A02.log").read_text()


def test_without_keep_going_the_first_failure_ends_the_run(runs: Runs) -> None:
    fail = json.dumps(dict.fromkeys(WELLS, 9))
    for executor in EXECUTORS:
        code, said = runs.run(executor, "--cores", "1", FAIL=fail)
        assert code == 1, said
        assert len(runs.found(executor)) == 1, executor


def test_until_and_forcerun_choose_the_same_jobs(runs: Runs) -> None:
    for executor in EXECUTORS:
        assert runs.run(executor, "--cores", "2", "--until", "first")[0] == 0
        assert not (runs.folder(executor) / "second").exists(), executor
        assert runs.run(executor, "--cores", "2")[0] == 0
        assert runs.wells(executor) == list(WELLS), "nothing ran twice"
        assert runs.run(executor, "--cores", "2", "--forcerun", "first", "--", "first/A03")[0] == 0
        assert runs.wells(executor) == sorted([*WELLS, "A03"]), executor


def test_logger_plugins_are_told_the_same(runs: Runs) -> None:
    told = {}
    for executor in EXECUTORS:
        options = ("--cores", "1", "--keep-going", "--logger", "probe")
        code, said = runs.run(executor, *options, FAIL=json.dumps({"A02": 9}))
        assert code == 1, said
        told[executor] = sorted((runs.folder(executor) / "events").read_text().split())
    assert told["hcs"] == told["local"]
    assert told["hcs"].count("job_error") == 1
    assert told["hcs"].count("job_finished") == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_process_and_no_output(runs: Runs, number: int) -> None:
    process = runs.start("hcs", "--cores", "2", TAKES="100")
    running = Results(runs.home / "hcs").root / "running"
    deadline = time.monotonic() + 60
    while len(list(running.glob("*/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    if number == signal.SIGINT:  # as a terminal does, to all of the foreground
        for each in [process, *children]:
            each.send_signal(number)
    elif number == signal.SIGTERM:  # Snakemake's own meaning of it: what is running may end
        psutil.Process(process.pid).send_signal(number)
        for child in children:
            child.terminate()
    else:
        process.kill()
    said = process.communicate(timeout=60)[0]
    assert process.returncode != 0, said
    deadline = time.monotonic() + 20
    while any(process_start(child.pid) for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [child for child in children if process_start(child.pid)]
    assert not list(running.glob("*/*.json"))
    assert not list((runs.folder("hcs") / "first").glob("*"))


@pytest.mark.parametrize(
    "command",
    [
        "hcs step --plan p --stage s --unit A01 && true",
        "hcs step --plan p --stage s --unit $(echo A01)",
        "FOO=1 hcs step --plan p --stage s --unit A01",
        "hcs step --plan p --stage s --unit A01 > log.txt",
        "hcs step --plan p --stage s --unit A01 --debug",
        "hcs step --plan p --stage s\n--unit A01",
        "hcs finish --plan p",
        "echo hcs step",
    ],
)
def test_what_is_more_than_a_plain_call_is_left_to_the_shell(command: str) -> None:
    from snakemake_executor_plugin_hcs.commands import plain_step

    assert plain_step(command) is None


def test_a_plain_call_is_known_however_its_words_are_quoted() -> None:
    from snakemake_executor_plugin_hcs.commands import plain_step

    words = plain_step("hcs step --plan 'my & plates/plan.json' --stage s --unit 'A01 $x'\n")
    assert words == ["step", "--plan", "my & plates/plan.json", "--stage", "s", "--unit", "A01 $x"]
