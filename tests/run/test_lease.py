"""One process at a time has a unit: what that is worth among processes that live, die, and are never heard of again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time

import pytest

from hcs_steps.results import Results
from hcs_steps.run import lease as module
from hcs_steps.run._processes import process_start
from hcs_steps.run.lease import SILENCE_S, UnitLease
from hcs_steps.run.running import HEARTBEAT_S, Progress, RunningFile, new_content, remove_running

LONG_GONE = 2**22 + 1


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


@pytest.fixture
def clock(monkeypatch):
    """Time that passes while somebody waits; ``clock.meanwhile`` is done then."""
    shown = FakeClock()
    monkeypatch.setattr(module, "time", shown)
    return shown


class FakeClock:
    """What the module uses of `time`."""

    def __init__(self) -> None:
        self.now, self.meanwhile = 1000.0, lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()


def holder(**told):
    """A running file as another process has made it: the one that started this one."""
    other = {"pid": os.getppid(), "process_start": process_start(os.getppid())}
    return json.dumps({**new_content("s", "A01"), **other, **told})


def put(results, **told):
    path = results.running("s", "A01")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(holder(**told))
    return path


def taken(results):
    lease = UnitLease(results, "s", "A01")
    lease.take()
    return lease


def pid_in(path):
    return json.loads(path.read_text())["pid"]


def in_child(work):
    """Run in a forked process; its id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def test_a_unit_that_nobody_has_is_had_at_once_and_nothing_is_left_of_it(results, clock):
    lease = taken(results)
    assert not lease.waited
    assert pid_in(lease.path) == os.getpid()
    lease.release()
    assert list(lease.path.parent.iterdir()) == []
    assert clock.now == 1000.0


def test_the_lease_of_a_process_that_lives_is_waited_for_however_long_that_takes(results, clock):
    path = put(results)
    clock.meanwhile = lambda: path.unlink(missing_ok=True) if clock.now > 1000 + 10 * SILENCE_S else None
    assert taken(results).waited
    assert clock.now > 1000 + 10 * SILENCE_S


def test_the_lease_of_a_process_that_is_gone_is_taken_over_at_once(results, clock):
    path = put(results, pid=LONG_GONE)
    assert not taken(results).waited
    assert pid_in(path) == os.getpid()
    assert clock.now == 1000.0
    assert [p.name for p in path.parent.iterdir()] == ["A01.json"]


def test_a_process_id_that_was_given_again_is_not_taken_for_the_holder(results, clock):
    path = put(results, process_start=time.time() - 10**6)
    taken(results)
    assert pid_in(path) == os.getpid()


def test_another_machine_that_shows_life_is_waited_for_whatever_its_clock_says(results, clock):
    path = put(results, machine="node7", host="0" * 8, updated="1970")
    beats = iter(range(200))

    def beat():
        number = next(beats, None)
        if number is None:
            path.unlink(missing_ok=True)
        elif path.exists():
            put(results, machine="node7", host="0" * 8, updated=number)

    clock.meanwhile = beat
    assert taken(results).waited
    assert clock.now - 1000 > 2 * SILENCE_S


def test_another_machine_that_is_silent_loses_the_unit_and_not_before(results, clock):
    path = put(results, machine="node7", host="0" * 8, updated="2999")
    lease = taken(results)
    assert lease.waited
    assert SILENCE_S < clock.now - 1000 < 1.1 * SILENCE_S
    assert SILENCE_S > 10 * HEARTBEAT_S
    assert pid_in(path) == os.getpid()


@pytest.mark.parametrize("content", ["", "[]", '{"pid": null}', "no JSON"])
def test_a_file_that_names_no_process_blocks_nobody_for_ever(results, clock, content):
    path = put(results)
    path.write_text(content)
    taken(results)
    assert clock.now - 1000 > SILENCE_S
    assert pid_in(path) == os.getpid()


def test_a_process_that_died_while_it_took_over_blocks_nobody_for_ever(results, clock, monkeypatch):
    path = put(results, pid=LONG_GONE)
    with monkeypatch.context() as patched:
        patched.setattr(module.os, "replace", lambda *names: os._exit(0))
        os.waitpid(in_child(lambda: taken(results)), 0)
    assert len(list(path.parent.glob(".A01.json.old-*"))) == 1
    taken(results)
    assert pid_in(path) == os.getpid()
    assert list(path.parent.glob(".A01.json.old-*")) == []


def test_who_finds_that_another_was_first_to_take_over_waits_for_that_one(results, clock):
    path = put(results, pid=LONG_GONE)
    found = path.read_bytes()
    late = UnitLease(results, "s", "A01")
    put(results, pid=os.getppid())
    assert not late._take_over(found)
    assert pid_in(path) == os.getppid()


def test_who_takes_over_is_given_time_however_long_the_dead_one_was_silent(results, clock):
    path = put(results, machine="node7", host="0" * 8, pid=7)
    found, waiting = path.read_bytes(), UnitLease(results, "s", "A01")
    mark = path.with_name(f".{path.name}.old-0-{hashlib.blake2b(found, digest_size=8).hexdigest()}")
    mark.touch()
    for _ in range(2):
        assert not waiting._take_over(found)
        assert mark.exists()
        clock.sleep(module.SILENCE_S - 1)
    clock.sleep(2)
    assert not waiting._take_over(found)
    assert not mark.exists()
    assert waiting._take_over(found)


def test_of_many_that_find_a_dead_holder_one_at_a_time_has_the_unit(results, tmp_path):
    """Everybody begins with a holder that is gone, and leaves one behind every second time."""
    log = tmp_path / "log"

    def work():
        for turn in range(12):
            lease = taken(results)
            with log.open("ab", buffering=0) as file:
                file.write(b"(")
                time.sleep(0.001)
                file.write(b")")
            if turn % 2:
                lease.path.write_text(holder(pid=LONG_GONE))
            else:
                lease.release()

    put(results, pid=LONG_GONE)
    module_first, module.FIRST_LOOK_S = module.FIRST_LOOK_S, 0.001
    try:
        children = [in_child(work) for _ in range(6)]
        for child in children:
            os.waitpid(child, 0)
    finally:
        module.FIRST_LOOK_S = module_first
    assert log.read_text() == "()" * 72


def test_the_process_that_watches_makes_the_lease_its_own_and_ends_it(results):
    in_child_pid = in_child(lambda: taken(results))
    os.waitpid(in_child_pid, 0)
    path = results.running("s", "A01")
    assert pid_in(path) == in_child_pid
    RunningFile(results, "s", "A01", 1, "")
    assert pid_in(path) == os.getpid()
    remove_running(path)
    assert not path.exists()


def test_who_was_taken_for_dead_leaves_the_lease_of_the_other_alone(results):
    told = RunningFile(results, "s", "A01", 1, "")
    path = put(results, machine="node7", host="0" * 8, pid=7)
    told.update(Progress("step", 1, 2), 1)
    remove_running(path)
    assert pid_in(path) == 7


def test_a_folder_that_cannot_be_written_keeps_nobody_from_computing(tmp_path):
    (tmp_path / "running").write_text("a file in the place of the folder")
    lease = taken(Results(tmp_path))
    assert not lease.waited
    lease.release()


def test_waiting_can_be_interrupted(results):
    put(results)

    class Enough(Exception):
        pass

    def enough(number, frame):
        raise Enough

    before = signal.signal(signal.SIGUSR2, enough)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR2))
    timer.start()
    try:
        with pytest.raises(Enough):
            taken(results)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR2, before)
