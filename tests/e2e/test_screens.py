"""Several plates in parts: a Snakemake for each plate, and Snakemake's own batches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from e2e_lab import ENVIRONMENT, Lab, one_stage, small_plate

pytestmark = pytest.mark.e2e

PLATES = ("P1", "P2", "P3")


def screen(folder: Path) -> Lab:
    plates = [small_plate(folder / name, wells=["A01"], sites=(1, 1), shape=(32, 32)) for name in PLATES]
    return Lab.create(folder / "lab", plates, one_stage())


def run_by_plate(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hcs_steps.cli", "run", "--by-plate", *words],
        cwd=lab.root,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


def states(lab: Lab) -> dict[str, str]:
    """Plate -> state of its latest run."""
    return {
        path.parent.name: json.loads(path.read_text())["state"]
        for path in lab.root.glob("results/*/run.json")
    }


def test_plates_that_run_by_themselves_are_finished_for_all(tmp_path: Path) -> None:
    lab = screen(tmp_path)
    (tmp_path / "P2").rename(tmp_path / "away")
    first = run_by_plate(lab)
    assert first.returncode == 1, first.stdout
    assert "could not start: P2" in first.stdout
    assert states(lab) == {"P1": "done", "P3": "done"}
    (tmp_path / "away").rename(tmp_path / "P2")
    done = lab.records(lab.root / "results/P1")
    second = run_by_plate(lab, "2")
    assert second.returncode == 0, second.stdout
    assert states(lab) == dict.fromkeys(PLATES, "done")
    assert lab.records(lab.root / "results/P1") == done, "a finished plate was computed again"
    assert lab.call().idle, "all plates together have something to do"


def test_batches_of_a_screen_end_well_and_together_finish_it(tmp_path: Path) -> None:
    lab = screen(tmp_path)
    first = lab.call("--batch", "all=1/3")
    assert first.code == 0, first.output
    assert states(lab) == {"P1": "done"}
    assert first.computed == {("P1/normalize", "A01"), ("P1/consolidate", "plate"), ("P1/report", "plate")}
    plans = {path.parent.name for path in lab.root.glob("results/*/plan.json")}
    assert plans == set(PLATES), "a job elsewhere reads the plans of all plates"
    for part in ("2/3", "3/3"):
        run = lab.call("--batch", f"all={part}")
        assert run.code == 0, run.output
    assert states(lab) == dict.fromkeys(PLATES, "done")
    assert lab.call().idle
