"""What one unit made in one stage, as its record will list it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hcs_steps.results import Results
from hcs_steps.storage.atomic import checksum_file


@dataclass
class Made:
    """What a unit made: files and groups, outputs for later steps, seconds, how many stacks it took, and what its
    record says of the GPU.
    """

    published: list[dict[str, Any]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    items: int = 0
    notes: list[str] = field(default_factory=list)
    gpu: dict[str, Any] = field(default_factory=dict)

    def add(self, items: Iterable[Any], folder: str = "") -> None:
        """Remember what a store published; its paths are relative to ``folder``."""
        for item in items:
            values = asdict(item)
            values["path"] = f"{folder}/{values['path']}" if folder else values["path"]
            self.published.append(values)

    def add_file(self, results: Results, path: Path) -> str:
        """Remember a file; returns its path relative to the results."""
        relative = results.relative(path)
        self.published.append(
            {"path": relative, "size": path.stat().st_size, "checksum": checksum_file(path)}
        )
        return relative
