"""Compute one unit and publish everything it made: images and labels, tables, arrays, values."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.arrays import to_numpy
from hcs_steps.compile.plan import PLATE_UNIT, RAW, Plan, StagePlan
from hcs_steps.pipeline.step import plain
from hcs_steps.plate.inventory import NAN, Plane
from hcs_steps.plate.listing import IMAGE_SUFFIXES
from hcs_steps.results import Results
from hcs_steps.run.calls import NamedOutput
from hcs_steps.run.images import ImageFileError
from hcs_steps.run.made import Made
from hcs_steps.run.places import Places, place_of, place_row
from hcs_steps.run.records import read_json
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
    for index in stage.steps:
        if plan.steps[index].written:
            stores(index)  # declares it: a plate that has only just started is one already
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
            labels = _labels(made, [i for i in made.calls if plan.steps[i].labels_in == index])
            meta = image_meta(context, index, made.places[index])
            images = made.images[index]
            _require_alike(context, images)
            published.add(
                stores(index).publish(context.well, images, labels, meta), Path(step.store).parent.as_posix()
            )
            for path in _write_rois(context, stage, index, images, labels, results):
                published.add_file(results, path)
        published.outputs[step.name] = _publish_outputs(run, index, results, published)
    published.gpu = run.work.summary()
    published.notes += run.work.notes
    if context.layout.blank:
        published.notes.append(f"{len(context.layout.blank)} missing planes were read as zeros")
    published.seconds["write"] = time.perf_counter() - started
    return published


def _require_alike(context: ProcessingContext, images: Mapping[PlaneKey, Image]) -> None:
    """The planes of a site go into one image. `ImageFileError` that names the raw files of two that cannot."""
    first: dict[int, PlaneKey] = {}
    for key, image in sorted(images.items()):
        other = first.setdefault(key.site, key)
        kinds = [f"{each.shape[0]} x {each.shape[1]} {each.dtype.name}" for each in (images[other], image)]
        if kinds[0] == kinds[1]:
            continue
        names = context.channels(RAW)
        told = [
            f"{names.get(each.channel, each.channel)}{_of_file(context, each)} is {kind}"
            for each, kind in zip((other, key), kinds, strict=True)
        ]
        plane = context.planes.get(key)
        raise ImageFileError(
            f"The images of site {key.site} cannot go into one: {told[0]}, {told[1]}.",
            file="" if plane is None else plane.path,
            hint="Export all channels and planes with one size and bit depth, or leave one out with 'select', or bring "
            "them to one size and data type in an earlier step.",
        )


def _of_file(context: ProcessingContext, key: PlaneKey) -> str:
    return f" ({context.planes[key].path})" if key in context.planes else ""


def _write_rois(
    context: ProcessingContext,
    stage: StagePlan,
    store: int,
    images: Mapping[PlaneKey, Image],
    labels: Mapping[str, Mapping[PlaneKey, Image]],
    results: Results,
) -> Iterator[Path]:
    """Write the outlines of the objects labelled in a store in every format that is asked for, a file per site.

    No format knows sites: those of a well would lie on top of each other. Returns the files, which lie in the folder of
    the step that made the labels.
    """
    if not context.plan.table_settings.rois:
        return
    from hcs_steps.exports.rois import ROI_FILES

    channels = context.channels(RAW)
    steps = [context.plan.steps[i] for i in stage.steps]
    makers = {name: step.name for step in steps if step.labels_in == store for name in step.labels}
    for name, planes in labels.items():
        for site in sorted({key.site for key in planes}):
            own = {key: plane for key, plane in planes.items() if key.site == site}
            shown = [key for key in images if key.site == site]
            for chosen in context.plan.table_settings.rois:
                suffix, write = ROI_FILES[chosen]
                path = results.rois(makers[name], context.well, site, name, suffix)
                write(path, own, name=name, well=context.well, channels=channels, planes=shown)
                yield path


def image_meta(context: ProcessingContext, index: int, places: Places) -> ImageMeta:
    """What the store of a step is told of a unit's images, which lie at ``places``."""
    size = next((place.pixel_size_um for place in places.values()), context.plan.plate.pixel_size_um)
    positions = {
        key.site: (place.x_um, place.y_um)
        for key, place in sorted(places.items(), reverse=True)
        if place.x_um == place.x_um
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


def _labels(made: UnitResult, steps: Iterable[int]) -> dict[str, dict[PlaneKey, Image]]:
    """The labels that steps returned, by name."""
    labels: dict[str, dict[PlaneKey, Image]] = {}
    for index in steps:
        for call in made.calls[index]:
            for name, output in call.outputs.items():
                if output.kind == "labels":
                    labels.setdefault(name, {}).update(zip(output.keys, output.on_host, strict=True))
    return labels


def _publish_outputs(run: UnitRun, index: int, results: Results, published: Made) -> dict[str, Any]:
    """Write a step's tables and arrays; returns what its record says about all its named outputs, and of images
    that lie elsewhere than the plate's own, where.
    """
    context, made = run.context, run.result
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
        arrays, scales, values = {}, {}, {}
        for name, output in call.outputs.items():
            if output.kind == "array":
                path = results.array(step.name, unit, name, number)
                write_array(path, to_numpy(output.on_host))
                arrays[name] = published.add_file(results, path)
                scales[name] = output.scale
            elif output.kind == "value":
                values[name] = plain(output.value)
        if arrays or values:
            calls.append({"group": dict(call.group), "arrays": arrays, "scales": scales, "values": values})
    moved = [
        place_row(key, place) for key, place in made.places[index].items() if place is not run.raw_places[key]
    ]
    return {"tables": tables, "calls": calls} | ({"planes": moved} if moved else {})


def _rows_by_plane(made: UnitResult, index: int, name: str) -> list[tuple[PlaneKey, int]]:
    """How many rows of a table belong to each plane that was looked at, planes without any included.

    Where the channels of a field are in one stack, its objects are rows of one of them; the others were not looked at
    for themselves.
    """
    counts: dict[PlaneKey, int] = {}
    for call in made.calls[index]:
        if name in call.outputs:
            output = call.outputs[name]
            column = output.value.get("plane")
            if column is None:
                continue
            rows = np.bincount(np.asarray(column, np.int64), minlength=len(output.keys))
            fields: set[tuple[int, int, int]] = set()
            for key, count in zip(output.keys, rows, strict=False):
                field = (key.site, key.z_index, key.timepoint)
                if count or field not in fields:
                    counts[key] = counts.get(key, 0) + int(count)
                fields.add(field)
    return sorted(counts.items())


class EarlierOutputs:
    """Named outputs of earlier stages, looked up in the unit's records and in those of plate stages."""

    def __init__(self, plan: Plan, results: Results, unit: str) -> None:
        self.plan = plan
        self.results = results
        self.unit = unit

    def find(self, producer: int, name: str) -> list[tuple[Mapping[str, int], NamedOutput]]:
        """(fixed components, output) of every call of a step that returned a table, an array or a value of that
        name.
        """
        outputs = self._outputs(producer)
        root = self.results.root
        if name in outputs.get("tables", {}):
            return [({}, NamedOutput("table", read_table(root / outputs["tables"][name]["path"]), ()))]
        found: list[tuple[Mapping[str, int], NamedOutput]] = []
        for call in outputs.get("calls", ()):
            if name in call["arrays"]:
                array = read_array(root / call["arrays"][name])
                scale = call.get("scales", {}).get(
                    name
                )  # a plate-scope step's array belongs to no unit's images
                found.append((call["group"], NamedOutput("array", array, (), scale)))
            elif name in call["values"]:
                found.append((call["group"], NamedOutput("value", call["values"][name], ())))
        return found

    def places(self, step: int, raw: Places) -> Places:
        """Where the images of a step lie; ``raw`` is where the plate's own do."""
        keys = self.plan.layouts[self.plan.units[self.unit].layout].keys[step]
        moved = dict(place_of(row, raw) for row in self._outputs(step).get("planes", ()))
        return {key: moved.get(key, raw[key]) for key in keys if key in raw}

    def _outputs(self, producer: int) -> Mapping[str, Any]:
        step = self.plan.steps[producer]
        stage = next(s for s in self.plan.stages if producer in s.steps)
        unit = PLATE_UNIT if stage.scope == "plate" else self.unit
        record = read_json(self.results.record(stage.name, unit)) or {}
        outputs: Mapping[str, Any] = record.get("outputs", {}).get(step.name, {})
        return outputs
