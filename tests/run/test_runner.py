"""What the runner does around a unit: inputs that are missing, what records and the last job say."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hcs_steps.commands.step import finish
from hcs_steps.compile.plan import PLATE_UNIT
from hcs_steps.functions.declare import step_function
from hcs_steps.pipeline import FunctionStep
from hcs_steps.run.records import Failure, write_failure
from hcs_steps.run.runner import Runner


def add_one(stack):
    """One more."""
    return stack + stack.dtype.type(1)


@step_function(outputs={"rows": "table"})
def mean(stack):
    """One row."""
    return stack, {"value": [float(np.mean(stack))]}


STEPS = (
    FunctionStep(add_one, name="first", force_disk_output=True),
    FunctionStep(mean, name="second", force_disk_output=True),
)


@pytest.fixture
def ran(run_steps):
    """Two stages, done."""
    return run_steps(STEPS, wells=["A01", "A02"], sites=(1, 1), shape=(32, 32))


def without_first(plan, **changes):
    stages = tuple(replace(s, skipped="by mode quick") if s.name == "first" else s for s in plan.stages)
    return replace(plan, stages=stages, mode="quick", **changes)


def record(ran, stage, unit):
    return json.loads(ran.results.record(stage, unit).read_text())


def test_a_unit_fails_that_needs_what_a_stage_left_out_does_not_have(ran):
    ran.results.record("first", "A01").unlink()
    plan = without_first(ran.plan)
    outcome = Runner(plan, ran.results, force=True).run(plan.stage("second"), ["A01", "A02"])
    assert list(outcome.done) == ["A02"]
    assert list(outcome.failed) == ["A01"]
    assert outcome.blocked == []
    failure = json.loads(ran.results.failure("second", "A01").read_text())
    assert failure["kind"] == "missing input"
    assert failure["error"] == (
        "The result of stage first for unit A01 is missing, or was made with other settings, and the stage is left out "
        "of this run in mode 'quick' (by mode quick). Run it first: without the mode, or with --from-stage first or an "
        "earlier one."
    )


def test_a_unit_is_blocked_by_a_stage_of_the_run_that_failed_for_it(ran):
    ran.results.record("first", "A01").unlink()
    outcome = Runner(ran.plan, ran.results, force=True).run(ran.plan.stage("second"), ["A01"])
    assert outcome.blocked == ["A01"]
    assert not ran.results.failure("second", "A01").exists()


def test_a_record_says_of_which_plan_and_mode_it_is_and_why_it_was_made(ran):
    first = record(ran, "second", "A01")
    assert (first["plan"], first["mode"]) == (ran.plan.hash, "full")
    assert first["because"] == ["no record: it has not run yet"]
    plan = without_first(ran.plan)
    Runner(plan, ran.results, force=True).run(plan.stage("second"), ["A01"])
    again = record(ran, "second", "A01")
    assert (again["plan"], again["mode"]) == (plan.hash, "quick")
    assert again["because"] == ["asked for by --force"]


def test_a_table_of_a_unit_that_fails_is_withdrawn_even_if_no_record_lists_it(ran):
    (table,) = ran.results.root.rglob("by_unit/second/A01.*")
    for stage in ("first", "second"):
        ran.results.record(stage, "A01").unlink()
    plan = without_first(ran.plan)
    assert Runner(plan, ran.results).run(plan.stage("second"), ["A01"]).failed
    assert not table.exists()
    assert len(list(ran.results.root.rglob("by_unit/second/A02.*"))) == 1


class OutOfMemoryError(RuntimeError):
    """As GPU libraries have them."""


def greedy(stack):
    """Ask for more than there is."""
    raise MemoryError("Unable to allocate 9 GiB")


def greedy_on_a_gpu(stack):
    """Ask for more than there is, of a GPU that nobody leased."""
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")


SMALL = {"wells": ["A01"], "sites": (1, 1), "shape": (32, 32)}


def test_running_out_of_memory_is_told_with_what_was_predicted_and_measured(run_steps, monkeypatch):
    monkeypatch.setattr("hcs_steps.run._failures.peak_host_mb", lambda: 777)
    ran = run_steps([FunctionStep(greedy, name="greedy")], **SMALL)
    failure = json.loads(ran.results.failure("greedy", "A01").read_text())
    predicted = ran.plan.stage("greedy").mem_mb
    assert failure["kind"] == "out of memory"
    assert failure["error"].startswith(
        "Step greedy: MemoryError: Unable to allocate 9 GiB. It needed more memory than"
    )
    assert failure["error"].endswith(
        f"{predicted} MB were predicted, 777 MB were measured at the peak. The next attempt is given more."
    )


def test_a_function_that_takes_a_gpu_by_itself_runs_out_of_its_memory_not_of_the_hosts(run_steps):
    ran = run_steps([FunctionStep(greedy_on_a_gpu, name="greedy")], **SMALL)
    failure = json.loads(ran.results.failure("greedy", "A01").read_text())
    assert (failure["kind"], failure["shortages"]) == ("out of GPU memory", 0)
    assert "a GPU that the unit was not given" in failure["error"]


def test_a_unit_counts_how_often_it_ran_out_of_memory_until_it_is_done(run_steps):
    ran = run_steps([FunctionStep(fickle, name="fickle")], **SMALL)
    told = []
    for Fickle.error in (MemoryError(), ValueError("no"), MemoryError(), None, ValueError("no")):
        Runner(ran.plan, ran.results, force=True).run(ran.plan.stage("fickle"), ["A01"])
        if Fickle.error is not None:
            failure = json.loads(ran.results.failure("fickle", "A01").read_text())
            told.append((failure["attempt"], failure["shortages"]))
    assert told == [(1, 1), (2, 1), (3, 2), (4, 0)]


class Fickle:
    """What `fickle` fails with; with nothing at first."""

    error = None


def fickle(stack):
    """Fail as the test says."""
    if Fickle.error is not None:
        raise Fickle.error
    return stack


@pytest.fixture
def finished(ran, capsys):
    """``finished(plan)``: call ``hcs finish`` on it; code and text."""

    def call(plan):
        ran.results.plan.write_text(plan.to_json())
        marker = ran.results.root / "finish.json"
        marker.unlink(missing_ok=True)
        code = finish(Namespace(plan=str(ran.results.plan), marker=str(marker), log=None))
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, text=out + err, marked=marker.exists())

    return call


def test_the_last_job_tells_what_is_done_and_leaves_run_json_to_the_run(ran, finished):
    done = finished(ran.plan)
    assert (done.code, done.marked) == (0, True)
    assert "all 2 units done" in done.text
    assert not ran.results.run.exists()


def test_a_stage_that_is_left_out_may_lack_results(ran, finished):
    ran.results.record("first", "A01").unlink()
    assert finished(ran.plan).code == 1
    assert finished(without_first(ran.plan)).code == 0


@pytest.mark.parametrize("stage", ["second", "consolidate", "report"])
def test_what_failed_is_listed_until_it_is_mended(ran, finished, stage):
    failure = Failure(
        stage, PLATE_UNIT if stage != "second" else "A01", stage, "died", "killed", "", "", "", 1, ""
    )
    write_failure(ran.results, failure)
    finished(ran.plan)
    assert f"{stage},died" in ran.results.failures_table.read_text().replace(failure.unit, "")
    ran.results.failure(stage, failure.unit).unlink()
    finished(ran.plan)
    assert len(ran.results.failures_table.read_text().splitlines()) == 1


def test_a_gate_is_noted_and_the_next_run_told_of(ran, finished):
    done = finished(replace(ran.plan, gate="first"))
    assert done.code == 0
    assert (
        f"stopped at the gate first: look at {ran.results.report}, then run the same command again"
        in done.text
    )
    noted = json.loads(ran.results.gate("first").read_text())
    assert noted["stage"] == "first"
    assert noted["fingerprint"] == ran.plan.stage("first").fingerprint


def test_a_gate_without_any_result_stays_closed(ran, finished):
    for unit in ran.plan.units:
        ran.results.record("first", unit).unlink()
    done = finished(replace(ran.plan, gate="first"))
    assert done.code == 1
    assert "stopped at the gate" not in done.text
    assert not ran.results.gate("first").exists()
