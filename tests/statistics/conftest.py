"""Real plates, which are not part of the repository."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """``real_data("set")`` is the folder of a real data set; the test is skipped where it is absent."""
    root = Path(os.environ.get("HCS_STEPS_DATA") or REPOSITORY.parent / "shared" / "data")

    def folder(name: str) -> Path:
        path = root / name
        if not path.is_dir():
            pytest.skip(
                f"real data set {name!r} is not there; set HCS_STEPS_DATA to the folder that holds it"
            )
        return path

    return folder
