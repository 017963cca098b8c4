"""From a stack to fields: which planes are the channels of one field, and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hcs_steps.arrays import namespace, to_numpy
from hcs_steps.functions.declare import Table

_FIELD = ("site", "z_index", "timepoint")


@dataclass(frozen=True)
class Field:
    """The planes of the stack (indices) which show one field, and a name for each plane's channel."""

    planes: tuple[int, ...]
    channels: tuple[str, ...]


def fields_of(planes: Table | None, count: int) -> list[Field]:
    """The fields of a stack of ``count`` planes, in the order of their first planes.

    Planes of the same site, z_index and timepoint are the channels of one field; without a plane table all are.
    A channel without a name is called "Channel" and its number, from 1; of two of the same name the second
    gets "_2".
    """
    if planes is None:
        return [Field(tuple(range(count)), _names([""] * count))]
    lengths = {len(np.asarray(column)) for column in planes.values()}
    if lengths - {count}:
        raise ValueError(f"The plane table has {max(lengths)} rows, but the stack has {count} planes.")
    keys = list(zip(*(np.asarray(planes[key]).tolist() for key in _FIELD if key in planes), strict=True))
    named = [str(name) for name in planes["channel_name"]] if "channel_name" in planes else [""] * count
    members: dict[tuple[Any, ...], list[int]] = {}
    for index in range(count):
        members.setdefault(keys[index] if keys else (), []).append(index)
    if "channel" in planes:  # so that names of pairs of channels do not depend on the order of the stack
        numbers = np.asarray(planes["channel"])
        members = {key: sorted(some, key=lambda index: numbers[index]) for key, some in members.items()}
    return [Field(tuple(some), _names([named[index] for index in some])) for some in members.values()]


def _names(given: Sequence[str]) -> tuple[str, ...]:
    names: list[str] = []
    for number, name in enumerate(given, start=1):
        base = name or f"Channel{number}"
        again = sum(other == base for other in given[: number - 1])
        names.append(f"{base}_{again + 1}" if again else base)
    return tuple(names)


def label_plane(labels: Any, field: Field, stack: Any, name: str) -> Any:
    """The labels of a field: those of its first plane, after checking that all its planes have the same.

    Raises ValueError if the labels do not fit the stack or differ between the channels of the field.
    """
    xp = namespace(stack)
    shape = tuple(labels.shape)
    if shape != tuple(stack.shape) and shape != (1, *stack.shape[1:]):
        raise ValueError(
            f"The labels {name!r} have the shape {shape}, but the stack has {tuple(stack.shape)}. Give a label plane "
            "for each plane of the stack, or one for all."
        )
    if np.dtype(labels.dtype).kind not in "ui":
        raise ValueError(f"The labels {name!r} must be whole numbers, but have dtype {labels.dtype}.")
    if shape[0] == 1:
        return _on_device(xp, labels[0], name)
    first = _on_device(xp, labels[field.planes[0]], name)
    for index, channel in zip(field.planes[1:], field.channels[1:], strict=True):
        if not bool((first == _moved(xp, labels[index])).all()):
            raise ValueError(
                f"The labels {name!r} differ between the channels {field.channels[0]!r} and {channel!r} of one field. "
                "Objects are measured in all channels of a field at once, so segment one channel and stack the "
                "channels, or give the plane table if the planes are of several fields."
            )
    return first


def _moved(xp: Any, plane: Any) -> Any:
    return to_numpy(plane) if xp is np else xp.asarray(plane)


def _on_device(xp: Any, plane: Any, name: str) -> Any:
    moved = xp.ascontiguousarray(_moved(xp, plane))
    if np.dtype(moved.dtype).kind == "i" and int(moved.min()) < 0:
        raise ValueError(
            f"The labels {name!r} hold negative numbers. Objects have labels from 1; 0 is background."
        )
    return moved
