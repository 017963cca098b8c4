"""What `hcs run` tries again by itself."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent / "watching"))

from standin_plate import StandinPlate, plain_plan, wells_of

from hcs_steps.operations import launch
from hcs_steps.operations.launch import Request
from hcs_steps.settings import parse_settings


@pytest.mark.parametrize(
    ("kind", "calls"),
    [("out of memory", 3), ("time limit", 3), ("died", 3), ("out of GPU memory", 1), ("ValueError", 1)],
)
def test_only_what_another_attempt_may_mend_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, calls: int
) -> None:
    plate = StandinPlate(tmp_path / "P1", plain_plan(wells_of(1, 3)))
    plate.failed("count", "A02", kind=kind)
    settings = parse_settings({"plates": [{"path": "P1"}], "orchestration": {"retries": 2}})
    made: list[Request] = []

    def snakemake(request: Request, *_: object) -> int:
        made.append(request)
        return 1

    monkeypatch.setattr(launch, "configured", lambda request: settings)
    monkeypatch.setattr(launch, "_snakemake", snakemake)
    monkeypatch.setattr(
        "hcs_steps.emit.configured.configured_plates",
        lambda settings: {"P1": SimpleNamespace(results=plate.results)},
    )
    assert launch.run(Request()) == 1
    assert len(made) == calls
