"""Whether the content of a file has the shape of a record, so that nobody has to look twice at what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXTS = ("stage", "unit", "start", "end", "device", "machine", "git_commit", "plan", "mode")
_NUMBERS = ("items_processed", "items_failed", "peak_host_mb", "peak_gpu_mb")
_INTEGERS = {int}
_PLANE = 5
"""A row of ``planes`` of a table: the four components of a plane beside the well, and how many rows it has."""


def is_record(data: Mapping[str, Any]) -> bool:
    """Whether a mapping has what is read of records, each of its type; entries that nobody knows may be there, too."""
    return (
        isinstance(data.get("fingerprint"), str)
        and isinstance(data.get("success"), bool)
        and all(isinstance(data.get(name, ""), str) for name in _TEXTS)
        and all(_is_number(data.get(name, 0)) for name in _NUMBERS)
        and all(isinstance(data.get(name, {}), dict) for name in ("seconds", "versions", "gpu"))
        and all(_is_list_of(str, data.get(name, [])) for name in ("notes", "because"))
        and _is_list_of(dict, data.get("published"))
        and all(_is_published(item) for item in data["published"])
        and isinstance(data.get("outputs"), dict)
        and all(_is_output(output) for output in data["outputs"].values())
    )


def is_inside(path: Any) -> bool:
    """Whether a path in a record leads to something below the results folder. A record is data, not a permission."""
    if not isinstance(path, str) or path.startswith("/") or "\0" in path:
        return False
    parts = path.split("/")
    return ".." not in parts and any(part not in ("", ".") for part in parts)


def _is_published(item: Mapping[str, Any]) -> bool:
    return (
        is_inside(item.get("path"))
        and isinstance(item.get("size"), int)
        and isinstance(item.get("checksum"), str)
    )


def _is_output(output: Any) -> bool:
    """Whether this is what a record says of the named outputs of a step."""
    if not isinstance(output, dict):
        return False
    tables, calls = output.get("tables", {}), output.get("calls", [])
    return (
        isinstance(tables, dict)
        and all(_is_table(table) for table in tables.values())
        and _is_list_of(dict, calls)
        and all(_is_call(call) for call in calls)
        and _is_list_of(list, output.get("planes", []))
    )


def _is_table(table: Any) -> bool:
    return (
        isinstance(table, dict)
        and is_inside(table.get("path"))
        and isinstance(table.get("channels", {}), dict)
        and _is_list_of(list, table.get("planes"))
        and all(len(row) == _PLANE and set(map(type, row)) == _INTEGERS for row in table["planes"])
    )


def _is_call(call: Mapping[str, Any]) -> bool:
    return (
        all(isinstance(call.get(name), dict) for name in ("group", "arrays", "values"))
        and isinstance(call.get("scales", {}), dict)
        and all(map(is_inside, call["arrays"].values()))
    )


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
