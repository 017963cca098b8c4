"""Failures that have the same cause, as one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.errors import PlateError
from hcs_steps.plate.wells import compact_wells

_VARYING = (
    (re.compile(r"(?:[A-Za-z]:)?[^\s'\"(),;:]*[/\\][^\s'\"(),;:]*"), "PATH"),
    (
        re.compile(
            r"[^\s'\"(),;:/]+\.(?:tiff?|zarr|npy|parquet|json|csv|xml|htd|flex|nd2|czi)\b", re.IGNORECASE
        ),
        "PATH",
    ),
    (re.compile(r"\b[A-Za-z]{1,2}[0-9]{1,2}(?!\.?[0-9])\b"), "WELL"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "N"),
    (re.compile(r"[-+]?\b[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"), "N"),
)
"""What differs between errors of one cause: paths, wells, numbers."""


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one stage that say the same but for paths, wells and numbers; ``first`` is the first of them and
    ``error`` its message. ``wells`` is their wells as a short text.
    """

    stage: str
    step: str
    kind: str
    error: str
    units: tuple[str, ...]
    wells: str
    first: Mapping[str, Any]

    @property
    def count(self) -> int:
        """Number of failures."""
        return len(self.units)


def group_failures(failures: Iterable[Mapping[str, Any]], plan: Plan | None = None) -> list[FailureGroup]:
    """Failures by stage, step, kind and what their errors have in common; the stages in their order, within one the
    greatest group first.
    """
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    order: dict[str, int] = {}
    for failure in failures:
        stage, step, kind = (str(failure.get(name, "")) for name in ("stage", "step", "kind"))
        order.setdefault(stage, len(order))
        alike.setdefault((stage, step, kind, common_part(str(failure.get("error", "")))), []).append(failure)
    groups = [
        FailureGroup(
            stage=stage,
            step=step,
            kind=kind,
            error=str(found[0].get("error", "")),
            units=tuple(str(failure.get("unit", "")) for failure in found),
            wells=wells_text((str(failure.get("unit", "")) for failure in found), plan),
            first=found[0],
        )
        for (stage, step, kind, _), found in alike.items()
    ]
    return sorted(groups, key=lambda group: (order[group.stage], -group.count))


def common_part(error: str) -> str:
    """An error without what differs between units: ``cannot read PATH: N bytes``."""
    for pattern, stands_for in _VARYING:
        error = pattern.sub(stands_for, error)
    return error


def wells_text(units: Iterable[str], plan: Plan | None = None) -> str:
    """The wells of units as a short text: ``A01-A12, B03``; ``plate`` for a plate stage."""
    wells: list[str] = []
    others: list[str] = []
    for unit in units:
        known = plan.units.get(unit) if plan is not None else None
        (others if unit == PLATE_UNIT else wells).append(known.well if known else unit)
    try:
        text = compact_wells(wells)
    except PlateError:  # units that are no wells
        text = ", ".join(dict.fromkeys(wells))
    return ", ".join(filter(None, [text, *dict.fromkeys(others)]))
