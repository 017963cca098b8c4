"""What the Snakefile calls when a run begins and when it has ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcs_steps.emit.workflow import Workflow, refuse
from hcs_steps.errors import ConfigError, HcsError
from hcs_steps.operations._alive import living_units
from hcs_steps.results import Results
from hcs_steps.run.claim import claim

if TYPE_CHECKING:
    from hcs_steps.compile.plan import Plan
    from hcs_steps.operations.keeper import Keeper
    from hcs_steps.operations.runs import PipelineRun

PATIENCE_S = 20.0
"""Jobs of a run that was killed end within a second or two, those of a cluster do not; so long is waited for them."""


class RunHooks:
    """The beginning and the end of the run of a workflow; made in every process, used in the main one only."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self._plans: Mapping[str, Plan] = {}
        self._locks: list[Any] = []
        self._keeper: Keeper | None = None

    def start(self, batch: Any = None) -> None:
        """Claim the results, write the plans, and keep run.json from now on; of the plates of a ``batch`` of rule all
        only, where Snakemake is asked for one. Ends the process with one paragraph and exit code 2 if that cannot be
        done.
        """
        from hcs_steps.operations.keeper import Keeper
        from hcs_steps.run_settings import OrchestrationConfig

        self._plans = plans = self.workflow.plans_of(batch)
        settings = self.workflow.settings
        limits = settings.orchestration if settings else OrchestrationConfig()
        try:
            self._locks = [claim(Results(Path(folder))) for folder in sorted(plans)]
            for item in self.workflow.prepared:
                if item.is_new and item.results.root.as_posix() in plans:
                    _wait_for_former_jobs(item.results, item.plan)
            self.workflow.write(plans)
            self._write_others()
            asked = {folder: self.workflow.asked(folder) for folder in plans}
            self._keeper = Keeper(plans, limits, self.workflow.units, asked)
            notes = self._keeper.start()
        except HcsError as error:
            self._release()
            refuse(error)
        for note in notes:
            _say(note)
        _say(_announcement(plans), hcs_plates=plans, hcs_units=self.workflow.units)

    def end(self, success: bool) -> None:
        """Close the runs, write what there is, tell who wants to know. Ends the process where the exit code is not
        Snakemake's own.
        """
        from hcs_steps.operations.notify import notify
        from hcs_steps.operations.provenance.outputs import write_outputs
        from hcs_steps.operations.runs import as_document

        if self._keeper is None:
            return
        self._release()
        code, runs = self._keeper.end(success)
        for folder, plan in self._plans.items():
            try:
                write_outputs(plan, Results(Path(folder)), run_id=runs[folder].run_id)
            except HcsError as error:
                _say(str(error))
        settings = self.workflow.settings
        if settings is not None and settings.on_finish is not None:
            trouble = notify(settings.on_finish, as_document(runs), Path.cwd())
            if trouble:
                _say(trouble)
        for run in runs.values():
            _say(_farewell(run), hcs_run=run)
        if code != (0 if success else 1):
            raise SystemExit(code)

    def _write_others(self) -> None:
        """Write the plans of plates outside the batch, too: a process that Snakemake starts elsewhere, for a job, reads
        those of all. What another run works on has been written by that.
        """
        for folder in self.workflow.plans.keys() - self._plans.keys():
            try:
                lock = claim(Results(Path(folder)))
            except ConfigError:
                continue
            try:
                self.workflow.write([folder])
            finally:
                if lock is not None:
                    lock.release()

    def _release(self) -> None:
        for lock in self._locks:
            if lock is not None:
                lock.release()
        self._locks = []


def _wait_for_former_jobs(results: Results, plan: Plan) -> None:
    """Wait for jobs of a former plan to end; `ConfigError` if they do not: they would publish in the midst of this one.

    Those of the same plan are no trouble: a unit is computed by one process at a time (`hcs_steps.run.lease`).
    """
    end = time.monotonic() + PATIENCE_S
    told = False
    while living := [f"{path.stem} on {told.get('machine')}" for path, told in living_units(results)]:
        if time.monotonic() > end:
            raise ConfigError(
                f"{', '.join(living)}: jobs of an earlier run still compute units of {plan.plate.id}, and the plan has "
                "changed since.",
                hint="Wait until they have ended (hcs status shows them), or end them (on Slurm: scancel).",
            )
        if not told:
            _say(f"{plan.plate.id}: waiting for {len(living)} jobs of an earlier run to end.")
            told = True
        time.sleep(0.2)


def _say(text: str, **extra: Any) -> None:
    """Tell it through Snakemake's log, which every display shows."""
    from snakemake.logging import logger

    logger.info(text, extra=extra)


def _announcement(plans: Mapping[str, Plan]) -> str:
    first = next(iter(plans.values()))
    units = sum(len(plan.units) for plan in plans.values())
    what = first.plate.id if len(plans) == 1 else f"{len(plans)} plates"
    mode = "" if first.mode == "full" else f", mode {first.mode}"
    return f"hcs-steps: {what}, {units} units{mode}. Elsewhere: hcs status."


def _farewell(run: PipelineRun) -> str:
    reason = f": {run.reason}" if run.reason else ""
    return f"{run.plate}: run {run.run_id} {run.state} after {run.duration:.0f} s{reason}."
