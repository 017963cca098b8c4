"""run.json while a run goes on and at its end, and the limits that stop it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from hcs_steps.operations.keeper import Keeper, close_former_run, told
from hcs_steps.operations.runs import begin_run, read_run, write_run
from hcs_steps.operations.watching.status import StatusReader
from hcs_steps.results import Results
from hcs_steps.run.records import Failure, write_failure
from hcs_steps.run_settings import OrchestrationConfig


class Stops:
    """In place of the stopper: remembers what it was asked for."""

    def __init__(self):
        self.asked = []
        self.reason, self.code = "", 0

    stopped = False

    def install(self):
        pass

    restore = install

    def drain(self, reason, code):
        self.asked.append(("drain", reason, code))

    def cancel(self, reason, code):
        self.asked.append(("cancel", reason, code))


def fail(results, unit, stage="a", time="9999-01-01T00:00:00.000+00:00"):
    write_failure(results, Failure(stage, unit, stage, "ValueError", f"{unit} is bad", "", time, "l", 1, ""))


def keeper_of(plan, folder, **limits):
    keeper = Keeper({folder.as_posix(): plan}, OrchestrationConfig(**limits))
    keeper.stopper = Stops()
    keeper.start()
    return keeper


def look(keeper):
    """One round of what the thread does every few seconds."""
    for folder in keeper.plans:
        status = keeper._readers[folder].read()
        keeper._update(folder, status)
        keeper._check_failures(folder, status)
    keeper._check_time()
    keeper._check_plates()


def test_a_run_is_on_disk_from_its_first_moment_with_nothing_absolute_in_it(make_plan, tmp_path):
    keeper = keeper_of(make_plan("a"), tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    keeper.end(False)
    assert (run["state"], run["end_time"], run["success"]) == ("running", "", False)
    assert run["total_units"] == 2
    assert str(tmp_path) not in json.dumps(run)


def test_what_fails_is_in_run_json_while_the_run_goes_on(make_plan, tmp_path):
    keeper = keeper_of(make_plan("a", "b"), tmp_path)
    fail(Results(tmp_path), "B02")
    look(keeper)
    run = read_run(Results(tmp_path))
    keeper.end(False)
    stages = {stage.stage: stage for stage in run.stages}
    assert (stages["a"].items_failed, stages["a"].error) == (1, "B02 is bad")
    assert stages["b"].details["blocked"] == 1
    assert stages["a"].details["log"] == "l"


@pytest.mark.parametrize(
    ("limits", "failing", "stops"),
    [
        ({}, ["A01", "B02"], 0),
        ({"max_failed_fraction": 0.5}, ["A01"], 0),
        ({"max_failed_fraction": 0.4}, ["A01"], 1),
        ({"continue_on_error": False}, ["B02"], 1),
        ({"continue_on_error": False}, [], 0),
    ],
)
def test_too_many_failures_stop_the_run(make_plan, tmp_path, limits, failing, stops):
    keeper = keeper_of(make_plan("a"), tmp_path, **limits)
    for unit in failing:
        fail(Results(tmp_path), unit)
    look(keeper)
    asked = [(kind, code) for kind, reason, code in keeper.stopper.asked if "cannot be read" not in reason]
    keeper.end(False)
    assert asked == [("drain", 1)] * stops


def test_failures_of_an_earlier_run_do_not_stop_the_one_that_tries_again(make_plan, tmp_path):
    fail(Results(tmp_path), "A01", time="2020-01-01T00:00:00.000+00:00")
    keeper = keeper_of(make_plan("a"), tmp_path, continue_on_error=False)
    look(keeper)
    asked = [reason for _, reason, _ in keeper.stopper.asked if "cannot be read" not in reason]
    keeper.end(False)
    assert asked == []


def test_a_run_that_takes_too_long_is_cancelled_with_its_own_exit_code(make_plan, tmp_path):
    keeper = keeper_of(make_plan("a"), tmp_path, total_timeout="0.000001s")
    look(keeper)
    kinds = {(kind, code) for kind, reason, code in keeper.stopper.asked if "time limit" in reason}
    keeper.end(False)
    assert kinds == {("cancel", 3)}


def test_a_share_that_is_gone_stops_the_run(make_plan, tmp_path):
    plan = make_plan("a")
    gone = replace(plan, plate=replace(plan.plate, path=str(tmp_path / "gone")))
    keeper = keeper_of(gone, tmp_path / "r")
    look(keeper)
    (kind, reason, code) = keeper.stopper.asked[0]
    keeper.end(False)
    assert (kind, code) == ("drain", 1)
    assert str(tmp_path / "gone") in reason


def test_a_run_whose_process_is_gone_is_said_to_have_died_and_kept(make_plan, tmp_path):
    results, plan = Results(tmp_path), make_plan("a")
    write_run(results, replace(begin_run(plan, "first"), updated="2026-01-01T00:00:00.000+00:00"))
    (note,) = close_former_run(results)
    assert "died" in note
    write_run(results, begin_run(plan, "second"))
    assert read_run(results).run_id == "second"
    former = json.loads((tmp_path / "runs" / "first.json").read_text())
    assert (former["state"], former["end_time"]) == ("died", "2026-01-01T00:00:00.000+00:00")


def test_a_run_for_some_units_succeeds_with_them(make_plan, tmp_path):
    plan = make_plan("a")
    status = StatusReader(plan, Results(tmp_path)).read()
    done = replace(
        status, stages=tuple(replace(s, states={**s.states, "A01": "done"}) for s in status.stages[:1])
    )
    assert told(begin_run(plan, "x", ("A01",)), done).success
    assert not told(begin_run(plan, "x", ("A01", "B02")), done).success
    assert not told(begin_run(plan, "x"), done).success


def test_a_stage_that_is_left_out_is_recorded_with_its_reason(make_plan, tmp_path):
    plan = make_plan("a", "b")
    plan = replace(plan, stages=(plan.stages[0], replace(plan.stages[1], skipped="why"), *plan.stages[2:]))
    stage = told(begin_run(plan, "x"), StatusReader(plan, Results(tmp_path)).read()).stages[1]
    assert (stage.state, stage.items_skipped, stage.skip_reason) == ("skipped", 2, "why")


def test_a_run_reads_back_as_it_was_and_more_of_a_newer_version_is_ignored(make_plan, tmp_path):
    results = Results(tmp_path)
    run = told(begin_run(make_plan("a"), "x"), StatusReader(make_plan("a"), results).read())
    write_run(results, run)
    assert read_run(results) == run
    (tmp_path / "run.json").write_text(json.dumps({**asdict(run), "later": 1}))
    assert read_run(results) == run
    (tmp_path / "run.json").write_text('{"stages": 3}')
    assert read_run(results) is None
