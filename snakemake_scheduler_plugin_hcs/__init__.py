"""``snakemake --scheduler hcs``: a well that has been begun is finished first, and the longest one begun next.

So no long well is left for the end, when all other cores have nothing to do, results come early, and what a step has
written is read while the system still has it in memory. What a job is expected to take comes from the plans that the
Snakefile has loaded (`hcs_steps.emit.workflow.Workflow.expected_seconds`), before anything has run the number of its
planes tells; priorities of rules come first, and resources are kept, as everywhere in Snakemake.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from snakemake_interface_scheduler_plugins.base import SchedulerBase

PATIENCE = 3
"""After so many jobs of a rule did not fit into what is free, the others of it are not tried in the same pass."""

following: dict[int, Any] = {}
"""Id of a job that was chosen last -> the job that is likely to be next when it has ended, for an executor that can
prepare for it.
"""


class _Keys(dict[Any, tuple[Any, ...]]):
    """The key of every job that was asked for, found once: all that are ready are asked for whenever one has ended."""

    def __init__(self, find: Callable[[Any], tuple[Any, ...]]) -> None:
        self._find = find

    def __missing__(self, job: Any) -> tuple[Any, ...]:
        self[job] = self._find(job)
        return self[job]


class Scheduler(SchedulerBase):  # type: ignore[misc]
    """Chooses jobs in the order of priority, stage, expected time, and job id."""

    def __post_init__(self) -> None:
        self._keys = _Keys(self._key)

    def select_jobs(
        self,
        selectable_jobs: Sequence[Any],
        remaining_jobs: Sequence[Any],
        available_resources: Mapping[str, int | str],
        input_sizes: Mapping[Any, int],
    ) -> Sequence[Any]:
        """The jobs to start now. Takes time in proportion to the number of jobs that are ready; resources, which cost
        most, are asked only of those that may start.
        """
        free = {name: value for name, value in available_resources.items() if isinstance(value, int)}
        chosen, misfits = [], Counter[str]()
        jobs = sorted(selectable_jobs, key=self._keys.__getitem__)
        tried = 0
        for tried, job in enumerate(jobs):  # noqa: B007 - where it ends is needed below
            if any(free.get(name) == 0 for name in ("_cores", "_nodes", "_job_count")):
                break
            if misfits[job.name] >= PATIENCE:
                continue
            needs = job.scheduler_resources
            if any(needs.get(name, 0) > value for name, value in free.items()):
                misfits[job.name] += 1
                continue
            for name in free:
                free[name] -= needs.get(name, 0)
            chosen.append(job)
        following.clear()
        left = (job for job in jobs[tried:] if job not in chosen)
        following.update((job.jobid, later) for job, later in zip(chosen, left, strict=False))
        return chosen

    def _key(self, job: Any) -> tuple[Any, ...]:
        # Ids of groups are texts.
        return (-job.priority, *self._place(job), job.is_group(), job.jobid)

    def _place(self, job: Any) -> tuple[float, float, float]:
        """The later of two stages, then the longer of two jobs, then the one of more raw planes has lower numbers. Of
        a job that is none of hcs-steps nothing is known.
        """
        workflow = self.dag.workflow.globals.get("HCS")
        if workflow is None or job.is_group() or not job.output:
            return 0.0, 0.0, 0.0
        found = workflow.job_of(str(job.output[0]))
        if found is None:
            return 0.0, 0.0, 0.0
        folder, stage, name = found
        plan = workflow.plans[folder]
        units = (
            plan.units[unit] for unit in workflow.jobs(folder, stage).get(name, ()) if unit in plan.units
        )
        planes = sum(len(plan.layouts[unit.layout].planes) for unit in units)
        depth = [own.name for own in plan.stages].index(stage)
        return -depth, -(workflow.expected_seconds(*found) or 0.0), -planes
