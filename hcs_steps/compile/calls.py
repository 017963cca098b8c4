"""One function call, checked against the function it calls."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import replace

from hcs_steps.compile.plan import CallPlan, digest
from hcs_steps.compile.source import LARGEST_FOLDER, file_state, named_files, source_hash
from hcs_steps.errors import HcsError, PipelineError, nearest
from hcs_steps.functions.declare import FunctionSpec, Output, spec_of
from hcs_steps.pipeline.registry import resolve
from hcs_steps.pipeline.step import Call, FunctionStep

GIVEN = ("planes", "grid_dimensions")
"""Parameters that the runner can always fill."""


def plan_call(
    step: FunctionStep, call: Call, available: Iterable[str], search_path: tuple[str, ...]
) -> tuple[CallPlan | None, list[HcsError]]:
    """The checked call, or None with everything that is wrong with it.

    ``available`` names the outputs of earlier steps, which fill parameters of the same name, except those of a
    plate-scope function: that is given the plate and nothing else.
    """
    where = f"Step {step.name!r}"
    try:
        func = resolve(call.function, search_path)
    except PipelineError as error:
        return None, [PipelineError(f"{where}: {error.message}", hint=error.hint)]
    spec = spec_of(func)
    problems: list[HcsError] = []
    if spec.scope != step.scope.value:
        problems.append(
            PipelineError(
                f"{where} has scope {step.scope.value!r}, but {call.function} is a {spec.scope}-scope "
                "function.",
                hint=f"Set scope: {spec.scope}.",
            )
        )
    injected, argument_problems = _check_arguments(func, call, set(available), spec.scope == "plate", where)
    paths = named_files(func, spec.files, call.kwargs)
    files = {name: file_state(path) for name, path in paths.items()}
    outputs, output_problems = _named_outputs(spec, call, where)
    problems += [
        *argument_problems,
        *(_missing_file(call, name, path, where) for name, path in paths.items() if not files[name]),
        *output_problems,
    ]
    if problems:
        return None, problems
    return (
        CallPlan(
            function=call.function,
            kwargs=call.kwargs,
            source=digest(source_hash(func), *files.values()) if files else source_hash(func),
            outputs=tuple((output.name, output.kind) for output in outputs),
            rows={output.name: output.rows for output in outputs if output.kind == "table"},
            optional=sum(output.optional for output in outputs),
            injected=tuple(injected),
            reduces=spec.reduces,
            changes_image=spec.changes_image,
            dtype=spec.dtype,
            mosaic=spec.mosaic,
            moves=spec.mosaic or spec.geometry is not None,
            devices=spec.devices,
        ),
        [],
    )


def _named_outputs(spec: FunctionSpec, call: Call, where: str) -> tuple[list[Output], list[HcsError]]:
    """The function's outputs as the step calls them, and what is wrong with those names."""
    names = [output.name for output in spec.outputs]
    known = ", ".join(names) or "it has none"
    problems: list[HcsError] = [
        PipelineError(
            f"{where}: {call.function} has no output {name!r} to rename (its outputs: {known}).",
            hint=nearest(name, names),
        )
        for name in call.names
        if name not in names
    ]
    outputs: list[Output] = []
    for output in spec.outputs:
        try:
            outputs.append(replace(output, name=call.names.get(output.name, output.name)))
        except PipelineError as error:
            problems.append(PipelineError(f"{where}: {error.message}", hint=error.hint))
    problems += [
        PipelineError(
            f"{where}: {call.function} returns an output called {output.name!r}, which is what the runner fills "
            "parameters of that name with.",
            hint="Rename it with 'as'.",
        )
        for output in outputs
        if output.name in GIVEN
    ]
    return outputs, problems


