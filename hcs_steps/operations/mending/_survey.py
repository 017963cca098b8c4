"""What one has to know of a plate's results to tell what is left over in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.pipeline.config import PathPlanningConfig
from hcs_steps.results import Results
from hcs_steps.run._record_shape import is_record
from hcs_steps.run.records import read_json

FORMER, LEFT_OUT, TEMPORARY, FOREIGN = "former", "left out", "temporary", "foreign"
_PLANNED = "planned"
_TEMPORARY_NAME = re.compile(r"\..+\.(tmp|old)-\d+-[0-9a-f]+|\..+\.[0-9a-f]+\.tmp")


@dataclass(frozen=True)
class Leftover:
    """One file or folder: its kind, why it is there, and how many bytes it takes."""

    kind: str
    why: str
    path: Path
    size: int


@dataclass(frozen=True)
class Listed:
    """Something that a record lists: whose it is, and how many bytes it has."""

    unit: str
    size: int


class Survey:
    """The plan, the records, and what both say of units and paths. Without a plan nothing is planned."""

    def __init__(self, plan: Plan | None, results: Results) -> None:
        self.plan = plan
        self.results = results
        steps = () if plan is None else plan.steps
        self.stages = {} if plan is None else {stage.name: stage for stage in plan.stages}
        self.stage_of = {steps[i].name: stage.name for stage in self.stages.values() for i in stage.steps}
        self.by_site = plan is not None and any(name != unit.well for name, unit in plan.units.items())
        self.wells = set() if plan is None else {unit.well for unit in plan.units.values()}
        self.tables = (
            PathPlanningConfig().materialization_results_path if plan is None else plan.tables_folder
        )

    @cached_property
    def records(self) -> dict[tuple[str, str], dict[str, Any]]:
        """(stage, unit) -> record, of all that there are."""
        paths = self.results.record("x", "x").parent.parent.glob("*/*.json")
        found = {(path.parent.name, path.stem): read_json(path) for path in paths}
        return {key: record for key, record in found.items() if record is not None and is_record(record)}

    @cached_property
    def listed(self) -> dict[str, Listed]:
        """By path, everything that a record of the plan's stages lists; also of units left out."""
        return {
            item["path"]: Listed(unit, item["size"])
            for (stage, unit), record in self.records.items()
            if stage in self.stages and not self.is_former(unit)
            for item in record["published"]
        }

    def is_planned(self, unit: str) -> bool:
        """Whether a unit is in the plan."""
        return self.plan is not None and (unit == PLATE_UNIT or unit in self.plan.units)

    def is_former(self, unit: str) -> bool:
        """Whether no selection would bring a unit of that name back: units are wells now, or sites."""
        return not self.is_planned(unit) and (self.plan is None or ("_s" in unit) != self.by_site)

    def is_left_out(self, unit: str) -> bool:
        """Whether a unit is left out of the plan, but may come back."""
        return not self.is_planned(unit) and not self.is_former(unit)

    def relative(self, path: str) -> str:
        """A path relative to the results."""
        return self.results.relative(Path(path))

    def entries(self, folder: Path) -> Iterator[os.DirEntry[str] | Leftover]:
        """What is in a folder, sorted: temporary things and links as what they are, all others to be looked at."""
        if folder.is_symlink():
            return
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if entry.is_symlink():
                yield leftover(FOREIGN, "a link, which is not followed", entry.path)
            elif _TEMPORARY_NAME.fullmatch(entry.name):
                yield leftover(TEMPORARY, "of processes that were stopped", entry.path)
            else:
                yield entry


def leftover(kind: str, why: str, path: Path | str, size: int | None = None) -> Leftover:
    """A leftover with its size, which is looked up where it is not known."""
    if size is None:
        try:
            size = size_of(Path(path))
        except OSError:
            size = 0
    return Leftover(kind, why, Path(path), size)


def foreign(entry: os.DirEntry[str]) -> Leftover:
    """Something that hcs-steps has not made."""
    return leftover(FOREIGN, "not of hcs-steps", entry.path)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed. `OSError` for what cannot be read."""
    status = path.lstat()
    if not path.is_dir() or path.is_symlink():
        return status.st_size
    with os.scandir(path) as entries:
        return sum(
            size_of(Path(entry))
            if entry.is_dir(follow_symlinks=False)
            else entry.stat(follow_symlinks=False).st_size
            for entry in entries
        )


def size_text(size: float) -> str:
    """Bytes as people say them: ``3.2 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def counted(number: int, one: str, several: str = "") -> str:
    """A number of things in words: ``1 file``, ``1,536 files``."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"
