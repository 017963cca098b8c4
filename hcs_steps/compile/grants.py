"""What every stage is given: threads, memory and time, by the configuration or as predicted."""

from __future__ import annotations

import math
from dataclasses import replace

from hcs_steps.compile.plan import Plan
from hcs_steps.compile.request import Grant, Request
from hcs_steps.compile.steps import slugify
from hcs_steps.errors import ConfigError, HcsError, nearest

MARGIN_MINUTES = 5
"""What a cluster grants a job beyond the time that its units may take: starting up, and reporting a unit that took too
long.
"""


def grant_resources(plan: Plan, request: Request) -> tuple[Plan, list[HcsError]]:
    """Set threads, memory, time limit and runtime of every stage as the options say, by stage or by step."""
    grants = {slugify(name) if name else "": grant for name, grant in request.options.grants.items()}
    homes = stages_by_name(plan)
    problems: list[HcsError] = [
        ConfigError(
            f"orchestration.stages names {name!r}, which is no stage or step.", hint=nearest(name, homes)
        )
        for name in grants
        if name and name not in homes
    ]
    by_stage = {homes[name]: grant for name, grant in grants.items() if name in homes}
    common = grants.get("", Grant())
    stages = []
    for stage in plan.stages:
        own = by_stage.get(stage.name, Grant())
        seconds = own.timeout_s if own.timeout_s is not None else common.timeout_s
        if seconds:
            minutes = math.ceil(seconds * request.options.units_per_job / 60) + MARGIN_MINUTES
            stage = replace(stage, timeout_s=seconds, runtime=minutes)
        if own.threads is not None:
            stage = replace(stage, threads=own.threads)
        if own.mem_mb is not None:
            stage = replace(stage, mem_mb=own.mem_mb)
        stages.append(stage)
    return replace(plan, stages=tuple(stages)), problems


def stages_by_name(plan: Plan) -> dict[str, str]:
    """What the configuration may call a stage, by its own name or that of one of its steps -> the stage."""
    homes = {stage.name: stage.name for stage in plan.stages}
    return homes | {plan.steps[index].name: stage.name for stage in plan.stages for index in stage.steps}
