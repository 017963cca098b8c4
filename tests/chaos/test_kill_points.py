"""A job killed before any change of any file leaves nothing half, and the same job mends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e_lab import Lab
from kill_points import STAGE, Scene, changed, done

STAGES = (STAGE, "consolidate", "report")
QUICK = 4
"""So many moments of a job, spread over it, are tried by the quick tests."""


@pytest.fixture(scope="module", params=STAGES)
def first_time(
    request: pytest.FixtureRequest, small_lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Scene:
    """A stage that never ran."""
    home = tmp_path_factory.mktemp("first")
    lab = done(small_lab.copy(home / "before"), *STAGES[: STAGES.index(request.param)])
    return Scene.play(lab, request.param, home)


@pytest.fixture(scope="module")
def again(small_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A stage that ran with other parameters, and is to replace what it made."""
    home = tmp_path_factory.mktemp("again")
    return Scene.play(changed(done(small_lab.copy(home / "before"), STAGE)), STAGE, home)


def check(scene: Scene, home: Path, every: int, *, whole: bool = True) -> None:
    found = {
        number: scene.problems(number, home / str(number), whole=whole)
        for number in range(1 + every // 2, scene.changes + 1, every)
    }
    assert {number: problems for number, problems in found.items() if problems} == {}


def test_a_job_killed_as_it_replaces_results_is_mended_by_the_same_job(again: Scene, tmp_path: Path) -> None:
    check(again, tmp_path, again.changes // QUICK)


def test_a_computation_killed_in_between_is_mended_by_the_same_job(again: Scene, tmp_path: Path) -> None:
    check(again, tmp_path, 1 + again.changes // QUICK, whole=False)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False], ids=["job", "computation"])
def test_what_is_killed_before_any_change_is_mended(first_time: Scene, whole: bool, tmp_path: Path) -> None:
    check(first_time, tmp_path, 1, whole=whole)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False], ids=["job", "computation"])
def test_what_is_killed_before_any_change_as_it_replaces_is_mended(
    again: Scene, whole: bool, tmp_path: Path
) -> None:
    check(again, tmp_path, 1, whole=whole)
