"""``hcs functions``: which step functions there are, and what one of them does and takes."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

from hcs_steps.functions.declare import FunctionSpec, spec_of
from hcs_steps.pipeline.registry import known_names, reference_of, resolve


def run(arguments: argparse.Namespace) -> int:
    """Print the list, or everything about one function (by name or ``package.module:function``)."""
    print(_list() if arguments.name is None else _describe(arguments.name))
    return 0


def _list() -> str:
    rows = []
    for name in known_names():
        function = resolve(name)
        if reference_of(function) != name:  # another name of a function that is in the list
            continue
        rows.append((name, _returns(spec_of(function)), _summary(function)))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {returns:<{widths[1]}}  {what}" for name, returns, what in rows]
    return "\n".join([*lines, "", "hcs functions NAME tells everything about one of them."])


def _describe(name: str) -> str:
    function = resolve(name, (str(Path.cwd()),))
    spec = spec_of(function)
    facts = [
        f"returns: {_returns(spec)}",
        f"scope: {spec.scope}",
        f"stacks: {spec.stacks or 'site'} (unless the step says variable_components)",
        f"devices: {', '.join(spec.devices)}",
        f"memory: {spec.memory:g} x the stack + {spec.scratch:g} bytes per pixel of a plane",
    ]
    if spec.scope == "plate":
        del facts[2]
    signature = inspect.signature(function)
    parameters = [f"    {_parameter(p)}," for p in signature.parameters.values()]
    called = "\n".join([f"{function.__name__}(", *parameters, ")"])
    return "\n\n".join([called, "\n".join(facts), inspect.getdoc(function) or ""])


def _parameter(parameter: inspect.Parameter) -> str:
    return str(parameter.replace(annotation=inspect.Parameter.empty))


def _returns(spec: FunctionSpec) -> str:
    """What comes back: images if they are changed, and the named outputs."""
    images = ["image"] if spec.reduces else ["images"] if spec.changes_image and spec.scope == "unit" else []
    return ", ".join([*images, *(f"{output.name} ({output.kind})" for output in spec.outputs)])


def _summary(function: object) -> str:
    """The first line of the docstring."""
    return (inspect.getdoc(function) or "").partition("\n")[0]
