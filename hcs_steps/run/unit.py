"""One stage over one unit: read, call, publish. Knows nothing of jobs, records or failures."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from hcs_steps.compile.plan import RAW, CallPlan, Layout, Plan, StagePlan, StepPlan
from hcs_steps.compile.stages import last_producer, looked_up
from hcs_steps.compile.units import chain_of, channel_names
from hcs_steps.errors import StepError
from hcs_steps.functions.declare import spec_of
from hcs_steps.pipeline.registry import resolve
from hcs_steps.pipeline.stacks import best_match, group_stacks, output_keys
from hcs_steps.plate.inventory import Plane
from hcs_steps.run._labelled import labelled
from hcs_steps.run._step_failure import StepFailure
from hcs_steps.run.calls import CallResult, NamedOutput, run_chain
from hcs_steps.run.held import Held, HeldPlane, planes_of
from hcs_steps.run.images import RawImages
from hcs_steps.run.places import Places, grid_of_sites, moved_places, plane_table, raw_places
from hcs_steps.run.running import announced
from hcs_steps.run.tables import unit_table
from hcs_steps.run.workplace import Workplace, read_on_gpu
from hcs_steps.storage.protocol import Image, ImageStore, PlaneKey


@dataclass(frozen=True)
class ProcessingContext:
    """Everything one unit needs in one plan; immutable through and through.

    ``planes`` are the unit's raw planes by key, ``layout`` what it looks like at every step.
    """

    plan: Plan
    unit: str
    well: str
    layout: Layout
    planes: Mapping[PlaneKey, Plane]

    @classmethod
    def create(cls, plan: Plan, unit: str, planes: Mapping[PlaneKey, Plane]) -> ProcessingContext:
        """The context of a unit; ``planes`` may hold more than the unit's own."""
        found = plan.units[unit]
        layout = plan.layouts[found.layout]
        wanted = {key: planes[key] for key in layout.planes if key in planes}
        return cls(plan, unit, found.well, layout, MappingProxyType(wanted))

    def channels(self, step: int) -> Mapping[int, str]:
        """Channel names in the images that a step (`RAW`: the plate) leaves of the unit."""
        base = {int(number): name for number, name in self.plan.plate.channels.items()}
        return channel_names(self.plan.steps, self.layout.sources, step, base)


@dataclass
class UnitResult:
    """What the steps of a stage left: images and labels to publish, where they lie, calls with named outputs,
    tables, seconds.
    """

    images: dict[int, dict[PlaneKey, Image]] = field(default_factory=dict)
    calls: dict[int, list[CallResult]] = field(default_factory=dict)
    tables: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    places: dict[int, Places] = field(default_factory=dict)
    stacks: int = 0


class Earlier(Protocol):
    """What earlier stages left of the unit besides images."""

    def find(self, producer: int, name: str) -> list[tuple[Mapping[str, int], NamedOutput]]:
        """(fixed components, output) of every call of a step that returned a table, an array or a value of that
        name.
        """

    def places(self, step: int, raw: Places) -> Places:
        """Where the images of a step lie; ``raw`` is where the plate's own do."""


