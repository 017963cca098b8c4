"""A run that is killed or stopped, at any moment, leaves nothing that a plain second call cannot mend."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from e2e_lab import Lab, final_outputs, leftovers, small_plate, three_stages
from filelock import FileLock
from kill_harness import ORPHANS_END, Moment, Reference, Variant, moments, try_moment
from killed_run import KilledRun
from waiting_lab import waiting_lab, who_waits

pytestmark = pytest.mark.e2e

MOMENTS = moments(6, seed=20, variants=(Variant(1, "zarr"), Variant(3, "disk")))
STOPPED = 130
SNAKEMAKE = (sys.executable, "-m", "snakemake", "--cores", "2")
HCS_RUN = (sys.executable, "-m", "hcs_steps", "run", "--jobs", "2")
PATIENCE = 20.0
"""Seconds; a run promises to end in 10 on a machine that has nothing else to do."""


@pytest.fixture(scope="session")
def references(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Variant], Reference]:
    """Labs to kill, each with what an undisturbed run left."""
    made: dict[Variant, Reference] = {}

    def reference(variant: Variant) -> Reference:
        if variant not in made:
            made[variant] = Reference.make(tmp_path_factory.mktemp("reference"), variant)
        return made[variant]

    return reference


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_a_run_killed_at_any_moment_is_finished_by_a_plain_call(
    moment: Moment, references: Callable[[Variant], Reference], tmp_path: Path
) -> None:
    seen = try_moment(moment, references(moment.variant), tmp_path)
    assert seen.well, seen


def test_a_killed_computation_is_the_failure_of_its_unit_only(tmp_path: Path) -> None:
    lab = waiting_lab(tmp_path, units_per_job=3)
    with KilledRun(lab, SNAKEMAKE) as run:
        who_waits(lab, run).kill()
        assert run.process.wait(timeout=120) == 1, run.output()
    (failure,) = lab.failures().values()
    assert failure["kind"] == "died"
    units = {unit for stage, unit in lab.records() if stage == "wait"}
    assert units | {failure["unit"]} == {"A01", "A02", "B01"}
    assert len(units) == 2
    again = lab.call()
    assert again.code == 0, again.output
    assert {unit for stage, unit in again.computed if stage == "wait"} == {failure["unit"]}
    assert leftovers(lab.results) == []


def test_a_killed_job_takes_its_computation_along_and_nothing_else(tmp_path: Path) -> None:
    lab = waiting_lab(tmp_path)
    with KilledRun(lab, SNAKEMAKE) as run:
        child = who_waits(lab, run)
        child.parent().kill()
        assert run.process.wait(timeout=120) == 1, run.output()
        assert run.wait_for_end(ORPHANS_END) == ()
    done = {unit for stage, unit in lab.records() if stage == "wait"}
    assert len(done) == 2
    again = lab.call()
    assert again.code == 0, again.output
    assert {unit for stage, unit in again.computed if stage == "wait"} == {"A01", "A02", "B01"} - done


def test_jobs_of_a_snakemake_that_was_killed_end_and_are_waited_for(tmp_path: Path) -> None:
    lab = waiting_lab(tmp_path)
    with KilledRun(lab, SNAKEMAKE) as run:
        who_waits(lab, run)
        run.process.kill()
        again = lab.call()
        assert run.wait_for_end(0) == ()
    assert again.code == 0, again.output
    assert lab.failures() == {}
    assert leftovers(lab.results) == []


def whole_group(process: psutil.Process, number: int) -> None:
    os.killpg(process.pid, number)


def process_only(process: psutil.Process, number: int) -> None:
    os.kill(process.pid, number)


COMMANDS = {"snakemake": SNAKEMAKE, "hcs run": HCS_RUN}
WAYS = [
    ("snakemake", signal.SIGINT, whole_group),  # Ctrl-C
    ("hcs run", signal.SIGTERM, process_only),
    pytest.param("snakemake", signal.SIGTERM, process_only, marks=pytest.mark.slow),
    pytest.param("hcs run", signal.SIGINT, whole_group, marks=pytest.mark.slow),
    pytest.param("snakemake", signal.SIGINT, process_only, marks=pytest.mark.slow),
    pytest.param("snakemake", signal.SIGTERM, whole_group, marks=pytest.mark.slow),
    pytest.param("hcs run", signal.SIGINT, process_only, marks=pytest.mark.slow),
    pytest.param("hcs run", signal.SIGTERM, whole_group, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("command", "number", "send"), WAYS)
def test_a_run_that_is_asked_to_end_does_so_and_can_go_on(
    command: str, number: int, send: Callable[[psutil.Process, int], None], tmp_path: Path
) -> None:
    lab = waiting_lab(tmp_path)
    with KilledRun(lab, COMMANDS[command]) as run:
        who_waits(lab, run)
        send(run.process, number)
        assert run.process.wait(timeout=PATIENCE) == STOPPED, run.output()
        assert run.wait_for_end(1.0) == ()
        assert "Traceback" not in run.output()
    state = json.loads((lab.results / "run.json").read_text())
    assert (state["state"], state["success"]) == ("stopped", False)
    assert lab.failures() == {}
    done = lab.records()
    again = lab.call()
    assert again.code == 0, again.output
    assert not again.computed & {unit for unit in done if unit[0] == "wait"}
    assert leftovers(lab.results) == []


@pytest.fixture(scope="session")
def three_wells(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A finished lab of three wells, three stages, one unit per job. Only copy it."""
    home = tmp_path_factory.mktemp("three-wells")
    plate = small_plate(home / "P1", wells=["A01", "A02", "B01"], sites=(1, 1))
    lab = Lab.create(home / "lab", [plate], three_stages())
    assert lab.call().code == 0
    return lab


def test_what_a_kill_between_two_renames_leaves_is_mended(three_wells: Lab, tmp_path: Path) -> None:
    """Moments that a random kill hardly ever meets, made by hand."""
    lab = three_wells.copy(tmp_path)
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


def test_a_second_run_at_the_same_time_is_refused(three_wells: Lab, tmp_path: Path) -> None:
    lab = three_wells.copy(tmp_path)
    shutil.rmtree(lab.results / "jobs")
    with FileLock(lab.results / ".lock"):  # what a run holds as long as it lives
        run = lab.call()
    assert run.code == 2, run.output
    assert not run.finished
    assert "Another Snakemake is working on results/P1" in run.output
    assert "Traceback" not in run.output
