"""Phase 5: device assignment. Which stages ask for a GPU."""

from __future__ import annotations

from dataclasses import replace

from hcs_steps.compile.plan import Plan, StagePlan
from hcs_steps.compile.request import Request
from hcs_steps.errors import ConfigError, HcsError
from hcs_steps.pipeline.enums import GpuPolicy


def assign_devices(plan: Plan, request: Request) -> tuple[Plan, list[HcsError]]:
    """Set ``gpu`` of every stage: 1 where a function can use one and the policy grants it."""
    policy, limits = request.options.gpu, request.options.limits
    granted = policy is GpuPolicy.ALWAYS or (policy is GpuPolicy.AUTO and limits.gpus > 0)
    problems: list[HcsError] = []
    stages = []
    for stage in plan.stages:
        if not (granted and _can_use_gpu(plan, stage)):
            stages.append(replace(stage, gpu=0, gpu_only=False, gpu_mem_mb=0))
            continue
        if limits.gpu_mem_mb is not None and stage.gpu_mem_mb > limits.gpu_mem_mb:
            problems.append(
                ConfigError(
                    f"Stage {stage.name} needs about {stage.gpu_mem_mb:,} MB of GPU memory, but "
                    f"{limits.gpu_mem_mb:,} MB are there.",
                    hint="Use parallel_by: site, stack fewer planes, set gpu: never, or raise "
                    "limits.gpu_mem_mb.",
                )
            )
        stages.append(replace(stage, gpu=1, gpu_only=policy is GpuPolicy.ALWAYS))
    return replace(plan, stages=tuple(stages)), problems


def _can_use_gpu(plan: Plan, stage: StagePlan) -> bool:
    return any("gpu" in call.devices for index in stage.steps for call in plan.steps[index].calls)
