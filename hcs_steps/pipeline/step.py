"""FunctionStep and Pipeline: what a user writes.

A function pattern is one of

- a function (or its name),
- ``(function, {arguments})``, or ``(function, {arguments}, {output: another name})``,
- a list of these: a chain, applied one after the other to the same stack,
- a mapping from values of the ``group_by`` component (channel names or numbers) to any of these.

Patterns are kept in one normal form, `Call` tuples by branch, so that two pipelines are equal when they
mean the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any

from hcs_steps.errors import PipelineError
from hcs_steps.frozen import FrozenDict, freeze, thaw
from hcs_steps.pipeline.enums import (
    GroupBy,
    InputSource,
    Scope,
    Unlisted,
    VariableComponents,
    member,
    members,
)
from hcs_steps.pipeline.registry import reference_of

if TYPE_CHECKING:
    from hcs_steps.pipeline.config import GlobalPipelineConfig
    from hcs_steps.pipeline.modes import ModeConfig


@dataclass(frozen=True)
class Call:
    """One function with its arguments; ``function`` is a reference (see `registry`).

    ``names`` gives named outputs another name, so that two steps of one function can be told apart.
    """

    function: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=FrozenDict)


Pattern = Mapping[str | None, tuple[Call, ...]]
"""Branch -> chain. The single branch of a pattern without a mapping is None."""


@dataclass(frozen=True, init=False)
class FunctionStep:
    """One step of a pipeline: a function pattern and the components it stacks. Immutable.

    Parameters
    ----------
    func
        The function pattern; see the module's docstring.
    name
        Names the step's outputs; the function's name by default. Unique in a pipeline.
    variable_components
        Components stacked on axis 0 of the (N, Y, X) array that a function gets. There is one call per
        combination of the others. Planes come in the order site, channel, z_index, timepoint. None (default): what
        the step's functions put together (`create_composite`: channels), else ``[site]``.
    group_by
        Component that selects the branch of a mapping pattern, default ``channel``. Never changes stacks.
    input_source
        ``previous_step`` (default) or ``pipeline_start``: the original pixels.
    force_disk_output
        Write this step's images to the materialization backend, which also makes it a checkpoint.
    well_filter
        Wells that this step is for: a list, a number (the first n), ``row:A``, ``col:01-06``, ``A01:A12`` or
        ``{include: ..., exclude: ...}``. In other wells the images pass by unchanged.
    scope
        ``unit`` (default) or ``plate``.
    unlisted
        Planes whose branch a mapping pattern does not list: ``drop`` (default) or ``pass``.
    gate
        Stop after this step with a report, for people to look at what came out; the next call goes on. The step's
        images are kept.
    """

    name: str
    pattern: Pattern
    variable_components: tuple[VariableComponents, ...] | None
    group_by: GroupBy
    input_source: InputSource
    force_disk_output: bool
    well_filter: Any
    scope: Scope
    unlisted: Unlisted
    gate: bool

    def __init__(
        self,
        func: Any,
        name: str | None = None,
        variable_components: Any = None,
        group_by: Any = GroupBy.CHANNEL,
        input_source: Any = InputSource.PREVIOUS_STEP,
        force_disk_output: bool = False,
        well_filter: Any = None,
        scope: Any = Scope.UNIT,
        unlisted: Any = Unlisted.DROP,
        gate: bool = False,
    ) -> None:
        pattern = _pattern(func, f"Step {name!r}" if name else "A step")
        where = f"Step {name!r}" if name else f"The step of {_first(pattern).function}"
        values = {
            "name": name or _first(pattern).function.rpartition(":")[2],
            "pattern": FrozenDict(pattern),
            "variable_components": None
            if variable_components is None
            else members(VariableComponents, variable_components, where),
            "group_by": member(GroupBy, GroupBy.NONE if group_by is None else group_by, where),
            "input_source": member(InputSource, input_source, where),
            "force_disk_output": bool(force_disk_output),
            "well_filter": freeze(plain(well_filter)),
            "scope": member(Scope, scope, where),
            "unlisted": member(Unlisted, unlisted, where),
            "gate": bool(gate),
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)

    @property
    def func(self) -> Any:
        """The pattern in the form in which a pipeline file holds it."""
        branches = {key: _written(chain) for key, chain in self.pattern.items()}
        return branches.get(None, branches)

    @property
    def calls(self) -> Iterator[tuple[str | None, Call]]:
        """Every call with its branch."""
        return ((branch, call) for branch, chain in self.pattern.items() for call in chain)

    def settings(self) -> dict[str, Any]:
        """Every parameter that differs from its default, in plain values: what a file needs to say."""
        default = FunctionStep(_first(self.pattern).function)
        result: dict[str, Any] = {"name": self.name, "func": self.func}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name not in ("name", "pattern") and value != getattr(default, item.name):
                result[item.name] = plain(value)
        return result


@dataclass(frozen=True, init=False)
class Pipeline:
    """An ordered list of steps, their configuration, and named parts of them. Immutable; one pipeline serves any
    number of plates.
    """

    name: str
    steps: tuple[FunctionStep, ...]
    config: GlobalPipelineConfig
    description: str
    modes: Mapping[str, ModeConfig]

    def __init__(
        self,
        steps: Sequence[FunctionStep],
        name: str = "pipeline",
        config: GlobalPipelineConfig | None = None,
        description: str = "",
        modes: Mapping[str, ModeConfig | Mapping[str, Any]] | None = None,
    ) -> None:
        for step in steps:
            if not isinstance(step, FunctionStep):
                raise PipelineError(
                    f"Pipeline {name!r} holds {step!r}, which is not a FunctionStep.",
                    hint="Wrap it: FunctionStep(func=...).",
                )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "steps", tuple(steps))
        object.__setattr__(self, "config", config or _default_config())
        object.__setattr__(self, "description", description)
        object.__setattr__(self, "modes", FrozenDict(_modes(modes) if modes else {}))


def _modes(modes: Mapping[str, Any]) -> dict[str, ModeConfig]:
    from hcs_steps.pipeline.modes import ModeConfig

    return {name: ModeConfig.model_validate(mode) for name, mode in modes.items()}


def _default_config() -> GlobalPipelineConfig:
    from hcs_steps.pipeline.config import GlobalPipelineConfig  # needs pydantic, which a job does not

    return GlobalPipelineConfig()


def plain(value: Any) -> Any:
    """``value`` with enumerations, tuples and paths replaced by what JSON and YAML hold.

    Raises `PipelineError` for what neither can hold (arrays, functions, objects).
    """
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a NumPy scalar, also a float64
        return value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [plain(item) for item in items]
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__fspath__"):
        return str(value)
    raise PipelineError(
        f"{value!r} ({type(value).__name__}) cannot be written into a plan.",
        hint="Use numbers, strings, booleans, lists, mappings or enumerations as arguments.",
    )


def _key(key: Any) -> str:
    """A mapping's key: text, because JSON has no other. `PipelineError` for what is neither text nor a number."""
    key = plain(key)
    if isinstance(key, bool) or not isinstance(key, str | int | float):
        raise PipelineError(
            f"{key!r} ({type(key).__name__}) cannot be a key in a plan.",
            hint="Use text or a number; quote yes and no.",
        )
    return str(key)


