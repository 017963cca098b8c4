"""Real Snakemake on a real Slurm: what goes wrong there, and that the next call goes on."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e_lab import leftovers
from slurm_lab import (
    STAGE,
    SlurmJob,
    SlurmLab,
    current,
    device,
    finished,
    jobs,
    next_id,
    output,
    queued,
    run_profile,
    wait_until,
    with_profiles,
)

from hcs_steps.commands.demo import plate_map
from hcs_steps.commands.lab import lay_out
from hcs_steps.plate.synthetic import make_plate

pytestmark = pytest.mark.e2e

ONLY = ("--until", STAGE)
NOWHERE = "/proc/nowhere"
"""A home folder that nobody can make."""


@dataclass(frozen=True)
class Demo:
    """The lab of the demo, what was put into its plate, the id of its first Slurm job or less, how the run ended."""

    lab: Path
    environment: dict[str, str]
    truth: dict[str, Any]
    first: int
    code: int
    said: str


def well_of(job: SlurmJob) -> str:
    return job.wildcards.rpartition("_")[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo plate by ``snakemake --profile slurm``, on nodes that have no home folder."""
    home = tmp_path_factory.mktemp("demo")
    lab, first = home / "lab", next_id()
    lay_out(lab, plate=lab / "plate")
    cells = {entry["well"]: entry["cells"] for entry in plate_map()}
    truth = make_plate(lab / "plate", wells=list(cells), cells_per_well=cells, sites=(1, 1), seed=1)
    config = lab / "config/config.yaml"
    config.write_text(config.read_text().replace("units_per_job: 1 ", "units_per_job: 16 "))
    (home / "bin").mkdir()
    sbatch = home / "bin" / "sbatch"
    sbatch.write_text(f'#!/bin/sh\nHOME={NOWHERE} exec {shutil.which("sbatch")} "$@"\n')
    sbatch.chmod(0o755)
    shown = {"XDG_CACHE_HOME": str(home / "cache"), "PATH": f"{sbatch.parent}:{os.environ['PATH']}"}
    environment = with_profiles(home, **shown)
    return Demo(lab, environment, truth, first, *run_profile(lab, environment))


def test_the_demo_plate_runs_by_profile_as_typed_where_nodes_have_no_home(demo: Demo) -> None:
    assert demo.code == 0, demo.said
    with (demo.lab / "results/plate/tables/wells.csv").open() as file:
        counted = {row["Metadata_Well"]: int(row["Count_cell_counts"]) for row in csv.DictReader(file)}
    expected = {
        well: sum(site["count"][0] for site in put_in["sites"].values())
        for well, put_in in demo.truth["wells"].items()
    }
    assert counted.keys() == expected.keys()
    assert all(abs(counted[well] - expected[well]) <= 3 + 0.1 * expected[well] for well in expected)
    assert (demo.lab / "results/plate/report.html").is_file()


def test_a_chunk_is_one_submission_and_every_job_has_the_memory_that_it_needs(demo: Demo) -> None:
    rules = ("quality_to_cell_count", "consolidate", "report")
    states = {rule: [job.state for job in jobs(demo.first, rule)] for rule in rules}
    assert states == {rules[0]: ["COMPLETED"] * 2, rules[1]: ["COMPLETED"], rules[2]: ["COMPLETED"]}


def test_a_finished_plate_submits_nothing(demo: Demo) -> None:
    code, said = run_profile(demo.lab, demo.environment)
    assert code == 0
    assert "Nothing to be done" in said


def test_a_job_that_asks_for_a_gpu_is_given_one_of_its_own(tmp_path: Path) -> None:
    wells = ("A01", "A02", "A03", "A04")
    lab = SlurmLab.create(tmp_path, wells)
    lab.tell(**dict.fromkeys(wells, "nap"))
    code, said = lab.run(*ONLY, "--set-resources", f"{STAGE}:gpu=1")
    assert code == 0, said
    given = {well: device(lab, well) for well in wells}
    assert set(given.values()) == {"0", "1"}, given


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[SlurmLab, dict[str, list[SlurmJob]], int, str]:
    """A run in which every well but one has trouble: the lab, the Slurm jobs of each well, exit code, what was said."""
    lab, first = (
        SlurmLab.create(tmp_path_factory.mktemp("faulty"), ("A01", "A02", "A03", "A04", "A05")),
        next_id(),
    )
    lab.tell(A01="take_memory", A02="kill_job", A03="sleep", A04="sleep")
    process = lab.start(*ONLY, "--set-resources", f"{STAGE}:runtime=1")
    wait_until(lambda: "A04" in lab.count())
    output("scancel", current("A04").id)
    code = finished(process)
    by_well: dict[str, list[SlurmJob]] = {}
    for job in jobs(first):
        by_well.setdefault(well_of(job), []).append(job)
    return lab, by_well, code, lab.said()


