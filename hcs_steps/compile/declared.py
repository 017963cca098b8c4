"""What the functions of a plan declare of their memory and the size of what they return, asked call by call."""

from __future__ import annotations

import math

from hcs_steps.compile.plan import CallPlan, Plan, StepPlan
from hcs_steps.compile.process_memory import ASSUMED
from hcs_steps.compile.request import Request
from hcs_steps.errors import HcsError, PipelineError
from hcs_steps.frozen import thaw
from hcs_steps.functions.declare import FILLED, Cost, PlateSize, spec_of
from hcs_steps.pipeline.registry import resolve


class Declared:
    """What the functions of a plan declare, see `FunctionSpec`, and the arguments that they refuse."""

    def __init__(self, plan: Plan, request: Request) -> None:
        references = sorted({call.function for step in plan.steps for call in step.calls})
        self.specs = {name: spec_of(resolve(name, plan.search_path)) for name in references}
        self.problems: dict[str, HcsError] = {}
        channels = max(1, len(plan.plate.channels))
        planes = sum(len(plan.layouts[unit.layout].planes) for unit in plan.units.values())
        self.plate = PlateSize(channels, -(-planes // channels))
        self.pixel_size = math.nan
        if any(spec.scale for spec in self.specs.values()):
            sizes = (plane.pixel_size_um for plane in request.inventory.planes)
            self.pixel_size = max((size for size in sizes if size > 0), default=math.nan)

    def scale(self, step: StepPlan, call: CallPlan, pixel_size: float) -> float:
        """Pixels that come back per pixel along each axis; 1 where the arguments are refused."""
        scale = self.specs[call.function].scale
        if scale is None:
            return 1.0
        try:
            found = float(scale(thaw(call.kwargs), pixel_size))
            if not 0 < found < math.inf:
                raise ValueError(f"it would return {found:g} pixels per pixel")
        except Exception as error:  # a function's own check of its arguments
            self._refuse(step, call, error)
            return 1.0
        return found

    def cost(self, step: StepPlan, call: CallPlan) -> Cost:
        """What a call takes besides labels; that of the defaults where the arguments are refused."""
        spec = self.specs[call.function]
        try:
            return spec.cost({**dict.fromkeys(call.injected, FILLED), **thaw(call.kwargs)}, self.plate)
        except Exception as error:  # a function's own check of its arguments
            self._refuse(step, call, error)
            return Cost(spec.memory, spec.scratch)

    def _refuse(self, step: StepPlan, call: CallPlan, error: Exception) -> None:
        message = f"Step {step.name!r}: {call.function} cannot work with its arguments: {error}"
        self.problems[message] = PipelineError(message, hint="Correct the arguments under 'with'.")

    def packages(self, step: StepPlan, call: CallPlan) -> tuple[str, ...]:
        """The large packages that a call loads."""
        always = self.specs[call.function].packages
        return (ASSUMED if always is None else always) + self.cost(step, call).packages