def _missing_file(call: Call, name: str, path: str, where: str) -> PipelineError:
    told = "is told to use" if name in call.kwargs else "uses by default"
    return PipelineError(
        f"{where}: {call.function} {told} {name}={path!r}, but there is no such file, or folder of up to "
        f"{LARGEST_FOLDER:,} files, that can be read.",
        hint=f"Give the file's path as {name}, from the folder in which snakemake is called.",
    )


def stacked_components(
    step: FunctionStep, search_path: tuple[str, ...], parallel_by: str
) -> tuple[tuple[str, ...], list[HcsError]]:
    """What a step stacks: what it says itself, else what its functions put together, else sites.

    A function that only makes sense on one component (``needs_stacks``) gets that one whatever the step says; one that
    needs all sites of a well cannot work where a job has one site.
    """
    specs = [spec_of(resolve(call.function, search_path)) for _, call in step.calls]
    if parallel_by == "site" and any(spec.needs_stacks and spec.stacks == "site" for spec in specs):
        return (), [
            PipelineError(
                f"Step {step.name!r} puts the sites of a well together, but parallel_by is site: every job has one.",
                hint="Set parallel_by: well for this plate.",
            )
        ]
    stated = step.variable_components
    if stated is not None:
        chosen = tuple(component.value for component in stated)
        needed = sorted({spec.stacks for spec in specs if spec.needs_stacks} - set(chosen))
        declared = needed or list(chosen)
    else:
        declared = sorted({spec.stacks for spec in specs if spec.stacks}) or ["site"]
        needed = declared
    if len(needed) > 1:
        return (), [
            PipelineError(
                f"Step {step.name!r}: its functions put together different components ({', '.join(needed)}).",
                hint="Make a step of each, or set variable_components.",
            )
        ]
    return tuple(declared), []


def _check_arguments(
    func: object, call: Call, available: set[str], whole_plate: bool, where: str
) -> tuple[list[str], list[HcsError]]:
    try:
        parameters = list(inspect.signature(func).parameters.values())  # type: ignore[arg-type]
    except (TypeError, ValueError):  # compiled functions may not tell their signature
        return [], []
    kinds = inspect.Parameter
    positional = [p for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    if not positional and not any(p.kind is kinds.VAR_POSITIONAL for p in parameters):
        first = "plate" if whole_plate else "image stack"
        return [], [
            PipelineError(
                f"{where}: {call.function} takes no {first} as its first argument.",
                hint="Give the function a first parameter for it, or name another function.",
            )
        ]
    named = {
        p.name: p
        for p in [*positional[1:], *parameters]
        if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    }
    if positional:
        named.pop(positional[0].name, None)
    problems: list[HcsError] = []
    if not any(p.kind is kinds.VAR_KEYWORD for p in parameters):
        for name in call.kwargs:
            if name not in named:
                problems.append(
                    PipelineError(
                        f"{where}: {call.function} has no argument {name!r}.", hint=nearest(name, named)
                    )
                )
    fillable = set() if whole_plate else available | set(GIVEN)
    mistaken = [name for name in named if name not in call.kwargs and name in available - fillable]
    problems += [
        PipelineError(
            f"{where}: {call.function} has a parameter {name!r}, as an output of an earlier step is called, but it "
            "works on the whole plate, and its parameters are not filled with the outputs of steps.",
            hint="Give it under 'with', read the tables of earlier steps with plate.table(name), or rename the output "
            "with 'as'.",
        )
        for name in mistaken
    ]
    injected = [name for name in named if name not in call.kwargs and name in fillable]
    lacking = [
        name
        for name, p in named.items()
        if p.default is kinds.empty and name not in {*call.kwargs, *injected, *mistaken}
    ]
    if lacking:
        or_else = (
            ""
            if whole_plate
            else ", or put a step before it that returns an output of that name "
            f"(outputs so far: {', '.join(sorted(available)) or 'none'})"
        )
        problems.append(
            PipelineError(
                f"{where}: {call.function} needs {', '.join(map(repr, lacking))}.",
                hint=f"Give it under 'with'{or_else}.",
            )
        )
    return injected, problems
