"""The display of runs, on a terminal and elsewhere."""

from __future__ import annotations

import io
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from standin_plate import StandinPlate, plain_plan, wells_of

from hcs_steps.operations.watching import _ticker
from hcs_steps.operations.watching._lines import text_of
from hcs_steps.operations.watching._screen import ScreenView
from hcs_steps.operations.watching._ticker import LineView
from hcs_steps.operations.watching.display import Display, view_for
from hcs_steps.operations.watching.status import StatusReader

WELLS = ["A01", "A02", "B01"]


@pytest.fixture
def plate(tmp_path):
    plate = StandinPlate(tmp_path / "P1", plain_plan(WELLS))
    plate.ran("running")
    return plate


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


class Drawn:
    """A view that keeps what it is asked to show."""

    def __init__(self):
        self.shown, self.failures, self.said, self.ended = [], [], [], []

    def show(self, statuses):
        self.shown.append(statuses)

    def failed(self, status, failure):
        self.failures.append((status.plate, failure["unit"]))

    def say(self, text, style=""):
        self.said.append(text)

    def end(self, statuses, plans):
        self.ended.append(statuses)


def read(*plates):
    return [StatusReader(plate.plan, plate.results).read() for plate in plates]


def wait_for(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


def test_an_event_makes_it_look_again(plate):
    view = Drawn()
    display = Display(view, interval_s=3600)
    display.begin({str(plate.results.root): plate.plan})
    wait_for(lambda: view.shown)
    plate.done("normalize")
    display.poke()
    wait_for(lambda: view.shown[-1][0].stages[0].count("done") == 3)
    display.stop()


def test_only_new_failures_are_told_and_each_once(plate):
    plate.failed("normalize", "A01")
    view = Drawn()
    display = Display(view, interval_s=3600)
    display.begin({str(plate.results.root): plate.plan})
    wait_for(lambda: view.shown)
    plate.failed("normalize", "A02")
    display.poke()
    wait_for(lambda: view.failures)
    plate.failed("normalize", "A01", attempt=2, at=5)
    display.stop()
    assert view.failures == [("P1", "A02"), ("P1", "A01")]


def test_the_end_shows_the_last_state_once_and_no_thread_is_left(plate):
    view = Drawn()
    display = Display(view)
    display.begin({str(plate.results.root): plate.plan})
    wait_for(lambda: view.shown)
    plate.done("normalize")
    display.stop()
    display.stop()
    (last,) = view.ended
    assert last[0].stages[0].count("done") == 3
    assert last[0].state == "stopped", "the end of a run that does not say how it ended"
    assert not [thread for thread in threading.enumerate() if thread.name == "display"]


def test_its_thread_does_not_keep_the_process(plate):
    display = Display(Drawn())
    display.begin({str(plate.results.root): plate.plan})
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "display")
    display.stop()


def test_trouble_is_told_once_and_goes_no_further(plate):
    class Broken(Drawn):
        def show(self, statuses):
            self.shown.append(statuses)
            raise RuntimeError("no such colour")

    view = Broken()
    display = Display(view, interval_s=0.5)
    display.begin({str(plate.results.root): plate.plan})
    wait_for(lambda: len(view.shown) > 1)
    display.stop()
    assert [text for text in view.said if "no such colour" in text] == view.said
    assert len(view.said) == 1


def test_quiet_shows_only_failures_and_the_end(plate):
    view = Drawn()
    display = Display(view, interval_s=0.5, quiet=True)
    display.begin({str(plate.results.root): plate.plan})
    plate.failed("normalize", "A02")
    display.poke()
    wait_for(lambda: view.failures)
    display.stop()
    assert view.shown == []
    assert len(view.ended) == 1


@pytest.mark.parametrize(
    ("stream", "term", "plain", "expected"),
    [
        (Terminal(), "xterm", False, ScreenView),
        (Terminal(), "xterm", True, LineView),
        (Terminal(), "dumb", False, LineView),
        (io.StringIO(), "xterm", False, LineView),
    ],
)
def test_a_terminal_gets_a_screen_and_anything_else_lines(monkeypatch, stream, term, plain, expected):
    monkeypatch.setenv("TERM", term)
    assert isinstance(view_for(stream, plain=plain), expected)


