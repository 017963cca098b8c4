"""``hcs compile``: the plan of every plate, as a table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hcs_steps.compile.plan import Plan
from hcs_steps.compile.stages import CONSOLIDATE, REPORT
from hcs_steps.emit.prepare import Prepared, prepare_plates
from hcs_steps.emit.workflow import Workflow
from hcs_steps.settings import load_settings

OWN_STAGES = {
    CONSOLIDATE: ("join tables, profiles, statistics", "tables, failures.csv"),
    REPORT: ("the plate's page", "report.html"),
}
"""What the stages that every plan has do and write."""


def run(arguments: argparse.Namespace) -> int:
    """Compile all plates of a configuration and show, print or write the plans."""
    settings = load_settings(Path(arguments.config))
    prepared = prepare_plates(settings, root=Path.cwd())
    if arguments.json:
        print(
            json.dumps({p.results.root.as_posix(): json.loads(p.plan.to_json()) for p in prepared}, indent=1)
        )
    else:
        console = Console()
        for item in prepared:
            show(item, console)
    if arguments.write:
        Workflow({p.results.root.as_posix(): p.plan for p in prepared}, prepared).write()
    return 0


def show(prepared: Prepared, console: Console) -> None:
    """One plate's plan."""
    plan = prepared.plan
    table = Table(
        title=f"{plan.plate.id}  ·  pipeline {plan.pipeline}  ·  plan {plan.hash[:12]}", title_justify="left"
    )
    for name, right in (
        ("stage", 0),
        ("steps", 0),
        ("writes", 0),
        ("units", 1),
        ("jobs", 1),
        ("memory", 1),
        ("device", 0),
    ):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for stage in plan.stages:
        steps = [plan.steps[index] for index in stage.steps]
        jobs = plan.jobs_of(stage)
        gpu = f"gpu ({stage.gpu_mem_mb:,} MB)" if stage.gpu else "cpu"
        table.add_row(
            stage.name,
            "\n".join(f"{s.name}: {_functions(plan, s.name)}" for s in steps) or OWN_STAGES[stage.name][0],
            "\n".join(_writes(plan, stage.steps)) or OWN_STAGES[stage.name][1],
            str(len(plan.units_of(stage))),
            str(len(jobs)),
            f"{stage.mem_mb:,} MB",
            "left out" if stage.skipped else gpu,
        )
    console.print(table)
    console.print(f"results: {prepared.results.root}", highlight=False)
    for note in plan.notes:
        console.print(f"note: {note}", highlight=False, style="yellow")
    console.print()


def _functions(plan: Plan, step: str) -> str:
    found = next(s for s in plan.steps if s.name == step)
    chains = {branch: " + ".join(call.function for call in chain) for branch, chain in found.branches.items()}
    return chains[""] if "" in chains else "; ".join(f"{branch}: {chain}" for branch, chain in chains.items())


def _writes(plan: Plan, steps: tuple[int, ...]) -> list[str]:
    lines = []
    for step in (plan.steps[index] for index in steps):
        if step.written:
            lines.append(step.store)
        names = dict.fromkeys(f"{kind} {name}" for call in step.calls for name, kind in call.outputs)
        lines += names
    return lines
