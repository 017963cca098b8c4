"""``hcs graph``: the stages of a pipeline on a plate and what reads what, as text or as an SVG picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from hcs_steps.compile.plan import Plan
from hcs_steps.emit.prepare import prepare_plates
from hcs_steps.errors import ConfigError
from hcs_steps.operations.provenance.graph import graph_svg, graph_text
from hcs_steps.results import Results
from hcs_steps.settings import load_settings
from hcs_steps.storage.atomic import write_text

_PLAIN = str.maketrans("│├┤╮╯╰╭─┼●○·", "|++....-+*o,")
"""The drawing for terminals that have no other letters."""


def run(arguments: argparse.Namespace) -> int:
    """Print the stage graph of a plate, or of all plates, those with the same one together; 0."""
    alike: dict[str, list[str]] = {}
    plans = _plans(arguments)
    for name, plan in plans.items():
        alike.setdefault(graph_text(plan), []).append(name)
    if arguments.svg:
        _write_svg(plans, alike, Path(arguments.svg))
        return 0
    blocks = [
        f"{', '.join(names)}: pipeline {plans[names[0]].pipeline}\n\n{text}" for text, names in alike.items()
    ]
    text = "\n\n".join(blocks)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode("ascii", "backslashreplace").decode()
    print(text)
    return 0


def _plans(arguments: argparse.Namespace) -> Mapping[str, Plan]:
    """The plans that are meant, by plate: of the configuration, compiled in memory, or that of a results folder."""
    name = arguments.plate
    if name and Results(Path(name)).plan.is_file():
        plan = Plan.load(Results(Path(name)).plan)
        return {plan.plate.id: plan}
    settings = load_settings(Path(arguments.config))
    mode = getattr(arguments, "mode", None)
    changes = {"only_plates": [name] if name else settings.only_plates, "mode": mode or settings.mode}
    prepared = prepare_plates(settings.model_copy(update=changes), root=Path.cwd())
    return {item.plan.plate.id: item.plan for item in prepared}


def _write_svg(plans: Mapping[str, Plan], alike: Mapping[str, list[str]], path: Path) -> None:
    if len(alike) > 1:
        raise ConfigError(
            f"The {len(plans)} plates have {len(alike)} different stage graphs, and one picture shows one.",
            hint=f"Name a plate, e.g. {next(iter(plans))}.",
        )
    (names,) = alike.values()
    plan = plans[names[0]]
    write_text(path, graph_svg(plan, f"{', '.join(names[:8])}: pipeline {plan.pipeline}"))
    print(path)
