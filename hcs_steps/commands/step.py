"""``hcs step`` and ``hcs finish``: what the workflow's jobs call."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcs_steps.errors import ConfigError, nearest
from hcs_steps.results import Results

if TYPE_CHECKING:
    from hcs_steps.compile.plan import Plan
    from hcs_steps.run._link import Link
    from hcs_steps.run.kept import KeptRunners
    from hcs_steps.run.outcome import Outcome


def run(arguments: argparse.Namespace) -> int:
    """Run a stage over units. With a marker, a unit's error is the marker's business and the exit code is
    0.

    The work is done by a forked process; this one watches it and stays light. For the debugger it is this one.
    """
    if arguments.debug:
        return _debug(arguments)
    from hcs_steps.run.supervise import supervise

    return supervise(lambda _, link: _run_alone(arguments, link), {})


def _run_alone(arguments: argparse.Namespace, link: Link) -> tuple[int, str]:
    from hcs_steps.run.kept import KeptRunners

    return run_units(arguments, link, KeptRunners())


def run_units(
    arguments: argparse.Namespace,
    link: Link,
    kept: KeptRunners,
    following: argparse.Namespace | None = None,
) -> tuple[int, str]:
    """What the process does that is watched: the units that none before it has ended, and, after the last, the marker.

    Returns the exit code, and what is to be said on the terminal. ``kept`` is what earlier jobs of the process left,
    ``following`` the job that is likely to start next, here or elsewhere.
    """
    from hcs_steps.compile.stages import REPORT
    from hcs_steps.run._link import AnotherProcessError
    from hcs_steps.run.devices import DeviceTaken
    from hcs_steps.run.records import write_marker

    log = arguments.log or ""
    runner = kept.runner(Path(arguments.plan), log=log, force=arguments.force, link=link)
    plan = runner.plan
    stage = plan.stage(arguments.stage)
    units = _units(plan, arguments)
    is_like = following and (following.plan, following.stage) == (arguments.plan, arguments.stage)
    later = _units(plan, following)[:1] if following and is_like else ()
    outcome, is_first = link.outcome, link.death is None and not link.withdraw
    log_to(arguments.log, "w" if is_first else "a")
    if arguments.log:
        # What other programs and native code say belongs there, too.
        os.dup2(sys.stdout.fileno(), 1)
        os.dup2(sys.stderr.fileno(), 2)
        link.has_log = True
    link.runs(stage, runner.results, log)
    if link.withdraw:
        runner.withdraw(stage, link.withdraw)
        return 0, ""
    if link.death is not None:
        runner.settle(stage, link.death)
    try:
        runner.run(stage, [unit for unit in units if unit not in outcome.ended], later)
    except DeviceTaken:
        raise AnotherProcessError from None
    if stage.name == REPORT:
        from hcs_steps.report.settled import settle_page

        settle_page(plan, runner.results, outcome)
    if arguments.marker:
        job = arguments.job or "-".join(units)
        write_marker(Path(arguments.marker), stage.name, job, outcome.done, outcome.failed, outcome.blocked)
        return 0, ""
    return _verdict(outcome)


def _debug(arguments: argparse.Namespace) -> int:
    """The same in this process, so that an error ends in the debugger."""
    from hcs_steps.compile.plan import Plan
    from hcs_steps.run.runner import Runner

    plan = Plan.load(arguments.plan)
    stage = plan.stage(arguments.stage)
    units = _units(plan, arguments)
    log_to(arguments.log)
    results, log = Results(Path(arguments.plan).parent), arguments.log or ""
    runner = Runner(plan, results, log=log, debug=True, force=arguments.force)
    try:
        code, text = _verdict(runner.run(stage, units))
    except Exception:
        if sys.stdin.isatty():
            import pdb

            pdb.post_mortem()
        raise
    if text:
        print(text, file=sys.stderr)
    return code


def _verdict(outcome: Outcome) -> tuple[int, str]:
    """The exit code of a call without a marker, and what to say."""
    text = [f"{unit}: an earlier stage has no result for it; run that first." for unit in outcome.blocked]
    return (1 if outcome.failed or outcome.blocked else 0), "\n".join(text)


def finish(arguments: argparse.Namespace) -> int:
    """Say which units failed, or that the plan ends at a gate; 1 if any did, else write the marker."""
    from hcs_steps.compile.plan import Plan
    from hcs_steps.report.summary import failures_csv
    from hcs_steps.run.records import open_failures
    from hcs_steps.storage import sweep_store, update_text, write_json

    plan_path = Path(arguments.plan)
    plan, results = Plan.load(plan_path), Results(plan_path.parent)
    for store in results.images.glob("*"):
        sweep_store(store)
    failures = open_failures(plan, results)
    there = [stage for stage in plan.stages if not stage.skipped]
    success = not failures and not any(_not_done(results, plan, stage.name) for stage in there)
    # The stage that lists failures knows nothing of its own, nor of the page's; both are mended by now, or open.
    update_text(results.failures_table, failures_csv(failures))
    text = (
        _summary(plan, results, failures)
        if not success
        else f"{plan.plate.id}: all {len(plan.units)} units done. See {results.report}."
    )
    if plan.gate and _open_gate(plan, results):
        text += f"\n{plan.plate.id}: stopped at the gate {plan.gate}: look at {results.report}, then run the same "
        text += "command again to go on."
    print(text, file=sys.stdout if success else sys.stderr)
    if arguments.log:
        Path(arguments.log).write_text(text + "\n", encoding="utf-8")
    if success and arguments.marker:
        write_json(Path(arguments.marker), {"stage": "finish", "plan": plan.hash})
    return 0 if success else 1


def _open_gate(plan: Plan, results: Results) -> bool:
    """Note that people have been shown the results of the gated stage, if there are any."""
    from hcs_steps.storage import write_json

    stage = plan.stage(plan.gate)
    if len(_not_done(results, plan, stage.name)) == len(plan.units_of(stage)):
        return False
    content = {"stage": stage.name, "fingerprint": stage.fingerprint, "plan": plan.hash}
    write_json(results.gate(stage.name), content)
    return True


def _not_done(results: Results, plan: Plan, name: str) -> list[str]:
    from hcs_steps.run.records import read_json

    stage = plan.stage(name)
    return [
        unit
        for unit in plan.units_of(stage)
        if not (read_json(results.record(name, unit)) or {}).get("success")
    ]


def _summary(plan: Plan, results: Results, failures: Sequence[dict[str, Any]]) -> str:
    from hcs_steps.compile.plan import PLATE_UNIT

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
    if arguments.job is not None:
        units = plan.units_of_job(stage, arguments.job)
        if not units:
            raise ConfigError(
                f"Stage {stage.name} has no job {arguments.job!r}.",
                hint=nearest(arguments.job, plan.jobs_of(stage)),
            )
        return units
    there = plan.units_of(stage)
    for unit in arguments.unit:
        if unit not in there:
            raise ConfigError(f"Stage {stage.name} has no unit {unit!r}.", hint=nearest(unit, there))
    return tuple(arguments.unit)


def log_to(path: str | None, mode: str = "w") -> None:
    """Send the log, and what step functions print, to a file; or the log to the terminal."""
    import logging

    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # Open as long as the process lives.
        stream = open(path, mode, encoding="utf-8", buffering=1)  # noqa: SIM115
        sys.stdout = sys.stderr = stream
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
