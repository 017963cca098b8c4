"""One function call, checked against the function it calls."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping

from hcs_steps.compile.plan import CallPlan, digest
from hcs_steps.compile.source import file_states, source_hash
from hcs_steps.errors import HcsError, PipelineError, nearest
from hcs_steps.functions.declare import FunctionSpec, spec_of
from hcs_steps.pipeline.registry import resolve
from hcs_steps.pipeline.step import Call, FunctionStep

GIVEN = ("planes", "grid_dimensions")
"""Parameters that the runner can always fill."""


def plan_call(
    step: FunctionStep, call: Call, available: Iterable[str], search_path: tuple[str, ...]
) -> tuple[CallPlan | None, list[HcsError]]:
    """The checked call, or None with everything that is wrong with it.

    ``available`` names the outputs of earlier steps, which fill parameters of the same name.
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
    injected, argument_problems = _check_arguments(func, call, set(available), where)
    files = file_states(spec.files, call.kwargs)
    problems += [
        *argument_problems,
        *_missing_files(files, call, where),
        *_unknown_outputs(spec, call, where),
    ]
    if problems:
        return None, problems
    return (
        CallPlan(
            function=call.function,
            kwargs=call.kwargs,
            source=digest(source_hash(func), *files.values()) if files else source_hash(func),
            outputs=tuple((call.names.get(o.name, o.name), o.kind) for o in spec.outputs),
            optional=sum(output.optional for output in spec.outputs),
            injected=tuple(injected),
            reduces=spec.reduces,
            changes_image=spec.changes_image,
            dtype=spec.dtype,
            memory=spec.memory,
            scratch=spec.scratch,
            mosaic=spec.mosaic,
            devices=spec.devices,
        ),
        [],
    )


def _unknown_outputs(spec: FunctionSpec, call: Call, where: str) -> list[HcsError]:
    outputs = [output.name for output in spec.outputs]
    known = ", ".join(outputs) or "it has none"
    return [
        PipelineError(
            f"{where}: {call.function} has no output {name!r} to rename (its outputs: {known}).",
            hint=nearest(name, outputs),
        )
        for name in call.names
        if name not in outputs
    ]


def _missing_files(state: Mapping[str, str], call: Call, where: str) -> list[HcsError]:
    return [
        PipelineError(
            f"{where}: {call.function} is told to use {name}={call.kwargs[name]}, but there is no such file.",
            hint="Give the file's path, from the folder in which snakemake is called.",
        )
        for name, facts in state.items()
        if not facts
    ]


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
    func: object, call: Call, available: set[str], where: str
) -> tuple[list[str], list[HcsError]]:
    try:
        parameters = list(inspect.signature(func).parameters.values())  # type: ignore[arg-type]
    except (TypeError, ValueError):  # compiled functions may not tell their signature
        return [], []
    kinds = inspect.Parameter
    positional = [p for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    if not positional and not any(p.kind is kinds.VAR_POSITIONAL for p in parameters):
        return [], [PipelineError(f"{where}: {call.function} takes no image stack as its first argument.")]
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
    fillable = available | set(GIVEN)
    injected = [name for name in named if name not in call.kwargs and name in fillable]
    lacking = [
        name
        for name, p in named.items()
        if p.default is kinds.empty and name not in call.kwargs and name not in injected
    ]
    if lacking:
        problems.append(
            PipelineError(
                f"{where}: {call.function} needs {', '.join(map(repr, lacking))}.",
                hint="Give it under 'with', or put a step before it that returns an output of that name "
                f"(outputs so far: {', '.join(sorted(available)) or 'none'}).",
            )
        )
    return injected, problems
