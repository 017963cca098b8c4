"""Small synthetic plates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hcs_steps.plate import Inventory, tiff_header
from hcs_steps.plate.synthetic import make_plate


@pytest.fixture
def tiny_plate(tmp_path: Path) -> Callable[..., Path]:
    def make(**options: Any) -> Path:
        settings: dict[str, Any] = {"wells": ["B02", "B03"], "sites": (1, 2), "shape": (16, 16)} | options
        folder = tmp_path / "plates" / "P1"
        make_plate(folder, **settings)
        return folder

    return make


@pytest.fixture
def opened_headers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files whose header is opened while a test runs."""
    opened: list[str] = []
    original = tiff_header.read_header

    def count(path: Path) -> tiff_header.Header:
        opened.append(path.name)
        return original(path)

    monkeypatch.setattr(tiff_header, "read_header", count)
    return opened


@pytest.fixture
def fingerprint() -> Callable[[Path], dict[str, tuple[int, int, bytes]]]:
    """Path -> mode, mtime and content of everything below a folder."""

    def read(folder: Path) -> dict[str, tuple[int, int, bytes]]:
        state = {}
        for path in sorted(folder.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            state[path.relative_to(folder).as_posix()] = (status.st_mode, status.st_mtime_ns, content)
        return state

    return read


@pytest.fixture
def problems() -> Callable[[Inventory, str], list[str]]:
    """What the problems of one kind are about."""
    return lambda inventory, kind: [each.what for each in inventory.problems if each.kind == kind]
