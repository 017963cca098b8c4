"""Finished labs: run once per session, copied by the tests that change them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from e2e_lab import WELLS, Lab, Run, small_plate, snapshot, three_stages

CHUNKED = pytest.param(5, id="5-per-job", marks=pytest.mark.slow)


@pytest.fixture(scope="session", params=[pytest.param(1, id="1-per-job"), CHUNKED])
def units_per_job(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="session")
def wells(units_per_job: int) -> tuple[str, ...]:
    """A chunk and one more; fewer where every well is a job."""
    return WELLS if units_per_job > 1 else WELLS[:3]


@pytest.fixture(scope="session")
def first_run(
    units_per_job: int, wells: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Lab, Run]:
    """A plate through three stages, and what the first run said. Only read it."""
    home = tmp_path_factory.mktemp("finished")
    plate = small_plate(home / "P1", wells=wells)
    lab = Lab.create(home / "lab", [plate], three_stages(), units_per_job=units_per_job)
    raw = snapshot(home / "P1")
    run = lab.run()
    assert snapshot(home / "P1") == raw, "the plate was touched"
    return lab, run


@pytest.fixture
def finished(first_run: tuple[Lab, Run], tmp_path: Path) -> Lab:
    """A copy of the finished lab."""
    return first_run[0].copy(tmp_path)


@pytest.fixture(scope="session")
def small_finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Lab]:
    """Makes copies of a finished lab of three wells, three stages, one unit per job."""
    home = tmp_path_factory.mktemp("small")
    plate = small_plate(home / "P1", wells=["A01", "A02", "B01"], sites=(1, 1))
    lab = Lab.create(home / "lab", [plate], three_stages())
    assert lab.call().code == 0
    return lab.copy
