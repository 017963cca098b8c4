"""Labs to kill."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]


@pytest.fixture(scope="session", params=["zarr", "tiff"])
def small_lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A lab of two wells with nothing but a plan. Only copy it."""
    import kill_points

    return kill_points.small_lab(tmp_path_factory.mktemp(request.param), request.param)
