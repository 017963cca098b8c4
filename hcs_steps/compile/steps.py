"""Phase 1: step plans and paths. What every step calls, which planes it gets, and where its images go."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hcs_steps.compile.calls import plan_call, stacked_components
from hcs_steps.compile.homes import lodge_labels, place_images, store_settings
from hcs_steps.compile.plan import (
    CallPlan,
    Plan,
    PlateInfo,
    StepPlan,
    TablePlan,
    TableSettings,
    digest,
)
from hcs_steps.compile.request import Request
from hcs_steps.compile.units import LayoutBook, RawUnit, select_units
from hcs_steps.errors import ConfigError, HcsError, PipelineError, nearest
from hcs_steps.pipeline.enums import (
    Aggregate,
    GroupBy,
    Scope,
    Unlisted,
)
from hcs_steps.pipeline.step import FunctionStep
from hcs_steps.plate import expand_wells
from hcs_steps.plate.flatfield import correction_state
from hcs_steps.plate.inventory import Inventory

if TYPE_CHECKING:
    from hcs_steps.pipeline.config import TablesConfig

RESERVED = frozenset({"consolidate", "report", "finish", "all"})
"""Names of the rules that every workflow has."""

LONGEST_NAME = 100
"""Characters of a step's name: file systems take 255, with what is put before and behind it."""

RESERVED_TABLES = frozenset(
    {"wells", "images", "failures", "inventory", "plate_map", "plate_map_problems"}
    | {"statistics", "edge_effects", "plate_medians", "dose_response"}
    | {f"profiles_{name.value}{end}" for name in Aggregate for end in ("", "_normalized")}
)
"""Tables that every plate has, all in one folder if the tables' folder is that of the results."""


def plan_steps(plan: Plan, request: Request) -> tuple[Plan, list[HcsError]]:
    """Add steps, units, layouts, jobs and tables to an empty plan."""
    raw_units, problems = select_units(request.inventory, request.options)
    channels = _channels_in_use(request.inventory, raw_units)
    steps: list[StepPlan] = []
    available: set[str] = set()
    merged: dict[int, str] = {}
    problems += _check_names(request.pipeline.steps)
    for step in request.pipeline.steps:
        planned, found = _plan_step(step, request, available, raw_units, {**channels, **merged})
        problems += found
        if planned is not None:
            steps.append(planned)
            available |= {name for call in planned.calls for name, _ in call.outputs}
            if "channel" in planned.variable_components and any(call.reduces for call in planned.calls):
                merged = {min(channels, default=1): planned.name}
    applies, filter_problems = _applies(request, raw_units)
    problems += filter_problems
    tables, table_problems = _tables(steps)
    problems += table_problems
    if problems:
        return plan, problems
    steps = place_images(lodge_labels(steps, applies, request), request)
    book = LayoutBook(steps, request.inventory.channels)
    fallback = _common_shape(request.inventory)
    units = {
        name: book.unit(unit, applies[unit.well], request.options.missing, fallback)
        for name, unit in raw_units.items()
    }
    config = request.pipeline.config
    notes = [
        *_left_out(steps, channels),
        *_restacked(request.pipeline.steps, steps),
        *_reported(request.inventory),
        *request.options.analysis.notes,
        *(f"{name} cannot run: {u.refused}." for name, u in units.items() if u.refused),
    ]
    return (
        replace(
            plan,
            plate=_plate_info(request, channels),
            steps=tuple(steps),
            layouts=tuple(book.layouts),
            units=units,
            jobs=_chunks(tuple(units), request.options.units_per_job),
            tables=tables,
            table_settings=_table_settings(config.tables),
            analysis=request.options.analysis,
            storage=store_settings(config),
            store_types=dict(request.options.store_types),
            search_path=request.options.search_path,
            tables_folder=config.path_planning.materialization_results_path,
            smart_caching=config.path_planning.enable_smart_caching and request.options.resume,
            stage_by_stage=request.options.stage_by_stage,
            mode=request.options.choice.mode,
            notes=tuple(notes),
        ),
        [],
    )


