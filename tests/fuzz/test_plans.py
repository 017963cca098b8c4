"""plan.json: a plan that can be worked by, or a refusal."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from fuzz_lab import TEXTS, damaged, deep, examples, hostile, mutated, new_folder, outcome, places
from fuzz_plans import small_plan
from hypothesis import given
from hypothesis import strategies as st

from hcs_steps.compile.plan import PLAN_VERSION, PLATE_UNIT, Plan
from hcs_steps.compile.stores import store_spec
from hcs_steps.errors import ConfigError
from hcs_steps.results import Results


@lru_cache
def good() -> str:
    return small_plan().to_json()


@lru_cache
def folder() -> Path:
    return new_folder()


def use(plan: Plan) -> None:
    """What Snakemake, the runner and the commands ask of a plan; nothing of it lies outside the results."""
    results = Results(PurePosixPath("/results/P1"))
    assert Plan.from_json(plan.to_json(), where="again") == plan
    written = [results.plan_copy(plan.hash)]
    for stage in plan.stages:
        plan.plate_stages_above(stage)
        written.append(results.gate(stage.name))
        for unit in plan.units_of(stage):
            plan.fingerprint(stage, unit)
            written += [results.record(stage.name, unit), results.failure(stage.name, unit)]
            written += [results.running(stage.name, unit), results.resolved(stage.name, unit)]
        for job, units in plan.jobs_of(stage).items():
            plan.job_fingerprint(stage, units)
            written += [results.marker(stage.name, job), results.log(stage.name, job)]
    for name, table in plan.tables.items():
        written.append(results.table(plan.tables_folder, name))
        for step, output in table.sources:
            written += [results.part(plan.tables_folder, step, u, output) for u in (*plan.units, PLATE_UNIT)]
    for step in plan.steps:
        if step.store:
            written.append(results.root / step.store)
            store_spec(plan, step, results.root)
    for path in written:
        assert path.is_relative_to(results.root)
        assert ".." not in path.parts
        assert str(path).isprintable()
        assert all(len(part.encode()) < 1000 for part in path.parts)


@examples(150)
@given(tree=st.deferred(lambda: mutated(json.loads(good()))))
def test_a_plan_with_other_values_is_one_or_is_refused(tree: Any) -> None:
    text = json.dumps(tree)
    _, error = outcome(lambda: use(Plan.from_json(text, where="plan.json")))
    assert error is None or isinstance(error, ConfigError)


@examples(40)
@given(
    content=st.deferred(lambda: damaged(good().encode()))
    | st.binary(max_size=50)
    | hostile.map(lambda v: json.dumps(v).encode())
)
def test_a_damaged_file_is_a_plan_or_is_refused(content: bytes) -> None:
    path = folder() / "plan.json"
    path.write_bytes(content)
    _, error = outcome(lambda: use(Plan.load(path)))
    assert error is None or (isinstance(error, ConfigError) and "plan.json" in str(error))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        json.dumps({"version": PLAN_VERSION, "steps": deep(900)}),
        '{"version": NaN}',
        "9" * 5000,
    ],
)
def test_bombs_are_refused(text: str) -> None:
    _, error = outcome(lambda: Plan.from_json(text, where="plan.json"))
    assert isinstance(error, ConfigError)


def test_a_plan_of_a_newer_version_is_refused_with_both_versions_and_what_to_do() -> None:
    tree = json.loads(good()) | {"version": 999, "invented_later": {"x": 1}}
    tree["steps"] = [{"kind": "new"}]
    _, error = outcome(lambda: Plan.from_json(json.dumps(tree), where="out/P1/plan.json"))
    assert isinstance(error, ConfigError)
    assert "out/P1/plan.json" in error.message
    assert "999" in error.message
    assert str(PLAN_VERSION) in error.message
    assert "snakemake" in error.hint


def texts_in_names(tree: Any) -> list[tuple[Any, ...]]:
    """Where in a plan the texts are that become parts of paths."""
    named = {"name", "store", "tables_folder", "id", "well"}
    return [path for path in places(tree) if path[-1] in named and isinstance(at(tree, path), str)]


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


@pytest.mark.parametrize("text", [*TEXTS, "x" * 100_000])
def test_no_name_in_a_plan_leads_out_of_the_results(text: str) -> None:
    for path in texts_in_names(json.loads(good())):
        tree = json.loads(good())
        at(tree, path[:-1])[path[-1]] = text
        outcome(lambda tree=tree: use(Plan.from_json(json.dumps(tree), where="plan.json")))
    for mapping in ("units", "jobs", "tables"):
        tree = json.loads(good())
        tree[mapping][text] = tree[mapping].pop(next(iter(tree[mapping])))
        outcome(lambda tree=tree: use(Plan.from_json(json.dumps(tree), where="plan.json")))


def test_an_image_that_is_made_of_itself_is_refused() -> None:
    tree = json.loads(good())
    tree["layouts"][0]["sources"][0] = 0
    _, error = outcome(lambda: Plan.from_json(json.dumps(tree), where="plan.json"))
    assert isinstance(error, ConfigError)
    assert "step 0 reads images of step 0" in error.message


def test_what_fuzzing_has_found_is_refused() -> None:
    for path, value in [
        (("steps", 0, "branches"), {}),
        (("plate", "channels", ""), "DAPI"),
        (("units", "A01", "layout"), 99),
        (("stages", 0, "steps"), [-7]),
        (("layouts", 0, "width"), -1),
        (("stages", 0, "mem_mb"), "all"),
        (("stages", 0, "timeout_s"), float("inf")),
    ]:
        tree = json.loads(good())
        at(tree, path[:-1])[path[-1]] = value
        _, error = outcome(lambda tree=tree: Plan.from_json(json.dumps(tree), where="plan.json"))
        assert isinstance(error, ConfigError), path
