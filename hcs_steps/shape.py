"""Whether what was read from somebody's files is what it should be: types of fields, and names that stay names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

LARGEST = 2**63
"""Whole numbers are below this, as tables hold them."""
LONGEST = 255
"""Characters of a name, as of a file."""

Check = Callable[[Any, str], None]


def check_types(value: Any, where: str) -> None:
    """Raise `ValueError`, which says where, if a dataclass, or one inside it, has a value of another type than its
    field. Lists are tuples, numbers are finite, and whole ones have 64 bits at most.
    """
    for name, check in _checks(type(value)).items():  # type: ignore[arg-type]
        check(getattr(value, name), f"{where}.{name}")


@cache
def _checks(kind: Any) -> dict[str, Check]:
    return {name: _check_of(hint) for name, hint in get_type_hints(kind).items()}


def _check_of(hint: Any) -> Check:
    """A function that raises `ValueError` for what is not of a type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value, where: None
    if origin is tuple and arguments[-1] is Ellipsis:
        if hasattr(arguments[0], "_fields"):
            return _rows_check(arguments[0])
        return _sequence_check(_check_of(arguments[0]))
    if origin is tuple:
        return _fixed_check([_check_of(argument) for argument in arguments])
    if origin in (UnionType, Union):
        (inner,) = (_check_of(argument) for argument in arguments if argument is not NoneType)
        return lambda value, where: None if value is None else inner(value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_check(_check_of(arguments[1]))
    return _scalar_check(hint)


def _scalar_check(kind: type) -> Check:
    def check(value: Any, where: str) -> None:
        if is_dataclass(kind):
            _need(type(value) is kind, f"{where} is not a {kind.__name__}")
            check_types(value, where)
        elif kind is float:
            right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            _need(right, f"{where} is not a number")
        elif kind is int:
            _need(type(value) is int and abs(value) < LARGEST, f"{where} is not a whole number")
        else:
            _need(type(value) is kind, f"{where} is not of type {kind.__name__}")

    return check


def _sequence_check(each: Check) -> Check:
    def check(value: Any, where: str) -> None:
        _need(isinstance(value, tuple), f"{where} is not a list")
        for item in value:
            each(item, where)

    return check


def _fixed_check(each: Sequence[Check]) -> Check:
    def check(value: Any, where: str) -> None:
        _need(isinstance(value, tuple) and len(value) == len(each), f"{where} has not {len(each)} parts")
        for item, one in zip(value, each, strict=True):
            one(item, where)

    return check


def _mapping_check(each: Check) -> Check:
    def check(value: Any, where: str) -> None:
        _need(isinstance(value, Mapping), f"{where} is not a mapping")
        for name, item in value.items():
            each(item, f"{where}.{name}")

    return check


def _rows_check(kind: Any) -> Check:
    """Of named tuples, of which there are tens of thousands, so without a call for each."""
    hints = list(get_type_hints(kind).values())
    allowed = [{int, float} if hint is float else {hint} for hint in hints]

    def check(value: Any, where: str) -> None:
        _need(isinstance(value, tuple), f"{where} is not a list")
        for column, types in zip(zip(*value, strict=True), allowed, strict=True) if value else ():
            _need(set(map(type, column)) <= types, f"{where} holds other values")

    return check


def _need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def is_name(text: str) -> bool:
    """Whether a text can be one part of a path, and only that."""
    return (
        text.isprintable()
        and 0 < len(text) <= LONGEST
        and not set("/\\") & set(text)
        and text not in (".", "..")
    )