def _pattern(func: Any, where: str) -> dict[str | None, tuple[Call, ...]]:
    if isinstance(func, Mapping) and "use" not in func:
        if not func:
            raise PipelineError(
                f"{where}: the function mapping is empty.", hint="Name at least one component value."
            )
        return {str(plain(key)): _chain(value, f"{where}, branch {key!r}") for key, value in func.items()}
    return {None: _chain(func, where)}


def _chain(value: Any, where: str) -> tuple[Call, ...]:
    items = value if isinstance(value, list) else [value]
    if not items:
        raise PipelineError(f"{where}: the list of functions is empty.", hint="Name at least one function.")
    return tuple(_call(item, where) for item in items)


def _call(item: Any, where: str) -> Call:
    function: Callable[..., Any] | str
    kwargs: Any
    names: Any = {}
    if isinstance(item, tuple):
        if len(item) not in (2, 3) or not isinstance(item[1], Mapping):
            raise PipelineError(
                f"{where}: {item!r} is not (function, {{arguments}}).",
                hint="Give a pair, the second a mapping.",
            )
        function, kwargs, names = (*item, {})[:3]
    elif isinstance(item, Mapping):
        extra = set(item) - {"use", "with", "as"}
        if extra or "use" not in item:
            raise PipelineError(
                f"{where}: a call is written {{use: function, with: {{arguments}}}}, but it holds "
                f"{sorted(map(str, item))}.",
                hint="Put the arguments under 'with', and other names of outputs under 'as'.",
            )
        function, kwargs, names = item["use"], item.get("with") or {}, item.get("as") or {}
    else:
        function, kwargs = item, {}
    if not (
        isinstance(names, Mapping) and all(isinstance(text, str) for pair in names.items() for text in pair)
    ):
        raise PipelineError(
            f"{where}: 'as' must be a mapping from names of outputs to other names, not {names!r}.",
            hint="For instance {cells: nuclei}.",
        )
    if not isinstance(kwargs, Mapping):
        raise PipelineError(
            f"{where}: 'with' must be a mapping of arguments, not {kwargs!r}.",
            hint="For instance {selem_radius: 9}.",
        )
    arguments = plain(kwargs)
    if not _finite(arguments):
        raise PipelineError(
            f"{where}: an argument of {reference_of(function)} is infinite or not a number, which a plan cannot hold.",
            hint="Give a finite number, or leave the argument out.",
        )
    return Call(reference_of(function), freeze(arguments), FrozenDict(names))


def _finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _written(chain: tuple[Call, ...]) -> Any:
    calls = []
    for call in chain:
        parts = {"with": thaw(call.kwargs), "as": thaw(call.names)}
        said = {key: value for key, value in parts.items() if value}
        calls.append({"use": call.function, **said} if said else call.function)
    return calls[0] if len(calls) == 1 else calls


def _first(pattern: Pattern) -> Call:
    return next(iter(pattern.values()))[0]
