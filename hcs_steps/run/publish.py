"""Compute one unit and publish everything it made: images and labels, tables, arrays, values."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.arrays import to_numpy
from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan
from hcs_steps.pipeline.step import plain
from hcs_steps.plate.inventory import NAN, Plane
from hcs_steps.plate.listing import IMAGE_SUFFIXES
from hcs_steps.results import Results
from hcs_steps.run.made import Made
from hcs_steps.run.records import read_json
from hcs_steps.run.tables import CELL, LENGTHS, moved_planes
from hcs_steps.run.unit import ProcessingContext, UnitResult, UnitRun
from hcs_steps.storage.protocol import Image, ImageMeta, ImageStore, PlaneKey
from hcs_steps.storage.tables import read_array, read_table, write_array, write_table


def compute_unit(
    plan: Plan,
    stage: StagePlan,
    unit: str,
    planes: Mapping[PlaneKey, Plane],
    results: Results,
    stores: Callable[[int], ImageStore],
    on_gpu: bool,
) -> Made:
    """Run the stage over the unit and publish the results. Nothing is visible before all steps have
    succeeded.
    """
    context = ProcessingContext.create(plan, unit, planes)
    run = UnitRun(context, stage, stores, EarlierOutputs(plan, results, unit), on_gpu)
    made = run.run()
    started = time.perf_counter()
    published = Made(seconds=dict(made.seconds), items=made.stacks)
    for index in stage.steps:
        if index not in made.calls:
            continue
        step = plan.steps[index]
        if step.written and index in made.images:
            labels = _labels(made, index)
            meta = image_meta(context, index, made.planes.get(index))
            images = made.images[index]
            published.add(
                stores(index).publish(context.well, images, labels, meta), Path(step.store).parent.as_posix()
            )
        published.outputs[step.name] = _publish_outputs(context, made, index, results, published)
    if context.layout.blank:
        published.notes.append(f"{len(context.layout.blank)} missing planes were read as zeros")
    published.seconds["write"] = time.perf_counter() - started
    return published


def image_meta(
    context: ProcessingContext, index: int, moved: Mapping[PlaneKey, Plane] | None = None
) -> ImageMeta:
    """What the store of a step is told of a unit's images; ``moved`` says where they lie if elsewhere."""
    size = context.plan.plate.pixel_size_um
    planes = context.planes
    if moved is not None:
        planes = moved
        keys = context.layout.keys[index]
        size = next((moved[key].pixel_size_um for key in keys if key in moved), size)
    positions = {
        k.site: (p.x_um, p.y_um) for k, p in sorted(planes.items(), reverse=True) if p.x_um == p.x_um
    }
    return ImageMeta(
        channels=context.channels(index),
        pixel_size_um=NAN if size is None else size,
        z_step_um=_z_step(context.planes),
        names=_delivered_names(context.planes),
        positions_um=positions,
    )


def _delivered_names(planes: Mapping[PlaneKey, Plane]) -> dict[PlaneKey, str]:
    """The base name of every plane that has an image file to itself.

    Others (pages of a file, planes of an array or of a vendor's container) are named by their components.
    """
    sharing = Counter(plane.path for plane in planes.values())
    return {
        key: Path(plane.path).stem
        for key, plane in planes.items()
        if sharing[plane.path] == 1 and plane.page == 0 and plane.path.lower().endswith(IMAGE_SUFFIXES)
    }


def _z_step(planes: Mapping[PlaneKey, Plane]) -> float:
    """Distance of z planes in micrometres: the median difference of neighbours, NaN if unknown."""
    heights: dict[int, float] = {
        k.z_index: p.z_um for k, p in planes.items() if k.z_index > 0 and p.z_um == p.z_um
    }
    if len(heights) < 2:
        return NAN
    indices = sorted(heights)
    steps = np.diff([heights[i] for i in indices]) / np.diff(indices)
    return float(abs(np.median(steps)))


def _labels(made: UnitResult, index: int) -> dict[str, dict[PlaneKey, Image]]:
    labels: dict[str, dict[PlaneKey, Image]] = {}
    for call in made.calls[index]:
        for name, output in call.outputs.items():
            if output.kind == "labels":
                labels.setdefault(name, {}).update(zip(output.keys, output.value, strict=True))
    return labels


