"""From planes to units, and what each unit looks like at every step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hcs_steps.compile.plan import RAW, Layout, StepPlan, UnitPlan, digest
from hcs_steps.compile.request import CompileOptions
from hcs_steps.errors import ConfigError, HcsError, PlateError, nearest
from hcs_steps.pipeline.enums import MissingPolicy
from hcs_steps.pipeline.stacks import branch_value, group_stacks, output_keys
from hcs_steps.plate import expand_wells, parse_well, sort_wells
from hcs_steps.plate.inventory import Inventory, Plane
from hcs_steps.storage.protocol import PlaneKey


@dataclass(frozen=True)
class RawUnit:
    """A unit before layouts: its well, its planes, and what is missing."""

    well: str
    planes: tuple[Plane, ...]
    missing: tuple[PlaneKey, ...]


def key_of(plane: Plane) -> PlaneKey:
    """The components of a plane beside its well."""
    return PlaneKey(plane.site, plane.channel, plane.z_index, plane.timepoint)


def select_units(inventory: Inventory, options: CompileOptions) -> tuple[dict[str, RawUnit], list[HcsError]]:
    """The plate's units after the filters, in plate order, by id (``A01``, or ``A01_s1`` by site)."""
    problems: list[HcsError] = []
    wells: Sequence[str] = sort_wells([*inventory.wells, *(key.well for key in inventory.missing)])
    if options.wells is not None:
        try:
            wells = expand_wells(options.wells, wells)
        except ConfigError as error:
            problems.append(error)
    chosen, selection_problems = _selection(inventory, options.select)
    problems += selection_problems
    kept = set(wells)
    grouped: dict[str, list[Plane]] = {}
    for plane in inventory.planes:
        if plane.well in kept and all(getattr(plane, name) in values for name, values in chosen.items()):
            name = plane.well if options.parallel_by == "well" else f"{plane.well}_s{plane.site}"
            grouped.setdefault(name, []).append(plane)
    if not grouped and not problems:
        problems.append(
            PlateError(
                f"No plane of {inventory.plate_path} is left after the filters.", hint="Loosen 'select'."
            )
        )
    missing = _missing_by_unit(inventory, options, chosen, kept)
    units = {
        name: RawUnit(well, tuple(grouped.get(name, ())), tuple(missing.get(name, ())))
        for name, well in sorted(
            {
                **{name: planes[0].well for name, planes in grouped.items()},
                **{name: name.partition("_")[0] for name in missing},
            }.items(),
            key=lambda unit: (parse_well(unit[1]), _site_of(unit[0])),
        )
    }
    return units, problems


def _site_of(unit: str) -> int:
    """The site in a unit's id, 0 in a well's."""
    return int(unit.partition("_s")[2] or 0)


def _missing_by_unit(
    inventory: Inventory,
    options: CompileOptions,
    chosen: Mapping[str, set[int]],
    wells: set[str],
) -> dict[str, list[PlaneKey]]:
    """The inventory's missing planes that the selection covers, by unit, also of units that have no other."""
    lost: dict[str, list[PlaneKey]] = {}
    for well, *components in inventory.missing:
        key = PlaneKey(*components)
        name = well if options.parallel_by == "well" else f"{well}_s{key.site}"
        if well in wells and all(getattr(key, component) in values for component, values in chosen.items()):
            lost.setdefault(name, []).append(key)
    return lost


def _selection(
    inventory: Inventory, select: Mapping[str, Sequence[object]]
) -> tuple[dict[str, set[int]], list[HcsError]]:
    chosen: dict[str, set[int]] = {}
    problems: list[HcsError] = []
    for component, values in select.items():
        there = {str(number): number for number in inventory.values(component)}
        if component == "channel":
            there |= {name: number for number, name in inventory.channels.items()}
        unknown = [str(value) for value in values if str(value) not in there]
        problems += [
            ConfigError(
                f"select.{component}: the plate has no {component} {value!r}.", hint=nearest(value, there)
            )
            for value in unknown
        ]
        chosen[component] = {there[str(value)] for value in values if str(value) in there}
    return chosen, problems


def channel_names(
    steps: Sequence[StepPlan], sources: Sequence[int | None], index: int, channels: Mapping[int, str]
) -> Mapping[int, str]:
    """Names of the channels in the images of step ``index`` (`RAW`: of the plate).

    Where a step merges channels, the one that is left is called like the step.
    """
    if index == RAW:
        return channels
    step, source = steps[index], sources[index]
    before = channel_names(steps, sources, RAW if source is None else source, channels)
    merges = "channel" in step.variable_components and any(call.reduces for call in step.calls)
    return dict.fromkeys(before, step.name) if merges else before


