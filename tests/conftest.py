"""What tests of several packages share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def cupy_standin() -> Iterator[ModuleType]:
    """A module in the place of ``cupy``: ``f(cupy_standin.asarray(x)).get()`` takes the path of a GPU."""
    spec = importlib.util.spec_from_file_location("cupy_standin", Path(__file__).with_name("cupy_standin.py"))
    standin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(standin)
    with standin.installed() as cupy:
        yield cupy


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """``real_data("set")`` is the folder of a real data set; the test is skipped where it is absent."""
    root = Path(os.environ.get("HCS_STEPS_DATA") or REPOSITORY.parent / "shared" / "data")

    def folder(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(
                f"real data set {name!r} is not there; set HCS_STEPS_DATA to the folder that holds it"
            )
        return path

    return folder
