"""What a run has learned is asked for by the next one, and makes nothing be computed again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from e2e_lab import Lab, small_plate, three_stages

pytestmark = pytest.mark.e2e

WELLS = [f"A{number:02d}" for number in range(1, 9)]


def asked(text: str, rule: str) -> set[int]:
    """MB of memory that the jobs of a rule ask for in a dry run."""
    jobs = re.findall(rf"rule {rule}:\n(?:    .*\n)*?    resources: .*?mem_mb=(\d+)", text)
    return {int(found) for found in jobs}


def test_the_next_run_asks_for_what_units_took_and_computes_nothing_twice(tmp_path: Path) -> None:
    plate = small_plate(tmp_path / "P1", wells=WELLS, sites=(1, 1), shape=(32, 32))
    steps = three_stages()["steps"][:2]
    lab = Lab.create(tmp_path / "lab", [plate], {**three_stages(), "steps": steps}, units_per_job=2)
    before = lab.call("--dry-run")
    assert lab.call().code == 0
    summary = json.loads((lab.results / "learned.json").read_text())
    assert lab.call().idle, "a learned value made something run"
    predicted, runtime = summary["asked"]["tophat"]["mem_mb"], summary["asked"]["tophat"]["runtime"]
    assert asked(before.output, "tophat") == {predicted}
    # Another function further up runs everything again, and the stage after it still needs what it needed.
    lab.edit("config/pipelines/p.yaml", "stack_percentile_normalize", "tophat")
    again = lab.call("--dry-run")
    largest = max(record["peak_host_mb"] for (stage, _), record in lab.records().items() if stage == "tophat")
    (memory,) = asked(again.output, "tophat")
    assert largest <= memory <= predicted
    assert again.announced["tophat"] == len(WELLS) / 2
    assert f"runtime={runtime}" in before.output
    assert (
        len(re.findall(r"rule tophat:\n(?:    .*\n)*?    resources: .*?runtime=[67],? ?", again.output)) == 4
    )
