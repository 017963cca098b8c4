"""Plate-scope stages: one call over the results of all units that succeeded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hcs_steps.arrays import to_numpy
from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan, digest
from hcs_steps.compile.stages import CONSOLIDATE
from hcs_steps.errors import StepError
from hcs_steps.frozen import thaw
from hcs_steps.pipeline.registry import resolve
from hcs_steps.pipeline.step import plain
from hcs_steps.results import Results
from hcs_steps.run.made import Made
from hcs_steps.run.plate_data import PlateData, upstream_records
from hcs_steps.run.records import open_failures
from hcs_steps.storage.protocol import ImageStore
from hcs_steps.storage.tables import write_array, write_table


def plate_fingerprint(plan: Plan, stage: StagePlan, results: Results) -> str:
    """A plate stage depends on its steps, on which units are there, and on what they were made of.

    The plan's own last ones also report the failures.
    """
    records = upstream_records(plan, stage, results)
    found = {key: record["fingerprint"] for key, record in records.items()}
    return fingerprint_over(plan.fingerprint(stage, PLATE_UNIT), stage, found, open_failures(plan, results))


def fingerprint_over(
    own: str,
    stage: StagePlan,
    found: Mapping[tuple[str, str], str],
    failures: Iterable[Mapping[str, Any]],
) -> str:
    """The fingerprint of a plate stage from its ``own`` in the plan, those of the upstream records that were
    ``found``, by stage and unit, and the open failures.
    """
    told = [] if stage.steps else [f for f in failures if f["stage"] in stage.upstream]
    return digest(
        own,
        *(f"{name}:{unit}:{fingerprint}" for (name, unit), fingerprint in found.items()),
        *(f"{f['stage']}:{f['unit']}:{f.get('attempt')}" for f in told),
    )


def run_plate_stage(
    plan: Plan, stage: StagePlan, results: Results, stores: Callable[[int], ImageStore]
) -> Made:
    """Run a plate stage: one of the plan's own last ones, or the user's plate-scope step."""
    made = Made()
    started = time.perf_counter()
    if not stage.steps:
        # Only these stages pay for what they import.
        if stage.name == CONSOLIDATE:
            from hcs_steps.report.consolidate import consolidate

            consolidate(plan, stage, results, upstream_records(plan, stage, results), made)
        else:
            from hcs_steps.report.make import report

            report(plan, results, stores, made)
        made.seconds[stage.name] = time.perf_counter() - started
        return made
    step = plan.steps[stage.steps[0]]
    data = PlateData(plan, stage, results, stores)
    made.items = len(data.units)
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
    made.notes += [*(f"{unit} is missing" for unit in data.missing), *data.notes]
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
