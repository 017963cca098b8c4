"""Records, failures and markers: what says that a unit is done."""

import json
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hcs_steps.compile.plan import Plan, PlateInfo, StagePlan
from hcs_steps.errors import ConfigError
from hcs_steps.results import Results
from hcs_steps.run.records import (
    DROPPED,
    RECORD_VERSION,
    Failure,
    Record,
    all_attempts,
    attempts,
    forget,
    mark_cleaned,
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


def test_a_result_that_is_given_up_says_why_also_if_it_had_failed_before(results: Results) -> None:
    write_failure(results, FAILURE)
    write_record(results, RECORD)
    forget(results, "s", "A01", "its image is damaged")
    assert attempts(results, "s", "A01") == FAILURE.attempt + 1
    told = read_json(results.resolved("s", "A01")) or {}
    assert (told["kind"], told["error"]) == (DROPPED, "its image is damaged")


def test_an_open_failure_stays_what_it_is_when_its_unit_is_to_run_again(results: Results) -> None:
    write_failure(results, FAILURE)
    forget(results, "s", "A01", "asked for by --force")
    assert (read_json(results.failure("s", "A01")) or {})["error"] == FAILURE.error
    assert attempts(results, "s", "A01") == FAILURE.attempt + 1


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


def published_at(results: Results, *paths: str) -> tuple[dict[str, Any], ...]:
    """Entries of a record, with their files."""
    for path in paths:
        (results.root / path).parent.mkdir(parents=True, exist_ok=True)
        (results.root / path).write_text("x")
    return tuple({"path": path, "size": 1, "checksum": "blake2b:0"} for path in paths)


def test_what_was_cleaned_on_purpose_counts_as_done_but_not_as_there(results: Results) -> None:
    published = published_at(results, "images/s/A01", "tables/x.parquet")
    write_record(results, replace(RECORD, published=published))
    mark_cleaned(results, "s", "A01", ["images/s/A01", "of/another/unit"])
    assert valid(results), "its file is still there"

    (results.root / "images/s/A01").unlink()
    assert not valid(results)
    record = valid_record(results, "s", "A01", "f1", files=False)
    assert record is not None
    assert [item.get("cleaned", False) for item in record["published"]] == [True, False]

    (results.root / "tables/x.parquet").unlink()
    assert valid_record(results, "s", "A01", "f1", files=False) is None, "this one was not cleaned"


def test_cleaning_what_is_marked_already_writes_nothing(results: Results) -> None:
    write_record(results, replace(RECORD, published=published_at(results, "images/s/A01")))
    mark_cleaned(results, "s", "A01", ["images/s/A01"])
    before = results.record("s", "A01").stat().st_mtime_ns
    mark_cleaned(results, "s", "A01", ["images/s/A01"])
    mark_cleaned(results, "s", "B07", ["images/s/B07"])
    assert results.record("s", "A01").stat().st_mtime_ns == before
    assert not results.record("s", "B07").exists()


@pytest.mark.parametrize("state", ["never failed", "failed", "failed and succeeded"])
def test_a_forgotten_result_counts_as_one_more_attempt(results: Results, state: str) -> None:
    if state != "never failed":
        write_failure(results, replace(FAILURE, attempt=2))
    if state != "failed":
        write_record(results, RECORD)
    before = attempts(results, "s", "A01")
    was_open = results.failure("s", "A01").exists()
    forget(results, "s", "A01", "its file is damaged")
    assert attempts(results, "s", "A01") == before + 1
    assert all_attempts(results, "s") == {"A01": before + 1}
    assert not results.record("s", "A01").exists()
    assert results.failure("s", "A01").exists() == was_open, "it opens no failure"
    forget(results, "s", "A01", "again")
    assert attempts(results, "s", "A01") == before + 2


def test_a_stop_while_forgetting_leaves_a_record_never_a_unit_that_nobody_misses(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(results, RECORD)

    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hcs_steps.run.records.remove_path", stop)
    with pytest.raises(KeyboardInterrupt):
        forget(results, "s", "A01", "why")
    assert valid(results)
    assert attempts(results, "s", "A01") == 1


def test_a_record_of_a_newer_version_is_refused_and_stays(results: Results) -> None:
    write_record(results, replace(RECORD, version=RECORD_VERSION + 1))
    path = results.record("s", "A01")
    before = path.read_bytes()
    for use in (lambda: valid(results), lambda: mark_cleaned(results, "s", "A01", [])):
        with pytest.raises(ConfigError, match=rf"A01\.json.*version {RECORD_VERSION + 1}.*{RECORD_VERSION}"):
            use()
    assert path.read_bytes() == before


def test_a_record_from_before_versions_is_valid(results: Results) -> None:
    write_record(results, RECORD)
    path = results.record("s", "A01")
    record = json.loads(path.read_text())
    for name in ("version", "plan", "mode", "because"):
        del record[name]
    path.write_text(json.dumps(record))
    assert valid(results)


@pytest.mark.parametrize("path", ["../other/plan.json", "/etc/passwd", "a/../../b", "", "a\0b", 7, None])
def test_a_record_that_leads_outside_the_results_is_none(results: Results, path: object) -> None:
    write_record(results, replace(RECORD, published=({"path": path, "size": 1, "checksum": ""},)))
    assert not valid(results)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(asdict(RECORD))), value=JSON)
def test_a_record_of_any_shape_is_valid_none_or_refused(results: Results, name: str, value: Any) -> None:
    table = {"path": "tables/t.parquet", "planes": [[1, 1, 0, 1, 5]], "channels": {"1": "DAPI"}}
    call = {"group": {"channel": 1}, "arrays": {"a": "arrays/s/a.npy"}, "scales": {"a": 1.0}, "values": {}}
    record = asdict(replace(RECORD, outputs={"step": {"tables": {"t": table}, "calls": [call]}}))
    for damaged in (record | {name: value}, {**record, "outputs": {"step": {name: value, "tables": value}}}):
        path = results.record("s", "A01")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(damaged))
        with suppress(ConfigError):  # of a newer version
            found = valid_record(results, "s", "A01", "f1") or {"outputs": {}}
            for output in found["outputs"].values():
                paths = [entry["path"] for entry in output.get("tables", {}).values()]
                paths += [path for each in output.get("calls", ()) for path in each["arrays"].values()]
                assert all((results.root / path).is_relative_to(results.root) for path in paths)


@pytest.mark.parametrize(
    "content", [b"", b"[" * 200_000, b"[]", b'{"error": 3, "attempt": "x", "stage": "t"}']
)
def test_a_damaged_failure_is_a_failure(results: Results, content: bytes) -> None:
    path = results.failure("s", "plate")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    (found,) = open_failures(plan("s"), results)
    assert set(found) >= set(asdict(FAILURE))
    assert (found["stage"], found["unit"], found["attempt"]) == ("s", "plate", 1)
    assert "plate.json" in found["error"]
