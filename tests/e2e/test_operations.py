"""Parts of the work, limits, gates and second attempts, as people ask for them on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from e2e_lab import (
    COUNT,
    ENVIRONMENT,
    NORMALIZE,
    Lab,
    final_outputs,
    image_files,
    small_plate,
    snapshot,
    truncate,
)

import hcs_steps

pytestmark = pytest.mark.e2e

WELLS = ["A01", "A02", "B01"]
TWO_STAGES = {"config": {"vfs": {"intermediate_backend": "disk"}}, "steps": [NORMALIZE, COUNT]}
SLOW = '''
import time


def slow(stack):
    """Takes longer than anybody wants to wait."""
    time.sleep(60)
    return stack
'''


def make_lab(tmp_path: Path, pipeline: dict, wells=WELLS, **values) -> Lab:
    plate = small_plate(tmp_path / "P1", wells=wells, sites=(1, 2), shape=(32, 32))
    lab = Lab.create(tmp_path / "lab", [plate], pipeline)
    if values:
        defaults = {"pipeline": "config/pipelines/p.yaml"}
        lab.set_config({"output": "results", "defaults": defaults, **values}, [{"path": "../P1"}])
    return lab


def hcs(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hcs_steps.cli", *words],
        cwd=lab.root,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )


def run_json(results: Path) -> dict:
    return json.loads((results / "run.json").read_text())


def stage_states(results: Path) -> dict[str, str]:
    return {stage["stage"]: stage["state"] for stage in run_json(results)["stages"]}


def test_a_gate_stops_the_run_with_a_report_and_the_next_call_goes_on(tmp_path: Path) -> None:
    gated = {"steps": [{**NORMALIZE, "gate": True}, COUNT]}
    lab = make_lab(tmp_path, gated)
    first = lab.run()
    assert first.code == 0, first.output
    assert {stage for stage, _ in first.computed} == {"normalize", "consolidate", "report"}
    assert "gate normalize" in first.output
    assert (lab.results / "report.html").is_file()
    assert stage_states(lab.results)["count"] == "skipped"
    assert run_json(lab.results)["success"]

    second = lab.run()
    assert second.code == 0, second.output
    assert {stage for stage, _ in second.computed} == {"count", "consolidate", "report"}
    assert stage_states(lab.results)["count"] == "done"
    assert lab.call().idle


def test_a_preview_has_results_of_its_own_and_leaves_the_others_alone(tmp_path: Path) -> None:
    lab = make_lab(tmp_path, {**TWO_STAGES, "modes": {"preview": {"every": 2, "sites": 1}}})
    assert lab.call().code == 0
    before = snapshot(lab.results)
    done = hcs(lab, "run", "--mode", "preview", "--jobs", "2")
    assert done.returncode == 0, done.stdout
    preview = lab.root / "results" / "P1-preview"
    assert {unit for stage, unit in lab.records(preview) if stage == "count"} == {"A01", "B01"}
    assert {record["mode"] for record in lab.records(preview).values()} == {"preview"}
    assert snapshot(lab.root / "results" / "P1") == before


def test_a_part_of_the_stages_uses_what_there_is_and_says_which_well_lacks_it(tmp_path: Path) -> None:
    lab = make_lab(tmp_path, TWO_STAGES)
    done = hcs(lab, "run", "--until", "normalize", "--wells", "A01,A02", "--jobs", "2")
    assert done.returncode == 0, done.stdout
    assert {u for u in lab.records() if u[1] != "plate"} == {("normalize", "A01"), ("normalize", "A02")}
    assert "comes after normalize" in json.dumps(run_json(lab.results)["stages"])
    assert (lab.results / "report.html").is_file()

    done = hcs(lab, "run", "--mode", "analysis_only", "--jobs", "2")
    assert done.returncode == 1, done.stdout
    assert {unit for stage, unit in lab.records() if stage == "count"} == {"A01", "A02"}
    assert set(lab.failures()) == {("count", "B01")}
    assert "normalize" in lab.failures()["count", "B01"]["error"]

    assert lab.call().code == 0
    assert lab.failures() == {}
    assert lab.call().idle


def test_what_failed_is_tried_again_alone_and_force_computes_what_is_asked_for(tmp_path: Path) -> None:
    lab = make_lab(tmp_path, TWO_STAGES)
    broken = image_files(tmp_path / "P1", "A02")[0]
    content = truncate(broken)
    assert hcs(lab, "run", "--jobs", "2").returncode == 1
    assert run_json(lab.results)["state"] == "failed"
    before = lab.records()
    broken.write_bytes(content)
    done = hcs(lab, "retry", "--jobs", "2")
    assert done.returncode == 0, done.stdout
    after = lab.records()
    changed = {unit for unit, record in after.items() if before.get(unit, {}).get("start") != record["start"]}
    assert {unit for _, unit in changed} == {"A02", "plate"}
    assert "Nothing has failed" in hcs(lab, "retry").stdout

    undisturbed = final_outputs(lab.results)
    done = hcs(lab, "run", "--force", "--from-stage", "count", "--wells", "B01", "--jobs", "2")
    assert done.returncode == 0, done.stdout
    again = {unit for unit, record in lab.records().items() if after[unit]["start"] != record["start"]}
    assert again - {("consolidate", "plate"), ("report", "plate")} == {("count", "B01")}
    assert lab.records()["count", "B01"]["because"]
    assert final_outputs(lab.results) == undisturbed
    assert lab.call().code == 0
    assert lab.call().idle


def test_a_time_limit_ends_the_run_and_what_it_started_and_it_goes_on_later(tmp_path: Path) -> None:
    slow = {"steps": [{"name": "slow", "func": "functions.slow:slow"}]}
    lab = make_lab(tmp_path, slow, wells=["A01"], on_finish={"command": "cat > finished.json"})
    (lab.root / "functions" / "slow.py").write_text(SLOW)
    done = hcs(lab, "run", "--timeout", "4s", "--jobs", "1")
    assert done.returncode == 3, done.stdout
    run = run_json(lab.results)
    assert (run["state"], run["success"]) == ("stopped", False)
    assert "time limit" in run["reason"]
    assert json.loads((lab.root / "finished.json").read_text()) == run
    assert not list(lab.results.glob("running/*/*.json"))
    assert lab.records() == {}

    # The same, of one unit only: that is the unit's failure.
    done = hcs(lab, "run", "--jobs", "1", "--", "--config", "orchestration={stage_timeout: 2s}")
    assert done.returncode == 1, done.stdout
    assert lab.failures()["slow", "A01"]["kind"] == "time limit"

    lab.edit("functions/slow.py", "time.sleep(60)", "pass")
    assert lab.call().code == 0


def test_a_run_from_python_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = make_lab(tmp_path, TWO_STAGES, wells=["A01", "A02"])
    truncate(image_files(tmp_path / "P1", "A02")[0])
    monkeypatch.setattr(os, "environ", dict(ENVIRONMENT))
    orchestrator = hcs_steps.create_orchestrator(
        lab.root / "config/config.yaml", {"max_failed_fraction": 0.9, "retries": 1}
    )
    run = orchestrator.run_pipeline("P1", until="normalize")
    assert (run.is_complete, run.success, run.state) == (True, False, "failed")
    assert run.get_summary()["stages"]["normalize"] == {
        "state": "failed",
        "processed": 1,
        "failed": 1,
        "skipped": 0,
    }
    status = orchestrator.get_run_status("P1")
    assert status["stages"]
    small_plate(tmp_path / "P1", wells=["A01", "A02"], sites=(1, 2), shape=(32, 32))
    again = orchestrator.resume_pipeline()
    assert again.success, again
    assert again.run_id != run.run_id