@pytest.mark.parametrize(
    ("well", "states"),
    [
        pytest.param("A01", ["FAILED", "COMPLETED"], id="out of memory"),
        pytest.param("A02", ["FAILED", "COMPLETED"], id="killed"),
        pytest.param("A03", ["TIMEOUT", "COMPLETED"], id="over its time"),
        pytest.param("A04", ["CANCELLED", "COMPLETED"], id="scancel"),
        pytest.param("A05", ["COMPLETED"], id="none"),
    ],
)
def test_a_job_that_dies_is_submitted_again_alone_and_with_more_memory(faulty, well, states) -> None:
    lab, by_well, code, said = faulty
    assert code == 0, said
    assert [job.state for job in by_well[well]] == states
    asked = [job.mem_mb for job in by_well[well]]
    assert asked == sorted(set(asked))
    assert lab.count()[well] == len(states)


def test_the_one_that_was_out_of_memory_was_ended_for_that(faulty) -> None:
    lab, by_well = faulty[:2]
    (log,) = lab.lab.root.glob(f".snakemake/slurm_logs/rule_{STAGE}/*/{by_well['A01'][0].id}.log")
    assert "exceeded memory limit" in log.read_text()


def test_what_is_done_after_all_that_is_not_done_again(faulty) -> None:
    lab = faulty[0]
    before = lab.count()
    assert lab.records() == set(before)
    assert lab.running() == set()
    code, said = lab.run(*ONLY)
    assert code == 0, said
    assert "has been submitted" not in said
    assert lab.count() == before


@pytest.fixture
def all_nodes_up() -> Iterator[None]:
    """Whatever a test does to them."""
    yield
    for name in ("hcs1", "hcs2"):
        output("bash", "-c", f"scontrol update nodename={name} state=resume || true")
    wait_until(lambda: set(output("sinfo", "-h", "-N", "-p", "main", "-o", "%t")) <= {"idle", "mix", "alloc"})


def test_a_job_whose_node_goes_down_is_run_on_another(tmp_path: Path, all_nodes_up: None) -> None:
    lab, first = SlurmLab.create(tmp_path, ("A01", "A02"), units_per_job=2), next_id()
    lab.tell(A02="sleep")
    process = lab.start(*ONLY)
    wait_until(lambda: "A02" in lab.count())
    output("scontrol", "update", f"nodename={current('A01').node}", "state=down", "reason=test")
    assert finished(process) == 0, lab.said()
    lost, again = jobs(first)
    assert (lost.state, again.state) == ("NODE_FAIL", "COMPLETED")
    assert again.node != lost.node
    assert lab.count() == {"A01": 1, "A02": 2}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_run_that_is_stopped_cancels_its_jobs_and_the_next_one_goes_on(tmp_path: Path, number: int) -> None:
    lab = SlurmLab.create(tmp_path, ("A01", "A02", "A03", "A04"), units_per_job=4)
    lab.tell(A01="fail", A03="sleep")
    process = lab.start(*ONLY)
    wait_until(lambda: "A03" in lab.running())
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid, number)
    assert finished(process, 30) == 130, lab.said()
    wait_until(lambda: queued() == [], 30)
    wait_until(lambda: lab.running() == set(), 10)
    assert lab.records() == {"A02"}, "a bad well harms no other of its job"
    assert leftovers(lab.lab.root / "results/P1") == []

    code, said = lab.run(*ONLY)
    assert code == 0, said
    assert lab.count() == {"A01": 2, "A02": 1, "A03": 2, "A04": 1}


def test_jobs_that_outlive_the_main_process_keep_their_units_and_dead_ones_lose_them(tmp_path: Path) -> None:
    lab, first = SlurmLab.create(tmp_path, ("A01", "A02", "A03", "A04"), units_per_job=2), next_id()
    lab.tell(A02="long_nap", A03="sleep")
    process = lab.start(*ONLY)
    wait_until(lambda: lab.running() == {"A02", "A03"})
    process.kill()
    finished(process)
    lives = current("A02")
    os.kill(lab.holder("A03"), signal.SIGKILL)
    wait_until(lambda: queued() == [lives.id])
    assert lab.running() == {"A02", "A03"}

    code, said = lab.run(*ONLY)
    assert code == 0, said
    assert lab.count() == {"A01": 1, "A02": 1, "A03": 2, "A04": 1}
    assert set(lab.count("ends").values()) == {1}
    wait_until(lambda: queued() == [])
    assert lab.running() == set()
    assert [job.state for job in jobs(first) if job.id == lives.id] == ["COMPLETED"]
