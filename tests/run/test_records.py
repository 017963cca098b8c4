"""Records, failures and markers: what says that a unit is done."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from hcs_steps.compile.plan import Plan, PlateInfo, StagePlan
from hcs_steps.results import Results
from hcs_steps.run.records import (
    Failure,
    Record,
    all_attempts,
    attempts,
    open_failures,
    read_json,
    valid_record,
    write_failure,
    write_marker,
    write_record,
)

RECORD = Record("s", "A01", "f1", "", "", {}, 1, 0, 1, 0, "cpu", "m", {}, "", ())
FAILURE = Failure("s", "A01", "step", "ValueError", "no", "x.tif", "", "a.log", 1, "Traceback")


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path)


def plan(*stages: str) -> Plan:
    """Plate stages only: their unit is called ``plate``."""
    made = tuple(StagePlan(name, "plate", (), ()) for name in stages)
    return Plan("key", "p", PlateInfo("P", "/P", "test", 8, 12, {}, None, None), stages=made)


def valid(results: Results, fingerprint: str = "f1") -> bool:
    return valid_record(results, "s", "A01", fingerprint) is not None


def test_a_record_is_valid_for_its_fingerprint_only(results: Results) -> None:
    assert not valid(results)
    write_record(results, RECORD)
    assert valid(results)
    assert not valid(results, "f2")
    assert valid_record(results, "s", "A02", "f1") is None
    assert valid_record(results, "t", "A01", "f1") is None


def test_a_record_is_valid_only_as_long_as_what_it_published_is_there(results: Results) -> None:
    paths = [results.root / "tables" / "x.parquet", results.root / "images" / "s" / "A01"]
    paths[0].parent.mkdir()
    paths[0].write_text("x")
    paths[1].mkdir(parents=True)
    published = tuple({"path": results.relative(path), "size": 1, "checksum": ""} for path in paths)
    write_record(results, replace(RECORD, published=published))
    assert valid(results)
    paths[0].unlink()
    assert not valid(results)


def test_a_record_of_no_success_is_not_valid(results: Results) -> None:
    write_record(results, replace(RECORD, success=False))
    assert not valid(results)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"fingerprint": "f1"}'])
def test_a_damaged_record_is_no_record(results: Results, content: bytes) -> None:
    path = results.record("s", "A01")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert not valid(results)


def test_a_record_is_one_json_file_with_everything_in_it(results: Results) -> None:
    write_record(results, RECORD)
    (path,) = (p for p in results.root.rglob("*") if p.is_file())
    assert path == results.record("s", "A01")
    found = json.loads(path.read_text())
    assert found == json.loads(json.dumps(asdict(RECORD)))


@pytest.mark.parametrize("published", [None, 3, [7], [{"size": 1}]])
def test_a_record_that_was_damaged_by_hand_is_not_valid(results: Results, published: object) -> None:
    write_record(results, RECORD)
    path = results.record("s", "A01")
    path.write_text(json.dumps({**json.loads(path.read_text()), "published": published}))
    assert not valid(results)


def test_failures_are_counted_over_successes(results: Results) -> None:
    assert attempts(results, "s", "A01") == 0
    write_failure(results, FAILURE)
    assert attempts(results, "s", "A01") == 1
    write_failure(results, replace(FAILURE, attempt=2))
    assert attempts(results, "s", "A01") == 2
    write_record(results, RECORD)
    assert attempts(results, "s", "A01") == 2, "success changes nothing, or the job would run again"
    write_failure(results, replace(FAILURE, attempt=3))
    assert attempts(results, "s", "A01") == 3
    assert not results.resolved("s", "A01").exists()


def test_success_closes_a_failure_and_keeps_it_under_another_name(results: Results) -> None:
    write_failure(results, FAILURE)
    write_record(results, RECORD)
    assert not results.failure("s", "A01").exists()
    assert (read_json(results.resolved("s", "A01")) or {})["error"] == "no"


def test_all_attempts_lists_every_unit_that_ever_failed(results: Results) -> None:
    assert all_attempts(results, "s") == {}
    write_failure(results, FAILURE)
    write_failure(results, replace(FAILURE, unit="B02_s1", attempt=4))
    write_record(results, RECORD)
    assert all_attempts(results, "s") == {"A01": 1, "B02_s1": 4}
    assert all_attempts(results, "t") == {}


def test_open_failures_are_those_of_the_plans_units_by_stage(results: Results) -> None:
    for stage, unit in (("s", "plate"), ("a", "plate"), ("gone", "plate"), ("s", "Z99")):
        write_failure(results, replace(FAILURE, stage=stage, unit=unit))
    found = open_failures(plan("s", "a"), results)
    assert [(f["stage"], f["unit"]) for f in found] == [("s", "plate"), ("a", "plate")]
    write_record(results, replace(RECORD, stage="s", unit="plate"))
    assert [f["stage"] for f in open_failures(plan("s", "a"), results)] == ["a"]


def test_a_marker_lists_what_became_of_a_jobs_units_in_a_stable_way(results: Results) -> None:
    paths = [results.marker("s", name) for name in ("one", "two")]
    contents: list[Any] = []
    for path, failed in zip(paths, (["B", "A"], {"A", "B"}), strict=True):
        write_marker(path, "s", "job", done={"C": "f1"}, failed=failed, blocked=["E", "D"])
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert json.loads(contents[0])["failed"] == ["A", "B"]
    assert json.loads(contents[0])["blocked"] == ["D", "E"]
