"""One call of a step function: its arguments filled, its result checked and normalised.

What comes back from a function is normalised here, before it goes to memory or to a store, so that a
pipeline gives the same bytes whichever way its images travel.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hcs_steps.arrays import to_numpy
from hcs_steps.compile.plan import CallPlan
from hcs_steps.errors import StepError
from hcs_steps.frozen import thaw
from hcs_steps.functions.declare import Geometry, Table, spec_of
from hcs_steps.pipeline.stacks import output_keys
from hcs_steps.run._guard import put_back
from hcs_steps.storage.protocol import Image, PlaneKey


@dataclass(frozen=True)
class NamedOutput:
    """One named output of a call; ``keys`` are the planes of the stack that it belongs to, in order.

    ``scale`` says of an array in which pixels it counts: how wide they are in pixels of the plate's own images.
    """

    kind: str
    value: Any
    keys: tuple[PlaneKey, ...]
    scale: float | None = None
    made_by: str = ""


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


def run_chain(
    chain: Sequence[CallPlan],
    functions: Mapping[str, Callable[..., Any]],
    stack: Image,
    keys: tuple[PlaneKey, ...],
    table: Table,
    given: Mapping[str, NamedOutput],
    result: CallResult,
    on_gpu: bool,
) -> Image:
    """Apply a chain to a stack (N, Y, X) and return the last stack; named outputs go into ``result``.

    ``keys`` are the planes of the stack and ``table`` is their plane table; ``given`` fills injected parameters;
    outputs of earlier calls of the chain come before it.
    """
    for call in chain:
        device = on_gpu and "gpu" in call.devices
        function, before = functions[call.function], stack.shape
        filled = _fill(call, function, {**given, **result.outputs}, table, result.scale)
        arguments = thaw(call.kwargs) | {name: _moved(value, device) for name, value in filled.items()}
        with put_back():
            returned = function(_moved(stack, device), **arguments)
        image, *others = _values(call, returned)
        stack = _stack(call, image, before[0])
        keys = output_keys(keys, reduces=call.reduces)
        geometry = spec_of(function).geometry
        if geometry is not None:
            result.scale *= _widening(geometry, table, before, stack.shape, arguments)
            table = result.moved = geometry(table, before, stack.shape, arguments)
        elif call.reduces:
            table = {name: column[:1] for name, column in table.items()}
        for (name, kind), value in zip(call.outputs, others, strict=False):
            checked = _labels(call, name, value, stack) if kind == "labels" else value
            scale = result.scale if kind == "array" else None
            result.outputs[name] = NamedOutput(kind, checked, keys, scale, call.function)
    return stack


def _fill(
    call: CallPlan,
    function: Callable[..., Any],
    available: Mapping[str, NamedOutput],
    table: Table,
    scale: float,
) -> dict[str, Any]:
    """The values of a call's injected parameters; one that nothing is there for is left to its default."""
    filled: dict[str, Any] = {}
    for name in call.injected:
        if name == "planes":
            filled[name] = table
        elif name in available:
            _require_same_pixels(call, name, available[name], table, scale)
            filled[name] = available[name].value
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


def _values(call: CallPlan, returned: Any) -> tuple[Any, ...]:
    """What a function returned, the stack first: as many values as it declares."""
    values = returned if isinstance(returned, tuple) else (returned,)
    if not 0 <= 1 + len(call.outputs) - len(values) <= call.optional:
        names = ", ".join(name for name, _ in call.outputs) or "no named outputs"
        raise StepError(
            f"{call.function} returned {len(values)} values; expected the stack and {names}.",
            hint="Declare named outputs with @step_function(outputs={...}).",
        )
    return values


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
    if not image.size:
        raise StepError(
            f"{call.function} returned an array of shape {image.shape}, which has no pixels.",
            hint="Return planes of at least one pixel.",
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
            f"expected integers of shape {image.shape}.",
            hint="Return labels for the planes that came in: 0 is background, 1, 2, ... are objects.",
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
