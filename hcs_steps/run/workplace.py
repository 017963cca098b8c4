"""Where the calls of a unit are made: on the CPU, or on the GPU that was leased, as far as its memory goes.

A call that runs out of GPU memory is made again: after everything that can wait on the host has been brought there,
then with less at a time, at last on the CPU if the plan allows that. A process remembers what worked, so that the
same call on such a stack starts there in the next units of the stage.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Hashable, Iterable, Sequence
from typing import Any
from weakref import WeakSet

import numpy as np

from hcs_steps.compile.plan import CallPlan, Layout, Plan
from hcs_steps.compile.process_memory import GPU_KEPT_MB
from hcs_steps.compile.stages import looked_up
from hcs_steps.run import _gpu_memory
from hcs_steps.run._attempt import Attempt, Size
from hcs_steps.run.held import MB, Held, HeldPlane, Transfers, stacked

logger = logging.getLogger("hcs_steps")

_worked: dict[Hashable, Size] = {}
"""By call of a plan and what its stack is like, what is known to fit into the GPU's memory in this process."""


class Workplace:
    """Makes the calls of one unit in one stage.

    ``job`` names plan and stage; ``may_use_cpu`` says whether a call that does not fit into the GPU's memory may be
    made on the CPU.
    """

    def __init__(self, on_gpu: bool = False, may_use_cpu: bool = True, job: Hashable = "") -> None:
        self.on_gpu = on_gpu
        self.may_use_cpu = may_use_cpu
        self.transfers = Transfers()
        self.fallbacks: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self._job = job
        self._all: WeakSet[Held] = WeakSet()

    def hold(self, array: Any) -> Held:
        """An array that can be moved between host and GPU."""
        held = Held(array, self.transfers)
        self._all.add(held)
        return held

    def keep(self, stack: Held) -> None:
        """What a step left waits on the GPU for the next one, while there is room; else on the host."""
        if sum(held.nbytes for held in self._all if held.is_on_gpu) > GPU_KEPT_MB * MB:
            stack.leave_gpu()

    def stacked(self, planes: Sequence[HeldPlane], gpu: bool) -> Held:
        """Planes as a stack; on the GPU if they are there, it is wanted, and there is room."""
        stack = None
        try:
            stack = stacked(planes, self.transfers, gpu)
        except Exception as error:
            if not _gpu_memory.ran_out(error):
                raise
        if stack is None:
            self._make_room()
            stack = stacked(planes, self.transfers, False)
        self._all.add(stack)
        return stack

    def starts_on_gpu(self, step: str, first: CallPlan, planes: Sequence[HeldPlane]) -> bool:
        """Whether a chain of a step that begins with a call begins on the GPU, with the whole stack of these planes."""
        shape = (len(planes), *planes[0].shape)
        size = _worked.get(self._key(step, 0, first, shape, planes[0].dtype), Size())
        return self.on_gpu and "gpu" in first.devices and not size.on_cpu and not size.planes

    def make(self, step: str, number: int, attempt: Attempt) -> tuple[Held, list[Any]]:
        """Make a call, the ``number``-th of its chain: the stack that comes back, and the named outputs."""
        if not (self.on_gpu and "gpu" in attempt.call.devices):
            return attempt.made(Size(), False, self.hold)
        key = self._key(step, number, attempt.call, attempt.stack.shape, attempt.stack.dtype)
        size, tidied = _worked.get(key, Size()), False
        made = None
        while made is None:
            try:
                made = attempt.made(size, True, self.hold)
            except Exception as error:
                smaller = attempt.smaller(size, self.may_use_cpu) if tidied else size
                if size.on_cpu or smaller is None or not _gpu_memory.ran_out(error):
                    raise
                logger.warning("%s: the GPU's memory does not suffice: %s", step, str(error))
                size, tidied = smaller, True
            if made is None:
                self._make_room()  # now that the error is gone, which held the arrays of the call
        if size != Size():
            _worked[key] = size
            self._note(step, attempt, size)
        return made

    def _key(
        self, step: str, number: int, call: CallPlan, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> Hashable:
        """What decides how much memory a call takes: another branch has other arguments, another well other images."""
        return self._job, step, number, call.function, call.kwargs, shape, dtype.str

    def summary(self) -> dict[str, Any]:
        """What the unit's record says of the GPU."""
        if not self.on_gpu:
            return {}
        return {"transfers": self.transfers.summary(), "fallbacks": self.fallbacks}

    def _make_room(self) -> None:
        """Bring to the host what can wait there, and give all that nothing uses back to the device."""
        for held in list(self._all):
            held.leave_gpu()
        gc.collect()
        _gpu_memory.free()

    def _note(self, step: str, attempt: Attempt, size: Size) -> None:
        """Say once what a call of a step had to do with less."""
        changed = attempt.amounts(size) if size.divided > 1 else {}
        said: dict[str, Any] = {"step": step, "function": attempt.call.function}
        if size.on_cpu:
            said["device"] = "cpu"
        else:
            said |= ({"arguments": changed} if changed else {}) | (
                {"planes": size.planes} if size.planes else {}
            )
        if said in self.fallbacks:
            return
        self.fallbacks.append(said)
        how = [f"{name} {value}" for name, value in changed.items()]
        how += [f"{size.planes} planes at a time"] if size.planes else []
        self.notes.append(
            f"{step}: the memory of the GPU did not suffice for {attempt.call.function}; "
            f"{'done by the CPU' if size.on_cpu else 'done with ' + ' and '.join(how)}"
        )


def read_on_gpu(plan: Plan, layout: Layout, steps: Iterable[int]) -> tuple[set[int | None], set[str]]:
    """The steps whose images, and the names of the outputs, that some steps of a unit use on a GPU."""
    there = [step for step in steps if any("gpu" in call.devices for call in plan.steps[step].calls)]
    return {layout.sources[step] for step in there}, {
        name for step in there for name in looked_up(plan.steps[step].calls)
    }
