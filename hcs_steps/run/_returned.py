"""What a step function returned, checked and normalised: the same in host memory and on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from hcs_steps.arrays import is_cupy
from hcs_steps.compile.plan import CallPlan
from hcs_steps.errors import StepError
from hcs_steps.run.held import as_array


def values_of(call: CallPlan, returned: Any) -> tuple[Any, ...]:
    """What a function returned, the stack first: as many values as it declares."""
    values = returned if isinstance(returned, tuple) else (returned,)
    if not 0 <= 1 + len(call.outputs) - len(values) <= call.optional:
        names = ", ".join(name for name, _ in call.outputs) or "no named outputs"
        raise StepError(
            f"{call.function} returned {len(values)} values; expected the stack and {names}.",
            hint="Declare named outputs with @step_function(outputs={...}).",
        )
    return values


def stack_of(call: CallPlan, value: Any, planes: int, on_gpu: bool) -> Any:
    """The stack (N, Y, X) that a call on ``planes`` planes returned, of a type that every store can hold; on the GPU if
    it was made there, and the call ran there.
    """
    if value is None:
        raise StepError(f"{call.function} returned nothing.", hint="A step function returns its image stack.")
    image = as_array(value, on_gpu)
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
    return image if is_cupy(image) else image.astype(image.dtype.newbyteorder("="), copy=False)


def labels_of(call: CallPlan, name: str, value: Any, shape: tuple[int, ...], on_gpu: bool) -> Any:
    """The labels (N, Y, X), uint32, that a call returned with a stack of that shape."""
    labels = as_array(value, on_gpu)
    if labels.ndim == 2:
        labels = labels[np.newaxis]
    if labels.shape != shape or labels.dtype.kind not in "ui":
        raise StepError(
            f"{call.function} returned labels {name!r} of shape {labels.shape} and type {labels.dtype}; "
            f"expected integers of shape {shape}.",
            hint="Return labels for the planes that came in: 0 is background, 1, 2, ... are objects.",
        )
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise StepError(
            f"{call.function} returned negative labels {name!r}.",
            hint="Label objects from 1; 0 is background.",
        )
    return labels.astype(np.uint32, copy=False)
