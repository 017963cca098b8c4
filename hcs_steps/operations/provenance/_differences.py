"""What is different between two plans for one stage, in sentences.

The parts that are compared are those of a fingerprint (`hcs_steps.compile.stages`, `Plan.fingerprint`) and no others:
whatever makes a unit run again is named, and nothing that does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from hcs_steps.compile.plan import Layout, Plan, StagePlan, UnitPlan, plain_values
from hcs_steps.compile.stages import CONSOLIDATE, SETTINGS
from hcs_steps.operations.provenance._step_differences import (
    index_of,
    name_of,
    same,
    shown,
    some,
    step_differences,
)


def stage_differences(old: Plan, new: Plan, stage: StagePlan) -> list[str]:
    """What the steps of a stage of ``new``, those upstream, and the settings that they depend on have become.

    Steps are compared by name, wherever they are: a step that moved from one stage to another is the same step.
    """
    before = old.stage(stage.name)
    was, now = _homes(old, before), _homes(new, stage)
    found = [*_came(old, was, now, stage.name), *_went(new, was, now, stage.name)]
    for name in (name for name in now if name in was):
        sentences = step_differences(old, new, name)
        upstream = "" if now[name] == stage.name else f"the result of stage {now[name]} changed: "
        found += [f"{upstream}{sentence}" for sentence in sentences]
    order = [[name for name in homes if name in was and name in now] for homes in (was, now)]
    if order[0] != order[1]:
        found.append(f"the order of the steps: {', '.join(was)} -> {', '.join(now)}")
    found += [
        *_plate(old, new),
        *_settings(old, new, was, now),
        *(_tables(old, new) if _joins(stage) else ()),
    ]
    return found or list(_cuts(old, new, stage))


def unit_differences(old: Plan, new: Plan, stage: StagePlan, unit: str) -> list[str]:
    """What has become of one unit as a stage sees it: its planes in use, where they are read, why it cannot run.

    Not of its raw planes, which are only known by their hash: see `raw_differs`.
    """
    before, now = old.units[unit], new.units[unit]
    found = list(_refusals(before, now))
    layouts = old.layouts[before.layout], new.layouts[now.layout]
    return found + _shapes(old, new, stage, *layouts)


def plate_differences(old: Plan, new: Plan, stage: StagePlan) -> list[str]:
    """What has become of the units of a plate, as a plate stage sees them all, and of the microscope's correction."""
    found: list[str] = []
    if stage.steps and old.plate.correction != new.plate.correction:
        found.append("the illumination correction that came with the plate changed")
    gained = [unit for unit in new.units if unit not in old.units]
    lost = [unit for unit in old.units if unit not in new.units]
    found += [f"units were added: {some(gained)}"] if gained else []
    found += [f"units were left out: {some(lost)}"] if lost else []
    both = [unit for unit in new.units if unit in old.units]
    raw = [unit for unit in both if raw_differs(old, new, unit)]
    found += [f"the raw images of {some(raw)} changed"] if raw else []
    texts: dict[str, list[str]] = {}
    seen: dict[tuple[int, int, str, str], list[str]] = {}
    for unit in both:
        before, now = old.units[unit], new.units[unit]
        key = (before.layout, now.layout, before.refused, now.refused)
        if key not in seen:
            seen[key] = unit_differences(old, new, stage, unit)
        for text in seen[key]:
            texts.setdefault(text, []).append(unit)
    return found + [f"{some(units)}: {text}" for text, units in texts.items()]


def raw_differs(old: Plan, new: Plan, unit: str) -> bool:
    """Whether the raw planes of a unit are others: files, sizes, times, places."""
    return old.units[unit].raw != new.units[unit].raw


