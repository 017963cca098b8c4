"""What the jobs of some plates ask for, by their plans and by what finished units of these or other plates took.

Everything is read once, when it is made: a run gets the same answers from its beginning to its end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from types import MappingProxyType

from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan
from hcs_steps.learning.demand import gpu_mb, host_mb, is_enough, minutes
from hcs_steps.learning.measured import Measured, joined
from hcs_steps.learning.needs import Needs
from hcs_steps.learning.summary import Summary, read_summary
from hcs_steps.results import Results

OTHERS = 100
"""So many other plates beside those of a run are looked at, those that ran last."""

Known = tuple[str, str]
"""A stage and a need of it."""


class Learned:
    """What is known of plates (``plans`` by results folder): what they have learned themselves (``own``, by folder) and
    what ``others`` have. Jobs of the ``fixed`` (folder, stage) get the memory that the configuration gives them.
    """

    def __init__(
        self,
        plans: Mapping[str, Plan],
        own: Mapping[str, Summary] = MappingProxyType({}),
        others: Iterable[Summary] = (),
        fixed: Collection[tuple[str, str]] = (),
    ) -> None:
        self.plans = plans
        self.fixed = frozenset(fixed)
        self._needs = {folder: Needs(plan) for folder, plan in plans.items()}
        self._own = {folder: own.get(folder, Summary()) for folder in plans}
        self._all: dict[Known, list[Measured]] = {}
        for summary in (*self._own.values(), *others):
            for stage, needs in summary.measured.items():
                for need, measured in needs.items():
                    self._all.setdefault((stage, need), []).append(measured)
        self._measured: dict[tuple[str, str, int], Measured | None] = {}
        self._usual: dict[tuple[str, str], float | None] = {}

    def memory(self, folder: str, stage: StagePlan, units: Sequence[str], more: int) -> int:
        """MB of memory that a job of these units asks for, at first (``more`` 0) and after so many attempts that were
        too small. As soon as one was, no less is asked for than was predicted.
        """
        if (folder, stage.name) in self.fixed:
            return stage.mem_mb * (1 + more)
        asked = max(
            (host_mb(stage.mem_mb, m, stage.scope) for m in self._of(folder, stage, units)), default=0
        )
        return max(asked, stage.mem_mb) * (1 + more) if more or not asked else asked

    def gpu_memory(self, folder: str, stage: StagePlan, units: Sequence[str], attempt: int) -> int:
        """MB of memory on a device that a job asks for; a device has no more for a second attempt."""
        asked = [gpu_mb(stage.gpu_mem_mb, m, stage.scope) for m in self._of(folder, stage, units)]
        return max(asked if asked and attempt == 1 else [*asked, stage.gpu_mem_mb])

    def runtime(self, folder: str, stage: StagePlan, units: Sequence[str], attempt: int) -> int:
        """Minutes that a job asks for; those of the configuration where it sets a time limit."""
        if stage.timeout_s:
            return stage.runtime * attempt
        found = self._of(folder, stage, units)
        asked = max((minutes(stage.runtime, m, stage.scope, len(units)) for m in found), default=0)
        return max(asked, stage.runtime) * attempt if attempt > 1 or not asked else asked

    def seconds(self, folder: str, stage: StagePlan, units: Sequence[str]) -> float | None:
        """How long a job of these units is expected to take: each as long as it took the last time, else as others of
        its need do, else as others of its stage; None if nothing is known of the stage.
        """
        expected = 0.0
        for unit in units:
            need = self._needs[folder].of(stage, unit)
            own = self._own[folder].seconds.get(stage.name, {}).get(need, {}).get(unit)
            if own is None:
                found = self._one(folder, stage, unit)
                own = found.seconds.median if found else self._of_stage(folder, stage.name)
            if own is None:
                return None
            expected += own
        return expected

    def _of(self, folder: str, stage: StagePlan, units: Iterable[str]) -> list[Measured | None]:
        """What is known of the needs of these units."""
        return [self._one(folder, stage, unit) for unit in units]

    def _one(self, folder: str, stage: StagePlan, unit: str) -> Measured | None:
        units = self.plans[folder].units
        key = (folder, stage.name, units[unit].layout if unit in units else -1)
        if key not in self._measured:
            need = self._needs[folder].of(stage, unit)
            own = self._own[folder].measured.get(stage.name, {}).get(need)
            if not is_enough(own, stage.scope):
                own = joined(self._all.get((stage.name, need), ()))
            self._measured[key] = own
        return self._measured[key]

    def _of_stage(self, folder: str, stage: str) -> float | None:
        """The usual seconds of a unit of a stage, whatever its need."""
        if (folder, stage) not in self._usual:
            known = [m.seconds.median for m in self._own[folder].measured.get(stage, {}).values()]
            self._usual[folder, stage] = median(known) if known else None
        return self._usual[folder, stage]


def read_learned(plans: Mapping[str, Plan], fixed: Collection[tuple[str, str]] = ()) -> Learned:
    """What the plates have learned, and those beside them where it is needed."""
    own = {folder: read_summary(Results(Path(folder))) for folder in plans}
    enough = all(_knows_enough(plan, own[folder]) for folder, plan in plans.items())
    return Learned(plans, own, () if enough else _beside(plans), fixed)


def _knows_enough(plan: Plan, summary: Summary) -> bool:
    """Whether enough was measured of everything that the plan needs."""
    needs = Needs(plan)
    examples = {unit.layout: name for name, unit in plan.units.items()}
    return all(
        is_enough(summary.measured.get(stage.name, {}).get(needs.of(stage, unit)), stage.scope)
        for stage in plan.stages
        if not stage.skipped
        for unit in (examples.values() if stage.scope == "unit" else (PLATE_UNIT,))
        if plan.in_stage(stage, unit)
    )


def _beside(folders: Iterable[str]) -> list[Summary]:
    """The summaries of other plates in the same output folders."""
    own = {Path(folder) for folder in folders}
    files: list[tuple[float, Path]] = []
    for parent in sorted({folder.parent for folder in own}):
        for file in parent.glob(f"*/{Results(Path()).learned.name}"):
            if file.parent not in own:
                with suppress(OSError):  # it goes away just now
                    files.append((file.stat().st_mtime, file))
    return [read_summary(Results(file.parent)) for _, file in sorted(files, reverse=True)[:OTHERS]]
