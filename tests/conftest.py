"""What tests of several packages share."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def cupy_standin() -> Iterator[ModuleType]:
    """A module in the place of ``cupy``: ``f(cupy_standin.asarray(x)).get()`` takes the path of a GPU."""
    spec = importlib.util.spec_from_file_location("cupy_standin", Path(__file__).with_name("cupy_standin.py"))
    standin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(standin)
    with standin.installed() as cupy:
        yield cupy
