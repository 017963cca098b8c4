"""Keeps run.json and learned.json of every plate current while Snakemake runs, and stops it where its limits say so.

It lives in the main Snakemake process and looks at the results only, so it is the same for every executor. It is the
only writer of both.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hcs_steps.compile.plan import Plan
from hcs_steps.compile.stages import REPORT
from hcs_steps.operations.learner import Learner
from hcs_steps.operations.runs import (
    DIED,
    DONE,
    FAILED,
    RUNNING,
    STOPPED,
    PipelineRun,
    begin_run,
    new_run_id,
    now,
    read_run,
    stage_result,
    write_run,
)
from hcs_steps.operations.stopping import INTERRUPTED, TIME_LIMIT, Stopper
from hcs_steps.operations.watching.status import PlateStatus, StatusReader
from hcs_steps.results import Results

if TYPE_CHECKING:
    from hcs_steps.learning.summary import Asked
    from hcs_steps.run_settings import OrchestrationConfig

INTERVAL_S = 2.0
"""Time between two looks at the results; longer where a look takes long."""
SHARE = 0.05
"""Part of the time that looking may take."""
HEARTBEAT_S = 20.0
"""run.json is written at least so often, so that others can tell that the run goes on."""

LEARN_S = 60.0
"""So often it is summed up what units took, for a run that dies."""


class Keeper:
    """The runs of the plates of one Snakemake process; ``units`` are those that are asked for, where not all are, and
    ``asked`` what jobs ask for, by results folder and stage.
    """

    def __init__(
        self,
        plans: Mapping[str, Plan],
        limits: OrchestrationConfig,
        units: Mapping[str, tuple[str, ...]] | None = None,
        asked: Mapping[str, Mapping[str, Asked]] | None = None,
    ) -> None:
        self.plans = dict(plans)
        self.limits = limits
        self.units = dict(units or {})
        self.stopper = Stopper()
        self.runs: dict[str, PipelineRun] = {}
        self._readers = {folder: StatusReader(plan, Results(Path(folder))) for folder, plan in plans.items()}
        self._learners = {
            folder: Learner(plan, Results(Path(folder)), (asked or {}).get(folder, {}))
            for folder, plan in plans.items()
        }
        self._written: dict[str, float] = {}
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="run.json", daemon=True)

    def start(self) -> list[str]:
        """Write the first run.json of every plate and begin to watch; returns what is to be told of former runs."""
        self.stopper.install()
        run_id = new_run_id()
        notes = []
        for folder, plan in self.plans.items():
            results = Results(Path(folder))
            notes += close_former_run(results)
            self.runs[folder] = begin_run(plan, run_id, self.units.get(folder, ()))
            write_run(results, self.runs[folder])
        self._thread.start()
        return notes

    def end(self, success: bool) -> tuple[int, dict[str, PipelineRun]]:
        """Close the runs: (exit code, run by results folder). ``success`` is what Snakemake says."""
        self._ended.set()
        self._thread.join(timeout=30)
        self.stopper.restore()
        for folder in self.plans:
            if self.stopper.code not in (TIME_LIMIT, INTERRUPTED):  # then it is to end soon
                self._bring_report_up_to_date(folder)
            self._close(folder, success)
        complete = all(run.success for run in self.runs.values())
        return self.stopper.code or (0 if success and complete else 1), self.runs

    def _keep(self) -> None:
        wait = INTERVAL_S
        learned = time.monotonic()
        while not self._ended.wait(wait):
            started = time.perf_counter()
            for folder in self.plans:
                status = self._readers[folder].read()
                self._update(folder, status)
                self._check_failures(folder, status)
            self._check_time()
            self._check_plates()
            if time.monotonic() - learned > LEARN_S:
                for folder, learner in self._learners.items():
                    learner.write(self._readers[folder])
                learned = time.monotonic()
            wait = max(INTERVAL_S, (time.perf_counter() - started) / SHARE)

    def _update(self, folder: str, status: PlateStatus) -> None:
        run = told(self.runs[folder], status)
        late = time.monotonic() - self._written.get(folder, 0) > HEARTBEAT_S
        if late or replace(run, updated="", duration=0.0) != replace(
            self.runs[folder], updated="", duration=0.0
        ):
            self._write(folder, run)

    def _write(self, folder: str, run: PipelineRun) -> None:
        self.runs[folder] = run
        write_run(Results(Path(folder)), run)
        self._written[folder] = time.monotonic()

    def _check_failures(self, folder: str, status: PlateStatus) -> None:
        """Stop when too many units of a plate have failed in this run."""
        run = self.runs[folder]
        new = [f for f in status.failures if str(f.get("time", "")) >= run.start_time]
        failed = {str(failure.get("unit")) for failure in new}
        allowed = self.limits.max_failed_fraction
        if failed and not self.limits.continue_on_error:
            first = new[0]
            self.stopper.drain(
                f"{first.get('unit')} failed in {first.get('stage')} and continue_on_error is off: "
                f"{first.get('error')}",
                1,
            )
        elif allowed is not None and len(failed) > allowed * run.total_units:
            self.stopper.drain(
                f"{len(failed)} of {run.total_units} units of {run.plate} have failed, more than the "
                f"{allowed:.0%} of max_failed_fraction",
                1,
            )

    def _check_time(self) -> None:
        limit = self.limits.total_timeout
        if limit is not None and time.monotonic() - self._began > limit:
            self.stopper.cancel(f"the time limit of {limit:g} s is over", TIME_LIMIT)

    def _check_plates(self) -> None:
        """Stop when no plate can be read any more: a share that is gone would fail every unit, one by one."""
        if not any(Path(plan.plate.path).exists() for plan in self.plans.values()):
            folders = ", ".join(sorted({plan.plate.path for plan in self.plans.values()}))
            self.stopper.drain(f"the plates cannot be read any more: {folders} is gone", 1)

    def _bring_report_up_to_date(self, folder: str) -> None:
        """Make tables and page of what there is, where the run has not come to that."""
        status = self._readers[folder].read()
        page = next((stage for stage in status.stages if stage.name == REPORT), None)
        if page is None or page.count("done") or not any(s.count("done") for s in status.stages):
            return
        plan = Results(Path(folder)).plan
        subprocess.run(
            [sys.executable, "-m", "hcs_steps.cli", "report", "--plan", str(plan)],
            stdout=subprocess.DEVNULL,
            check=False,
        )

    def _close(self, folder: str, success: bool) -> None:
        run = told(self.runs[folder], self._readers[folder].read())
        plan = self.plans[folder]
        if run.success:
            gate = (
                f"it stops at the gate {plan.gate}: look at {run.report}, then call again"
                if plan.gate
                else ""
            )
            state, reason = DONE, gate
        elif self.stopper.stopped:
            state, reason = STOPPED, self.stopper.reason
        else:
            state, reason = FAILED, _shortfall(run, success)
        self._write(folder, replace(run, state=state, reason=reason, end_time=now(), current_stage=""))
        self._learners[folder].write(self._readers[folder])


def told(run: PipelineRun, status: PlateStatus) -> PipelineRun:
    """The run as its status shows it now."""
    moment = now()
    stages = tuple(stage_result(stage, status) for stage in status.stages)
    active = [stage.stage for stage in stages if stage.state == "running"]
    waiting = [stage.stage for stage in stages if stage.state == "waiting"]
    return replace(
        run,
        updated=moment,
        duration=_seconds_between(run.start_time, moment),
        stages=stages,
        current_stage=(active or waiting or [""])[0],
        success=_wanted_is_done(run, status),
    )


def _wanted_is_done(run: PipelineRun, status: PlateStatus) -> bool:
    """Whether everything is done that the run is for."""
    if not run.units:
        return status.success
    wanted = set(run.units)
    stages = [stage for stage in status.stages if stage.scope == "unit" and not stage.skipped]
    return all(stage.states[unit] == "done" for stage in stages for unit in wanted & stage.states.keys())


def _seconds_between(start: str, end: str) -> float:
    from datetime import datetime

    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds(), 3)


def _shortfall(run: PipelineRun, success: bool) -> str:
    failed = [f"{s.items_failed} in {s.stage}" for s in run.stages if s.items_failed]
    if failed:
        return f"units failed: {', '.join(failed)}"
    if not success:
        return "a job ended without a result; Snakemake's log says which"
    return "not everything is done"


def close_former_run(results: Results) -> list[str]:
    """Say of a run that has not said so itself that it died; returns what a person should know of it."""
    former = read_run(results)
    if former is None or former.state != RUNNING:
        return []
    finished = sum(stage.items_processed for stage in former.stages)
    reason = "its process ended without saying why"
    write_run(
        results, replace(former, state=DIED, reason=reason, end_time=former.updated or former.start_time)
    )
    return [
        f"{former.plate}: the run of {former.start_time[:19]} died ({reason}); what it has finished "
        f"({finished} results) is kept, and this run goes on from there."
    ]
