"""Plans -> Snakemake rules: one rule per stage, with wildcards for the plate and the job.

The text is the same for the same plans, says nothing of single wells, and holds no logic: inputs and
fingerprints come from the loaded plans (`hcs_steps.emit.workflow.Workflow`, called ``HCS`` in the
Snakefile).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hcs_steps.compile.plan import Plan, StagePlan
from hcs_steps.compile.steps import slugify

HEADER = """\
# Written by hcs-steps from the compiled plans; changes are overwritten.
# One rule per stage. A job is a stage over one unit of a plate, or over a chunk of units (units_per_job).
"""

RULE = """
rule {rule}:
    input:
        lambda wildcards: HCS.inputs(wildcards, "{stage}"),
    output:
        "{{results}}/jobs/{stage}/{{job}}.json",
    log:
        "{{results}}/logs/{stage}/{{job}}.log",
    wildcard_constraints:
        results=HCS.folders("{group}"),
        job="[^/]+",
    params:
        fingerprint=lambda wildcards: HCS.fingerprint(wildcards, "{stage}"),
    threads: {threads}
    resources:
        gpu={gpu},
        mem_mb=lambda wildcards, attempt: {mem_mb} * attempt,
        gpu_mem_mb={gpu_mem_mb},
        runtime=lambda wildcards, attempt: {runtime} * attempt,
    shell:
        "{{HCS.command}} step --plan {{wildcards.results:q}}/plan.json --stage {stage}"
        " --job {{wildcards.job:q}} --marker {{output:q}} --log {{log:q}}"
"""


@dataclass(frozen=True)
class Group:
    """Plates that share their rules: their results folders by plan."""

    name: str
    stages: tuple[StagePlan, ...]
    folders: tuple[str, ...]


def group_plans(plans: Mapping[str, Plan]) -> list[Group]:
    """Plates (results folder -> plan) by what their rules say; the name of a single group is empty."""
    alike: dict[str, list[str]] = {}
    for folder, plan in plans.items():
        alike.setdefault(plan.pipeline + repr([_rule_values(stage) for stage in plan.stages]), []).append(
            folder
        )
    names: list[str] = []
    for folders in alike.values():
        base = slugify(plans[folders[0]].pipeline)
        number = sum(
            name.removesuffix(f"_{name.rpartition('_')[2]}") == base or name == base for name in names
        )
        names.append(base if number == 0 else f"{base}_{number + 1}")
    return [
        Group("" if len(alike) == 1 else name, plans[folders[0]].stages, tuple(folders))
        for name, folders in zip(names, alike.values(), strict=True)
    ]


def emit_rules(groups: list[Group]) -> str:
    """The text of the rules of all groups."""
    text = [HEADER]
    for group in groups:
        for stage in group.stages:
            prefix = f"{group.name}_" if group.name else ""
            text.append(RULE.format(rule=f"{prefix}{stage.name}", group=group.name, **_rule_values(stage)))
    return "\n".join(text)


def _rule_values(stage: StagePlan) -> dict[str, object]:
    """What a rule says of its stage."""
    return {
        "stage": stage.name,
        "threads": stage.threads,
        "gpu": stage.gpu,
        "mem_mb": stage.mem_mb,
        "gpu_mem_mb": stage.gpu_mem_mb,
        "runtime": stage.runtime,
    }
