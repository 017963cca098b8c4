"""How far a unit is, as it is told and as its running file shows it."""

from __future__ import annotations

import json
import os
import platform
import shutil

import psutil
import pytest

from hcs_steps.results import Results
from hcs_steps.run import running
from hcs_steps.run.running import (
    Board,
    Progress,
    RunningFile,
    announced,
    detail,
    progress,
    remove_running,
    use_board,
)
from hcs_steps.storage._leftovers import own_machine

DAPI, GFP = {"channel": 1, "site": 1, "z_index": 1}, {"channel": 2, "site": 1, "z_index": 1}


@pytest.fixture
def board():
    """What this process shows of itself."""
    shown = Board()
    use_board(shown)
    yield shown
    use_board(None)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A running file, and the clock that it goes by."""
    clock = [100.0]
    monkeypatch.setattr(running.time, "monotonic", lambda: clock[0])
    results = Results(tmp_path)
    return RunningFile(results, "segment", "A01", 512, "a.log"), results.running("segment", "A01"), clock


def test_what_one_process_tells_another_reads(board):
    pid = os.fork()
    if pid == 0:
        progress("segment", 3, 16, "site 3")
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.read() == Progress("segment", 3, 16, "site 3")


def test_a_shorter_text_leaves_nothing_of_a_longer_one(board):
    progress("a step of a long name", 12, 16, "site 12, channel Hoechst")
    progress("b")
    assert board.read() == Progress("b")


def test_a_text_that_is_half_written_does_not_count(board):
    progress("segment", 1, 2)
    assert board.read() == Progress("segment", 1, 2)
    board._memory[:4] = b'["b"'
    assert board.read() == Progress("segment", 1, 2)


def test_text_in_any_script_is_shown_as_far_as_it_fits(board):
    progress("s", 1, 1, "\N{GREEK SMALL LETTER MU}" * 10_000)
    assert board.read().what.startswith("\N{GREEK SMALL LETTER MU}" * 50)
    progress("x" * 10_000)
    assert board.read().step == "s"


def test_a_step_function_can_tell_how_far_its_call_is(board):
    progress("track", 2, 4, "site 2")
    detail("frame 5 of 90")
    assert str(board.read()) == "step track, item 2 of 4 (site 2, frame 5 of 90)"
    detail("frame 6 of 90")
    assert board.read().what == "site 2, frame 6 of 90"


def test_nothing_is_told_where_nobody_watches():
    progress("segment", 1, 2)
    detail("frame 1")


def test_stacks_are_told_by_what_differs_and_by_the_channels_name(board):
    stacks = [(DAPI, "planes 1"), (GFP, "planes 2"), ({**GFP, "site": 2}, "planes 3")]
    shown = []
    for _, planes in announced("segment", stacks, {1: "DAPI", 2: "GFP"}):
        shown.append((planes, str(board.read())))
    assert shown == [
        ("planes 1", "step segment, item 1 of 3 (channel DAPI, site 1)"),
        ("planes 2", "step segment, item 2 of 3 (channel GFP, site 1)"),
        ("planes 3", "step segment, item 3 of 3 (channel GFP, site 2)"),
    ]


def test_a_running_file_says_who_works_and_where(file):
    told, path, _ = file
    told.update(Progress("segment", 3, 16, "site 3"), 77)
    content = json.loads(path.read_text())
    process = psutil.Process(content.pop("pid"))
    assert process.pid == os.getpid()
    assert content.pop("process_start") == pytest.approx(process.create_time(), abs=0.01)
    assert content.pop("started") <= content.pop("updated")
    assert content == {
        "stage": "segment",
        "unit": "A01",
        "machine": platform.node(),
        "host": own_machine(),
        "step": "segment",
        "item": 3,
        "items": 16,
        "what": "site 3",
        "rss_mb": 77,
        "predicted_mb": 512,
        "log": "a.log",
    }


def test_a_running_file_is_written_when_the_unit_moves_on_and_as_a_sign_of_life(file):
    told, path, clock = file

    def written(at):
        path.unlink(missing_ok=True)
        told.update(at, 1)
        return path.exists()

    assert written(Progress("a", 1, 2))
    assert not written(Progress("a", 1, 2))
    assert written(Progress("a", 2, 2))
    clock[0] += 4.9
    assert not written(Progress("a", 2, 2))
    clock[0] += 0.2
    assert written(Progress("a", 2, 2))


def test_a_running_file_that_cannot_be_written_stops_nobody(file):
    told, path, _ = file
    shutil.rmtree(path.parent.parent)
    path.parent.parent.write_text("a file in the place of the folder")
    told.update(Progress("a"), 1)
    remove_running(path)


def test_nothing_but_the_file_is_left_and_removing_it_twice_is_no_error(file):
    told, path, _ = file
    for item in range(3):
        told.update(Progress("a", item), 1)
    assert [p.name for p in path.parent.iterdir()] == ["A01.json"]
    remove_running(path)
    remove_running(path)
    assert list(path.parent.iterdir()) == []
