"""The calls of a step on one stack, one after the other: their arguments filled, their results named.

What comes back from a function is normalised before it goes to memory or to a store, so that a pipeline gives the same
bytes whichever way its images travel.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hcs_steps.compile.plan import CallPlan
from hcs_steps.errors import StepError
from hcs_steps.frozen import thaw
from hcs_steps.functions.declare import Geometry, Table, spec_of
from hcs_steps.pipeline.stacks import output_keys
from hcs_steps.run._attempt import Attempt
from hcs_steps.run.held import Held
from hcs_steps.run.workplace import Workplace
from hcs_steps.storage.protocol import PlaneKey


@dataclass(frozen=True)
class NamedOutput:
    """One named output of a call; ``keys`` are the planes of the stack that it belongs to, in order.

    Arrays and labels may be `Held` ones, on the GPU as well. ``scale`` says of an array in which pixels it
    counts: how wide they are in pixels of the plate's own images.
    """

    kind: str
    value: Any
    keys: tuple[PlaneKey, ...]
    scale: float | None = None
    made_by: str = ""

    @property
    def on_host(self) -> Any:
        """The value in host memory."""
        return self.value.on_host() if isinstance(self.value, Held) else self.value


@dataclass
class CallResult:
    """What a chain of calls left of one stack: the fixed components of the stack, and the named outputs.

    ``scale`` is the width of the stack's pixels in pixels of the plate's own images, ``moved`` the plane table of the
    returned stack if a call changed places or the pixel size.
    """

    group: Mapping[str, int]
    outputs: dict[str, NamedOutput] = field(default_factory=dict)
    scale: float = 1.0
    moved: Table | None = None

    def leave_gpu(self, but: Collection[str]) -> None:
        """Bring the arrays among the outputs to the host, but those of some names."""
        for name, output in self.outputs.items():
            if isinstance(output.value, Held) and name not in but:
                output.value.leave_gpu()


def run_chain(
    chain: Sequence[CallPlan],
    functions: Mapping[str, Callable[..., Any]],
    stack: Held,
    keys: tuple[PlaneKey, ...],
    table: Table,
    given: Mapping[str, NamedOutput],
    result: CallResult,
    work: Workplace,
    step: str = "",
) -> Held:
    """Apply a chain of a step to a stack (N, Y, X) and return the last stack; named outputs go into ``result``.

    ``keys`` are the planes of the stack and ``table`` is their plane table; ``given`` fills injected parameters;
    outputs of earlier calls of the chain come before it. Between calls that are made on a GPU, arrays stay there.
    """
    for number, call in enumerate(chain):
        function, used = functions[call.function], stack
        before = used.shape
        filled = _fill(call, function, {**given, **result.outputs}, table, result.scale, work)
        by_plane = frozenset(n for n in filled if n == "planes" or _is_labels(n, given, result))
        stack, others = work.make(step, number, Attempt(call, function, used, filled, by_plane))
        if stack is not used:
            used.used_up()
        keys = output_keys(keys, reduces=call.reduces)
        geometry = spec_of(function).geometry
        if geometry is not None:
            arguments = thaw(call.kwargs) | {
                n: v.on_host() if isinstance(v, Held) else v for n, v in filled.items()
            }
            result.scale *= _widening(geometry, table, before, stack.shape, arguments)
            table = result.moved = geometry(table, before, stack.shape, arguments)
        elif call.reduces:
            table = {name: column[:1] for name, column in table.items()}
        for (name, kind), value in zip(call.outputs, others, strict=False):
            scale = result.scale if kind == "array" else None
            result.outputs[name] = NamedOutput(kind, value, keys, scale, call.function)
    return stack


def _is_labels(name: str, given: Mapping[str, NamedOutput], result: CallResult) -> bool:
    output = result.outputs.get(name, given.get(name))
    return output is not None and output.kind == "labels"


def _fill(
    call: CallPlan,
    function: Callable[..., Any],
    available: Mapping[str, NamedOutput],
    table: Table,
    scale: float,
    work: Workplace,
) -> dict[str, Any]:
    """The values of a call's injected parameters; one that nothing is there for is left to its default."""
    filled: dict[str, Any] = {}
    for name in call.injected:
        if name == "planes":
            filled[name] = table
        elif name in available:
            _require_same_pixels(call, name, available[name], table, scale)
            value = available[name].value
            filled[name] = work.hold(value) if isinstance(value, np.ndarray) else value
        elif inspect.signature(function).parameters[name].default is inspect.Parameter.empty:
            raise StepError(
                f"{call.function} needs {name!r}, which no step before returned for this unit.",
                hint="Let the step that returns it run on the same wells and ask it for that output, or give the value "
                "under 'with'.",
            )
    return filled


def _require_same_pixels(call: CallPlan, name: str, output: NamedOutput, table: Table, scale: float) -> None:
    """Arrays count in pixels of the images they were made on: on wider or narrower ones they would be wrong."""
    if output.scale is None or math.isclose(output.scale, scale, rel_tol=1e-6):
        return
    ratio = output.scale / scale
    size = float(table["pixel_size_um"][0]) if len(table.get("pixel_size_um", ())) else math.nan
    pixels = (
        f"pixels of {size * ratio:.4g} um, but the images here have {size:.4g} um per pixel"
        if math.isfinite(size)
        else f"pixels {ratio:.4g} times as wide as those of the images here"
    )
    raise StepError(
        f"{call.function} takes {name!r}, which {output.made_by} made in {pixels}.",
        hint=f"Rescale the images before {name!r} is made, or after it is used, not between the two.",
    )


def _widening(
    geometry: Geometry,
    table: Table,
    before: tuple[Any, ...],
    after: tuple[Any, ...],
    arguments: Mapping[str, Any],
) -> float:
    """How many times as wide the pixels are after a call; a pixel size that is not known counts as 1 for that."""
    sizes = np.asarray(table["pixel_size_um"], np.float64)
    sizes = np.where(sizes > 0, sizes, 1.0)
    changed = geometry({**table, "pixel_size_um": sizes}, before, after, arguments)["pixel_size_um"]
    return float(changed[0] / sizes[0])
