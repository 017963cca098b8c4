"""One call of a step function, made as a whole or a few planes at a time, on the CPU or on a GPU."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hcs_steps.arrays import is_on_gpu
from hcs_steps.compile.plan import CallPlan
from hcs_steps.errors import StepError
from hcs_steps.frozen import thaw
from hcs_steps.functions.declare import FunctionSpec, spec_of
from hcs_steps.run._guard import put_back
from hcs_steps.run._returned import labels_of, stack_of, values_of
from hcs_steps.run.held import Held, as_array
from hcs_steps.storage.tables import as_columns

Hold = Callable[[Any], Held]
"""Makes an array a `Held` one."""


@dataclass(frozen=True)
class Size:
    """How much a call takes on at a time.

    The arguments that its declaration ``halves`` are divided by ``divided``; ``planes`` at a time, 0 for all;
    ``on_cpu`` if it is for the CPU although a GPU was asked for.
    """

    divided: int = 1
    planes: int = 0
    on_cpu: bool = False


@dataclass(frozen=True)
class Attempt:
    """A call that is to be made: its stack, and the values of its injected parameters, arrays as `Held` ones."""

    call: CallPlan
    function: Callable[..., Any]
    stack: Held
    filled: Mapping[str, Any]
    by_plane: frozenset[str]
    """Injected parameters that have a plane for each of the stack's, the plane table included."""

    @property
    def spec(self) -> FunctionSpec:
        """What the function declares."""
        return spec_of(self.function)

    def amounts(self, size: Size) -> dict[str, int]:
        """The arguments that bound how much is done at a time, as they are at a size."""
        parameters = inspect.signature(self.function).parameters
        given = {name: self.call.kwargs.get(name, parameters[name].default) for name in self.spec.halves}
        return {
            name: max(1, value // size.divided)
            for name, value in given.items()
            if isinstance(value, int) and not isinstance(value, bool) and value > 0
        }

    def smaller(self, size: Size, may_use_cpu: bool) -> Size | None:
        """The next size to try after one that was too large: smaller arguments, then fewer planes, then the CPU."""
        if any(value > 1 for value in self.amounts(size).values()):
            return Size(2 * size.divided, size.planes)
        planes = size.planes or self.stack.shape[0]
        if self.spec.planewise and planes > 1:
            return Size(size.divided, (planes + 1) // 2)
        return Size(on_cpu=True) if may_use_cpu else None

    def made(self, size: Size, on_gpu: bool, hold: Hold) -> tuple[Held, list[Any]]:
        """The stack that comes back, which is the one that went in if that passed through, and the named outputs."""
        gpu = on_gpu and "gpu" in self.call.devices and not size.on_cpu
        arguments = thaw(self.call.kwargs) | self.amounts(size)
        if gpu and 0 < size.planes < self.stack.shape[0]:
            return self._in_parts(size.planes, arguments, hold)
        return self._made(self.stack, self.filled, arguments, gpu, hold)

    def _made(
        self, stack: Held, filled: Mapping[str, Any], arguments: Mapping[str, Any], gpu: bool, hold: Hold
    ) -> tuple[Held, list[Any]]:
        given = stack.on(gpu)
        moved = {n: value.on(gpu) if isinstance(value, Held) else value for n, value in filled.items()}
        with put_back():
            returned = self.function(given, **{**arguments, **moved})
        image, *others = values_of(self.call, returned)
        image = stack_of(self.call, image, stack.shape[0], gpu)
        left = stack if image is given else hold(image)
        outputs: list[Any] = []
        for (name, kind), value in zip(self.call.outputs, others, strict=False):
            if kind == "labels":
                outputs.append(hold(labels_of(self.call, name, value, left.shape, gpu)))
            else:
                outputs.append(hold(as_array(value, gpu)) if is_on_gpu(value) else value)
        return left, outputs

    def _in_parts(self, planes: int, arguments: Mapping[str, Any], hold: Hold) -> tuple[Held, list[Any]]:
        """The call on a few planes after the other; what comes back waits on the host."""
        self.stack.leave_gpu()
        parts: list[tuple[Held, Held, list[Any]]] = []
        for start in range(0, self.stack.shape[0], planes):
            chosen = slice(start, start + planes)
            stack = hold(self.stack.on_host()[chosen])
            filled = {
                name: _part(value, chosen, hold) if name in self.by_plane else value
                for name, value in self.filled.items()
            }
            left, outputs = self._made(stack, filled, arguments, True, hold)
            for array in (stack, left, *filled.values(), *outputs):
                if isinstance(array, Held):
                    array.leave_gpu()
            parts.append((stack, left, outputs))
        passed = all(stack is left for stack, left, _ in parts)
        joined = self.stack if passed else hold(np.concatenate([left.on_host() for _, left, _ in parts]))
        outputs = []
        for number, (_, kind) in enumerate(self.call.outputs[: len(parts[0][2])]):
            pieces = [made[number] for _, _, made in parts]
            if kind == "labels":
                outputs.append(hold(np.concatenate([piece.on_host() for piece in pieces])))
            else:
                outputs.append(_rows_of_all(pieces, planes))
        return joined, outputs


def _part(value: Any, chosen: slice, hold: Hold) -> Any:
    """Labels, or the plane table, of some planes of the stack."""
    if isinstance(value, Held):
        return value if value.shape[0] == 1 else hold(value.on_host()[chosen])
    return {name: column[chosen] for name, column in value.items()}


def _rows_of_all(tables: Iterable[Any], planes: int) -> dict[str, Any]:
    """The tables of parts of so many planes, as that of the whole stack."""
    parts = []
    for number, table in enumerate(tables):
        columns = as_columns(table)
        if "plane" not in columns:
            raise StepError(
                "A table of a function that treats planes one by one has no column 'plane'.",
                hint="Say of every row which plane of the stack it is of, or declare the function without planewise.",
            )
        parts.append(columns | {"plane": columns["plane"] + number * planes})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