def _cuts(old: Plan, new: Plan, stage: StagePlan) -> Iterator[str]:
    """How else the same steps are cut into stages, or which stages read which."""
    was, now = (
        {name: plan.stage(name) for name in sorted(_above(plan, plan.stage(stage.name)))}
        for plan in (old, new)
    )
    for name in (name for name in now if name in was and now[name].upstream != was[name].upstream):
        reads = [shown(found[name].upstream) for found in (was, now)]
        yield f"stages whose results {'it' if name == stage.name else f'stage {name}'} reads: {reads[0]} -> {reads[1]}"
    if was.keys() != now.keys():
        yield f"the steps before it run in other stages: {shown(tuple(was))} -> {shown(tuple(now))}"


def _homes(plan: Plan, stage: StagePlan) -> dict[str, str]:
    """The steps of a stage and of everything upstream of it, in order: step -> the stage that it runs in."""
    above = _above(plan, stage)
    return {
        plan.steps[i].name: found.name for found in plan.stages if found.name in above for i in found.steps
    }


def _above(plan: Plan, stage: StagePlan) -> set[str]:
    """A stage and everything upstream of it, by name."""
    names, waiting = {stage.name}, list(stage.upstream)
    while waiting:
        name = waiting.pop()
        if name not in names:
            names.add(name)
            waiting += plan.stage(name).upstream
    return names


def _came(old: Plan, was: Mapping[str, str], now: Mapping[str, str], stage: str) -> Iterator[str]:
    """Steps that are new to the stage, or upstream of it."""
    known = {step.name for step in old.steps}
    for name in (name for name in now if name not in was):
        inside = now[name] == stage
        if name in known:
            yield f"step {name} runs in it now" if inside else f"it builds on step {name} now"
        else:
            yield f"step {name} was added to it" if inside else f"step {name} was added before it"


def _went(new: Plan, was: Mapping[str, str], now: Mapping[str, str], stage: str) -> Iterator[str]:
    """Steps that are no longer part of the stage, or upstream of it."""
    known = {step.name for step in new.steps}
    for name in (name for name in was if name not in now):
        inside = was[name] == stage
        if name in known:
            yield f"step {name} no longer runs in it" if inside else f"it no longer builds on step {name}"
        else:
            yield f"step {name} was removed from it" if inside else f"step {name} was removed before it"


def _plate(old: Plan, new: Plan) -> Iterator[str]:
    """What every stage knows of the plate."""
    channels = [
        ", ".join(f"{n} {name}" for n, name in plan.plate.channels.items()) or "none" for plan in (old, new)
    ]
    if old.plate.channels != new.plate.channels:
        yield f"channels: {channels[0]} -> {channels[1]}"
    sizes = old.plate.pixel_size_um, new.plate.pixel_size_um
    if not same(*sizes):
        was, now = ("unknown" if size is None else f"{size} um" for size in sizes)
        yield f"pixel size: {was} -> {now}"


def _settings(old: Plan, new: Plan, was: Iterable[str], now: Iterable[str]) -> Iterator[str]:
    """Settings that what the steps write depends on: images and outlines."""
    before, after = _storage(old, was), _storage(new, now)
    for name in (name for name in after if name in before and after[name] != before[name]):
        yield f"storage setting {name}: {before[name]} -> {after[name]}"
    rois = old.table_settings.rois, new.table_settings.rois
    if rois[0] != rois[1] and any(new.steps[index_of(new, name)].labels for name in now):
        yield f"files of outlines (rois): {shown(rois[0])} -> {shown(rois[1])}"


def _joins(stage: StagePlan) -> bool:
    """Whether the stage joins the tables, or reads the joined ones."""
    return CONSOLIDATE in (stage.name, *stage.upstream)


def _storage(plan: Plan, names: Iterable[str]) -> dict[str, Any]:
    """The storage settings that the images of steps depend on."""
    settings: dict[str, Any] = plain_values(plan.storage)
    steps = [plan.steps[index_of(plan, name)] for name in names]
    backends = {step.backend for step in steps if step.written}
    return {
        name: settings[name]
        for backend in sorted(backends)
        for name in sorted(SETTINGS.get(backend, frozenset(settings) - {"codec_pipeline"}))
    }


