"""Whatever a power failure takes: a record that is on the disk lists nothing that is not there, whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from e2e_lab import Lab, image_files, truncate
from kill_points import STAGE, Work, changed, compiled, hcs, step, step_arguments
from power_model import Checker, Event
from power_recording import STRACE, by_strace, from_within

needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


def problems(lab: Lab, work: Work, home: Path) -> list[str]:
    """Do the work in the lab; returns what a power failure could have broken."""
    checker = Checker(lab.results)
    return checker.replay(from_within(work, lab.results, home))


def strace(lab: Lab, command: list[str], home: Path) -> tuple[list[Event], list[str]]:
    """The calls of a command in the lab, and what a power failure could have broken."""
    checker = Checker(lab.root / "results" / "P1")
    events = by_strace(command, lab.root, lab.root / "results" / "P1", home)
    return events, checker.replay(events)


def test_what_a_record_lists_is_on_the_disk_before_the_record(small_lab: Lab, tmp_path: Path) -> None:
    lab = small_lab.copy(tmp_path / "lab")
    for stage in (STAGE, "consolidate", "report"):
        assert problems(lab, step(lab, stage), tmp_path) == []
    assert problems(lab, hcs(lab, "finish", "--plan", "results/P1/plan.json"), tmp_path) == []
    # A record is gone from the disk before what it lists is replaced.
    changed(lab)
    assert problems(lab, step(lab, STAGE), tmp_path) == []


def test_a_failure_is_on_the_disk_before_the_marker_that_names_it(small_lab: Lab, tmp_path: Path) -> None:
    lab = compiled(small_lab.copy(tmp_path / "lab"))
    truncate(image_files(lab.root.parent / "P1", "A02")[0])
    assert problems(lab, step(lab, STAGE), tmp_path) == []
    assert set(lab.failures()) == {(STAGE, "A02")}
    assert problems(lab, step(lab, "consolidate"), tmp_path) == []


@needs_strace
def test_the_system_sees_the_same_calls(small_lab: Lab, tmp_path: Path) -> None:
    """The recording from within misses no call that changes names or flushes something."""
    one, two = small_lab.copy(tmp_path / "one"), small_lab.copy(tmp_path / "two")
    command = [sys.executable, "-m", "hcs_steps", *step_arguments(one, STAGE)]
    seen, found = strace(one, command, tmp_path)
    assert found == []
    within = from_within(step(two, STAGE), two.results, tmp_path)
    names = ("sync", "rename", "exchange", "link", "mkdir", "remove")
    assert [sum(e.op == op and "running" not in e.path for e in seen) for op in names] == [
        sum(e.op == op and "running" not in e.path for e in within) for op in names
    ]


@pytest.mark.slow
@needs_strace
def test_a_whole_run_keeps_its_promises_through_a_power_failure(small_lab: Lab, tmp_path: Path) -> None:
    """With all that the main process writes: plans, inventory, run.json; and with a unit that fails, then not."""
    lab = small_lab.copy(tmp_path / "lab")
    image = image_files(lab.root.parent / "P1", "A02")[0]
    whole = truncate(image)
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    assert strace(lab, command, tmp_path)[1] == []
    image.write_bytes(whole)
    assert strace(lab, command, tmp_path)[1] == []
