"""YAML of unknown origin as plain values: safely, in bounded time and memory, and never with half a meaning.

Aliases let a few lines stand for more values than a computer holds, and for values that hold themselves; a text may
hold what no path and no file can. Such documents are refused here, before anything is made of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import yaml

from hcs_steps.errors import ConfigError

MOST_VALUES = 500_000
"""Values that a document may hold, each counted as often as it is repeated; a thousand plates have a tenth."""
DEEPEST = 50
"""Levels of lists and mappings inside each other."""
LARGEST = 10**300
"""Whole numbers are below this; Python cannot even show much larger ones."""

Item = TypeVar("Item")


class _Loader(yaml.SafeLoader):
    """Safe, and a key that stands twice in a mapping is an error: one of the two would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands twice in one mapping", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            what = "this" if not isinstance(node, yaml.ScalarNode) else repr(node.value[:80])
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"{what} cannot be read as {kind}", node.start_mark
            ) from error


def plain_yaml(text: str, *, where: str) -> Any:
    """The plain values of a YAML text; `ConfigError`, which names ``where``, if it is no YAML or is not safe."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _bounded(node, _below, where)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{where} is not valid YAML: {' '.join(str(error).split())}.",
            hint="Look at that line and the one above it.",
        ) from None
    except RecursionError:
        raise _too_much(where) from None


def check_values(values: Any, *, where: str) -> None:
    """Raise `ConfigError` for values that nothing can be made of, whoever loaded them.

    These are more of them, or deeper, than any configuration has; numbers that are infinite or none, and whole ones of
    more than 300 digits; and texts that no path or file can hold (zero bytes, halves of characters).
    """

    def look(value: Any) -> Iterable[Any]:
        if isinstance(value, str) and not _is_text(value):
            raise ConfigError(
                f"{where} holds the text {value!r}, which no file or path can hold.",
                hint="Remove its zero bytes and broken characters.",
            )
        if isinstance(value, int) and not -LARGEST <= value < LARGEST:
            raise ConfigError(
                f"{where} holds a whole number of more than 300 digits.", hint="Write a smaller one."
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(
                f"{where} holds the number {value}.", hint="Give a finite one, or leave it out."
            )
        if isinstance(value, Mapping):
            return [*value.keys(), *value.values()]
        return value if isinstance(value, list | tuple | set | frozenset) else ()

    _bounded(values, look, where)


def _bounded(root: Item, below: Callable[[Item], Iterable[Item]], where: str) -> None:
    """Visit everything below ``root``, as often as it is there; `ConfigError` where that is too much or too deep."""
    waiting, count = [(root, 0)], 0
    while waiting:
        item, depth = waiting.pop()
        count += 1
        if count + len(waiting) > MOST_VALUES or depth > DEEPEST:
            raise _too_much(where)
        waiting += [(each, depth + 1) for each in below(item)]


def _below(node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else ()


def _is_text(value: str) -> bool:
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _too_much(where: str) -> ConfigError:
    return ConfigError(
        f"{where} holds more than {MOST_VALUES:,} values, with its aliases written out, or nests them deeper than "
        f"{DEEPEST} levels.",
        hint="Give a file with the settings alone; an alias (*name) may not lead back to itself.",
    )
