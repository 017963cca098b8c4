"""Pipeline x plate -> plan, in five phases, each a pure function from plan to plan.

1. `steps`: step plans and paths; 2. `stores`: store declaration; 3. `stages`: materialization planning;
4. `memory`: host and GPU bytes; 5. `devices`: who gets a GPU. After the third, `choice` leaves out the stages that are
not wanted; at the end, `grants` gives every stage its threads, memory and time.

Nothing is written and nothing is run; everything that is wrong is reported at once.
"""

from __future__ import annotations

from hcs_steps.compile.choice import choose_stages
from hcs_steps.compile.devices import assign_devices
from hcs_steps.compile.grants import grant_resources
from hcs_steps.compile.key import plan_key
from hcs_steps.compile.memory import predict_memory
from hcs_steps.compile.plan import Plan, PlateInfo
from hcs_steps.compile.request import CompileOptions, Request
from hcs_steps.compile.stages import plan_stages
from hcs_steps.compile.steps import plan_steps
from hcs_steps.compile.stores import declare_stores
from hcs_steps.errors import CompileError, HcsError
from hcs_steps.pipeline.step import Pipeline
from hcs_steps.plate.inventory import Inventory

PHASES = (
    plan_steps,
    declare_stores,
    plan_stages,
    choose_stages,
    predict_memory,
    assign_devices,
    grant_resources,
)


def compile_plate(inventory: Inventory, pipeline: Pipeline, options: CompileOptions) -> Plan:
    """The plan of a pipeline on a plate.

    Raises `CompileError` with all problems: unknown functions, arguments, channels, wells; patterns that do
    not fit; not enough memory. The pipeline is not modified; the same input gives the same plan, byte for
    byte.
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
        raise CompileError(
            problems, what=f"Pipeline {pipeline.name!r} cannot run on plate {options.plate_id!r}"
        )
    return plan