def _tables(old: Plan, new: Plan) -> Iterator[str]:
    for name in dict.fromkeys((*old.tables, *new.tables)):
        if name not in old.tables or name not in new.tables:
            yield f"table {name} is {'new' if name in new.tables else 'gone'}"
        elif old.tables[name] != new.tables[name]:
            yield f"table {name} is made of other outputs"
    for kind, was, now in (
        ("table setting", old.table_settings, new.table_settings),
        ("analysis setting", old.analysis, new.analysis),
    ):
        for item in fields(was):
            values = getattr(was, item.name), getattr(now, item.name)
            if values[0] == values[1]:
                continue
            if item.name == "plate_map":
                yield (
                    "the plate map changed"
                    if all(values)
                    else f"the plate map is {'new' if values[1] else 'gone'}"
                )
            elif item.name == "notes":
                yield "what was found out about the wells (role, compound, concentration) changed"
            else:
                yield f"{kind} {item.name}: {shown(values[0])} -> {shown(values[1])}"


def _refusals(before: UnitPlan, now: UnitPlan) -> Iterator[str]:
    if before.refused != now.refused:
        yield f"it cannot run: {now.refused}" if now.refused else f"it can run now (before, {before.refused})"


def _shapes(old: Plan, new: Plan, stage: StagePlan, was: Layout, now: Layout) -> list[str]:
    """What is different between two layouts as a stage sees them."""
    found: list[str] = []
    if was.planes != now.planes:
        found.append(f"planes in use changed ({_planes(was, now)})")
    if was.blank != now.blank:
        found.append(f"missing planes that are read as zeros: {len(was.blank)} -> {len(now.blank)}")
    ran = _homes(old, old.stage(stage.name))
    steps = [name for name in _homes(new, stage) if name in ran]
    places = [(index_of(old, name), index_of(new, name)) for name in steps]
    for name, (before, after) in zip(steps, places, strict=True):
        sources = was.sources[before], now.sources[after]
        if (sources[0] is None) != (sources[1] is None):
            found.append(f"step {name} is {'now' if sources[0] is None else 'no longer'} for this unit")
        elif name_of(old, sources[0]) != name_of(new, sources[1]):
            found.append(
                f"step {name} reads the images of {name_of(new, sources[1])}, not of {name_of(old, sources[0])}"
            )
        elif was.keys[before] != now.keys[after] and was.planes == now.planes:
            found.append(f"step {name} leaves other planes")
    moved = any(was.sources[before] != now.sources[after] for before, after in places)
    return [*found, _moved(old, new)] if moved and not found else found


def _moved(old: Plan, new: Plan) -> str:
    """Steps before which others came or went have other numbers."""
    was, now = [step.name for step in old.steps], [step.name for step in new.steps]
    came, went = [n for n in now if n not in was], [n for n in was if n not in now]
    why = [*([f"{some(came)} was added"] if came else ()), *([f"{some(went)} was removed"] if went else ())]
    return f"its steps have other places in the pipeline ({', '.join(why) or 'their order changed'})"


def _planes(was: Layout, now: Layout) -> str:
    """How the planes in use differ: by the site, channel, ... that came or went, else by their number."""
    lost, gained = set(was.planes) - set(now.planes), set(now.planes) - set(was.planes)
    texts = []
    for keys, others, what in ((lost, now.planes, "left out"), (gained, was.planes, "added")):
        for position, component in enumerate(("site", "channel", "z_index", "timepoint")):
            kept = {key[position] for key in others}
            values = sorted({key[position] for key in keys} - kept)
            if values and {key for key in keys if key[position] not in values} == set():
                texts.append(f"{component} {some(map(str, values))} {what}")
                break
        else:
            if keys:
                texts.append(f"{len(keys)} {what}")
    return ", ".join(texts)