def _check_names(steps: Sequence[FunctionStep]) -> list[HcsError]:
    problems: list[HcsError] = []
    seen: dict[str, str] = {}
    for step in steps:
        slug = slugify(step.name)
        if slug in seen:
            problems.append(
                PipelineError(
                    f"Two steps are called {step.name!r} and {seen[slug]!r}; their results would get the "
                    "same name.",
                    hint="Give each step a name of its own.",
                )
            )
        if len(slug) > LONGEST_NAME:
            problems.append(
                PipelineError(
                    f"A step's name has {len(slug)} characters: {step.name[:40]!r} ...",
                    hint=f"Files are called by it: give it one of at most {LONGEST_NAME}.",
                )
            )
        if slug in RESERVED:
            problems.append(
                PipelineError(f"A step cannot be called {step.name!r}.", hint="Choose another name.")
            )
        seen[slug] = step.name
    return problems


def slugify(name: str) -> str:
    """A step's name as it appears in file names and rule names: letters, digits, ``_``."""
    slug = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "step"
    return slug if slug[0].isalpha() else f"step_{slug}"


def _plan_step(
    step: FunctionStep,
    request: Request,
    available: set[str],
    units: Mapping[str, RawUnit],
    channels: Mapping[int, str],
) -> tuple[StepPlan | None, list[HcsError]]:
    problems = _check_plate_scope(step) if step.scope is Scope.PLATE else []
    branches: dict[str, tuple[CallPlan, ...]] = {}
    for branch, chain in step.pattern.items():
        calls = []
        inside = set(available)
        for call in chain:
            planned, found = plan_call(step, call, inside, request.options.search_path)
            problems += found
            if planned is not None:
                calls.append(planned)
                inside |= {name for name, _ in planned.outputs}
        branches[branch or ""] = tuple(calls)
    problems += _check_outputs(step, branches)
    if problems:  # among them functions that are not there, of which nothing is known
        return None, [*_check_pattern(step, step.variable_components or (), units, channels), *problems]
    components, problems = stacked_components(step, request.options.search_path, request.options.parallel_by)
    problems += _check_pattern(step, components, units, channels)
    if problems:
        return None, problems
    every = [call for chain in branches.values() for call in chain]
    labels = any(kind == "labels" for call in every for _, kind in call.outputs)
    subset = "" not in branches and step.unlisted == "drop"
    changes = any(call.changes_image for call in every)
    own_images = step.scope is Scope.UNIT and (changes or labels or subset or step.force_disk_output)
    return (
        StepPlan(
            name=slugify(step.name),
            scope=step.scope.value,
            branches=branches,
            variable_components=components,
            group_by=step.group_by.value,
            input_source=step.input_source.value,
            unlisted=step.unlisted.value,
            own_images=own_images,
            kept=step.force_disk_output or (step.gate and own_images),
        ),
        [],
    )


def _check_plate_scope(step: FunctionStep) -> list[HcsError]:
    """What a step says that has no meaning for one call over the whole plate."""
    where = f"Step {step.name!r} has scope 'plate': its function is called once, with the whole plate"
    problems: list[HcsError] = []
    if None not in step.pattern:
        problems.append(
            PipelineError(
                f"{where}, and cannot be chosen by {step.group_by.value} ({', '.join(map(str, step.pattern))}).",
                hint="Name one function; which channels it works on is one of its arguments, for instance "
                "{use: estimate_flatfield, with: {channels: [DAPI]}}.",
            )
        )
    if step.well_filter is not None:
        problems.append(
            PipelineError(
                f"{where}, and cannot have a well_filter.",
                hint="Take it out. 'select' chooses the wells that the whole pipeline runs on.",
            )
        )
    return problems


