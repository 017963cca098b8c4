"""run.json: what ran on a plate, how far it is or how it ended, stage by stage.

Success means that the work that the run was for is done, never that nothing complained. Paths are relative to the
plate's results. ``run.json`` is the latest run; those before it lie in ``runs/``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hcs_steps.results import Results
from hcs_steps.run.records import read_json
from hcs_steps.shape import check_types
from hcs_steps.storage.atomic import write_json

if TYPE_CHECKING:
    from hcs_steps.compile.plan import Plan
    from hcs_steps.operations.watching.status import PlateStatus, StageStatus

RUNNING, DONE, FAILED, STOPPED, DIED = "running", "done", "failed", "stopped", "died"
"""States of a run. ``done``: all that it was for; ``failed``: it came to its end, but not all is done; ``stopped``: it
was ended before; ``died``: its process is gone without a word.
"""


@dataclass(frozen=True)
class StageResult:
    """What a run has done in one stage.

    ``items`` are units: ``processed`` are those that this run has computed, ``skipped`` those that it did not have to
    or was not to compute, with the reason. ``error`` is that of the first failure; ``details`` count the units that are
    not done by what they wait for, and name the log of the first failure.
    """

    stage: str
    state: str
    success: bool
    start_time: str
    end_time: str
    items_processed: int
    items_failed: int
    items_skipped: int
    skip_reason: str = ""
    error: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PipelineRun:
    """One run of one plate. Times are UTC in ISO 8601, ``end_time`` is empty while it goes on, ``duration`` in
    seconds; ``units`` are those that the run is for if it is not for all.
    """

    run_id: str
    plate: str
    pipeline: str
    mode: str
    plan: str
    total_units: int
    start_time: str
    end_time: str = ""
    updated: str = ""
    state: str = RUNNING
    reason: str = ""
    success: bool = False
    current_stage: str = ""
    duration: float = 0.0
    stages: tuple[StageResult, ...] = ()
    units: tuple[str, ...] = ()
    report: str = "report.html"
    machine: str = ""
    pid: int = 0
    process_start: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether the run has ended, in whatever way."""
        return self.state != RUNNING

    def get_summary(self) -> dict[str, Any]:
        """The run in a few plain values."""
        return {
            "run_id": self.run_id,
            "plate": self.plate,
            "mode": self.mode,
            "state": self.state,
            "reason": self.reason,
            "success": self.success,
            "duration": self.duration,
            "total_units": self.total_units,
            "stages": {
                s.stage: {
                    "state": s.state,
                    "processed": s.items_processed,
                    "failed": s.items_failed,
                    "skipped": s.items_skipped,
                }
                for s in self.stages
            },
        }


def now() -> str:
    """The time as run.json holds it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_run_id() -> str:
    """An id that sorts by time and is unique: ``20260314-092653-1a2b3c``."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def begin_run(plan: Plan, run_id: str, units: tuple[str, ...] = ()) -> PipelineRun:
    """The record of a run of this process that starts now."""
    import platform

    import psutil

    from hcs_steps.run.measure import environment

    facts = environment()
    return PipelineRun(
        run_id=run_id,
        plate=plan.plate.id,
        pipeline=plan.pipeline,
        mode=plan.mode,
        plan=plan.hash,
        total_units=len(units or plan.units),
        start_time=now(),
        units=units,
        machine=platform.node(),
        pid=os.getpid(),
        process_start=psutil.Process().create_time(),
        versions=facts["versions"],
        git_commit=facts["git_commit"],
    )


def stage_result(stage: StageStatus, status: PlateStatus) -> StageResult:
    """What run.json says of a stage, from its status."""
    failures = [failure for failure in status.failures if failure.get("stage") == stage.name]
    failed = stage.count("failed") + stage.count("died")
    undone = {
        state: stage.count(state) for state in ("running", "blocked", "waiting", "died") if stage.count(state)
    }
    complete = stage.count("done") == stage.total
    before = stage.count("done") - stage.new
    details: dict[str, Any] = dict(undone)
    if failures:
        details["log"] = str(failures[0].get("log", ""))
    if stage.skipped:
        state, skipped, reason = "skipped", stage.total, stage.skipped
    else:
        state = _stage_state(stage, complete, failed)
        skipped, reason = before, "done before, and nothing has changed" if before else ""
    return StageResult(
        stage=stage.name,
        state=state,
        success=complete and not failures,
        start_time=stage.started,
        end_time=stage.ended if complete else "",
        items_processed=stage.new,
        items_failed=failed,
        items_skipped=skipped,
        skip_reason=reason,
        error=str(failures[0].get("error", "")) if failures else "",
        details=details,
    )


def _stage_state(stage: StageStatus, complete: bool, failed: int) -> str:
    if complete:
        return "done"
    if stage.count("running"):
        return "running"
    if stage.count("waiting"):
        return "running" if stage.count("done") else "waiting"
    return "failed" if failed else "blocked"


def write_run(results: Results, run: PipelineRun) -> None:
    """Make it the plate's latest run; a former one of another id moves to the history."""
    before = read_json(results.run)
    if before is not None and before.get("run_id") not in (None, run.run_id):
        write_json(results.runs_folder / f"{_safe(str(before['run_id']))}.json", before)
    write_json(results.run, asdict(run))


def _safe(run_id: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in run_id)[:80] or "unknown"


def read_run(results: Results) -> PipelineRun | None:
    """The plate's latest run, or None if there is none that this version can read."""
    found = read_json(results.run)
    if found is None:
        return None
    try:
        stages = tuple(StageResult(**_known(StageResult, stage)) for stage in found.get("stages", ()))
        values = _known(PipelineRun, found)
        run = PipelineRun(**{**values, "stages": stages, "units": tuple(values.get("units", ()))})
        check_types(run, "run")
        return run
    except (TypeError, AttributeError, ValueError):
        return None


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a dataclass has fields for: a newer version may write more."""
    names = {item.name for item in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def as_document(runs: Mapping[str, PipelineRun]) -> dict[str, Any]:
    """What is sent at the end: run.json of the plate; of several plates, all of them under ``runs``."""
    documents = [asdict(run) for run in runs.values()]
    if len(documents) == 1:
        return documents[0]
    return {
        "run_id": documents[0]["run_id"],
        "success": all(document["success"] for document in documents),
        "runs": documents,
    }