def test_lines_come_when_something_has_moved_and_not_too_often(plate, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(_ticker.time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    view = LineView(stream)
    view.show(read(plate))
    plate.done("normalize", "A01")
    view.show(read(plate))
    assert len(stream.getvalue().splitlines()) == 1, "too early"
    clock[0] += 11
    view.show(read(plate))
    clock[0] += 11
    view.show(read(plate))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2, "nothing has moved since"
    assert "normalize 1/3" in lines[1]


def test_failures_of_one_cause_do_not_flood_the_lines(tmp_path):
    wells = wells_of(8, 12)
    plate = StandinPlate(tmp_path / "P1", plain_plan(wells))
    for well in wells:
        plate.failed("normalize", well, f"Image of {well} is torn.")
    plate.failed("count", "A01", "Something else.")
    stream = io.StringIO()
    view = LineView(stream)
    (status,) = read(plate)
    for failure in status.failures:
        view.failed(status, failure)
    lines = stream.getvalue().splitlines()
    assert len(lines) == _ticker.ALIKE + 2
    assert (
        "A01 failed in normalize: StepError: Image of A01 is torn. (log: logs/normalize/A01.log)" in lines[0]
    )
    assert "Something else" in lines[-1]


def test_the_end_in_lines_tells_stages_failures_and_the_report(plate):
    plate.done("normalize", "A01", "B01")
    plate.failed("normalize", "A02", "The image is torn.")
    plate.ran("failed", reason="units failed: 1 in normalize")
    plate.results.report.write_text("")
    stream = io.StringIO()
    LineView(stream).end(read(plate), [plate.plan])
    text = stream.getvalue()
    assert "because units failed: 1 in normalize" in text
    assert "The image is torn." in text
    assert str(plate.results.report) in text
    assert "\x1b" not in text


def test_a_screen_shows_bars_what_runs_and_the_last_failures(plate, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    plate.done("normalize", "A01")
    plate.running("count", "A01")
    plate.failed("normalize", "A02")
    view = ScreenView(Terminal())
    (status,) = read(plate)
    view.failed(status, {"stage": "normalize", "unit": "A02", "error": "The image is torn."})
    lines = [text_of(line) for line in view.lines([status], 100, 40)]
    (normalize,) = [line for line in lines if line.startswith("  normalize")]
    assert "1/3  1 failed  1 waiting" in normalize
    assert any("count: count 2/9 site 2, channel DAPI" in line for line in lines)
    assert "The image is torn." in lines[-2]


@pytest.mark.parametrize("height", [3, 8, 24])
def test_a_screen_of_many_plates_fits_and_shows_those_at_work(tmp_path, monkeypatch, height):
    monkeypatch.setenv("TERM", "xterm")
    plates = [StandinPlate(tmp_path / f"P{n}", plain_plan(WELLS)) for n in range(30)]
    plates[17].running("normalize", "B01")
    statuses = read(*plates)
    lines = [text_of(line) for line in ScreenView(Terminal()).lines(statuses, 100, height)]
    assert len(lines) <= height
    if height > 3:
        assert any("1 running" in line for line in lines)
        assert any("more plates" in line for line in lines)


def test_a_bar_shows_everything_that_there_is(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    view = ScreenView(Terminal())
    bar = view._bar({"done": 1534, "failed": 1, "running": 1}, 1536)
    assert sum(len(part) for part, _ in bar) == 30
    assert all(part for part, _ in bar)


def test_a_screen_leaves_the_terminal_as_it_was(plate, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    view = ScreenView(stream)
    view.show(read(plate))
    view.say("a warning", "yellow")
    view.end(read(plate), [plate.plan])
    text = stream.getvalue()
    assert "\x1b[?25l" not in text, "a hidden cursor stays hidden when the process is killed"
    assert "\x1b[?1049" not in text
    assert "a warning" in text
    assert sys.stdout is not stream
    assert not type(sys.stderr).__name__.startswith("FileProxy")