def _check_outputs(step: FunctionStep, branches: Mapping[str, Sequence[CallPlan]]) -> list[HcsError]:
    """Outputs of one step that would take each other's place.

    A chain returns every name once. Branches may return the same one, which is then one output of the step.
    """
    where, hint = (
        f"Step {step.name!r}",
        "Rename one of them with 'as'; upper and lower case are the same here.",
    )
    problems: list[HcsError] = []
    known: dict[str, tuple[str, str]] = {}
    for chain in branches.values():
        returned: dict[str, tuple[str, str]] = {}
        for call in chain:
            for name, kind in call.outputs:
                other, maker = returned.setdefault(name.casefold(), (name, ""))
                if maker:
                    problems.append(
                        PipelineError(
                            f"{where} gets two outputs of one stack called {other!r} (from {maker}) and {name!r} (from "
                            f"{call.function}), and would keep only one.",
                            hint=hint,
                        )
                    )
                returned[name.casefold()] = (name, call.function)
                other, other_kind = known.setdefault(name.casefold(), (name, kind))
                if not maker and (other, other_kind) != (name, kind):
                    problems.append(
                        PipelineError(
                            f"{where}: one branch returns {other!r}, of the kind {other_kind}, and another "
                            f"{name!r}, of the kind {kind}.",
                            hint=hint,
                        )
                    )
    return problems


def _check_pattern(
    step: FunctionStep,
    components: Sequence[str],
    units: Mapping[str, RawUnit],
    channels: Mapping[int, str],
) -> list[HcsError]:
    """What is wrong with a mapping pattern: overlap with the stacked components, keys the plate does not
    have.
    """
    if None in step.pattern:
        return []
    where = f"Step {step.name!r}"
    if step.group_by is GroupBy.NONE:
        return [
            PipelineError(
                f"{where} maps component values to functions, but group_by is none.",
                hint="Set group_by, e.g. channel.",
            )
        ]
    if step.group_by.value in components:
        return [
            PipelineError(
                f"{where} stacks {step.group_by.value} (variable_components) and chooses functions by it "
                "(group_by); "
                "a stack then belongs to no single branch.",
                hint="Take it out of variable_components, or use one function for all.",
            )
        ]
    planes = [plane for unit in units.values() for plane in unit.planes]
    if step.group_by is GroupBy.CHANNEL:
        allowed = {str(number) for number in channels} | set(channels.values())
        shown = [f"{name} ({number})" for number, name in channels.items()]
    elif step.group_by is GroupBy.WELL:
        allowed = {plane.well for plane in planes}
        shown = sorted(allowed)
    else:
        allowed = {str(value) for value in {getattr(plane, step.group_by.value) for plane in planes}}
        shown = sorted(allowed)
    return [
        PipelineError(
            f"{where} names the {step.group_by.value} {key!r}, which the plate does not have.",
            hint=f"{nearest(str(key), allowed)} On this plate: {', '.join(shown)}.",
        )
        for key in step.pattern
        if key not in allowed
    ]


def _reported(inventory: Inventory) -> list[str]:
    """What the plate's reader found amiss, in one line: the details are in the inventory."""
    counts = Counter(problem.kind for problem in inventory.problems if problem.kind != "excluded")
    if not counts:
        return []
    found = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    return [f"The plate has problems: {found}; hcs inspect lists them."]


def _left_out(steps: Sequence[StepPlan], channels: Mapping[int, str]) -> list[str]:
    """Channels that mapping patterns drop."""
    notes = []
    for step in steps:
        if "" not in step.branches and step.group_by == GroupBy.CHANNEL and step.unlisted == Unlisted.DROP:
            dropped = [
                n for i, n in channels.items() if n not in step.branches and str(i) not in step.branches
            ]
            if dropped:
                notes.append(
                    f"Step {step.name} leaves out {', '.join(dropped)} (unlisted: pass would keep them)."
                )
    return notes


