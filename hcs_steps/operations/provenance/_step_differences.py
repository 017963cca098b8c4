"""What is different in one step of two plans, in sentences, and how values are written in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from hcs_steps.compile.plan import RAW, CallPlan, Plan, StepPlan, plain_values
from hcs_steps.frozen import thaw

SHOWN = 3
"""So many names are written out; of the others there is the number."""

_CALL = {"function", "kwargs", "source"}
_STEP = {"name", "branches", "labels_in"}
"""Fields that are told in other words than the rest."""
_WORDS = {
    "own_images": "images of its own",
    "backend": "where images are kept",
    "store": "store",
    "kept": "images kept",
    "checkpoint": "checkpoint",
}


def step_differences(old: Plan, new: Plan, name: str) -> Iterator[str]:
    """What is different in the step of two plans that is called ``name``, the images that it reads left out."""
    before, after = old.steps[index_of(old, name)], new.steps[index_of(new, name)]
    yield from _branches(before, after)
    for item in fields(StepPlan):
        values = getattr(before, item.name), getattr(after, item.name)
        if item.name not in _STEP and not same(*values):
            yield f"{_WORDS.get(item.name, item.name)} of step {name}: {shown(values[0])} -> {shown(values[1])}"
    homes = name_of(old, before.labels_in), name_of(new, after.labels_in)
    if homes[0] != homes[1]:
        yield f"the labels of step {after.name} lie with the images of {homes[1]}, not of {homes[0]}"
    elif before.labels_in != after.labels_in:
        yield f"step {after.name} has another place in the pipeline"


def _branches(before: StepPlan, after: StepPlan) -> Iterator[str]:
    for branch in dict.fromkeys((*before.branches, *after.branches)):
        where = f"step {after.name}" + (f" ({after.group_by} {branch})" if branch else "")
        was, now = before.branches.get(branch, ()), after.branches.get(branch, ())
        if not was:
            yield f"{where} is new: {_functions(now)}"
        elif not now:
            yield f"{where} is gone"
        elif [call.function for call in was] != [call.function for call in now]:
            yield f"the functions of {where}: {_functions(was)} -> {_functions(now)}"
        else:
            for one, other in zip(was, now, strict=True):
                yield from _call(one, other, where)


def _functions(chain: Sequence[CallPlan]) -> str:
    return " + ".join(call.function for call in chain)


def _call(before: CallPlan, after: CallPlan, where: str) -> Iterator[str]:
    for name in dict.fromkeys((*before.kwargs, *after.kwargs)):
        given = [call.kwargs for call in (before, after)]
        if any(name not in kwargs for kwargs in given) or not same(given[0][name], given[1][name]):
            was, now = (shown(kwargs[name]) if name in kwargs else "its default" for kwargs in given)
            yield f"parameter {name} of {after.function} in {where}: {was} -> {now}"
    if before.source != after.source:
        yield f"the source of {after.function}, or a file that it is given, changed ({where})"
    for item in fields(CallPlan):
        values = [getattr(call, item.name) for call in (before, after)]
        if item.name not in _CALL and not same(*values):
            yield f"{item.name} of {after.function} in {where}: {shown(values[0])} -> {shown(values[1])}"


def index_of(plan: Plan, name: str) -> int:
    """The number of the step called ``name``."""
    return next(index for index, step in enumerate(plan.steps) if step.name == name)


def name_of(plan: Plan, step: int | None) -> str:
    """A step by its number; those that are none stand for the plate."""
    return "the plate" if step in (RAW, None) else plan.steps[step or 0].name


def same(one: Any, other: Any) -> bool:
    """Whether a fingerprint sees no difference: 1 and 1.0 are two values."""
    texts = (json.dumps(plain_values(value), sort_keys=True) for value in (one, other))
    return next(texts) == next(texts)


def some(names: Iterable[str]) -> str:
    """The first names of many, and how many more there are."""
    listed = list(names)
    rest = len(listed) - SHOWN
    return ", ".join(listed[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def shown(value: Any) -> str:
    """A value of a setting as a user writes it, of bearable length."""
    value = thaw(value)
    if isinstance(value, list):
        text = ", ".join(map(shown, value)) or "none"
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif value is None or value == "":
        text = "none"
    else:
        text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
