"""What the stages of a plate asked for, and what their units used: from records, and from what the latest run kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from hcs_steps.compile.plan import Plan, StagePlan
from hcs_steps.learning.demand import ENOUGH, enough
from hcs_steps.learning.summary import Asked, read_summary
from hcs_steps.operations.watching._lines import Line, span, table_lines
from hcs_steps.operations.watching._stage_reader import Done
from hcs_steps.operations.watching.status import StatusReader

FAR = 10
"""A stage that asks for so many times what it uses is told of."""
NEAR = 0.95
"""So is one that uses such a part of what it asks for."""
START_MINUTES = 10
"""Of the time that is asked for, so much is left out of account: a job has to start and to be reported."""


@dataclass(frozen=True)
class Use:
    """What was ``asked`` for, and what was used: by the median and by the largest. ``share`` is that of the largest."""

    asked: float
    median: float
    largest: float

    @property
    def share(self) -> float | None:
        """The largest as a part of what was asked for; None if nothing was."""
        return self.largest / self.asked if self.asked else None

    @classmethod
    def of(cls, asked: float, used: Sequence[float]) -> Use | None:
        """None if nothing is known to be used."""
        return cls(asked, median(used), max(used)) if used else None


@dataclass(frozen=True)
class StageEfficiency:
    """One stage: its units with a record, memory in MB (of a unit), time in seconds (of a job, all units of which are
    done, without its start), memory of a device in MB (of units that ran on one), processors asked for.

    How busy processors were is in no record. ``remarks`` say what is far off.
    """

    stage: str
    units: int
    memory: Use | None
    time: Use | None
    gpu_memory: Use | None
    threads: int
    remarks: tuple[str, ...] = ()


def efficiency(reader: StatusReader) -> tuple[StageEfficiency, ...]:
    """Of every stage of the plan that is not left out, by the records of the reader's last `read`.

    What was asked for is what the latest run did; where no run has kept that, what the plan predicts.
    """
    asked = read_summary(reader.results).asked
    return tuple(
        _of_stage(reader.plan, stage, reader.records[stage.name], asked.get(stage.name))
        for stage in reader.plan.stages
        if not stage.skipped
    )


def _of_stage(
    plan: Plan, stage: StagePlan, records: Mapping[str, Done], asked: Asked | None
) -> StageEfficiency:
    asked = asked or Asked(stage.mem_mb, stage.runtime, stage.gpu_mem_mb, stage.threads)
    found = [records[unit] for unit in plan.units_of(stage) if unit in records]
    whole = [units for units in plan.jobs_of(stage).values() if all(unit in records for unit in units)]
    times = [sum(max(0.0, records[unit].end - records[unit].start) for unit in units) for units in whole]
    told = StageEfficiency(
        stage.name,
        len(found),
        Use.of(asked.mem_mb, [record.host_mb for record in found if record.host_mb]),
        Use.of(asked.runtime * 60, times),
        Use.of(asked.gpu_mem_mb, [record.gpu_mb for record in found if record.gpu_mb is not None]),
        asked.threads,
    )
    return replace(told, remarks=tuple(_remarks(told, stage.scope)))


def _remarks(told: StageEfficiency, scope: str) -> list[str]:
    """What is far off, a sentence each."""
    later = "the next run" if told.units >= enough(scope) else f"a run with {ENOUGH} units measured"
    uses = (
        ("memory", "mem_mb", told.memory, 0),
        ("time", "timeout", told.time, START_MINUTES * 60),
        ("memory of the GPU", "", told.gpu_memory, 0),
    )
    remarks = []
    for what, setting, use, free in uses:
        if use is None or not use.asked:
            continue
        if use.largest > NEAR * use.asked:
            more = f"; {setting} under orchestration: stages: gives it more" if setting else ""
            remarks.append(f"used {use.largest / use.asked:.0%} of the {what} asked for{more}.")
        elif use.asked - free > FAR * use.largest:
            remarks.append(
                f"asked for more than {FAR} times the {what} used; {later} asks for less, unless the "
                "configuration says how much."
            )
    return remarks


def efficiency_lines(stages: Sequence[StageEfficiency]) -> list[Line]:
    """The table, and what there is to say of it."""
    gpu = any(told.gpu_memory for told in stages)
    header = ["stage", "units", "memory MB", "median", "largest", "used", "time", "median", "longest", "used"]
    header += [*(["GPU MB", "median", "largest", "used"] if gpu else []), "threads"]
    rows = []
    for told in stages:
        cells = [told.stage, str(told.units), *_cells(told.memory, _mb), *_cells(told.time, span)]
        cells += [*(_cells(told.gpu_memory, _mb) if gpu else []), str(told.threads)]
        rows.append([(cell, "") for cell in cells])
    alike: dict[str, list[str]] = {}
    for told in stages:
        for remark in told.remarks:
            alike.setdefault(remark, []).append(told.stage)
    remarks: list[Line] = [[(f"{', '.join(names)}: {text}", "yellow")] for text, names in alike.items()]
    return [*table_lines(header, rows), *([[]] if remarks else []), *remarks]


def efficiency_document(stages: Sequence[StageEfficiency]) -> list[dict[str, Any]]:
    """The table for programs."""
    return [
        {
            "stage": told.stage,
            "units": told.units,
            "memory_mb": _plain(told.memory),
            "seconds": _plain(told.time),
            "gpu_memory_mb": _plain(told.gpu_memory),
            "threads": told.threads,
            "remarks": list(told.remarks),
        }
        for told in stages
    ]


def _plain(use: Use | None) -> dict[str, float | None] | None:
    if use is None:
        return None
    share = None if use.share is None else round(use.share, 4)
    return {
        "asked": use.asked,
        "median": round(use.median, 3),
        "largest": round(use.largest, 3),
        "share": share,
    }


def _cells(use: Use | None, text: Any) -> list[str]:
    if use is None:
        return ["-"] * 4
    return [*(text(value) for value in (use.asked, use.median, use.largest)), _percent(use.share)]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _mb(value: float) -> str:
    return f"{value:.0f}"
