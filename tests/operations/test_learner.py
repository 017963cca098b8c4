"""What is summed up of the records of a plate, for the next run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "watching"))

from standin_plate import StandinPlate, plain_plan, wells_of

from hcs_steps.compile.plan import Plan
from hcs_steps.learning.needs import Needs
from hcs_steps.learning.summary import Asked, read_summary
from hcs_steps.operations.keeper import Keeper
from hcs_steps.operations.learner import Learner
from hcs_steps.operations.watching.status import StatusReader
from hcs_steps.run_settings import OrchestrationConfig
from hcs_steps.storage.atomic import write_text

WELLS = wells_of(1, 3)


@pytest.fixture
def plate(tmp_path: Path) -> StandinPlate:
    return StandinPlate(tmp_path / "P1", plain_plan(WELLS))


def learn(plate: StandinPlate, plan: Plan | None = None) -> Any:
    plan = plan or plate.plan
    reader = StatusReader(plan, plate.results)
    reader.read()
    return Learner(plan, plate.results, {}).summary(reader)


def need(plan: Plan, stage: str = "count", unit: str = "A01") -> str:
    return Needs(plan).of(plan.stage(stage), unit)


def test_memory_and_time_of_all_units_are_summed_up(plate: StandinPlate) -> None:
    for number, well in enumerate(WELLS):
        plate.done("count", well, seconds=2.0 + number, peak_host_mb=200 + number, device="cpu")
    summary = learn(plate)
    measured = summary.measured["count"][need(plate.plan)]
    assert (measured.count, measured.on_device) == (3, 0)
    assert (measured.host_mb.median, measured.host_mb.largest) == (201, 202)
    assert summary.seconds["count"][need(plate.plan)] == {"A01": 2.0, "A02": 3.0, "A03": 4.0}


def test_memory_of_a_device_is_that_of_units_that_ran_on_one(plate: StandinPlate) -> None:
    plate.done("count", "A01", peak_host_mb=200, peak_gpu_mb=900, device="cuda:0")
    plate.done("count", "A02", peak_host_mb=200, peak_gpu_mb=0, device="cpu")
    measured = learn(plate).measured["count"][need(plate.plan)]
    assert (measured.count, measured.on_device, measured.gpu_mb.largest) == (2, 1, 900)


@pytest.mark.parametrize("fallback", [{"planes": 2}, {"arguments": {"batch_size": 1}}, {"device": "cpu"}])
def test_memory_of_a_device_is_not_learned_from_units_that_had_to_do_with_less(
    plate: StandinPlate, fallback: dict[str, Any]
) -> None:
    held_down = {"id": "GPU-a", "fallbacks": [{"step": "count", "function": "f", **fallback}]}
    plate.done("count", "A01", peak_host_mb=200, peak_gpu_mb=900, device="cuda:0", gpu={"fallbacks": []})
    plate.done("count", "A02", peak_host_mb=200, peak_gpu_mb=950, device="cuda:0", gpu=held_down)
    plate.done("count", "A03", peak_host_mb=200, peak_gpu_mb=0, device="cuda:0", gpu={"fallbacks": []})
    measured = learn(plate).measured["count"][need(plate.plan)]
    assert (measured.count, measured.on_device) == (3, 1)
    assert (measured.gpu_mb.median, measured.gpu_mb.largest) == (900, 900)


def test_records_of_a_former_plan_count_for_what_its_units_needed(plate: StandinPlate) -> None:
    plate.done("count", peak_host_mb=200)
    plate.done("normalize", peak_host_mb=100)
    write_text(plate.results.plan_copy(plate.plan.hash), plate.plan.to_json())
    steps = list(plate.plan.steps)
    (call,) = steps[0].branches[""]
    steps[0] = replace(steps[0], branches={"": (replace(call, kwargs={"radius": 5}),)})
    now = replace(plate.plan, steps=tuple(steps), key="now")
    summary = learn(plate, now)
    assert summary.measured["count"][need(now)].count == 3
    assert need(now, "normalize") not in summary.measured["normalize"]


def test_records_whose_plan_is_gone_are_left_out(plate: StandinPlate) -> None:
    plate.done("count", "A01", peak_host_mb=200)
    for unit, plan in (("A02", "0" * 32), ("A03", "../../plan")):
        plate.done("count", unit, peak_host_mb=200, plan=plan)
    assert learn(plate).measured["count"][need(plate.plan)].count == 1


@pytest.mark.parametrize(
    "values",
    [
        {"peak_host_mb": 0},
        {"peak_host_mb": 1e300},
        {"peak_host_mb": 200, "seconds": 4e6},
        {"peak_host_mb": 200, "end": ""},
    ],
)
def test_a_record_that_cannot_be_true_is_left_out(plate: StandinPlate, values: dict[str, Any]) -> None:
    plate.done("count", "A01", **values)
    assert learn(plate).measured == {}


def test_a_run_leaves_what_it_asked_for_and_what_its_units_took(plate: StandinPlate) -> None:
    folder = plate.results.root.as_posix()
    asked = {folder: {"count": Asked(640, 60, 0, 1)}}
    keeper = Keeper({folder: plate.plan}, OrchestrationConfig(), asked=asked)
    keeper.start()
    plate.done("count", peak_host_mb=200)
    keeper.end(False)
    summary = read_summary(plate.results)
    assert summary.asked == asked[folder]
    assert summary.measured["count"][need(plate.plan)].count == 3


def test_a_summary_that_cannot_be_written_is_a_warning(
    plate: StandinPlate, caplog: pytest.LogCaptureFixture
) -> None:
    plate.done("count", peak_host_mb=200)
    plate.results.learned.mkdir()
    reader = StatusReader(plate.plan, plate.results)
    reader.read()
    Learner(plate.plan, plate.results, {}).write(reader)
    assert "cannot be kept" in caplog.text


def test_it_is_written_again_only_when_records_have_changed(plate: StandinPlate) -> None:
    learner, reader = Learner(plate.plan, plate.results, {}), StatusReader(plate.plan, plate.results)
    plate.done("count", "A01", peak_host_mb=200)
    reader.read()
    learner.write(reader)
    plate.results.learned.unlink()
    reader.read()
    learner.write(reader)
    assert not plate.results.learned.exists()
    plate.done("count", "A02", peak_host_mb=200)
    reader.read()
    learner.write(reader)
    assert plate.results.learned.exists()


@pytest.mark.parametrize("missing", [(), ("A02",)])
def test_a_stage_of_the_plate_teaches_only_what_it_took_for_all_its_units(
    plate: StandinPlate, missing: tuple[str, ...]
) -> None:
    for stage in ("normalize", "count"):
        plate.done(stage, *(well for well in WELLS if well not in missing), seconds=2.0, peak_host_mb=200)
    plate.done("flat", start=10.0, peak_host_mb=300)
    assert ("flat" in learn(plate).measured) == (not missing)


def test_what_a_stage_of_the_plate_took_before_a_unit_was_done_is_not_what_it_takes(
    plate: StandinPlate,
) -> None:
    plate.done("normalize", start=20.0, peak_host_mb=200)
    plate.done("flat", start=10.0, peak_host_mb=300)
    assert "flat" not in learn(plate).measured
