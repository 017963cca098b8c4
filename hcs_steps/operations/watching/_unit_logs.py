"""The logs of a well: those of the jobs that hold its units, and of a job of several units only its own lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from hcs_steps.compile.plan import Plan
from hcs_steps.results import Results

_SPEAKS = re.compile(
    r"^\d{4}-\d\d-\d\d [\d:,.]+ ([^\s:]+): (\S+) (?:starts on|is up to date|has no upstream|done|failed)"
)
"""The line of a log with which a unit begins or ends in a stage."""


@dataclass
class UnitLog:
    """The log of a unit in a stage, read from where the last call of `new_lines` stopped.

    ``shared`` says whether its job takes several units through one process.
    """

    stage: str
    unit: str
    path: Path
    shared: bool
    _offset: int = 0
    _rest: str = ""
    _ours: bool = field(default=False)

    def new_lines(self) -> Iterator[str]:
        """The unit's lines that have come since the last call; all of them if the log has begun anew."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._offset, self._rest, self._ours = 0, "", False
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return
        self._offset += len(data)
        *lines, self._rest = (self._rest + data.decode("utf-8", "replace")).split("\n")
        for line in lines:
            if self._is_ours(line):
                yield line

    def rest(self) -> str:
        """What stands after the last end of line, once nothing more comes."""
        line, self._rest = self._rest, ""
        return line if line and self._is_ours(line) else ""

    def _is_ours(self, line: str) -> bool:
        if not self.shared:
            return True
        said = _SPEAKS.match(line)
        if said:
            self._ours = said[2] == self.unit
        return self._ours


def unit_logs(plan: Plan, results: Results, well: str, stage: str | None = None) -> list[UnitLog]:
    """The logs of a well's units, also those that are not there yet, stage by stage; of one stage, or of all."""
    stages = [plan.stage(stage)] if stage is not None else [s for s in plan.stages if s.scope == "unit"]
    logs = []
    for found in stages:
        # A stage that is left out now may have run before.
        for job, units in plan.jobs_of(replace(found, skipped="")).items():
            ours = [u for u in units if found.scope == "plate" or plan.units[u].well == well]
            logs += [UnitLog(found.name, u, results.log(found.name, job), len(units) > 1) for u in ours]
    return logs
