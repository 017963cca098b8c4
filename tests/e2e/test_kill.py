"""A run that is killed at any moment, with all its jobs, leaves nothing that a plain second call cannot mend."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_lab import ENVIRONMENT, Lab, final_outputs, leftovers
from filelock import FileLock

pytestmark = pytest.mark.e2e

MOMENTS = random.Random(20)


def run_and_kill(lab: Lab, seconds: float) -> None:
    """SIGKILL for Snakemake and all its jobs, ``seconds`` after the start (or never, if it has ended by then)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2"],
        cwd=lab.root,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def unfinished(lab: Lab) -> Lab:
    """The lab as if it had never run."""
    shutil.rmtree(lab.root / "results")
    shutil.rmtree(lab.root / ".snakemake")
    return lab


def check_recovery(lab: Lab, seconds: float) -> None:
    undisturbed = final_outputs(lab.results)
    run_and_kill(unfinished(lab), seconds)
    run = lab.run()
    assert run.code == 0, run.output
    assert final_outputs(lab.results) == undisturbed
    assert leftovers(lab.root / "results") == []
    assert lab.call().idle


# A run takes some 12 seconds, the first two of them before the first job starts.
@pytest.mark.parametrize("seconds", [round(MOMENTS.uniform(2, 10), 2) for _ in range(3)])
def test_a_killed_run_is_finished_by_a_plain_call(
    small_finished: Callable[[Path], Lab], tmp_path: Path, seconds: float
) -> None:
    check_recovery(small_finished(tmp_path), seconds)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [round(MOMENTS.uniform(0.5, 12), 2) for _ in range(20)])
def test_a_run_killed_at_any_moment_is_finished_by_a_plain_call(
    small_finished: Callable[[Path], Lab], tmp_path: Path, seconds: float
) -> None:
    check_recovery(small_finished(tmp_path), seconds)


def test_what_a_kill_between_two_renames_leaves_is_mended(
    small_finished: Callable[[Path], Lab], tmp_path: Path
) -> None:
    """Moments that a random kill hardly ever meets, made by hand."""
    lab = small_finished(tmp_path)
    results = lab.results
    undisturbed = final_outputs(results)
    # Killed while the unit's record was being written: images are out, record and marker are not.
    for path in (results / "records" / "tophat" / "A01.json", results / "jobs" / "tophat" / "A01.json"):
        path.unlink()
        path.with_name(f".{path.name}.tmp-1234-0badcafe").write_text("{")
    for marker in results.glob("jobs/*/A01.json"):
        marker.unlink()
    (results / "images" / "tophat" / "A01" / ".s1.tmp-1234-0badcafe").mkdir()
    # Killed after the record of a mended unit was written, before its old failure was closed.
    failure = results / "failures" / "count" / "A02.json"
    failure.parent.mkdir(parents=True)
    failure.write_text('{"stage": "count", "unit": "A02", "error": "it was broken", "attempt": 1}')
    (results / "jobs" / "count" / "A02.json").unlink()

    run = lab.run()
    assert run.code == 0, run.output
    assert run.computed == {("tophat", "A01")}
    assert final_outputs(results) == undisturbed
    assert leftovers(results) == []
    assert lab.failures() == {}
    assert lab.call().idle


def test_a_second_run_at_the_same_time_is_refused(
    small_finished: Callable[[Path], Lab], tmp_path: Path
) -> None:
    lab = small_finished(tmp_path)
    shutil.rmtree(lab.results / "jobs")
    with FileLock(lab.results / ".lock"):  # what a run holds as long as it lives
        run = lab.call()
    assert run.code == 2, run.output
    assert not run.finished
    assert "Another Snakemake is working on results/P1" in run.output
    assert "Traceback" not in run.output