class LayoutBook:
    """Layouts of a plate, each kept once."""

    def __init__(self, steps: Sequence[StepPlan], channels: Mapping[int, str]) -> None:
        self.steps = steps
        self.channels = channels
        self.layouts: list[Layout] = []
        self._index: dict[tuple[object, ...], int] = {}

    def unit(
        self, raw: RawUnit, applies: Sequence[bool], policy: MissingPolicy, fallback: tuple[int, int, str]
    ) -> UnitPlan:
        """The unit's plan; its layout is shared with every unit that looks alike."""
        keys = tuple(key_of(plane) for plane in raw.planes)
        blank: tuple[PlaneKey, ...] = ()
        refused = ""
        if not raw.planes:
            refused = f"none of its {len(raw.missing)} planes is on the plate"
        elif raw.missing and policy is MissingPolicy.FAIL_UNIT:
            listed = ", ".join(_plane_text(key) for key in raw.missing[:4])
            more = f" and {len(raw.missing) - 4} more" if len(raw.missing) > 4 else ""
            refused = f"planes are missing on the plate: {listed}{more}"
        elif raw.missing and policy is MissingPolicy.SKIP_SITE:
            broken = {key.site for key in raw.missing}
            keys = tuple(key for key in keys if key.site not in broken)
            refused = "" if keys else "planes are missing at every site"
        elif raw.missing:
            blank = raw.missing
            keys = tuple(sorted({*keys, *blank}))
        known = [(p.height, p.width, p.dtype) for p in raw.planes if p.dtype]
        size = max(known, key=lambda shape: shape[0] * shape[1]) if known else fallback
        # A well-wise pattern makes a layout depend on the well as well.
        by_well = any(step.group_by == "well" and "" not in step.branches for step in self.steps)
        identity = (keys, blank, size, tuple(applies), raw.well if by_well else "")
        if identity not in self._index:
            self._index[identity] = len(self.layouts)
            self.layouts.append(self._layout(keys, blank, size, applies, raw.well))
        return UnitPlan(
            well=raw.well,
            layout=self._index[identity],
            raw=digest(*map(_identity, raw.planes)),
            refused=refused,
        )

    def _layout(
        self,
        planes: tuple[PlaneKey, ...],
        blank: tuple[PlaneKey, ...],
        size: tuple[int, int, str],
        applies: Sequence[bool],
        well: str,
    ) -> Layout:
        sources: list[int | None] = []
        left: list[tuple[PlaneKey, ...]] = []
        current = RAW
        for index, step in enumerate(self.steps):
            if step.scope == "plate" or not applies[index]:
                sources.append(None)
                left.append(())
                continue
            source = RAW if step.input_source == "pipeline_start" else current
            keys = planes if source == RAW else left[source]
            sources.append(source)
            names = channel_names(self.steps, sources, source, self.channels)
            left.append(step_outputs(step, keys, well, names))
            if step.own_images:
                current = index
        return Layout(planes, blank, *size, sources=tuple(sources), keys=tuple(left))


def step_outputs(
    step: StepPlan, keys: Iterable[PlaneKey], well: str, channels: Mapping[int, str]
) -> tuple[PlaneKey, ...]:
    """Keys of the planes that a step leaves when it gets ``keys``."""
    outputs: list[PlaneKey] = []
    for group, stack in group_stacks(keys, step.variable_components):
        chain = chain_of(step, group, well, channels)
        if chain is None:
            outputs += stack if step.unlisted == "pass" else ()
        else:
            outputs += output_keys(stack, reduces=any(call.reduces for call in step.branches[chain]))
    return tuple(sorted(outputs))


def chain_of(step: StepPlan, group: Mapping[str, int], well: str, channels: Mapping[int, str]) -> str | None:
    """The branch that a stack takes in a step, or None."""
    if "" in step.branches:
        return ""
    return branch_value(group, step.group_by, well, channels, step.branches)


def _identity(plane: Plane) -> str:
    """What tells a changed plane: its file, and what functions are told of it.

    Not its time: that counts from the first plane of the plate, so one replaced file could change them all.
    """
    place = (plane.x_um, plane.y_um, plane.z_um, plane.pixel_size_um, plane.grid_row, plane.grid_column)
    return f"{plane.path}:{plane.page}:{plane.size}:{plane.mtime_ns}:{key_of(plane)}:{place}"


def _plane_text(key: PlaneKey) -> str:
    return f"site {key.site} channel {key.channel} z {key.z_index} t {key.timepoint}"