class UnitRun:
    """Runs the steps of one stage over one unit.

    ``stores`` opens the store of a step by its index; ``earlier`` looks up what earlier stages left besides images.
    """

    def __init__(
        self,
        context: ProcessingContext,
        stage: StagePlan,
        stores: Callable[[int], ImageStore],
        earlier: Earlier,
        on_gpu: bool = False,
    ) -> None:
        self.work = Workplace(on_gpu, not stage.gpu_only, (context.plan.hash, stage.name))
        self.images: dict[int, dict[PlaneKey, HeldPlane]] = {}
        self.context = context
        self.stage = stage
        self.stores = stores
        self.earlier = earlier
        plan = context.plan
        self.raw = RawImages(Path(plan.plate.path), context.planes, context.layout)
        self.raw_places = raw_places(context.layout.planes, context.planes)
        self.result = UnitResult()

    def run(self) -> UnitResult:
        """All steps that are for the unit, in order. Raises `StepFailure`."""
        for index in self.stage.steps:
            source = self.context.layout.sources[index]
            if source is None:
                continue
            step = self.context.plan.steps[index]
            try:
                self._step(index, step, source)
            except Exception as error:
                raise StepFailure(step.name, error) from error
            self._forget(index)
        self.result.images = {
            index: {key: plane.on(gpu=False) for key, plane in planes.items()}
            for index, planes in self.images.items()
        }
        return self.result

    def _step(self, index: int, step: StepPlan, source: int) -> None:
        layout, well = self.context.layout, self.context.well
        plan = self.context.plan
        channels = self.context.channels(source)
        functions = {call.function: resolve(call.function, plan.search_path) for call in step.calls}
        keys = layout.left_by(source)
        images: dict[PlaneKey, HeldPlane] = {}
        results: list[CallResult] = []
        places = self._places(source)
        after = dict(places)
        stacks = group_stacks(keys, step.variable_components)
        for group, stack_keys in announced(step.name, stacks, channels):
            branch = chain_of(step, group, well, channels)
            if branch is None and step.unlisted != "pass":
                continue
            started = time.perf_counter()
            calls = step.branches[branch] if branch is not None else ()
            stack = self._stack(source, stack_keys, step.name, calls)
            read = time.perf_counter()
            self.result.seconds["read"] += read - started
            if branch is None:
                images.update(zip(stack_keys, planes_of(stack), strict=True))
                continue
            place = places.get(stack_keys[0])
            call = CallResult(group, scale=1.0 if place is None else place.scale)
            given = self._given(index, calls, group, stack_keys, places)
            asked = any("planes" in c.injected or spec_of(functions[c.function]).geometry for c in calls)
            table = plane_table(self.context.well, stack_keys, places, channels) if asked else {}
            left = run_chain(calls, functions, stack, stack_keys, table, given, call, self.work, step.name)
            self._settle(index, left, call)
            kept_keys = output_keys(stack_keys, reduces=any(c.reduces for c in calls))
            images.update(zip(kept_keys, planes_of(left), strict=True))
            if call.moved is not None:
                after.update(moved_places(call.moved, call.scale, kept_keys, places))
            results.append(call)
            self.result.stacks += 1
            self.result.seconds[step.name] += time.perf_counter() - read
        self.result.places[index] = {key: after[key] for key in layout.keys[index] if key in after}
        if step.own_images:
            self.images[index] = images
        self.result.calls[index] = results
        self.result.tables[index] = unit_table(plan.plate.id, well, results, self.context.channels(index))

    def _stack(self, source: int, keys: tuple[PlaneKey, ...], step: str, calls: Sequence[CallPlan]) -> Held:
        """The planes as a stack, where the first of the calls wants it; one for no call stays where it is."""
        planes = [self._plane(source, key) for key in keys]
        shapes = {(plane.shape, plane.dtype.str) for plane in planes}
        if len(shapes) > 1:
            odd = Counter((plane.shape, plane.dtype.str) for plane in planes)
            usual = odd.most_common(1)[0][0]
            key, plane = next(
                (k, p) for k, p in zip(keys, planes, strict=True) if (p.shape, p.dtype.str) != usual
            )
            file = f" (file {self.raw.planes[key].path})" if source == RAW and key in self.raw.planes else ""
            raise StepError(
                f"The planes of a stack differ: {key} is {plane.shape} {plane.dtype}{file}, others are "
                f"{usual[0]} {np.dtype(usual[1])}.",
                hint="Leave the odd plane out with 'select', or stack other components.",
            )
        return self.work.stacked(planes, not calls or self.work.starts_on_gpu(step, calls[0], planes))

    def _plane(self, source: int, key: PlaneKey) -> HeldPlane:
        if source in self.images:
            return self.images[source][key]
        well = self.context.well
        plane = self.raw.read(well, key) if source == RAW else self.stores(source).read(well, key)
        return HeldPlane(self.work.hold(plane[np.newaxis]), 0)

    def _given(
        self,
        index: int,
        chain: Sequence[CallPlan],
        group: Mapping[str, int],
        keys: tuple[PlaneKey, ...],
        places: Places,
    ) -> dict[str, NamedOutput]:
        """What parameters of a chain's calls are filled with by name, besides the plane table."""
        given: dict[str, NamedOutput] = {}
        for name in looked_up(chain) - {"planes"}:
            if name == "grid_dimensions":
                given[name] = NamedOutput("value", grid_of_sites(keys, places), keys)
            elif (found := self._earlier_output(index, name, group, keys)) is not None:
                array = isinstance(found.value, np.ndarray)
                given[name] = replace(found, value=self.work.hold(found.value)) if array else found
        return given

    def _places(self, source: int) -> Places:
        """Where the planes that a step reads lie."""
        if source == RAW:
            return self.raw_places
        if source in self.result.places:
            return self.result.places[source]
        return self.earlier.places(source, self.raw_places)

    def _earlier_output(
        self, index: int, name: str, group: Mapping[str, int], keys: tuple[PlaneKey, ...]
    ) -> NamedOutput | None:
        """The output of the last step before that was to return it for the unit; None if it did not."""
        plan = self.context.plan
        producer = last_producer(plan.steps[:index], self.context.layout, name)
        if producer is None:
            return None
        kind = next(k for call in plan.steps[producer].calls for n, k in call.outputs if n == name)
        if kind == "labels":
            return self._earlier_labels(producer, name, keys)
        if producer not in self.result.calls:
            made = self.earlier.find(producer, name)
        elif kind == "table":
            tables = self.result.tables[producer]
            made = [({}, NamedOutput("table", tables[name], ()))] if name in tables else []
        else:
            calls = self.result.calls[producer]
            made = [(call.group, call.outputs[name]) for call in calls if name in call.outputs]
        match = best_match([candidate for candidate, _ in made], group)
        return None if match is None else replace(made[match][1], made_by=f"step {plan.steps[producer].name}")

    def _earlier_labels(self, producer: int, name: str, keys: tuple[PlaneKey, ...]) -> NamedOutput | None:
        """Labels for the planes of a stack: of the same plane, else of another channel of it."""
        plan_steps = self.context.plan.steps
        if producer in self.result.calls:
            outputs = [call.outputs[name] for call in self.result.calls[producer] if name in call.outputs]
            held = {
                key: plane for o in outputs for key, plane in zip(o.keys, planes_of(o.value), strict=True)
            }
            if not held:
                return None
            labels = [held[key] for key in labelled(keys, held, name)]
            return NamedOutput("labels", self.work.stacked(labels, gpu=True), keys)
        store, well = self.stores(plan_steps[producer].labels_in), self.context.well
        sites = {key.site for key in self.context.layout.planes}
        stored = {key for key in store.keys(well, name) if key.site in sites}
        if not stored:
            return None
        read = [store.read(well, key, name) for key in labelled(keys, stored, name)]
        return NamedOutput("labels", self.work.hold(np.stack(read)), keys)

    def _forget(self, index: int) -> None:
        """Drop images that no later step of the stage reads and that are not to be published; from the GPU, also what
        no later step reads there.
        """
        plan, layout = self.context.plan, self.context.layout
        later = [step for step in self.stage.steps if step > index]
        needed = {layout.sources[step] for step in later}
        for held in list(self.images):
            if held not in needed and not plan.steps[held].written:
                del self.images[held]
        if self.work.on_gpu:
            read, asked = read_on_gpu(plan, layout, later)
            for held, planes in self.images.items():
                if held not in read:
                    for plane in planes.values():
                        plane.stack.leave_gpu()
            for call in chain(*self.result.calls.values()):
                call.leave_gpu(asked)

    def _settle(self, index: int, left: Held, call: CallResult) -> None:
        """What a step has left of a stack stays on the GPU only for later steps that read it there."""
        if not self.work.on_gpu:
            return
        plan, later = self.context.plan, [step for step in self.stage.steps if step > index]
        read, asked = read_on_gpu(plan, self.context.layout, later)
        if index in read:
            self.work.keep(left)
        elif plan.steps[index].own_images:
            left.leave_gpu()
        call.leave_gpu(asked)
