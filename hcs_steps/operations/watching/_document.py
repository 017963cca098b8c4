"""The status of a plate and its failures as plain values, for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hcs_steps.compile.plan import Plan
from hcs_steps.operations.watching._failure_groups import group_failures
from hcs_steps.operations.watching.status import STATES, PlateStatus, StageStatus

SCHEMA = 1


def status_document(status: PlateStatus, plan: Plan) -> dict[str, Any]:
    """What ``hcs status --json`` prints of a plate; see `hcs_steps.commands.status`."""
    run: Mapping[str, Any] = status.run or {}
    states = list(status.units.values())
    return {
        "schema": SCHEMA,
        "plate": status.plate,
        "results": str(status.results.root),
        "plan": status.plan_hash,
        "mode": status.mode,
        "state": status.state,
        "reason": status.reason,
        "run_id": str(run.get("run_id") or ""),
        "started": str(run.get("start_time") or ""),
        "ended": str(run.get("end_time") or ""),
        "machine": str(run.get("machine") or ""),
        "complete": status.complete,
        "success": status.success,
        "eta_seconds": rounded(status.eta_seconds),
        "not_in_eta": list(status.unestimated),
        "results_per_minute": rounded(status.rate),
        "counts": {state: states.count(state) for state in STATES},
        "units": dict(status.units),
        "stages": [_stage(stage) for stage in status.stages],
        "failures": [failure_document(failure) for failure in status.failures],
        "failure_groups": failure_groups(status, plan),
        "running": [dict(told) for told in status.running],
        "died": [dict(told) for told in status.died],
    }


def failure_groups(status: PlateStatus, plan: Plan) -> list[dict[str, Any]]:
    """Failures with the same cause as one."""
    return [
        {
            "stage": group.stage,
            "step": group.step,
            "kind": group.kind,
            "error": group.error,
            "count": group.count,
            "wells": group.wells,
            "units": list(group.units),
        }
        for group in group_failures(status.failures, plan)
    ]


def failure_document(failure: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
    """A failure; its traceback only if it is ``full``."""
    return {key: value for key, value in failure.items() if full or key != "stack"}


def _stage(stage: StageStatus) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "scope": stage.scope,
        "skipped": stage.skipped,
        "total": stage.total,
        "counts": {state: stage.counts.get(state, 0) for state in STATES},
        "done_by_this_run": stage.new,
        "started": stage.started,
        "ended": stage.ended,
        "median_seconds": rounded(stage.seconds),
        "units_per_minute": rounded(stage.rate),
        "left_seconds": rounded(stage.left),
    }


def rounded(value: float | None) -> float | None:
    """To a thousandth; None stays."""
    return None if value is None else round(value, 3)
