"""The small JSON files of a results folder: records, failures, running files, markers, run.json, plans that were kept.

Whatever they hold: the state of a plate is told, what is damaged counts as absent, and nothing outside the results is
read for a result, changed or removed.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from fuzz_lab import damaged, deep, examples, hostile, mutated, new_folder, outcome, places
from fuzz_plans import small_inventory, small_plan
from hypothesis import given
from hypothesis import strategies as st

from hcs_steps.compile.plan import Plan
from hcs_steps.errors import ConfigError
from hcs_steps.operations.mending.clean import find_intermediates, remove_intermediates, remove_leftovers
from hcs_steps.operations.mending.leftovers import find_leftovers
from hcs_steps.operations.mending.verify import extent, fix, lost_plans, verify
from hcs_steps.operations.provenance.explain import current_fingerprint, reasons
from hcs_steps.operations.provenance.outputs import write_outputs
from hcs_steps.operations.runs import PipelineRun, StageResult, as_document, read_run, write_run
from hcs_steps.operations.watching._document import status_document
from hcs_steps.operations.watching._status_text import status_lines
from hcs_steps.operations.watching.status import StatusReader
from hcs_steps.plate import write_inventory
from hcs_steps.results import Results
from hcs_steps.run.records import (
    RECORD_VERSION,
    Failure,
    Record,
    all_attempts,
    attempts,
    open_failures,
    read_record,
    unit_fingerprint,
    write_failure,
    write_marker,
    write_record,
)
from hcs_steps.storage.atomic import measure, write_json, write_text


@lru_cache
def made() -> tuple[Path, Plan, dict[str, bytes]]:
    """A sandbox with the results of a plate, and a file beside them; the plan; and the content of all files."""
    sandbox = new_folder()
    (sandbox / "escaped").mkdir()
    (sandbox / "escaped" / "precious.txt").write_text("mine")
    plan = small_plan()
    results = Results(sandbox / "results" / "P1")
    results.root.mkdir(parents=True)
    write_inventory(small_inventory(), results.inventory)
    write_text(results.plan, plan.to_json())
    write_text(results.plan_copy(plan.hash), plan.to_json())
    for stage in plan.stages:
        for number, unit in enumerate(plan.units_of(stage)):
            _finish(plan, results, stage.name, unit, failed=number == 1 and stage.scope == "unit")
        for job, units in plan.jobs_of(stage).items():
            write_marker(results.marker(stage.name, job), stage.name, job, dict.fromkeys(units, "f"), [], [])
    write_run(results, _run(plan))
    files = {str(p.relative_to(results.root)): p.read_bytes() for p in results.root.rglob("*") if p.is_file()}
    return sandbox, plan, files


def _finish(plan: Plan, results: Results, stage: str, unit: str, *, failed: bool) -> None:
    moment = "2026-03-14T09:26:53.589+00:00"
    if failed:
        told = {
            "stage": stage,
            "unit": unit,
            "machine": platform.node(),
            "pid": 2**22 + 1,
            "process_start": 1.0,
        }
        told |= {
            "started": moment,
            "updated": moment,
            "step": "flat",
            "item": 1,
            "items": 2,
            "what": "site 1",
        }
        write_json(results.running(stage, unit), told | {"rss_mb": 100, "predicted_mb": 90, "log": "a.log"})
        write_failure(
            results,
            Failure(stage, unit, "flat", "ValueError", "no", "x.tif", moment, "a.log", 1, "Traceback"),
        )
        return
    path = results.part(plan.tables_folder, "count", unit, "counts")
    write_text(path, "a table")
    size, checksum = measure(path)
    published = {"path": results.relative(path), "size": size, "checksum": checksum}
    write_record(
        results,
        Record(
            stage, unit, unit_fingerprint(plan, results, plan.stage(stage), unit), moment, moment, {"read": 0.1},
            2, 0, 100, 0,
            "cpu", "here", {"hcs_steps": "0.1"}, "abc", (published,),
            outputs={"count": {"tables": {"counts": {"path": published["path"], "planes": [[1, 1, 1, 1, 3]]}},
            "calls": [
                {"group": {"channel": 1}, "arrays": {}, "values": {"threshold": 3.5}}]}},
            notes=("One note.",), plan=plan.hash, mode="full", because=("it has not run yet",),
        ),
    )  # fmt: skip


def _run(plan: Plan) -> PipelineRun:
    stage = StageResult(
        plan.stages[0].name, "done", True, "2026-03-14T09:26:53+00:00", "", 2, 1, 0, details={"log": "a.log"}
    )
    return PipelineRun(
        "20260314-092653-1a2b3c", "P1", "p", "full", plan.hash, 3, "2026-03-14T09:26:53+00:00", stages=(stage,),
        units=("A01", "A02"), machine=platform.node(), pid=2**22 + 1, process_start=1.0, versions={"hcs_steps": "0.1"},
    )  # fmt: skip


def use(plan: Plan, results: Results) -> None:
    """Ask everything that is asked of a results folder, then mend it."""
    plan = Plan.load(results.plan)
    status = StatusReader(plan, results).read()
    json.dumps(status_document(status, plan), allow_nan=False)
    for line in status_lines(status, plan, "P1"):
        str(line)
    run = read_run(results)
    if run is not None:
        run.get_summary()
        as_document({"P1": run})
        write_run(results, replace(_run(plan), run_id="20260315-000000-ffffff"))
    open_failures(plan, results)
    for stage in plan.stages:
        all_attempts(results, stage.name)
        for unit in plan.units_of(stage):
            attempts(results, stage.name, unit)
            record = read_record(results, stage.name, unit)
            current_fingerprint(plan, results, stage, unit)
            reasons(plan, results, stage, unit, record, attempts=1, forced=False)
    write_outputs(plan, results)
    extent(plan, results)
    lost_plans(plan, results)
    fix(plan, results, verify(plan, results, threads=1))
    remove_intermediates(plan, results, find_intermediates(plan, results))
    remove_leftovers(results, find_leftovers(plan, results))


def attack(changed: dict[str, bytes]) -> Any:
    """Use the results with these files changed; what is beside them must stay as it is."""
    sandbox, plan, files = made()
    results = Results(sandbox / "results" / "P1")
    if {
        str(p.relative_to(results.root)): p.read_bytes() for p in results.root.rglob("*") if p.is_file()
    } != files:
        shutil.rmtree(results.root)
        for name, content in files.items():
            (results.root / name).parent.mkdir(parents=True, exist_ok=True)
            (results.root / name).write_bytes(content)
    for name, content in changed.items():
        (results.root / name).write_bytes(content)
    _, error = outcome(lambda: use(plan, results), writable=results.root)
    assert (sandbox / "escaped" / "precious.txt").read_text() == "mine"
    assert sorted(os.listdir(sandbox)) == ["escaped", "results"]
    assert os.listdir(sandbox / "results") == ["P1"]
    return error


def json_files() -> list[str]:
    """The small files, but for the plan, which has a target of its own."""
    return sorted(name for name in made()[2] if name.endswith(".json") and name != "plan.json")


@st.composite
def changes(draw: st.DrawFn) -> dict[str, bytes]:
    files = made()[2]
    changed = {}
    for name in draw(st.lists(st.sampled_from(json_files()), min_size=1, max_size=2, unique=True)):
        content = files[name]
        tree = st.builds(lambda tree: json.dumps(tree).encode(), mutated(json.loads(content)) | hostile)
        changed[name] = draw(tree | tree | damaged(content) | st.binary(max_size=20))
    return changed


@examples(25)
@given(changed=changes())
def test_a_results_folder_with_damaged_files_is_told_and_mended(changed: dict[str, bytes]) -> None:
    error = attack(changed)
    assert error is None or isinstance(error, ConfigError)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "\n",
        "\x1b[31m",
        "../../escaped/precious.txt",
        "/escaped",
        "\ud800",
        "x" * 300,
        "A01",
        "9" * 5000,
    ],
)
def test_no_path_in_a_file_leads_out_of_the_results(text: str) -> None:
    """Every text of every kind of file, replaced by the same hostile one."""
    kinds = {name.partition("/")[0]: name for name in json_files() if not name.startswith("plans/")}
    for name in kinds.values():
        tree = json.loads(made()[2][name])
        for path in list(places(tree)):
            parent = tree
            for key in path[:-1]:
                parent = parent[key]
            if isinstance(parent[path[-1]], str) and path[-1] not in ("fingerprint", "checksum"):
                parent[path[-1]] = text
        attack({name: json.dumps(tree).encode()})


@pytest.mark.parametrize(
    "target", ["../../escaped/precious.txt", "/etc/hostname", "../../escaped", "a/../../../escaped"]
)
def test_a_record_that_lists_what_is_not_its_own_is_none(target: str) -> None:
    """Neither verified, nor cleaned, nor removed."""
    changed = {}
    for name in json_files():
        if name.startswith("records/"):
            record = json.loads(made()[2][name])
            for item in record["published"]:
                item["path"] = target
            for output in record["outputs"].values():
                for table in output["tables"].values():
                    table["path"] = target
            changed[name] = json.dumps(record).encode()
    assert attack(changed) is None


@pytest.mark.parametrize(
    "content", ["[" * 100_000, json.dumps(deep(900)), '{"published": ' * 300, "9" * 5000, "1e400"]
)
def test_bombs_count_for_nothing(content: str) -> None:
    assert attack(dict.fromkeys(json_files(), content.encode())) is None


def test_a_record_of_a_newer_version_is_refused_with_both_versions_and_what_to_do() -> None:
    name = next(name for name in json_files() if name.startswith("records/"))
    record = json.loads(made()[2][name]) | {"version": 999, "invented_later": {"x": 1}}
    error = attack({name: json.dumps(record).encode()})
    assert isinstance(error, ConfigError)
    assert name in error.message
    assert "999" in error.message
    assert str(RECORD_VERSION) in error.message
    assert "Update hcs-steps" in error.hint
    path = made()[0] / "results" / "P1" / name
    assert json.loads(path.read_bytes()) == record, "it was replaced"


def test_the_files_as_they_are_made_are_good() -> None:
    """Or all the other tests would find nothing."""
    sandbox, plan, _ = made()
    assert attack({}) is None
    made.cache_clear()
    sandbox, plan, _ = made()
    results = Results(sandbox / "results" / "P1")
    status = StatusReader(plan, results).read()
    assert next(stage.count("done") for stage in status.stages) == 2
    assert read_run(results) == _run(plan)
    assert not verify(plan, results)
    assert asdict(_run(plan)) == json.loads(results.run.read_bytes()) | {
        "stages": (asdict(_run(plan).stages[0]),),
        "units": ("A01", "A02"),
    }


def test_a_failure_is_of_the_unit_whose_file_it_is_in() -> None:
    """Found by fuzzing: a file that named another unit ended hcs status with a KeyError."""
    name = next(name for name in json_files() if name.startswith("failures/"))
    attack({name: json.dumps(json.loads(made()[2][name]) | {"unit": "elsewhere", "stage": 3}).encode()})
    assert attack({"run.json": json.dumps({"units": [{}], "stages": [], "run_id": [1]}).encode()}) is None
