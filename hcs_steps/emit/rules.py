"""Plans -> Snakemake rules: one rule per stage, with wildcards for the plate and the job.

The text is the same for the same plans, says nothing of single wells, and holds no logic: inputs and
fingerprints come from the loaded plans (`hcs_steps.emit.workflow.Workflow`, called ``HCS`` in the
Snakefile).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, count

from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan
from hcs_steps.compile.stages import REPORT
from hcs_steps.compile.steps import slugify

HEADER = """\
# Written by hcs-steps from the compiled plans; changes are overwritten.
# One rule per stage. A job is a stage over one unit of a plate, or over a chunk of units (units_per_job).
"""

RULE = """
rule {rule}:{inputs}
    output:
        "{{results}}/jobs/{stage}/{{job}}.json",
    log:
        "{{results}}/logs/{stage}/{{job}}.log",
    wildcard_constraints:
        results=HCS.folders("{group}"),
        job="[^/]+",
    threads: {threads}{priority}
    resources:{gpu}
        mem_mb=HCS.memory("{stage}"),
        runtime=HCS.runtime("{stage}"),
    params:
        fingerprint=HCS.fingerprint("{stage}"),
    shell:
        "hcs step --plan {{wildcards.results:q}}/plan.json --stage {stage}"
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
        values = [(_rule_values(stage), bool(stage.skipped)) for stage in plan.stages]
        alike.setdefault(plan.pipeline + repr(values), []).append(folder)
    names: list[str] = []
    taken: set[str] = set()
    for folders in alike.values():
        plan = plans[folders[0]]
        names.append(_free_name(slugify(plan.pipeline), plan.stages, taken))
        taken |= _rule_names(names[-1], plan.stages)
    return [
        Group("" if len(alike) == 1 else name, plans[folders[0]].stages, tuple(folders))
        for name, folders in zip(names, alike.values(), strict=True)
    ]


def _rule_names(prefix: str, stages: Iterable[StagePlan]) -> set[str]:
    return {f"{prefix}_{stage.name}" for stage in stages}


def _free_name(base: str, stages: Iterable[StagePlan], taken: set[str]) -> str:
    """``base``, with a number if need be, such that no rule of the group has a name that is ``taken``."""
    names = chain([base], (f"{base}_{number}" for number in count(2)))
    return next(name for name in names if not _rule_names(name, stages) & taken)


def emit_rules(groups: list[Group], plans: Mapping[str, Plan]) -> str:
    """The text of the rules of all groups; ``plans`` by results folder."""
    text = [HEADER]
    for group in groups:
        for stage in group.stages:
            if stage.skipped or stage.name == REPORT:  # rules/report.smk
                continue
            prefix = f"{group.name}_" if group.name else ""
            inputs = _inputs([plans[folder] for folder in group.folders], stage)
            values = {
                "rule": f"{prefix}{stage.name}",
                "group": group.name,
                "inputs": inputs,
                "priority": _priority(group, stage, plans),
                **_rule_values(stage),
            }
            text.append(RULE.format(**values))
    return "\n".join(text)


def _priority(group: Group, stage: StagePlan, plans: Mapping[str, Plan]) -> str:
    """Earlier stages first, where a stage is to be started before the next one."""
    if not plans[group.folders[0]].stage_by_stage:
        return ""
    return f"\n    priority: {len(group.stages) - [s.name for s in group.stages].index(stage.name)}"


def _inputs(plans: list[Plan], stage: StagePlan) -> str:
    """What a rule waits for: plain file patterns where every job has the same job of the upstream stages.

    Otherwise (plate stages, wells left out by a filter) the loaded plans are asked, which costs Snakemake more.
    """
    if stage.scope == "unit" and all(_same_jobs(plan, stage) for plan in plans):
        names = {
            name: "{job}" if plans[0].stage(name).scope == "unit" else PLATE_UNIT for name in stage.upstream
        }
        lines = [f'"{{results}}/jobs/{name}/{job}.json",' for name, job in names.items()]
    else:
        lines = [f'HCS.inputs("{stage.name}"),']
    return _block("input", lines)


def _block(name: str, lines: list[str]) -> str:
    """A block of a rule, or nothing for no lines."""
    return "".join([f"\n    {name}:", *(f"\n        {line}" for line in lines)]) if lines else ""


def _same_jobs(plan: Plan, stage: StagePlan) -> bool:
    jobs = set(plan.jobs_of(stage))
    upstream = [plan.stage(name) for name in stage.upstream]
    # A filter may leave a plate of the group with other sources.
    return plan.stage(stage.name).upstream == stage.upstream and all(
        found.scope == "plate" or jobs <= set(plan.jobs_of(found)) for found in upstream
    )


def _rule_values(stage: StagePlan) -> dict[str, object]:
    """What a rule says of its stage."""
    return {
        "stage": stage.name,
        "threads": stage.threads,
        # A resource costs Snakemake time for every job, so one that is 0 is left out.
        "gpu": _gpu(stage) if stage.gpu else "",
    }


def _gpu(stage: StagePlan) -> str:
    return f'\n        gpu={stage.gpu},\n        gpu_mem_mb=HCS.gpu_memory("{stage.name}"),'
