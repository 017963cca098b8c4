"""What rules ask for while Snakemake builds its graph."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hcs_steps.compile.plan import Plan
from hcs_steps.compile.stages import REPORT
from hcs_steps.emit.workflow import AROUND_MB, Workflow, load_workflow
from hcs_steps.learning.needs import Needs
from hcs_steps.learning.summary import Took, summarise, write_summary
from hcs_steps.results import Results
from hcs_steps.run.records import Failure, write_failure
from hcs_steps.settings import parse_settings

MakePlan = Callable[..., Plan]

STRANGE = [
    "my plate",
    "it's",
    'say "x"',
    "a[1]",
    "a(b)+c",
    "Plätte µ",
    "a.b",
    "a|b",
    "$HOME",
    "tab\there",
    "a\\b",
]


def wildcards(results: str, job: str = "A01") -> Any:
    return SimpleNamespace(results=results, job=job)


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_folder_is_matched_as_it_is_and_nothing_else_is(make_plan: MakePlan, name: str) -> None:
    folder = f"results/{name}"
    flow = Workflow({folder: make_plan("a"), "results/other": make_plan("a")})
    pattern = f"(?:{flow.folders('')})"
    assert re.fullmatch(pattern, folder)
    assert re.fullmatch(pattern, "results/other")
    for wrong in (f"{folder}x", f"x{folder}", "results", "results/a", folder.replace(".", "-") + "/"):
        assert not re.fullmatch(pattern, wrong)


def test_folders_of_a_group_are_those_of_its_plates(make_plan: MakePlan) -> None:
    flow = Workflow({"r/1": make_plan("a"), "r/2": make_plan("b", pipeline="other"), "r/3": make_plan("a")})
    assert flow.folders("count") == "r/1|r/3"
    assert flow.folders("other") == "r/2"
    assert flow.folders() == "r/1|r/3|r/2"


def test_a_job_waits_for_the_same_job_of_the_stage_before(make_plan: MakePlan) -> None:
    flow = Workflow({"r/1": make_plan("a", "b")})
    assert flow.inputs("a")(wildcards("r/1")) == []
    assert flow.inputs("b")(wildcards("r/1", "B02")) == ["r/1/jobs/a/B02.json"]
    assert flow.targets == ["r/1/report.html", "r/1/jobs/finish.json"]


def waited_for(flow: Workflow, stage: str, job: str) -> set[str]:
    """Markers that are there for certain when a job starts: its inputs and, in turn, theirs."""
    found: set[str] = set()
    waiting = flow.markers("r/1", stage, job)
    while waiting:
        marker = waiting.pop()
        found.add(marker)
        name, _, upstream = marker.removeprefix("r/1/jobs/").removesuffix(".json").partition("/")
        waiting += flow.markers("r/1", name, upstream)
    return found


@pytest.mark.parametrize("filters", [{}, {"b": "A01"}, {"a": "B02"}, {"c": "A01"}, {"b": "A01", "c": "B02"}])
def test_the_plate_stage_waits_for_every_job_before_it(make_plan: MakePlan, filters: dict[str, str]) -> None:
    plan = make_plan("a", "b", "c", filters=filters)
    everything = {f"r/1/jobs/{s.name}/{job}.json" for s in plan.stages[:-2] for job in plan.jobs_of(s)}
    assert waited_for(Workflow({"r/1": plan}), "consolidate", "plate") == everything


def test_a_failure_changes_the_state_of_its_job_only(make_plan: MakePlan, tmp_path: Path) -> None:
    folder = tmp_path.as_posix()
    plan = make_plan("a")

    def states() -> list[str]:
        state = Workflow({folder: plan}).fingerprint("a")
        return [state(wildcards(folder, well)) for well in ("A01", "B02")]

    before = states()
    write_failure(Results(tmp_path), Failure("a", "B02", "a", "ValueError", "no", "", "", "", 1, ""))
    after = states()
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_the_same_workflow_answers_the_same_after_a_job_has_failed(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    flow = Workflow({tmp_path.as_posix(): make_plan("a")})
    before = flow.job_state(tmp_path.as_posix(), "a", "A01")
    write_failure(Results(tmp_path), Failure("a", "A01", "a", "ValueError", "no", "", "", "", 1, ""))
    assert flow.job_state(tmp_path.as_posix(), "a", "A01") == before


def test_without_smart_caching_every_run_is_another(make_plan: MakePlan) -> None:
    plan = make_plan("a")
    cached, fresh = plan, replace(plan, smart_caching=False)
    assert len({Workflow({"r": cached}).job_state("r", "a", "A01") for _ in range(2)}) == 1
    assert len({Workflow({"r": fresh}).job_state("r", "a", "A01") for _ in range(2)}) == 2


def test_writing_puts_the_rules_beside_the_plates_and_keeps_what_is_current(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    flow = Workflow({f"{tmp_path}/P1": make_plan("a"), f"{tmp_path}/P2": make_plan("a")})
    flow.write()
    path = tmp_path / "rules.smk"
    assert path.read_text() == flow.rules
    before = path.stat()
    flow.write()
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize(
    "config", [{}, {"plates": []}, {"plates": [{"path": "/absent", "pipeline": "no.yaml"}]}]
)
@pytest.mark.parametrize("main", [True, False])
def test_what_cannot_start_ends_with_2_and_one_paragraph(
    config: dict[str, Any],
    main: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])  # which it extends
    with pytest.raises(SystemExit) as caught:
        load_workflow(config, main_process=main, scratch=tmp_path)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("hcs-steps: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("A01", ["r/1/jobs/b/A01.json"]),
        ("B02", ["r/1/jobs/a/B02.json"]),
        ({"P1": ["A01", "B02"]}, ["r/1/jobs/a/B02.json", "r/1/jobs/b/A01.json"]),
    ],
)
def test_wells_that_are_asked_for_are_what_their_last_stages_end_with(
    make_plan: MakePlan, asked: Any, expected: list[str]
) -> None:
    settings = parse_settings({"plates": [{"path": "P1"}], "only_wells": asked})
    flow = Workflow({"r/1": make_plan("a", "b", filters={"b": "A01"})}, (), settings)
    assert flow.targets == expected


def test_a_job_that_ran_out_of_memory_asks_for_more_with_every_failure_and_attempt(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    folder, results = tmp_path.as_posix(), Results(tmp_path)

    plan = make_plan("a")
    plan = replace(plan, stages=tuple(replace(stage, mem_mb=100) for stage in plan.stages))

    def asked(attempt: int = 1) -> list[int]:
        memory = Workflow({folder: plan}).memory("a")
        return [memory(wildcards(folder, well), attempt) for well in ("A01", "B02")]

    assert asked() == [100, 100]
    write_failure(results, Failure("a", "A01", "a", "ValueError", "no", "", "", "", 2, ""))
    write_failure(results, Failure("a", "B02", "a", "out of memory", "no", "", "", "", 2, "", shortages=2))
    assert asked() == [100, 300]
    assert asked(attempt=2) == [200, 400]


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (Failure("a", "A01", "a", "out of memory", "no", "", "", "", 5, "", shortages=1), 200),
        (Failure("a", "A01", "a", "time limit", "no", "", "", "", 5, "", shortages=2), 300),
        (Failure("a", "A01", "a", "out of GPU memory", "no", "", "", "", 5, ""), 100),
    ],
)
def test_only_failures_for_want_of_the_hosts_memory_raise_what_is_asked(
    make_plan: MakePlan, tmp_path: Path, failure: Failure, expected: int
) -> None:
    plan = make_plan("a")
    plan = replace(plan, stages=tuple(replace(stage, mem_mb=100) for stage in plan.stages))
    write_failure(Results(tmp_path), failure)
    flow = Workflow({tmp_path.as_posix(): plan})
    assert flow.memory("a")(wildcards(tmp_path.as_posix()), 1) == expected


@pytest.mark.parametrize(("kind", "expected"), [("out of memory", 200), ("ValueError", 100)])
def test_a_failure_of_an_older_version_counts_for_what_it_was(
    make_plan: MakePlan, tmp_path: Path, kind: str, expected: int
) -> None:
    plan = make_plan("a")
    plan = replace(plan, stages=tuple(replace(stage, mem_mb=100) for stage in plan.stages))
    path = Results(tmp_path).failure("a", "A01")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"stage": "a", "unit": "A01", "kind": kind, "attempt": 4}))
    flow = Workflow({tmp_path.as_posix(): plan})
    assert flow.memory("a")(wildcards(tmp_path.as_posix()), 1) == expected


def test_the_rule_of_a_plates_page_asks_for_the_memory_and_time_of_its_plan(make_plan: MakePlan) -> None:
    plan = make_plan("a")
    stages = tuple(replace(stage, mem_mb=300, runtime=20) for stage in plan.stages)
    flow = Workflow({"r/1": plan, "r/2": replace(plan, stages=stages)})
    page = SimpleNamespace(results="r/2")
    assert (flow.memory(REPORT)(page, 2), flow.runtime(REPORT)(page, 3)) == (600, 60)


def test_plates_that_differ_in_memory_alone_share_their_rules(make_plan: MakePlan) -> None:
    plan = make_plan("a")
    larger = replace(plan, stages=tuple(replace(stage, mem_mb=9000) for stage in plan.stages))
    assert [group.folders for group in Workflow({"r/1": plan, "r/2": larger}).groups] == [("r/1", "r/2")]


def learned(plan: Plan, folder: Path) -> Plan:
    """The plan with generous predictions, after a run in which every unit took 300 MB and 60 s."""
    needs, stage = Needs(plan), plan.stage("a")
    took = [Took(unit, needs.of(stage, unit), 300, None, 60) for unit in plan.units]
    write_summary(Results(folder), summarise({"a": took}, {}))
    return replace(plan, stages=tuple(replace(s, mem_mb=6400, runtime=90) for s in plan.stages))


def test_the_main_process_asks_by_what_was_learned_and_its_children_need_not(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    folder = tmp_path.as_posix()
    plan = learned(make_plan("a", wells=[f"A{number:02d}" for number in range(1, 13)]), tmp_path)
    main = Workflow({folder: plan}, (), parse_settings({"plates": [{"path": "P1"}]}))
    child = Workflow({folder: plan})
    job = wildcards(folder)
    assert 300 < main.memory("a")(job, 1) < 600
    assert main.runtime("a")(job, 1) < 10
    assert (child.memory("a")(job, 1), child.runtime("a")(job, 1)) == (6400, 90)
    assert main.expected_seconds(folder, "a", "A01") == 60
    assert main.expected_seconds(folder, "consolidate", "plate") is None
    assert main.expected_seconds(folder, "a", "unknown") is None
    assert main.asked(folder)["a"].mem_mb == main.memory("a")(job, 1)
    assert main.asked(folder)["consolidate"].mem_mb == 6400


def test_memory_that_the_configuration_sets_is_asked_for(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = learned(make_plan("a", wells=[f"A{number:02d}" for number in range(1, 13)]), tmp_path)
    settings = parse_settings(
        {"plates": [{"path": "P1"}], "orchestration": {"stages": {"a": {"mem_mb": 6400}}}}
    )
    assert Workflow({str(tmp_path): plan}, (), settings).memory("a")(wildcards(str(tmp_path)), 1) == 6400


def test_what_was_learned_does_not_change_what_decides_about_a_rerun(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    settings, folder = parse_settings({"plates": [{"path": "P1"}]}), tmp_path.as_posix()
    plan = make_plan("a", wells=[f"A{number:02d}" for number in range(1, 13)])
    before = Workflow({folder: plan}, (), settings)
    state, rules = before.job_state(folder, "a", "A01"), before.rules
    after = Workflow({folder: learned(plan, tmp_path)}, (), settings)
    assert after.job_state(folder, "a", "A01") == state
    assert after.rules == rules


def test_a_job_of_a_cluster_asks_for_the_memory_of_the_processes_around_it_once(make_plan: MakePlan) -> None:
    plan = make_plan("a")
    flow = Workflow({"r/1": replace(plan, stages=tuple(replace(s, mem_mb=100) for s in plan.stages))})
    flow.on_cluster = lambda: True
    memory = flow.memory("a")
    assert [memory(wildcards("r/1"), attempt) - AROUND_MB for attempt in (1, 2, 3)] == [100, 200, 300]