def _publish_outputs(
    context: ProcessingContext, made: UnitResult, index: int, results: Results, published: Made
) -> dict[str, Any]:
    """Write a step's tables and arrays; returns what its record says about all its named outputs."""
    plan, unit, step = context.plan, context.unit, context.plan.steps[index]
    names = context.channels(index)
    tables = {}
    for name, columns in made.tables[index].items():
        path = results.part(plan.tables_folder, step.name, unit, name)
        write_table(path, columns)
        tables[name] = {
            "path": published.add_file(results, path),
            "planes": [[*key, rows] for key, rows in _rows_by_plane(made, index, name)],
            "channels": {str(number): channel for number, channel in names.items()},
        }
    calls = []
    for number, call in enumerate(made.calls[index]):
        arrays, values = {}, {}
        for name, output in call.outputs.items():
            if output.kind == "array":
                path = results.array(step.name, unit, name, number)
                write_array(path, to_numpy(output.value))
                arrays[name] = published.add_file(results, path)
            elif output.kind == "value":
                values[name] = plain(output.value)
        if arrays or values:
            calls.append({"group": dict(call.group), "arrays": arrays, "values": values})
    moved = made.planes.get(index, {})
    places = [[*key, *_place(moved[key])] for key in context.layout.keys[index] if key in moved]
    return {"tables": tables, "calls": calls} | ({"planes": places} if places else {})


_PLACE = (*LENGTHS, *CELL)


def _place(plane: Plane) -> list[float | None]:
    """What a function's geometry may change of a plane, as JSON holds it: None for unknown."""
    values = [getattr(plane, name) for name in _PLACE]
    return [None if value != value else value for value in values]


def _rows_by_plane(made: UnitResult, index: int, name: str) -> list[tuple[PlaneKey, int]]:
    """How many rows of a table belong to each plane, planes without any included."""
    counts: dict[PlaneKey, int] = {}
    for call in made.calls[index]:
        if name in call.outputs:
            output = call.outputs[name]
            column = output.value.get("plane")
            if column is None:
                continue
            rows = np.bincount(np.asarray(column, np.int64), minlength=len(output.keys))
            for key, count in zip(output.keys, rows, strict=False):
                counts[key] = counts.get(key, 0) + int(count)
    return sorted(counts.items())


class EarlierOutputs:
    """Named outputs of earlier stages, looked up in the unit's records and in those of plate stages."""

    def __init__(self, plan: Plan, results: Results, unit: str) -> None:
        self.plan = plan
        self.results = results
        self.unit = unit

    def find(self, producer: int, name: str) -> tuple[list[Mapping[str, int]], list[Any]] | None:
        """(fixed components, values) of every call of a step that returned the output; None if there is
        none.
        """
        outputs = self._outputs(producer)
        if outputs is None:
            return None
        if name in outputs["tables"]:
            return [{}], [read_table(self.results.root / outputs["tables"][name]["path"])]
        groups: list[Mapping[str, int]] = []
        values: list[Any] = []
        for call in outputs["calls"]:
            if name in call["arrays"]:
                groups.append(call["group"])
                values.append(read_array(self.results.root / call["arrays"][name]))
            elif name in call["values"]:
                groups.append(call["group"])
                values.append(call["values"][name])
        return (groups, values) if groups else None

    def planes(self, step: int, raw: Mapping[PlaneKey, Plane]) -> Mapping[PlaneKey, Plane]:
        """Where the images of a step lie; ``raw`` if where the raw planes do."""
        rows = (self._outputs(step) or {}).get("planes", ())
        if not rows:
            return raw
        tables = {n: np.array([NAN if r[i] is None else r[i] for r in rows]) for i, n in enumerate(_PLACE, 4)}
        return {**raw, **moved_planes(tables, [PlaneKey(*row[:4]) for row in rows], raw)}

    def _outputs(self, producer: int) -> Mapping[str, Any] | None:
        step = self.plan.steps[producer]
        stage = next(s for s in self.plan.stages if producer in s.steps)
        unit = PLATE_UNIT if stage.scope == "plate" else self.unit
        record = read_json(self.results.record(stage.name, unit)) or {}
        outputs: Mapping[str, Any] | None = record.get("outputs", {}).get(step.name)
        return outputs
