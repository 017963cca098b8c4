"""How planes become stacks: the one definition that the compiler predicts with and the runner works by.

Planes are stacked along axis 0 in the order site, channel, z_index, timepoint, whatever the order in which
the variable components are listed; there is one stack per combination of the other components. Two variable
components share axis 0. ``group_by`` never changes a stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hcs_steps.storage.protocol import PlaneKey

COMPONENTS = PlaneKey._fields

Group = Mapping[str, int]
"""The components that all planes of a stack share, by name."""


def group_stacks(
    keys: Iterable[PlaneKey], variable_components: Sequence[str]
) -> list[tuple[dict[str, int], tuple[PlaneKey, ...]]]:
    """The stacks of ``keys``: (fixed components, planes in stacking order), ordered by their first plane.

    >>> planes = [PlaneKey(2, 1, 1, 1), PlaneKey(1, 1, 1, 1), PlaneKey(1, 2, 1, 1)]
    >>> [len(stack) for _, stack in group_stacks(planes, ["site"])]
    [2, 1]
    """
    fixed = [name for name in COMPONENTS if name not in variable_components]
    stacks: dict[tuple[int, ...], list[PlaneKey]] = {}
    for key in sorted(keys):
        stacks.setdefault(tuple(getattr(key, name) for name in fixed), []).append(key)
    return [(dict(zip(fixed, values, strict=True)), tuple(stack)) for values, stack in stacks.items()]


def branch_value(
    group: Group, group_by: str, well: str, channels: Mapping[int, str], listed: Iterable[str]
) -> str | None:
    """The branch of a mapping pattern that a stack belongs to, or None if none is listed for it.

    Channels match by name or by number; other components by their number, wells by name.
    """
    listed = set(listed)
    if group_by == "well":
        names = [well]
    elif group_by in group:
        number = group[group_by]
        names = [str(number)]
        if group_by == "channel":
            names.insert(0, channels.get(number, ""))
    else:
        names = []
    return next((name for name in names if name in listed), None)


def output_keys(stack: Sequence[PlaneKey], *, reduces: bool) -> tuple[PlaneKey, ...]:
    """Keys of the planes a call returns: those of its stack, or the first one's when the stack is reduced."""
    return (stack[0],) if reduces else tuple(stack)


def best_match(candidates: Sequence[Group], wanted: Group) -> int | None:
    """Which of the calls of an earlier step belongs to a call with the fixed components ``wanted``.

    The one that contradicts fewest components and agrees in most; the first of equals. None without
    candidates.
    """
    if not candidates:
        return None

    def rank(index: int) -> tuple[int, int, int]:
        shared = [name for name in candidates[index] if name in wanted]
        agree = sum(candidates[index][name] == wanted[name] for name in shared)
        return (len(shared) - agree, -agree, index)

    return min(range(len(candidates)), key=rank)
