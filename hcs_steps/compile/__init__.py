"""Pipeline x plate -> plan, in five phases, each a pure function from plan to plan.

1. `steps`: step plans and paths; 2. `stores`: store declaration; 3. `stages`: materialization planning;
4. `memory`: host and GPU bytes; 5. `devices`: who gets a GPU. Nothing is written and nothing is run; everything that
is wrong is reported at once.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from hcs_steps import __version__
from hcs_steps.compile.devices import assign_devices
from hcs_steps.compile.memory import predict_memory
from hcs_steps.compile.plan import PlateInfo, Plan, digest
from hcs_steps.compile.request import CompileOptions, Limits, Request
from hcs_steps.compile.source import source_hash
from hcs_steps.compile.stages import plan_stages
from hcs_steps.compile.steps import plan_steps
from hcs_steps.compile.stores import declare_stores
from hcs_steps.errors import CompileError, HcsError
from hcs_steps.pipeline.registry import resolve
from hcs_steps.pipeline.step import Pipeline
from hcs_steps.plate.inventory import Inventory

__all__ = ["CompileOptions", "Limits", "compile_plate", "plan_key"]

PHASES = (plan_steps, declare_stores, plan_stages, predict_memory, assign_devices)


def compile_plate(inventory: Inventory, pipeline: Pipeline, options: CompileOptions) -> Plan:
    """The plan of a pipeline on a plate.

    Raises `CompileError` with all problems: unknown functions, arguments, channels, wells; patterns that do not fit;
    not enough memory. The pipeline is not modified; the same input gives the same plan, byte for byte.
    """
    request = Request(inventory, pipeline, options)
    plan = Plan(
        key=plan_key(request),
        pipeline=pipeline.name,
        plate=PlateInfo(options.plate_id, inventory.plate_path, inventory.format, 0, 0, {}, None, None),
    )
    problems: list[HcsError] = []
    for phase in PHASES:
        plan, found = phase(plan, request)
        problems += found
    if problems:
        raise CompileError(problems, what=f"Pipeline {pipeline.name!r} cannot run on plate {options.plate_id!r}")
    return plan


def plan_key(request: Request) -> str:
    """Hash of everything a plan is made from: plate, pipeline, function sources, options, version."""
    options = asdict(request.options)
    sources = {}
    for step in request.pipeline.steps:
        for _, call in step.calls:
            try:
                sources[call.function] = source_hash(resolve(call.function, request.options.search_path))
            except HcsError as error:  # the phases report it
                sources[call.function] = str(error)
    return digest(
        __version__,
        request.inventory.digest,
        request.inventory.plate_path,
        json.dumps([step.settings() for step in request.pipeline.steps], sort_keys=True),
        request.pipeline.name,
        request.pipeline.config.model_dump_json(),
        json.dumps(options, sort_keys=True, default=str),
        json.dumps(sources, sort_keys=True),
    )
