"""The status of a plate from the small files of its results."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from standin_plate import NOW, StandinPlate, iso, plain_plan, wells_of

from hcs_steps.commands import failures, logs, status
from hcs_steps.errors import ConfigError, PlateError
from hcs_steps.operations.watching import _folders
from hcs_steps.operations.watching._failure_groups import common_part, group_failures
from hcs_steps.operations.watching._lines import span, text_of
from hcs_steps.operations.watching._plate_map import plate_map
from hcs_steps.operations.watching._status_text import status_lines
from hcs_steps.operations.watching._unit_logs import unit_logs
from hcs_steps.operations.watching.status import StatusReader
from hcs_steps.run.plate import plate_fingerprint

WELLS = ["A01", "A02", "B01"]
ALL_STAGES = ("normalize", "count", "flat", "correct", "consolidate", "report")
ELSEWHERE = {"machine": "another-machine", "pid": 4242, "process_start": 1.0}
GONE = {"pid": 2**22 + 1, "process_start": 1.0}


@pytest.fixture
def clock(monkeypatch):
    """Sets the time (seconds after `NOW`) at which the status is read."""

    def set_time(seconds):
        monkeypatch.setattr(
            "hcs_steps.operations.watching.status.time", SimpleNamespace(time=lambda: NOW + seconds)
        )

    set_time(0.0)
    return set_time


@pytest.fixture
def plate(tmp_path):
    return StandinPlate(tmp_path / "P1", plain_plan(WELLS))


def read(plate):
    return StatusReader(plate.plan, plate.results).read()


def states(plate, stage):
    return dict(next(s for s in read(plate).stages if s.name == stage).states)


def test_a_plate_that_was_never_run_waits_everywhere(plate):
    found = read(plate)
    assert found.state == "never"
    assert not found.complete
    assert {state for stage in found.stages for state in stage.states.values()} == {"waiting"}
    assert found.eta_seconds is None


def test_records_of_the_plan_are_done_and_all_of_them_are_success(plate):
    for stage in ALL_STAGES:
        plate.done(stage)
    plate.ran("done")
    found = read(plate)
    assert found.complete
    assert found.success
    assert found.state == "done"
    assert {found.unit_state(well) for well in WELLS} == {"done"}


def test_a_record_of_another_plan_is_not_done(plate):
    plate.done("normalize")
    stages = tuple(replace(s, fingerprint="other") if s.name == "normalize" else s for s in plate.plan.stages)
    changed = replace(plate.plan, stages=stages)
    found = StatusReader(changed, plate.results).read()
    assert found.stages[0].count("waiting") == 3


def test_a_unit_above_which_a_plate_stage_has_changed_is_not_done(plate):
    for stage in ("normalize", "flat", "correct"):
        plate.done(stage)
    assert set(states(plate, "correct").values()) == {"done"}
    record = json.loads(plate.results.record("flat", "plate").read_text())
    plate.results.record("flat", "plate").write_text(json.dumps({**record, "fingerprint": "another one"}))
    assert set(states(plate, "correct").values()) == {"waiting"}


def test_a_plate_stage_is_done_exactly_if_the_runner_finds_it_so(plate):
    for stage in ALL_STAGES:
        plate.done(stage)
    reader = StatusReader(plate.plan, plate.results)
    assert reader.read().complete
    plate.failed("count", "A02")
    plate.results.record("count", "A02").unlink()
    after = {stage.name: stage for stage in reader.read().stages}
    for name in ("flat", "consolidate", "report"):
        record = json.loads(plate.results.record(name, "plate").read_text())
        runner = plate_fingerprint(plate.plan, plate.plan.stage(name), plate.results)
        assert (after[name].states["plate"] == "done") == (record["fingerprint"] == runner), name
    assert after["flat"].states["plate"] == "done"
    assert after["report"].states["plate"] == "waiting"
    plate.done("consolidate")
    plate.done("report")
    assert reader.read().stages[-1].states["plate"] == "done"


def test_a_failure_blocks_what_comes_after_it_and_nothing_else(plate):
    plate.done("normalize", "A01", "B01")
    plate.failed("normalize", "A02")
    assert states(plate, "normalize") == {"A01": "done", "A02": "failed", "B01": "done"}
    assert states(plate, "count") == {"A01": "waiting", "A02": "blocked", "B01": "waiting"}
    assert states(plate, "consolidate") == {"plate": "waiting"}
    found = read(plate)
    assert [failure["unit"] for failure in found.failures] == ["A02"]
    assert found.unit_state("A02") == "failed"


def test_a_failed_plate_stage_blocks_every_unit_that_builds_on_it(plate):
    plate.done("normalize")
    plate.failed("flat", "plate")
    assert set(states(plate, "correct").values()) == {"blocked"}
    assert set(states(plate, "count").values()) == {"waiting"}


def test_a_failure_that_its_record_has_outlived_is_not_open(plate):
    plate.done("normalize")
    plate.failed("normalize", "A01")
    found = read(plate)
    assert found.failures == ()
    assert found.stages[0].count("done") == 3


def test_a_unit_runs_while_its_process_lives(plate):
    plate.running("normalize", "A01")
    plate.running("normalize", "A02", **GONE)
    found = read(plate)
    assert found.stages[0].states == {"A01": "running", "A02": "died", "B01": "waiting"}
    assert [told["unit"] for told in found.running] == ["A01"]
    assert [told["unit"] for told in found.died] == ["A02"]
    assert found.unit_state("A01") == "running"


def test_the_process_of_another_machine_lives_as_long_as_it_writes(plate):
    fresh = plate.running("normalize", "A01", **ELSEWHERE)
    silent = plate.running("normalize", "A02", **ELSEWHERE)
    assert fresh.is_file()
    long_ago = silent.stat().st_mtime - 100
    os.utime(silent, (long_ago, long_ago))
    assert states(plate, "normalize") == {"A01": "running", "A02": "died", "B01": "waiting"}


def test_a_silent_process_dies_though_no_file_changes(plate, clock, monkeypatch):
    path = plate.running("normalize", "A01", **ELSEWHERE)
    os.utime(path, (NOW, NOW))
    os.utime(path.parent, (NOW, NOW))
    reader = StatusReader(plate.plan, plate.results)
    clock(30)
    assert reader.read().stages[0].states["A01"] == "running"
    clock(90)
    assert reader.read().stages[0].states["A01"] == "died"


def test_a_unit_that_is_tried_again_runs_and_one_whose_second_try_died_is_dead(plate):
    for well in ("A01", "A02", "B01"):
        plate.failed("normalize", well, at=0)
    plate.running("normalize", "A01", started=10)
    plate.running("normalize", "A02", started=10, **GONE)
    plate.running("normalize", "B01", started=-10, **GONE)
    assert states(plate, "normalize") == {"A01": "running", "A02": "died", "B01": "failed"}


def test_a_stage_that_is_left_out_is_skipped_and_asks_for_nothing(tmp_path):
    plan = plain_plan(WELLS, skipped={"count": "mode quick leaves it out"})
    plate = StandinPlate(tmp_path, plan)
    for stage in ("normalize", "flat", "correct", "consolidate", "report"):
        plate.done(stage)
    found = read(plate)
    assert found.stages[1].skipped == "mode quick leaves it out"
    assert set(found.stages[1].states.values()) == {"skipped"}
    assert found.complete
    assert found.unit_state("A01") == "done"


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "{", '{"success": true}', '{"success": true, "fingerprint": 3}']
)
def test_a_damaged_file_counts_as_absent(plate, text):
    plate.done("normalize")
    plate.results.record("normalize", "A01").write_text(text)
    plate.results.running("count", "A02").parent.mkdir(parents=True)
    plate.results.running("count", "A02").write_text(text)
    plate.results.failure("count", "B01").parent.mkdir(parents=True)
    plate.results.failure("count", "B01").write_text(text)
    plate.results.run.write_text(text)
    found = read(plate)
    assert found.stages[0].states["A01"] == "waiting"
    assert [(failure["unit"], failure["stage"]) for failure in found.failures] == [("B01", "count")]


def test_leftovers_and_resolved_failures_are_not_units(plate):
    plate.failed("normalize", "A01")
    plate.results.failure("normalize", "A01").rename(plate.results.resolved("normalize", "A01"))
    plate.results.failure("normalize", "A02").with_name(".A02.json.tmp-1-ab").write_text("{}")
    assert read(plate).failures == ()


def test_only_what_has_changed_is_opened_again(plate, monkeypatch):
    opened = []
    read_json = _folders.read_json
    monkeypatch.setattr(_folders, "read_json", lambda path: opened.append(path.name) or read_json(path))
    plate.done("normalize")
    plate.done("count", "A01")
    reader = StatusReader(plate.plan, plate.results)
    reader.read()
    assert sorted(opened) == ["A01.json", "A01.json", "A02.json", "B01.json"]
    opened.clear()
    reader.read()
    assert opened == []
    plate.done("count", "A02")
    assert reader.read().stages[1].count("done") == 2
    assert opened == ["A02.json"]
    plate.results.record("normalize", "B01").unlink()
    assert reader.read().stages[0].states["B01"] == "waiting"


def test_a_quiet_folder_is_not_even_listed(plate, monkeypatch):
    plate.done("normalize")
    folder = plate.results.record("normalize", "A01").parent
    os.utime(folder, (NOW, NOW))
    found = _folders.JsonFolder(folder, lambda data, path: data)
    assert found.refresh()
    monkeypatch.setattr(_folders.os, "scandir", None)
    assert not found.refresh()


@pytest.mark.parametrize(
    ("written", "process", "expected"),
    [
        ("running", {}, "running"),
        ("running", GONE, "died"),
        ("running", ELSEWHERE, "running"),
        ("done", GONE, "done"),
        ("failed", {}, "failed"),
        ("stopped", {}, "stopped"),
    ],
)
def test_the_state_of_the_run(plate, written, process, expected):
    plate.ran(written, **process)
    assert read(plate).state == expected


def test_time_left_is_what_is_left_at_the_pace_of_this_run(tmp_path, clock):
    wells = wells_of(8, 12)
    plate = StandinPlate(tmp_path, plain_plan(wells, stages=plain_plan(wells).stages[:1]))
    # Four at a time, 10 s each: 48 wells in 120 s.
    for index, well in enumerate(wells[:48]):
        plate.done("normalize", well, start=-120 + 10 * (index // 4), seconds=10)
    plate.ran("running", started=-120)
    found = read(plate)
    assert found.stages[0].seconds == 10
    assert found.eta_seconds == pytest.approx(120, rel=0.05)
    assert found.stages[0].rate == pytest.approx(24, rel=0.05)
    assert found.stages[0].new == 48
    assert found.stages[0].started == iso(-120)
    assert found.stages[0].ended == iso(0)


def test_time_left_is_not_guessed(plate, clock):
    plate.ran("running", started=-60)
    assert read(plate).eta_seconds is None
    plate.done("normalize", start=-50, seconds=10)
    assert read(plate).eta_seconds is None, "no unit of the other stages has ever run"
    for stage in ("count", "flat", "correct"):
        plate.done(stage, start=-20, seconds=10)
    plate.results.record("correct", "B01").unlink()
    found = read(plate)
    assert found.eta_seconds == pytest.approx(10)
    assert found.unestimated == ("consolidate", "report")


def test_time_left_counts_only_the_units_that_the_run_is_for(plate, clock):
    for stage in ("normalize", "count", "flat", "correct", "consolidate", "report"):
        plate.done(stage, start=-30, seconds=10)
    for well in ("A01", "A02"):
        plate.results.record("correct", well).unlink()
    plate.ran("running", units=["A02"])
    chosen = {stage.name: stage.left for stage in read(plate).stages}
    assert chosen["correct"] == pytest.approx(10)


def test_a_former_run_does_not_count_as_the_pace_of_this_one(plate, clock):
    plate.done("normalize", start=-5000, seconds=10)
    plate.ran("running", started=-60)
    found = read(plate).stages[0]
    assert (found.new, found.started, found.rate) == (0, "", None)
    assert found.seconds == 10


@pytest.mark.parametrize(("size", "width"), [((8, 12), 100), ((16, 24), 100), ((32, 48), 100)])
def test_a_plate_map_fits_and_has_a_sign_for_every_well(tmp_path, size, width):
    wells = wells_of(*size)
    plate = StandinPlate(tmp_path, plain_plan(wells))
    lines = [text_of(line) for line in plate_map(plate.plan, dict.fromkeys(wells, "done"))]
    assert max(map(len, lines)) <= width
    assert sum(line.count("#") for line in lines[:-1]) == len(wells)
    assert lines[-1].strip() == f"# done {len(wells)}"


def test_a_plate_map_puts_a_well_where_it_is(plate):
    lines = [
        text_of(line) for line in plate_map(plate.plan, {"A01": "done", "A02": "failed", "B01": "waiting"})
    ]
    assert lines[2] == " A  # X"
    assert lines[3] == " B  ."


def test_errors_of_one_cause_are_one_group(plate):
    for well, size in (("A01", 282), ("A02", 5310), ("B01", 7)):
        plate.failed("normalize", well, f"Cannot read /data/P1/x_{well}_s1.tif: {size} bytes of well {well}.")
    plate.failed("count", "A01", "Out of order.")
    groups = group_failures(read(plate).failures, plate.plan)
    assert [(group.stage, group.count, group.wells) for group in groups] == [
        ("normalize", 3, "A01-A02, B01"),
        ("count", 1, "A01"),
    ]


def test_different_errors_stay_apart():
    assert common_part("cannot read a.tif") == common_part("cannot read /x y/b_01.tif".replace("/x y", "/xy"))
    assert common_part("12 of 16 planes") == common_part("3 of 9 planes")
    assert common_part("no cells") != common_part("no nuclei")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.2, "0 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_lengths_of_time(seconds, text):
    assert span(seconds) == text


def asked(*plates, **values):
    defaults = {
        "json": False,
        "watch": False,
        "efficiency": False,
        "full": False,
        "config": "config/config.yaml",
    }
    return Namespace(plates=list(plates), **(defaults | values))


def test_status_tells_what_a_person_wants_to_know(plate, capsys):
    plate.done("normalize", "A01", "B01")
    plate.failed("normalize", "A02", "The image x.tif cannot be read.", kind="ImageFileError")
    plate.running("count", "A01")
    plate.ran("running")
    assert status.run(asked(str(plate.results.root))) == 0
    text = capsys.readouterr().out
    assert "going on since" in text
    assert "ImageFileError" in text
    assert "2/9 site 2, channel DAPI" in text
    assert " A  > X" in text
    assert f"hcs logs A02 --plate {plate.results.root}" in text
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines() if str(plate.results.root) not in line) <= 100


def test_status_of_a_run_that_died_says_how_to_go_on(plate):
    plate.ran("running", **GONE)
    text = "\n".join(text_of(line) for line in status_lines(read(plate), plate.plan, "P1"))
    assert "died" in text
    assert "hcs run" in text


def test_status_as_json_has_the_documented_keys(plate, capsys):
    plate.failed("normalize", "A02")
    plate.ran("stopped", reason="the time limit of 3 s is over")
    assert status.run(asked(str(plate.results.root), json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    documented = status.__doc__.partition("::")[2].partition("A plate that has never")[0]
    assert [key for key in told if key not in documented] == []
    assert told["state"] == "stopped"
    assert told["reason"] == "the time limit of 3 s is over"
    assert told["counts"]["failed"] == 1
    assert "stack" not in told["failures"][0]


def test_several_plates_as_json_are_a_list(plate, tmp_path, capsys):
    other = StandinPlate(tmp_path / "P2", plain_plan(WELLS))
    status.run(asked(str(plate.results.root), str(other.results.root), json=True))
    assert [told["results"] for told in json.loads(capsys.readouterr().out)] == [
        str(plate.results.root),
        str(other.results.root),
    ]


def test_a_folder_without_results_is_refused_with_what_is_in_it(plate, tmp_path):
    with pytest.raises(ConfigError, match=r"no plan.json in it\. It holds those of P1"):
        status.run(asked(str(tmp_path)))


def test_without_configuration_and_folder_nothing_can_be_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="results folder"):
        status.run(asked())


def test_a_damaged_plan_is_one_paragraph(plate, capsys):
    plate.results.plan.write_text("{")
    assert status.run(asked(str(plate.results.root))) == 0
    assert "is not a plan" in capsys.readouterr().out
    assert status.run(asked(str(plate.results.root), json=True)) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "unreadable"


def test_watching_ends_with_the_run(plate, capsys, monkeypatch):
    plate.ran("running")

    def end_it(seconds):
        for stage in ALL_STAGES:
            plate.done(stage)
        plate.ran("done")

    monkeypatch.setattr(status.time, "sleep", end_it)
    assert status.run(asked(str(plate.results.root), watch=True)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "going on" in lines[0]
    assert "report 1/1" in lines[-1]


def test_failures_are_told_together_with_what_helps(plate, capsys):
    plate.failed("normalize", "A01", "Image 12 is torn.", stack="Traceback\n  line 12\nImage 12 is torn.")
    plate.failed(
        "normalize", "A02", "Image 99 is torn.", attempt=3, stack="Traceback\n  line 99\nImage 99 is torn."
    )
    assert failures.run(asked(str(plate.results.root), full=True)) == 0
    text = capsys.readouterr().out
    assert "2 x normalize: StepError" in text
    assert "attempt 3" in text
    assert f"hcs step --plan {plate.results.plan} --stage normalize --unit A01" in text
    assert "traceback of A01, and alike 1 others" in text
    assert failures.run(asked(str(plate.results.root), full=True, json=True)) == 0
    assert json.loads(capsys.readouterr().out)["failures"][1]["stack"].startswith("Traceback")


def test_no_failures_are_said_to_be_none(plate, capsys):
    assert failures.run(asked(str(plate.results.root))) == 0
    assert "no failure is open" in capsys.readouterr().out


CHUNK_LOG = """\
2026-05-04 12:00:00,001 normalize: A01 starts on cpu
2026-05-04 12:00:01,001 a line of A01
2026-05-04 12:00:01,002 normalize: A01 done in 1.00 s
2026-05-04 12:00:02,001 normalize: A02 starts on cpu
printed by a function of A02
2026-05-04 12:00:03,001 normalize: A02 failed: torn
Traceback of A02
2026-05-04 12:00:04,001 normalize: B01 is up to date
"""


@pytest.fixture
def chunked(tmp_path):
    """Three wells in one job, with its log."""
    plate = StandinPlate(tmp_path / "P1", plain_plan(WELLS, chunk=3))
    path = plate.results.log("normalize", "A01-B01")
    path.parent.mkdir(parents=True)
    path.write_text(CHUNK_LOG)
    return plate


def test_of_a_job_of_several_wells_only_the_wells_own_lines_are_told(chunked):
    (log, *_) = unit_logs(chunked.plan, chunked.results, "A02", "normalize")
    assert list(log.new_lines()) == CHUNK_LOG.splitlines()[3:7]


def test_a_log_is_followed_and_one_that_begins_anew_is_told_anew(chunked):
    (log, *_) = unit_logs(chunked.plan, chunked.results, "A02", "normalize")
    list(log.new_lines())
    with log.path.open("a") as file:
        file.write("2026-05-04 12:00:05,001 normalize: A02 starts on cpu\nhalf a li")
    assert list(log.new_lines()) == ["2026-05-04 12:00:05,001 normalize: A02 starts on cpu"]
    with log.path.open("a") as file:
        file.write("ne\n")
    assert list(log.new_lines()) == ["half a line"]
    log.path.write_text("2026-05-04 12:00:05,001 normalize: A02 starts on cuda\n")
    assert list(log.new_lines()) == ["2026-05-04 12:00:05,001 normalize: A02 starts on cuda"]


def test_logs_of_a_well_end_with_its_failures(chunked, capsys):
    chunked.failed("normalize", "A02", "torn", stack="Traceback of A02\n")
    chunked.failed("normalize", "A01", "another")
    wanted = Namespace(
        well="a2", stage=None, plate=str(chunked.results.root), follow=False, config="config/config.yaml"
    )
    assert logs.run(wanted) == 0
    text = capsys.readouterr().out
    assert text.startswith("== normalize: A02 failed")
    assert "printed by a function of A02" in text
    assert "a line of A01" not in text
    assert text.rstrip().endswith("Traceback of A02")
    assert "another" not in text


def test_following_a_well_ends_when_it_has_nothing_left_to_do(chunked, capsys, monkeypatch):
    chunked.ran("running")
    wanted = Namespace(
        well="A01",
        stage="normalize",
        plate=str(chunked.results.root),
        follow=True,
        config="config/config.yaml",
    )

    def go_on(seconds):
        with chunked.results.log("normalize", "A01-B01").open("a") as file:
            file.write("2026-05-04 12:00:05,001 normalize: A01 starts on cpu\n")
        chunked.done("normalize", "A01")

    monkeypatch.setattr(logs.time, "sleep", go_on)
    assert logs.run(wanted) == 0
    assert "12:00:05,001 normalize: A01 starts" in capsys.readouterr().out


def test_a_well_that_is_not_in_the_plan_has_no_logs(plate):
    wanted = Namespace(well="H12", stage=None, plate=str(plate.results.root), follow=False, config="none")
    with pytest.raises(PlateError, match="no well H12"):
        logs.run(wanted)
