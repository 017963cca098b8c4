"""Which of Snakemake's jobs are plain calls of the step runner; and Snakemake's rate limit."""

from __future__ import annotations

import re
import shlex
import sys
from typing import Any

DEFAULT_RATE = (100, 1)
"""Snakemake's own limit: jobs, and seconds."""

_QUOTED = re.compile(r"'[^']*'")
_SPECIAL = re.compile(r"""[\\"'`$&|;<>(){}\[\]*?!#~\n]""")


def plain_step(command: str) -> list[str] | None:
    """The arguments of ``hcs`` if a command is nothing but one ``hcs step`` without a debugger; else None."""
    words = command.strip()
    if not words.startswith("hcs step ") or _SPECIAL.search(_QUOTED.sub("", words)):
        return None
    arguments = shlex.split(words)[1:]
    return None if "--debug" in arguments else arguments


def runner_arguments(job: Any, workflow: Any) -> list[str] | None:
    """The arguments of ``hcs`` if running a job is nothing but running one ``hcs step``; else None."""
    from snakemake.shell import shell

    if job.is_group() or not job.is_shell:
        return None
    beside = (
        workflow.deployment_settings.deployment_method,
        workflow.workflow_settings.cache,
        workflow.execution_settings.debug,
        job.is_shadow,
        job.benchmark,
        job.env_modules,
        job.resources.get("shell_exec"),
        shell._process_prefix,
        shell._process_suffix,
    )
    return None if any(beside) else plain_step(job.shellcmd)


def without_default_rate_limit(workflow: Any) -> None:
    """Take Snakemake's limit of job starts away where it is the default: it is meant for services that are asked to run
    jobs, and costs 5 ms for every job, because its timer wakes the scheduler again after each. One that a user has
    set otherwise stays.
    """
    scheduler = workflow.scheduler
    limit = scheduler.job_rate_limiter
    if limit is not None and (limit.max_jobs, limit.timespan) == DEFAULT_RATE:
        scheduler.job_rate_limiter = None
        scheduler.resources["_job_count"] = sys.maxsize
