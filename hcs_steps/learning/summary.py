"""learned.json: what the units of a plate took, by stage and need, so that no run has to read every record for it.

The main process of a run writes it, also while the run goes on. It can be deleted at any time; then the next run asks
for what the plan predicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hcs_steps.learning.measured import Measured, Spread
from hcs_steps.results import Results
from hcs_steps.run.records import read_json
from hcs_steps.shape import check_types
from hcs_steps.storage.atomic import write_json

VERSION = 1


@dataclass(frozen=True)
class Asked:
    """What the jobs of a stage ask for at their first attempt, the most demanding of them: MB on the host and on the
    device, minutes, processors.
    """

    mem_mb: int
    runtime: int
    gpu_mem_mb: int
    threads: int


@dataclass(frozen=True)
class Took:
    """What one record says: the unit, its need, MB on the host and, if it ran there, on the device, and seconds."""

    unit: str
    need: str
    host_mb: float
    gpu_mb: float | None
    seconds: float


@dataclass(frozen=True)
class Summary:
    """What was learned from a plate.

    ``measured`` is by stage and need, ``seconds`` those of single units by stage, need and unit; ``asked`` is what
    the latest run asked for, by stage.
    """

    measured: Mapping[str, Mapping[str, Measured]] = field(default_factory=dict)
    seconds: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    asked: Mapping[str, Asked] = field(default_factory=dict)


def summarise(records: Mapping[str, Iterable[Took]], asked: Mapping[str, Asked]) -> Summary:
    """The summary of records by stage."""
    measured: dict[str, dict[str, Measured]] = {}
    seconds: dict[str, dict[str, dict[str, float]]] = {}
    for stage, found in records.items():
        by_need: dict[str, list[Took]] = {}
        for took in found:
            by_need.setdefault(took.need, []).append(took)
        if by_need:
            measured[stage] = {need: _measured(alike) for need, alike in by_need.items()}
            seconds[stage] = {
                need: {took.unit: round(took.seconds, 3) for took in alike} for need, alike in by_need.items()
            }
    return Summary(measured, seconds, dict(asked))


def _measured(alike: list[Took]) -> Measured:
    gpu = [took.gpu_mb for took in alike if took.gpu_mb is not None]
    return Measured(
        len(alike),
        Spread.of([took.host_mb for took in alike]),
        Spread.of(gpu),
        Spread.of([took.seconds for took in alike]),
        len(gpu),
    )


def write_summary(results: Results, summary: Summary) -> None:
    """Make it the plate's summary."""
    write_json(results.learned, {"version": VERSION, **asdict(summary)})


def read_summary(results: Results) -> Summary:
    """The plate's summary; an empty one where there is none that this version can read. It is worth no error."""
    found = read_json(results.learned) or {}
    try:
        if found.get("version") != VERSION:
            return Summary()
        summary = Summary(
            {stage: _each(_measured_in, needs) for stage, needs in found["measured"].items()},
            found["seconds"],
            _each(lambda values: Asked(**values), found["asked"]),
        )
        check_types(summary, "learned")
        return summary
    except (KeyError, TypeError, AttributeError, ValueError):
        return Summary()


def _each(make: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: make(value) for name, value in values.items()}


def _measured_in(values: Mapping[str, Any]) -> Measured:
    spreads = {name: Spread(**values[name]) for name in ("host_mb", "gpu_mb", "seconds")}
    if values["count"] < 1:
        raise ValueError("a need that no unit has")
    return Measured(**{**values, **spreads})
