"""What the compiler is told of this machine."""

from pathlib import Path

import pytest

from hcs_steps.compile.plan import AnalysisPlan
from hcs_steps.emit import prepare
from hcs_steps.settings import parse_settings


@pytest.mark.parametrize(("visible", "cupy", "gpus"), [("0,1", True, 2), ("0,1", False, 0), ("", True, 0)])
def test_gpus_count_where_jobs_could_use_them(
    visible: str, cupy: bool, gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = parse_settings({"plates": [{"path": str(tmp_path / "P1")}]})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(prepare, "cupy_installed", lambda: cupy)
    options = prepare.compile_options(settings, settings.plates[0], "P1", tmp_path, AnalysisPlan())
    assert options.limits.gpus == gpus
