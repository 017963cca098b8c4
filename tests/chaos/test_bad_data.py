"""Bad data of every kind that a microscope, a file server or a lab's own function can make: see docs/reliability.md."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import bad_data_docs
import pytest
from bad_data_cases import CASES, FINE, REFUSED, SAME, STEP, STOPS, TOLD, WELL, Case
from bad_data_lab import PIPELINE, Bench, Ended, undisturbed

HANGS_S = 90
LONGEST = 1500
"""Characters of a message that somebody still reads."""


@pytest.fixture(autouse=True)
def disk_that_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What outlasts a power failure is tested elsewhere; flushing would take most of the time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@contextmanager
def ended_after(seconds: int) -> Iterator[None]:
    def hangs(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"it hangs: nothing after {seconds} s", pytrace=True)

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _parameter(case: Case) -> Any:
    marks = [pytest.mark.xfail(reason=case.remains, raises=BaseException)] if case.remains else []
    marks += [pytest.mark.slow] if case.slow else []
    return pytest.param(case, id=f"{case.group}: {case.name}", marks=marks)


@pytest.mark.parametrize("case", [_parameter(case) for case in CASES])
def test_bad_data_ends_as_the_documentation_says(case: Case, tmp_path: Path) -> None:
    bench = Bench(tmp_path, case.plate)
    with ended_after(HANGS_S):
        case.spoil(bench)
        ended = bench.run()
    assert ended.half_written == []
    CHECKS[case.end](case, bench, ended)
    for text in [ended.refusal, *(failure["error"] for failure in ended.failures.values())]:
        assert "Traceback" not in text
        assert len(text) < LONGEST


def refused(case: Case, bench: Bench, ended: Ended) -> None:
    assert case.says in ended.refusal


def fails(case: Case, bench: Bench, ended: Ended) -> None:
    assert not ended.refusal
    assert set(ended.failures) == set(case.units)
    for unit, failure in ended.failures.items():
        assert case.says in failure["error"]
        assert "\n" not in failure["error"], "a message is one paragraph"
        assert failure["file"] in failure["error"]
        assert not bench.results.record(failure["stage"], unit).exists()
    whole = undisturbed(reference(case), PIPELINE)
    for unit in set(whole) - set(case.units) - {"plate"}:
        assert ended.done[unit].keys() >= {path for path in whole[unit] if "tables" in path}


def fine(case: Case, bench: Bench, ended: Ended) -> None:
    assert not ended.refusal
    assert ended.failures == {}
    if case.says == SAME:
        whole = undisturbed(reference(case), PIPELINE)
        for unit in whole.keys() - {"plate"}:
            assert ended.done[unit] == whole[unit]


def told(case: Case, bench: Bench, ended: Ended) -> None:
    fine(case, bench, ended)
    assert case.says in ended.notes


def plate_step_fails(case: Case, bench: Bench, ended: Ended) -> None:
    assert set(ended.failures) == {"plate"}
    assert case.says in ended.failures["plate"]["error"]


def stops_and_goes_on(case: Case, bench: Bench, ended: Ended) -> None:
    assert case.says in " ".join([ended.refusal, *(failure["error"] for failure in ended.failures.values())])
    assert ended.rerun is not None
    fine(Case(**{**vars(case), "says": SAME}), bench, ended.rerun)


CHECKS = {
    WELL: fails,
    REFUSED: refused,
    TOLD: told,
    FINE: fine,
    STEP: plate_step_fails,
    STOPS: stops_and_goes_on,
}


def reference(case: Case) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(case.plate.items()))


def test_there_are_more_than_sixty_and_no_two_are_called_alike() -> None:
    assert len(CASES) >= 60
    assert all(case.says for case in CASES if case.end != FINE)
    assert len({(case.group, case.name) for case in CASES}) == len(CASES)


def test_the_documentation_lists_exactly_these_cases() -> None:
    """``python tests/chaos/bad_data_docs.py`` writes the table."""
    assert bad_data_docs.section() in bad_data_docs.DOCS.read_text(encoding="utf-8")
