"""What jobs ask for: memory, time, memory of a device, by their plans and by what was learned from finished units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan
from hcs_steps.learning.summary import Asked
from hcs_steps.results import Results
from hcs_steps.run.records import shortages
from hcs_steps.settings import WorkflowSettings

if TYPE_CHECKING:
    from hcs_steps.learning.learned import Learned

Function = TypeVar("Function", bound=Callable[..., Any])


def signed(function: Function) -> Function:
    """The function, which knows its signature: Snakemake asks for those of a rule's functions five times for every job,
    and working one out takes 16 microseconds more.
    """
    function.__signature__ = signature(function)  # type: ignore[attr-defined]
    return function


class Requests:
    """What the jobs of a workflow ask for; the same for the same job for as long as it lives.

    ``jobs`` gives the jobs of a results folder and a stage with their units, ``failed`` how often units have failed.
    Without ``settings`` nothing is learned: jobs ask for what their plans predict.
    """

    def __init__(
        self,
        plans: Mapping[str, Plan],
        jobs: Callable[[str, str], Mapping[str, tuple[str, ...]]],
        failed: Callable[[str, str], Mapping[str, int]],
        settings: WorkflowSettings | None,
    ) -> None:
        self.plans = plans
        self._jobs = jobs
        self._failed = failed
        self._settings = settings
        self._out_of_memory: dict[tuple[str, str], dict[str, int]] = {}

    def memory(self, stage: str) -> Callable[[Any, int], int]:
        """MB of memory: what was predicted or learned, and as much again with every attempt, and for every time that
        one of the job's units has run out of the host's memory.
        """

        def mem_mb(wildcards: Any, attempt: int) -> int:
            folder, own, units = self._job(wildcards, stage)
            short = self._shortages(folder, stage)
            more = max((short.get(unit, 0) for unit in units), default=0) if short else 0
            return self._learned.memory(folder, own, units, attempt - 1 + more)

        return signed(mem_mb)

    def gpu_memory(self, stage: str) -> Callable[[Any, int], int]:
        """MB of memory of a device."""
        return signed(
            lambda wildcards, attempt: self._learned.gpu_memory(*self._job(wildcards, stage), attempt)
        )

    def runtime(self, stage: str) -> Callable[[Any, int], int]:
        """Minutes, longer with every attempt."""
        return signed(lambda wildcards, attempt: self._learned.runtime(*self._job(wildcards, stage), attempt))

    def seconds(self, folder: str, stage: str, job: str) -> float | None:
        """How long a job is expected to take; None if that is not known."""
        units = self._jobs(folder, stage).get(job, ())
        return self._learned.seconds(folder, self.plans[folder].stage(stage), units) if units else None

    def asked(self, folder: str) -> dict[str, Asked]:
        """What the most demanding job of each stage of a plate asks for at its first attempt."""
        found = {}
        for stage in self.plans[folder].stages:
            memory, runtime = self.memory(stage.name), self.runtime(stage.name)
            gpu = self.gpu_memory(stage.name)
            jobs = [SimpleNamespace(results=folder, job=job) for job in self._jobs(folder, stage.name)]
            if jobs:
                found[stage.name] = Asked(
                    max(memory(job, 1) for job in jobs),
                    max(runtime(job, 1) for job in jobs),
                    max(gpu(job, 1) for job in jobs) if stage.gpu else 0,
                    stage.threads,
                )
        return found

    def _job(self, wildcards: Any, stage: str) -> tuple[str, StagePlan, Sequence[str]]:
        """(results folder, stage, units) of a job by the wildcards of its rule."""
        folder = str(wildcards.results)
        # The rule of a plate's page has no jobs to tell apart.
        units = self._jobs(folder, stage).get(str(getattr(wildcards, "job", PLATE_UNIT)), ())
        return folder, self.plans[folder].stage(stage), units

    @cached_property
    def _learned(self) -> Learned:
        from hcs_steps.compile.grants import stages_by_name
        from hcs_steps.compile.steps import slugify
        from hcs_steps.learning.learned import Learned, read_learned

        if self._settings is None:
            return Learned(self.plans)
        stages = self._settings.orchestration.stages
        named = {slugify(name) for name, own in stages.items() if own.mem_mb is not None}
        return read_learned(
            self.plans,
            fixed={
                (folder, stage)
                for folder, plan in self.plans.items()
                for name, stage in stages_by_name(plan).items()
                if name in named
            },
        )

    def _shortages(self, folder: str, stage: str) -> dict[str, int]:
        """Unit -> how often it has run out of the host's memory in a stage; read once."""
        if (folder, stage) not in self._out_of_memory:
            results = Results(Path(folder))
            self._out_of_memory[folder, stage] = {
                unit: shortages(results, stage, unit) for unit in self._failed(folder, stage)
            }
        return self._out_of_memory[folder, stage]
