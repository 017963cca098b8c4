"""One call of a step function: its arguments filled, its result checked and normalised.

What comes back from a function is normalised here, before it goes to memory or to a store, so that a
pipeline gives the same bytes whichever way its images travel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hcs_steps.arrays import to_numpy
from hcs_steps.compile.plan import CallPlan
from hcs_steps.errors import StepError
from hcs_steps.frozen import thaw
from hcs_steps.functions.declare import Table, spec_of
from hcs_steps.pipeline.stacks import output_keys
from hcs_steps.storage.protocol import Image, PlaneKey


@dataclass(frozen=True)
class NamedOutput:
    """One named output of a call; ``keys`` are the planes of the stack that it belongs to, in order."""

    kind: str
    value: Any
    keys: tuple[PlaneKey, ...]


@dataclass
class CallResult:
    """What a chain of calls left of one stack: the fixed components of the stack, and the named outputs.

    ``moved`` is the plane table of the returned stack if a call changed places or the pixel size.
    """

    group: Mapping[str, int]
    outputs: dict[str, NamedOutput] = field(default_factory=dict)
    moved: Table | None = None


def run_chain(
    chain: Sequence[CallPlan],
    functions: Mapping[str, Callable[..., Any]],
    stack: Image,
    keys: tuple[PlaneKey, ...],
    table: Table,
    given: Mapping[str, Any],
    result: CallResult,
    on_gpu: bool,
) -> Image:
    """Apply a chain to a stack (N, Y, X) and return the last stack; named outputs go into ``result``.

    ``keys`` are the planes of the stack and ``table`` is their plane table; ``given`` fills injected parameters;
    outputs of earlier calls of the chain come before it.
    """
    for call in chain:
        available = {**given, "planes": table, **_outputs(result)}
        device = on_gpu and "gpu" in call.devices
        injected = {n: _moved(available[n], device) for n in call.injected if n in available}
        arguments = thaw(call.kwargs) | injected
        function, before = functions[call.function], stack.shape
        returned = function(_moved(stack, device), **arguments)
        keys = output_keys(keys, reduces=call.reduces)
        stack = _take(call, returned, before[0], keys, result)
        geometry = spec_of(function).geometry
        if geometry is not None:
            table = result.moved = geometry(table, before, stack.shape, arguments)
        elif call.reduces:
            table = {name: column[:1] for name, column in table.items()}
    return stack


def _outputs(result: CallResult) -> dict[str, Any]:
    return {name: output.value for name, output in result.outputs.items()}


def _take(
    call: CallPlan, returned: Any, planes: int, keys: tuple[PlaneKey, ...], result: CallResult
) -> Image:
    """The stack out of what a function returned; its named outputs are checked and remembered."""
    values = returned if isinstance(returned, tuple) else (returned,)
    if not 0 <= 1 + len(call.outputs) - len(values) <= call.optional:
        names = ", ".join(name for name, _ in call.outputs) or "no named outputs"
        raise StepError(
            f"{call.function} returned {len(values)} values; expected the stack and {names}.",
            hint="Declare named outputs with @step_function(outputs={...}).",
        )
    image = _stack(call, values[0], planes)
    for (name, kind), value in zip(call.outputs, values[1:], strict=False):
        checked = _labels(call, name, value, image) if kind == "labels" else value
        result.outputs[name] = NamedOutput(kind, checked, keys)
    return image


def _stack(call: CallPlan, value: Any, planes: int) -> Image:
    if value is None:
        raise StepError(f"{call.function} returned nothing.", hint="A step function returns its image stack.")
    image = to_numpy(value)
    if image.ndim == 2:
        image = image[np.newaxis]
    expected = 1 if call.reduces else planes
    if image.ndim != 3 or len(image) != expected:
        raise StepError(
            f"{call.function} returned an array of shape {image.shape} for {planes} planes; expected "
            f"({expected}, Y, X).",
            hint="A function that makes one plane of a stack says so: @step_function(reduces=True).",
        )
    if image.dtype == bool:
        image = image.astype(np.uint8)
    if image.dtype.kind not in "uif":
        raise StepError(
            f"{call.function} returned pixels of type {image.dtype}.", hint="Return a numeric array."
        )
    if image.dtype == np.float16 or image.dtype.itemsize > 8:
        image = image.astype(np.float32 if image.dtype == np.float16 else np.float64)
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def _labels(call: CallPlan, name: str, value: Any, image: Image) -> Image:
    labels = to_numpy(value)
    if labels.ndim == 2:
        labels = labels[np.newaxis]
    if labels.shape != image.shape or labels.dtype.kind not in "ui":
        raise StepError(
            f"{call.function} returned labels {name!r} of shape {labels.shape} and type {labels.dtype}; "
            f"expected integers of shape {image.shape}."
        )
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise StepError(
            f"{call.function} returned negative labels {name!r}.",
            hint="Label objects from 1; 0 is background.",
        )
    return labels.astype(np.uint32, copy=False)


def _moved(value: Any, device: bool) -> Any:
    """An image stack, labels or an array on the device that a function is to work on; tables stay on the host."""
    if not (device and isinstance(value, np.ndarray)):
        return value
    import cupy

    return cupy.asarray(value)
