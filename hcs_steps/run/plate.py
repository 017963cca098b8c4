"""Plate-scope stages: one call over the results of all units that succeeded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.arrays import to_numpy
from hcs_steps.compile.plan import PLATE_UNIT, RAW, Plan, StagePlan, digest
from hcs_steps.compile.units import key_of
from hcs_steps.errors import StepError
from hcs_steps.frozen import thaw
from hcs_steps.pipeline.registry import resolve
from hcs_steps.pipeline.stacks import group_stacks
from hcs_steps.pipeline.step import plain
from hcs_steps.plate import read_unit_planes
from hcs_steps.report.consolidate import consolidate
from hcs_steps.results import Results
from hcs_steps.run.images import read_raw_plane
from hcs_steps.run.made import Made
from hcs_steps.run.records import open_failures, read_json, valid_record
from hcs_steps.storage.protocol import Image, ImageStore
from hcs_steps.storage.tables import read_table, write_array, write_table


class PlateData:
    """What a plate-scope function works on: ``f(plate, **params) -> out1`` or ``(out1, out2, ...)``.

    ``units`` are the units whose upstream results are there, ``missing`` the others. Images come one stack
    at a time and are never all in memory.
    """

    def __init__(
        self, plan: Plan, stage: StagePlan, results: Results, stores: Callable[[int], ImageStore]
    ) -> None:
        self.name = plan.plate.id
        self._plan = plan
        self._stage = stage
        self._results = results
        self._stores = stores
        self._records = upstream_records(plan, stage, results)
        complete = [unit for unit in plan.units if self._complete(unit)]
        self.units: tuple[str, ...] = tuple(complete)
        self.missing: tuple[str, ...] = tuple(unit for unit in plan.units if unit not in set(complete))

    def table(self, name: str) -> Mapping[str, Any]:
        """All rows of an earlier step's table, by its output name, of the units that are there."""
        folder = self._results.root
        paths = [
            folder / outputs["tables"][name]["path"]
            for record in self._records.values()
            for outputs in record["outputs"].values()
            if name in outputs["tables"]
        ]
        if not paths:
            raise StepError(f"No unit has a table {name!r}.", hint="Check the outputs of the steps before.")
        tables = [read_table(path) for path in paths]
        names = dict.fromkeys(column for table in tables for column in table)
        return {c: np.concatenate([table[c] for table in tables if c in table]) for c in names}

    def stacks(self, step: int | None = None) -> Iterator[tuple[str, Mapping[str, int], Image]]:
        """(unit, fixed components, stack (N, Y, X)) of every unit: the images that the step reads.

        Stacks follow the step's ``variable_components``; ``step`` is its index in the plan, by default the
        stage's.
        """
        index = self._stage.steps[0] if step is None else step
        own = self._plan.steps[index]
        for unit in self.units:
            found = self._plan.units[unit]
            layout = self._plan.layouts[found.layout]
            source = (
                RAW if own.input_source == "pipeline_start" else self._last_written(index, layout.sources)
            )
            keys = layout.planes if source == RAW else layout.keys[source]
            planes = {key_of(p): p for p in read_unit_planes(self._results.inventory, found.well)}
            for group, stack in group_stacks(keys, own.variable_components):
                if source == RAW:
                    images = [
                        read_raw_plane(Path(self._plan.plate.path), planes[key])
                        for key in stack
                        if key in planes
                    ]
                else:
                    images = [self._stores(source).read(found.well, key) for key in stack]
                yield unit, group, np.stack(images)

    def _last_written(self, index: int, sources: tuple[int | None, ...]) -> int:
        there = [i for i in range(index) if sources[i] is not None and self._plan.steps[i].written]
        return there[-1] if there else RAW

    def _complete(self, unit: str) -> bool:
        stages = (self._plan.stage(name) for name in self._stage.upstream)
        return all(
            (s.name, unit) in self._records
            for s in stages
            if s.scope == "unit" and self._plan.in_stage(s, unit)
        )


def upstream_records(plan: Plan, stage: StagePlan, results: Results) -> dict[tuple[str, str], dict[str, Any]]:
    """The valid records of everything upstream of a plate stage: (stage, unit) -> record."""
    records = {}
    for name in stage.upstream:
        upstream = plan.stage(name)
        for unit in plan.units_of(upstream):
            if unit == PLATE_UNIT:
                record = read_json(results.record(name, unit))
            else:
                record = valid_record(results, name, unit, plan.fingerprint(upstream, unit))
            if record is not None:
                records[name, unit] = record
    return records


def plate_fingerprint(plan: Plan, stage: StagePlan, results: Results) -> str:
    """A plate stage depends on its steps, on which units are there, and on what they were made of.

    The plan's own last one also reports the failures.
    """
    records = upstream_records(plan, stage, results)
    failures = [] if stage.steps else open_failures(plan, results)
    return digest(
        plan.fingerprint(stage, PLATE_UNIT),
        *(f"{name}:{unit}:{r['fingerprint']}" for (name, unit), r in records.items()),
        *(f"{f['stage']}:{f['unit']}:{f.get('attempt')}" for f in failures if f["stage"] != stage.name),
    )


def run_plate_stage(
    plan: Plan, stage: StagePlan, results: Results, stores: Callable[[int], ImageStore]
) -> Made:
    """Run a plate stage: the plan's own last one, or the user's plate-scope step."""
    made = Made()
    started = time.perf_counter()
    if not stage.steps:
        consolidate(plan, stage, results, upstream_records(plan, stage, results), made)
        made.seconds["consolidate"] = time.perf_counter() - started
        return made
    step = plan.steps[stage.steps[0]]
    data = PlateData(plan, stage, results, stores)
    made.items = len(data.units)
    made.notes += [f"{unit} is missing" for unit in data.missing]
    (chain,) = step.branches.values()
    outputs: dict[str, Any] = {"tables": {}, "calls": []}
    for call in chain:
        returned = resolve(call.function, plan.search_path)(data, **thaw(call.kwargs))
        values = returned if isinstance(returned, tuple) else (returned,)
        if len(values) != len(call.outputs):
            raise StepError(
                f"{call.function} returned {len(values)} values for {len(call.outputs)} declared outputs.",
                hint="A plate-scope function returns its named outputs, in order.",
            )
        _publish(plan, results, step.name, call.outputs, values, outputs, made)
    made.outputs[step.name] = outputs
    made.seconds[step.name] = time.perf_counter() - started
    return made


def _publish(
    plan: Plan,
    results: Results,
    step: str,
    declared: tuple[tuple[str, str], ...],
    values: tuple[Any, ...],
    outputs: dict[str, Any],
    made: Made,
) -> None:
    arrays, plain_values = {}, {}
    for (name, kind), value in zip(declared, values, strict=True):
        if kind == "table":
            path = results.part(plan.tables_folder, step, PLATE_UNIT, name)
            write_table(path, value)
            outputs["tables"][name] = {"path": made.add_file(results, path), "planes": []}
        elif kind == "value":
            plain_values[name] = plain(value)
        else:
            path = results.array(step, PLATE_UNIT, name, 0)
            write_array(path, to_numpy(value))
            arrays[name] = made.add_file(results, path)
    outputs["calls"].append({"group": {}, "arrays": arrays, "values": plain_values})
