"""``snakemake --executor hcs``: this machine, with warm processes for the jobs of hcs-steps.

The standard local executor starts a shell, Python and its packages for every job; here, a job whose command is a plain
``hcs step`` goes to a process that has all that already (`hcs_steps.warm`). Any other job takes the standard path, and
so does all that Snakemake does before and after a job.
"""

import shlex
import threading
import time
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.executors.local import Executor as LocalExecutor
from snakemake.executors.local import common_settings as common_settings

from snakemake_executor_plugin_hcs.commands import runner_arguments, without_default_rate_limit
from snakemake_scheduler_plugin_hcs import following

LONG_S = 0.5
"""Files are read ahead for jobs that take longer."""


class Executor(LocalExecutor):  # type: ignore[misc]
    """The local executor, with a pool of warm processes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._lock = threading.Lock()
        self._warm: Any = None
        self._long: set[str] = set()
        self._environments: dict[tuple[int, str], dict[str, str]] = {}
        if self._plans() and len(self.dag):
            self._pool_of_plans().open()  # what is loaded is loaded while Snakemake prepares the first jobs

    def run_jobs(self, jobs: Any) -> None:
        """Start jobs."""
        without_default_rate_limit(self.workflow)
        super().run_jobs(jobs)

    def run_single_job(self, job: Any) -> Any:
        """Start a job; returns its future."""
        arguments = runner_arguments(job, self.workflow)
        if arguments is None:
            return super().run_single_job(job)
        self.workflow.async_run(job.prepare())
        environment = self._environment(job.threads, str(job.resources.get("tmpdir") or ""))
        kind = "gpu" if job.resources.get("gpu") else ""
        return self.pool.submit(self._run_warm, job, arguments, environment, kind, self._next_of(job))

    def cancel(self) -> None:
        """Stop what is running, and wait until it has ended."""
        if self._warm is not None:
            self._warm.stop()
        super().cancel()
        self._close()

    def shutdown(self) -> None:
        """Wait for what is running, and let the processes go."""
        super().shutdown()
        self._close()

    def _environment(self, *of: Any) -> dict[str, str]:
        """That of a job with so many threads and a folder for temporary files."""
        if of not in self._environments:
            from hcs_steps.run._surroundings import environment_of_job

            self._environments[of] = environment_of_job(*of)
        return self._environments[of]

    def _next_of(self, job: Any) -> list[str]:
        """The command that is likely to be next, where jobs of the rule take so long that this is worth finding out."""
        later = following.get(job.jobid) if job.rule.name in self._long else None
        return runner_arguments(later, self.workflow) or [] if later is not None else []

    def _run_warm(self, job: Any, arguments: list[str], *told: Any) -> None:
        began = time.monotonic()
        code = self._pool_of_plans().run(arguments, *told)
        if time.monotonic() - began > LONG_S:
            self._long.add(job.rule.name)
        if code:
            command = shlex.join(["hcs", *arguments])
            raise WorkflowError(f"The command ended with exit code {code}: {command}", rule=job.rule)

    def _pool_of_plans(self) -> Any:
        """The pool, ready for the plans that the Snakefile has loaded."""
        with self._lock:
            if self._warm is None:
                from hcs_steps.run.preload import loads_of
                from hcs_steps.warm.pool import Pool

                plans = self._plans()
                threads = max((stage.threads for plan in plans for stage in plan.stages), default=1)
                self._warm = Pool(*loads_of(plans), min(threads, self.cores or threads))
            return self._warm

    def _plans(self) -> list[Any]:
        workflow = self.workflow.globals.get("HCS")
        return [] if workflow is None else list(workflow.plans.values())

    def _close(self) -> None:
        if self._warm is not None:
            self._warm.close()
