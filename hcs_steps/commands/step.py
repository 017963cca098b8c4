"""``hcs step`` and ``hcs finish``: what the workflow's jobs call."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.errors import ConfigError, nearest
from hcs_steps.report.summary import failures_csv
from hcs_steps.results import Results
from hcs_steps.run.measure import environment
from hcs_steps.run.records import open_failures, read_json, write_marker
from hcs_steps.run.runner import Runner
from hcs_steps.storage import sweep_store, write_json, write_text


def run(arguments: argparse.Namespace) -> int:
    """Run a stage over units. With a marker, a unit's error is the marker's business and the exit code is
    0.
    """
    plan_path = Path(arguments.plan)
    plan = Plan.load(plan_path)
    stage = plan.stage(arguments.stage)
    units = _units(plan, arguments)
    log_to(arguments.log)
    runner = Runner(
        plan, Results(plan_path.parent), log=arguments.log or "", debug=arguments.debug, force=arguments.force
    )
    try:
        outcome = runner.run(stage, units)
    except Exception:
        if arguments.debug and sys.stdin.isatty():
            import pdb

            pdb.post_mortem()
        raise
    if arguments.marker:
        job = arguments.job or "-".join(units)
        write_marker(Path(arguments.marker), stage.name, job, outcome.done, outcome.failed, outcome.blocked)
        return 0
    for unit in outcome.blocked:
        print(f"{unit}: an earlier stage has no result for it; run that first.", file=sys.stderr)
    return 1 if outcome.failed or outcome.blocked else 0


def finish(arguments: argparse.Namespace) -> int:
    """Write run.json, say which units failed; 1 if any did, else write the marker."""
    plan_path = Path(arguments.plan)
    plan, results = Plan.load(plan_path), Results(plan_path.parent)
    for store in results.images.glob("*"):
        sweep_store(store)
    failures = open_failures(plan, results)
    failed = sorted({failure["unit"] for failure in failures})
    incomplete = {stage.name: _not_done(results, plan, stage.name) for stage in plan.stages}
    success = not failures and not any(incomplete.values())
    run_info = {
        "plate": plan.plate.id,
        "pipeline": plan.pipeline,
        "plan": plan.hash,
        "success": success,
        "units": len(plan.units),
        "failed": failed,
        "incomplete": {name: units for name, units in incomplete.items() if units},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **environment(),
    }
    write_json(results.run, run_info)
    if any(failure["unit"] == PLATE_UNIT for failure in failures):
        # The stage that lists failures may be the one that failed.
        write_text(results.failures_table, failures_csv(failures))
    text = (
        _summary(plan, results, failures)
        if not success
        else f"{plan.plate.id}: all {len(plan.units)} units done. See {results.report}."
    )
    print(text, file=sys.stdout if success else sys.stderr)
    if arguments.log:
        Path(arguments.log).write_text(text + "\n", encoding="utf-8")
    if success and arguments.marker:
        write_json(Path(arguments.marker), {"stage": "finish", "plan": plan.hash})
    return 0 if success else 1


def _not_done(results: Results, plan: Plan, name: str) -> list[str]:
    stage = plan.stage(name)
    return [
        unit
        for unit in plan.units_of(stage)
        if not (read_json(results.record(name, unit)) or {}).get("success")
    ]


def _summary(plan: Plan, results: Results, failures: Sequence[dict[str, str]]) -> str:
    units = {failure["unit"] for failure in failures} - {PLATE_UNIT}
    lines = [f"{plan.plate.id}: {len(units)} of {len(plan.units)} units failed."]
    for failure in failures[:10]:
        lines.append(f"  {failure['unit']} in {failure['stage']}: {failure['error']}")
    if len(failures) > 10:
        lines.append(f"  and {len(failures) - 10} more")
    lines.append(
        f"All of them: {results.failures_table} and {results.report}. Mend the cause and run snakemake again: only "
        "these are run."
    )
    return "\n".join(lines)


def _units(plan: Plan, arguments: argparse.Namespace) -> Sequence[str]:
    stage = plan.stage(arguments.stage)
    there = plan.units_of(stage)
    if arguments.job is not None:
        jobs = plan.jobs_of(stage)
        if arguments.job not in jobs:
            raise ConfigError(
                f"Stage {stage.name} has no job {arguments.job!r}.", hint=nearest(arguments.job, jobs)
            )
        return jobs[arguments.job]
    for unit in arguments.unit:
        if unit not in there:
            raise ConfigError(f"Stage {stage.name} has no unit {unit!r}.", hint=nearest(unit, there))
    return tuple(arguments.unit)


def log_to(path: str | None) -> None:
    """Send the log, and what step functions print, to a file; or the log to the terminal."""
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # Open as long as the process lives.
        stream = open(path, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        sys.stdout = sys.stderr = stream
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
