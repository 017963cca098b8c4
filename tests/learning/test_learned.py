"""What jobs ask for, by what their plate and others have learned."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hcs_steps.compile.plan import Plan
from hcs_steps.learning.demand import ENOUGH
from hcs_steps.learning.learned import Learned, read_learned
from hcs_steps.learning.needs import Needs
from hcs_steps.learning.summary import Asked, Summary, Took, read_summary, summarise, write_summary
from hcs_steps.results import Results

MakePlan = Callable[..., Plan]
WELLS = [f"A{number:02d}" for number in range(1, 13)]


@pytest.fixture
def plan(make_plan: MakePlan) -> Plan:
    made = make_plan("a", "b", wells=WELLS)
    stages = tuple(replace(s, mem_mb=6400, gpu_mem_mb=6400, runtime=60) for s in made.stages)
    return replace(made, stages=stages)


def took(plan: Plan, stage: str = "a", mb: float = 300, seconds: float = 60, count: int = 12) -> Summary:
    """The first units took this much, each unit a second more than the one before."""
    needs = Needs(plan)
    found = [
        Took(well, needs.of(plan.stage(stage), well), mb, mb, seconds + number)
        for number, well in enumerate(list(plan.units)[:count])
    ]
    return summarise({stage: found}, {})


def asked(learned: Learned, plan: Plan, stage: str = "a", folder: str = "r/1") -> tuple[int, int, int]:
    own = plan.stage(stage)
    return (
        learned.memory(folder, own, ["A01"], 0),
        learned.gpu_memory(folder, own, ["A01"], 1),
        learned.runtime(folder, own, ["A01"], 1),
    )


def test_a_stage_that_was_measured_asks_for_less_and_another_one_as_predicted(plan: Plan) -> None:
    learned = Learned({"r/1": plan}, {"r/1": took(plan)})
    memory, gpu, runtime = asked(learned, plan)
    assert 300 < memory < 600
    assert 300 < gpu < 1000
    assert 1 < runtime < 20
    assert asked(learned, plan, "b") == (6400, 6400, 60)


def test_a_second_attempt_asks_for_no_less_than_was_predicted(plan: Plan) -> None:
    learned, stage = Learned({"r/1": plan}, {"r/1": took(plan)}), plan.stage("a")
    assert learned.memory("r/1", stage, ["A01"], 1) == 2 * 6400
    assert learned.gpu_memory("r/1", stage, ["A01"], 2) == 6400
    assert learned.runtime("r/1", stage, ["A01"], 2) == 2 * 60


def test_what_ran_with_other_parameters_says_nothing(plan: Plan, make_plan: MakePlan) -> None:
    former = make_plan("a", "b", wells=WELLS, radius=50)
    assert asked(Learned({"r/1": plan}, {"r/1": took(former)}), plan) == (6400, 6400, 60)


def test_what_the_configuration_says_is_asked_for(plan: Plan) -> None:
    learned = Learned({"r/1": plan}, {"r/1": took(plan)}, fixed={("r/1", "a")})
    stage = plan.stage("a")
    assert [learned.memory("r/1", stage, ["A01"], more) for more in (0, 2)] == [6400, 3 * 6400]
    limited = replace(stage, timeout_s=30.0, runtime=6)
    assert [learned.runtime("r/1", limited, ["A01"], attempt) for attempt in (1, 3)] == [6, 18]


def test_a_plate_that_knows_little_learns_from_the_others(plan: Plan) -> None:
    few = took(plan, mb=200, count=ENOUGH - 1)
    alone = Learned({"r/1": plan}, {"r/1": few})
    with_other = Learned({"r/1": plan}, {"r/1": few}, [took(plan, mb=400)])
    assert asked(alone, plan)[0] == 6400
    assert 400 < asked(with_other, plan)[0] < 800


def test_a_plate_that_knows_enough_goes_by_itself(plan: Plan) -> None:
    learned = Learned({"r/1": plan}, {"r/1": took(plan, mb=200)}, [took(plan, mb=4000)])
    assert asked(learned, plan)[0] < 400


def test_plates_of_one_run_learn_from_each_other_and_from_those_beside_them(
    plan: Plan, tmp_path: Path
) -> None:
    folders = [f"{tmp_path}/{name}" for name in ("P1", "P2")]
    plans = dict.fromkeys(folders, plan)
    write_summary(Results(Path(folders[0])), took(plan, "a"))
    write_summary(Results(tmp_path / "former"), took(plan, "b", mb=900))
    learned = read_learned(plans)
    for folder in folders:
        assert asked(learned, plan, "a", folder)[0] < 600
        assert 900 < asked(learned, plan, "b", folder)[0] < 1600


def test_answers_stay_the_same_while_jobs_end(plan: Plan, tmp_path: Path) -> None:
    folder = f"{tmp_path}/P1"
    learned = read_learned({folder: plan})
    write_summary(Results(Path(folder)), took(plan))
    assert asked(learned, plan, "a", folder) == (6400, 6400, 60)


def test_a_job_is_expected_to_take_what_its_units_took(plan: Plan) -> None:
    learned = Learned({"r/1": plan}, {"r/1": took(plan, seconds=60, count=9)})
    stage = plan.stage("a")
    assert learned.seconds("r/1", stage, ["A03"]) == 62
    assert learned.seconds("r/1", stage, ["A01", "A02"]) == 121
    assert learned.seconds("r/1", stage, ["A12"]) == 64, "the median of the others"
    assert learned.seconds("r/1", plan.stage("b"), ["A01"]) is None


def test_a_stage_with_other_parameters_is_expected_to_take_what_it_took(
    plan: Plan, make_plan: MakePlan
) -> None:
    former = make_plan("a", "b", wells=WELLS, radius=50)
    assert Learned({"r/1": plan}, {"r/1": took(former)}).seconds("r/1", plan.stage("a"), ["A01"]) == 65.5


def test_a_summary_reads_back_as_it_was_written(plan: Plan, tmp_path: Path) -> None:
    summary = replace(took(plan), asked={"a": Asked(1, 2, 3, 4)})
    write_summary(Results(tmp_path), summary)
    assert read_summary(Results(tmp_path)) == summary


def damaged(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def first(content: Mapping[str, Any]) -> dict[str, Any]:
    (found,) = content["measured"]["a"].values()
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(version=99),
        lambda c: c.pop("measured"),
        lambda c: c.update(measured=[1]),
        lambda c: c.update(seconds={"a": 3}),
        lambda c: c.update(asked={"a": {"mem_mb": 1}}),
        lambda c: first(c).update(count=0),
        lambda c: first(c).update(host_mb={"median": "x", "high": 1, "largest": 1}),
        lambda c: first(c)["host_mb"].update(largest=float("nan")),
        lambda c: first(c).update(more=1),
    ],
)
def test_a_damaged_summary_counts_as_none(
    plan: Plan, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    results = Results(tmp_path)
    write_summary(results, took(plan))
    damaged(results.learned, change)
    assert read_summary(results) == Summary()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_summary_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "learned.json").write_bytes(content)
    assert read_summary(Results(tmp_path)) == Summary()


def test_an_output_folder_that_cannot_be_listed_teaches_nothing(plan: Plan) -> None:
    folder = os.path.join(os.devnull, "P1")
    assert asked(read_learned({folder: plan}), plan, "a", folder) == (6400, 6400, 60)
