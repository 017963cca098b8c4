"""In which order jobs are started."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from snakemake_scheduler_plugin_hcs import Scheduler


class StandinJob:
    """What the scheduler sees of a job that is none of hcs-steps."""

    def __init__(self, jobid: int | str, *, group: bool = False, priority: int = 0, cores: int = 1) -> None:
        self.jobid, self.priority, self.name, self.output = jobid, priority, "rule", ()
        self.scheduler_resources = {"_cores": cores}
        self.is_group = lambda: group


def chosen(jobs: list[StandinJob], cores: int) -> list[Any]:
    scheduler = Scheduler(SimpleNamespace(workflow=SimpleNamespace(globals={})), None, None)
    return [job.jobid for job in scheduler.select_jobs(jobs, jobs, {"_cores": cores, "_nodes": 9}, {})]


def test_groups_and_single_jobs_that_tie_can_be_ordered() -> None:
    jobs = [
        StandinJob("b1946ac9", group=True),
        StandinJob(7),
        StandinJob("591785b7", group=True),
        StandinJob(3),
    ]
    assert chosen(jobs, 9) == [3, 7, "591785b7", "b1946ac9"]


def test_priorities_come_first_and_what_does_not_fit_waits() -> None:
    jobs = [StandinJob(1), StandinJob(2, priority=1), StandinJob(3, priority=2, cores=5), StandinJob(4)]
    assert chosen(jobs, 2) == [2, 1]
