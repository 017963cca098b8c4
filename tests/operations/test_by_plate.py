"""A Snakemake for each plate, one after the other or side by side. Snakemake is a small script here."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hcs_steps.cli import main
from hcs_steps.operations import launch
from hcs_steps.operations.by_plate import INCOMPLETE, NOT_STARTED, REFUSED, exit_code, run_by_plate
from hcs_steps.operations.launch import Request
from hcs_steps.operations.stopping import INTERRUPTED, TIME_LIMIT

PLATES = ("P1", "P2", "P3")
SCRIPT = """
import json, sys, time
from pathlib import Path
plate, codes, seconds, words = sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
with open("calls.txt", "a") as file:
    file.write(plate + "\\n")
Path(f"{plate}.json").write_text(json.dumps(words))
print("hello", flush=True)
time.sleep(seconds)
sys.exit(codes.get(plate, 0))
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a folder with three plates in its configuration, in which the script stands for Snakemake."""

    def make(*, seconds: float = 0.0, codes: dict[str, int] | None = None, **orchestration: Any) -> Path:
        (tmp_path / "config").mkdir()
        (tmp_path / "Snakefile").touch()
        steps = {"steps": [{"name": "normalize", "func": "stack_percentile_normalize"}]}
        (tmp_path / "config/p.yaml").write_text(json.dumps(steps))
        plates = [{"path": name, "pipeline": "config/p.yaml"} for name in PLATES]
        config = {"plates": plates, "orchestration": orchestration}
        (tmp_path / "config/config.yaml").write_text(json.dumps(config))
        real = launch.command

        def command(request: Request, retries: int = 0) -> list[str]:
            assert request.plates is not None
            given = [request.plates[0], json.dumps(codes or {}), str(seconds)]
            return [sys.executable, "-c", SCRIPT, *given, *real(request, retries)[3:]]

        monkeypatch.setattr(launch, "command", command)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return make


def called(folder: Path) -> list[str]:
    file = folder / "calls.txt"
    return file.read_text().split() if file.exists() else []


def words(folder: Path, plate: str) -> list[str]:
    return list(json.loads((folder / f"{plate}.json").read_text()))


def test_every_plate_gets_a_call_of_its_own_in_their_order(lab: Any) -> None:
    folder = lab()
    assert main(["run", "--by-plate"]) == 0
    assert called(folder) == list(PLATES)
    assert 'only_plates=["P2"]' in words(folder, "P2")


def test_only_the_plates_that_are_asked_for_are_called(lab: Any) -> None:
    folder = lab()
    assert main(["run", "--by-plate", "2", "--plates", "P3,P1", "--mode", "preview"]) == 0
    assert sorted(called(folder)) == ["P1", "P3"]
    assert 'mode="preview"' in words(folder, "P3")


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_plate_that_fails_or_cannot_start_keeps_no_other_from_running(
    lab: Any, at_once: int, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = lab(codes={"P1": 1, "P2": 2})
    assert run_by_plate(Request(), at_once) == INCOMPLETE
    assert sorted(called(folder)) == list(PLATES)
    told = capfd.readouterr().err
    assert "1 of 3 plates done" in told
    assert "not all is done: P1" in told
    assert "could not start: P2" in told


def test_the_first_failure_is_the_last_plate_where_the_configuration_says_so(
    lab: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = lab(codes={"P2": 1}, continue_on_error=False)
    assert run_by_plate(Request(), 1) == INCOMPLETE
    assert called(folder) == ["P1", "P2"]
    assert "not started: P3" in capfd.readouterr().err


def test_several_at_a_time_share_the_processors_and_say_which_plate_speaks(
    lab: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = lab()
    assert run_by_plate(Request(jobs=6), 3) == 0
    assert words(folder, "P1")[:2] == ["--cores", "2"]
    assert {f"{name}: hello" for name in PLATES} <= set(capfd.readouterr().out.splitlines())


def test_what_they_share_is_what_one_call_would_use(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lab()
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert run_by_plate(Request(), 2) == 0
    assert words(folder, "P1")[:2] == ["--cores", "4"]
    (folder / "profiles" / "default").mkdir(parents=True)
    (folder / "profiles" / "default" / "config.yaml").write_text("cores: 6\n")
    assert run_by_plate(Request(), 2) == 0
    assert words(folder, "P1")[:2] == ["--cores", "3"]


def test_another_attempt_gets_the_time_that_is_left(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lab(codes={"P1": 1}, seconds=0.2, total_timeout=100.0, retries=1)
    monkeypatch.setattr(launch, "_worth_another_try", lambda settings: True)
    assert launch.run(Request(plates=("P1",))) == INCOMPLETE
    assert called(folder) == ["P1", "P1"]
    (limit,) = [word for word in words(folder, "P1") if word.startswith("orchestration=")]
    assert json.loads(limit.partition("=")[2])["total_timeout"] < 100


def test_jobs_of_a_cluster_are_those_of_its_profile(lab: Any) -> None:
    folder = lab()
    assert run_by_plate(Request(profile="slurm"), 2) == 0
    assert words(folder, "P1")[:2] == ["--profile", "slurm"]
    assert "--jobs" not in words(folder, "P1")


def test_the_time_limit_is_that_of_all_plates(lab: Any) -> None:
    folder = lab(seconds=0.4, total_timeout=0.3)
    assert run_by_plate(Request(), 1) == TIME_LIMIT
    assert called(folder) == ["P1"]
    (limit,) = [word for word in words(folder, "P1") if word.startswith("orchestration=")]
    assert 0 < json.loads(limit.partition("=")[2])["total_timeout"] <= 0.3


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_signal_ends_the_calls_and_no_other_one_is_begun(lab: Any, at_once: int) -> None:
    folder = lab(seconds=60)

    def interrupt() -> None:
        while len(called(folder)) < at_once:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    began = signal.getsignal(signal.SIGTERM)
    assert run_by_plate(Request(), at_once) == INTERRUPTED
    thread.join()
    assert len(called(folder)) == at_once
    assert signal.getsignal(signal.SIGTERM) == began


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([0, 0], 0),
        ([0, 1], 1),
        ([0, 2], 1),
        ([2, 2], 2),
        ([2, NOT_STARTED], REFUSED),
        ([0, NOT_STARTED], 1),
        ([1, TIME_LIMIT, 0], TIME_LIMIT),
        ([TIME_LIMIT, INTERRUPTED, NOT_STARTED], INTERRUPTED),
    ],
)
def test_the_exit_code_tells_of_all_plates(codes: list[int], expected: int) -> None:
    assert exit_code({str(number): code for number, code in enumerate(codes)}) == expected


@pytest.mark.parametrize("number", ["0", "-1", "x"])
def test_a_number_of_plates_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--by-plate", number])
