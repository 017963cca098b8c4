"""The beginning and the end of a run."""

from __future__ import annotations

import json
import platform
import signal
from types import SimpleNamespace

import pytest

from hcs_steps.emit.workflow import Workflow
from hcs_steps.operations.hooks import RunHooks
from hcs_steps.results import Results
from hcs_steps.run.running import Progress, RunningFile


@pytest.fixture
def hooks(make_plan, tmp_path):
    """Makes hooks of one and the same plate."""
    made = []

    def make():
        made.append(RunHooks(Workflow({f"{tmp_path}/P1": make_plan("a")})))
        return made[-1]

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield make
    for found in made:
        found.end(False)
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_two_runs_cannot_claim_the_same_results(hooks, capsys):
    hooks().start()
    with pytest.raises(SystemExit) as caught:
        hooks().start()
    assert caught.value.code == 2
    assert "Another Snakemake is working on" in capsys.readouterr().err


def test_a_run_that_ends_without_having_done_its_work_says_so_and_tells_what_there_is(hooks, tmp_path):
    run = hooks()
    run.start()
    run.end(False)
    found = json.loads((tmp_path / "P1" / "run.json").read_text())
    assert (found["state"], found["success"]) == ("failed", False)
    assert found["end_time"]
    assert "job ended without a result" in found["reason"]
    assert (tmp_path / "P1" / "processing_results.yaml").is_file()


def test_a_run_that_was_never_started_has_no_end(hooks, tmp_path):
    hooks().end(True)
    assert not (tmp_path / "P1").exists()


@pytest.mark.parametrize("is_new", [True, False])
def test_jobs_of_a_former_plan_are_waited_for_and_those_of_the_same_plan_are_not(
    make_plan, tmp_path, monkeypatch, capsys, is_new
):
    """This process stands for such a job; nobody ends it."""
    results, plan = Results(tmp_path / "P1"), make_plan("a")
    RunningFile(results, "a", "A01", 1, "").update(Progress(), 1)
    monkeypatch.setattr("hcs_steps.operations.hooks.PATIENCE_S", 0.1)
    hooks = RunHooks(Workflow({str(results.root): plan}))
    hooks.workflow.prepared = (SimpleNamespace(results=results, plan=plan, is_new=is_new),)
    monkeypatch.setattr(hooks.workflow, "write", lambda plans: None)
    if is_new:
        with pytest.raises(SystemExit):
            hooks.start()
        assert f"A01 on {platform.node()}: jobs of an earlier run still compute" in capsys.readouterr().err
        told = json.loads(results.running("a", "A01").read_text())
        results.running("a", "A01").write_text(json.dumps({**told, "pid": 2**22 + 1}))
    hooks.start()
    hooks.end(False)