def _restacked(written: Sequence[FunctionStep], planned: Sequence[StepPlan]) -> list[str]:
    """Steps that get other stacks than they say, because their function has no meaning on those."""
    return [
        f"Step {plan.name} stacks {', '.join(plan.variable_components)} and not {', '.join(step.variable_components)}: "
        f"{plan.calls[-1].function} puts {plan.variable_components[0]}s together."
        for step, plan in zip(written, planned, strict=True)
        if step.variable_components is not None and plan.variable_components != step.variable_components
    ]


def _applies(request: Request, units: Mapping[str, RawUnit]) -> tuple[dict[str, list[bool]], list[HcsError]]:
    """For every well, which steps are for it."""
    wells = tuple(dict.fromkeys(unit.well for unit in units.values()))
    applies: dict[str, list[bool]] = {well: [] for well in wells}
    problems: list[HcsError] = []
    for step in request.pipeline.steps:
        chosen = set(wells)
        if step.well_filter is not None:
            try:
                chosen = set(expand_wells(step.well_filter, request.inventory.wells))
            except ConfigError as error:
                problems.append(ConfigError(f"Step {step.name!r}: {error.message}", hint=error.hint))
        for well in wells:
            applies[well].append(well in chosen)
    return applies, problems


def _chunks(units: Sequence[str], size: int) -> dict[str, tuple[str, ...]]:
    chunks = [tuple(units[start : start + size]) for start in range(0, len(units), size)]
    return {c[0] if len(c) == 1 else f"{c[0]}-{c[-1]}": c for c in chunks}


def _tables(steps: Sequence[StepPlan]) -> tuple[dict[str, TablePlan], list[HcsError]]:
    """The plate's tables by name; two steps with the same output get a table each."""
    found = dict.fromkeys(
        (s.name, name) for s in steps for c in s.calls for name, kind in c.outputs if kind == "table"
    )
    counts = [name for _, name in found]
    rows = {(s.name, name): what for s in steps for c in s.calls for name, what in c.rows.items()}
    tables: dict[str, TablePlan] = {}
    taken = dict.fromkeys(RESERVED_TABLES, "which every plate has")
    problems: list[HcsError] = []
    for step, name in sorted(found):
        table = name if counts.count(name) == 1 else f"{step}_{name}"
        if table.casefold() in taken:
            problems.append(
                PipelineError(
                    f"The table {name!r} of step {step!r} would be written as {table!r}, {taken[table.casefold()]}.",
                    hint="Rename it with 'as'; upper and lower case are the same here.",
                )
            )
        taken[table.casefold()] = f"as the table {name!r} of step {step!r}"
        tables[table] = TablePlan(rows[step, name], ((step, name),))
    return tables, problems


def _table_settings(tables: TablesConfig) -> TableSettings:
    return TableSettings(
        csv=tables.csv,
        aggregate=tuple(item.value for item in tables.aggregate),
        rois=tuple(item.value for item in tables.rois),
        well_summary=tables.well_summary,
    )


def _channels_in_use(inventory: Inventory, units: Mapping[str, RawUnit]) -> dict[int, str]:
    numbers = sorted({plane.channel for unit in units.values() for plane in unit.planes})
    return {number: inventory.channels.get(number, str(number)) for number in numbers}


def _common_shape(inventory: Inventory) -> tuple[int, int, str]:
    known = [(p.height, p.width, p.dtype) for p in inventory.planes if p.dtype]
    return max(known, key=lambda shape: shape[0] * shape[1], default=(2160, 2160, "uint16"))


def _plate_info(request: Request, channels: Mapping[int, str]) -> PlateInfo:
    inventory = request.inventory
    size = inventory.pixel_size_um
    return PlateInfo(
        id=request.options.plate_id,
        path=inventory.plate_path,
        format=inventory.format,
        rows=inventory.rows,
        columns=inventory.columns,
        channels={str(number): name for number, name in channels.items()},
        grid_dimensions=inventory.grid_dimensions,
        pixel_size_um=size if size == size else None,  # NaN is not JSON
        correction=digest(correction_state(Path(inventory.plate_path), inventory.metadata)),
    )
