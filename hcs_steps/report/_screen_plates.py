"""What the page of a screen says of each of its plates, from the plate's plan and tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.compile.plan import Plan, digest, plain_values
from hcs_steps.errors import HcsError
from hcs_steps.report._disk import Columns, Disk, as_text, rows_of
from hcs_steps.results import Results
from hcs_steps.run.records import read_json

DONE, FAILED, INCOMPLETE, NOT_RUN, UNREADABLE = "done", "failed", "incomplete", "not run", "unreadable"
_WORST_LAST = (DONE, INCOMPLETE, FAILED)
_STORAGE_ONLY = ("backend", "store", "kept", "checkpoint", "labels_in", "own_images")
"""Fields of a step that say where its images are kept, and nothing of the numbers."""


@dataclass(frozen=True)
class FailedWell:
    """One failed unit of a plate."""

    unit: str
    stage: str
    error: str


@dataclass(frozen=True)
class PlateSummary:
    """One plate of a screen.

    ``state`` is ``done`` (all wells are), ``failed`` (some are), ``incomplete``, ``not run`` or ``unreadable``;
    ``wells`` counts those of each status. ``settings`` hashes the parts of the plan that decide what the numbers mean.
    ``finished`` is UTC (ISO 8601, '' if unknown). ``flags`` counts the wells with each QC flag, ``edges`` names the
    features with an edge effect. ``warnings`` say what to know before the plate is compared with others.
    """

    name: str
    results: Results
    state: str
    tables: str = ""
    pipeline: str = ""
    wells: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    finished: str = ""
    flagged: int = 0
    flags: tuple[tuple[str, int], ...] = ()
    readouts: tuple[str, ...] = ()
    edges: tuple[str, ...] = ()
    failures: tuple[FailedWell, ...] = ()
    warnings: tuple[str, ...] = ()

    def path(self, name: str) -> Path:
        """A table of the plate."""
        return self.results.table(self.tables, name)

    @property
    def total(self) -> int:
        """Wells of the plan."""
        return sum(self.wells.values())


def summarize(results: Results, is_edge_effect: Any) -> PlateSummary:
    """What is on disk of a plate, whatever state it is in. ``is_edge_effect`` judges a row of the edge effects."""
    name = results.root.name
    if not results.plan.is_file():
        return PlateSummary(name, results, NOT_RUN, warnings=("It has not run: there is no plan of it.",))
    try:
        plan = Plan.load(results.plan)
    except HcsError as error:
        return PlateSummary(name, results, UNREADABLE, warnings=(str(error),))
    disk = Disk(plan, results)
    wells = disk.table("wells", "Metadata_Well", "unit", "status")
    run = read_json(results.run) or {}
    status = _status(plan, wells)
    counts = Counter(status.values())
    flags = Counter(flag for text in _flag_texts(wells).values() for flag in text.split(",") if flag)
    edges = disk.table("edge_effects", "feature", "p_edge", "edge_difference")
    failures = tuple(
        FailedWell(str(row["unit"]), as_text(row.get("failed_stage")), as_text(row.get("error")))
        for row in rows_of(wells)
        if row["status"] == FAILED
    )
    state = FAILED if counts[FAILED] else DONE if set(counts) <= {DONE} else INCOMPLETE
    return PlateSummary(
        name=plan.plate.id,
        results=results,
        state=state,
        tables=plan.tables_folder,
        pipeline=plan.pipeline,
        wells={key: counts[key] for key in _WORST_LAST},
        settings=_settings(plan),
        version=" ".join(
            filter(
                None,
                (
                    str(_mapping(run.get("versions")).get("hcs-steps", "")),
                    str(run.get("git_commit") or "")[:12],
                ),
            )
        ),
        finished=str(run.get("finished") or ""),
        flagged=sum(bool(text) for text in _flag_texts(wells).values()),
        flags=tuple(sorted(flags.items())),
        readouts=plan.analysis.readouts,
        edges=tuple(str(row["feature"]) for row in rows_of(edges) if is_edge_effect(row)),
        failures=failures,
        warnings=(*_warnings(plan, results, bool(wells), run, counts), *disk.damaged),
    )


def control_rows(plate: PlateSummary, features: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Feature -> row of the plate's control statistics, of these features."""
    columns = _statistics(plate)
    if not columns:
        return {}
    wanted = np.isin(columns["feature"].astype(str), list(features))
    return {str(row["feature"]): row for row in rows_of({name: c[wanted] for name, c in columns.items()})}


def control_values(plate: PlateSummary, column: str) -> dict[str, float]:
    """Feature -> a finite value of the plate's control statistics."""
    columns = _statistics(plate)
    if column not in columns:
        return {}
    values = columns[column].astype(np.float64)
    return {str(columns["feature"][row]): float(values[row]) for row in np.flatnonzero(np.isfinite(values))}


def _statistics(plate: PlateSummary) -> Columns:
    """The control statistics of a plate; damage has been reported with the plate."""
    from hcs_steps.storage.tables import read_table

    try:
        columns = read_table(plate.path("statistics")) if plate.path("statistics").is_file() else {}
    except HcsError:
        return {}
    return columns if "feature" in columns else {}


def _status(plan: Plan, wells: Columns) -> dict[str, str]:
    """Well -> status, the worst of its units; ``incomplete`` where the table says nothing."""
    known = dict(zip(wells["unit"].tolist(), wells["status"].tolist(), strict=True)) if wells else {}
    found: dict[str, str] = {}
    for unit, planned in plan.units.items():
        own = known.get(unit, INCOMPLETE)
        own = own if own in _WORST_LAST else INCOMPLETE
        found[planned.well] = max(found.get(planned.well, DONE), own, key=_WORST_LAST.index)
    return found


def _flag_texts(wells: Columns) -> dict[str, str]:
    """Well -> its QC flags; units of one well say the same."""
    if "QC_Flags" not in wells:
        return {}
    return dict(zip(wells["Metadata_Well"].tolist(), map(as_text, wells["QC_Flags"].tolist()), strict=True))


def _warnings(
    plan: Plan, results: Results, has_wells: bool, run: Mapping[str, Any], counts: Mapping[str, int]
) -> tuple[str, ...]:
    found = []
    if not has_wells:
        found.append("It has not run to its end: there is no table of its wells.")
    elif not run:
        found.append("It has not run to its end: there is no run.json.")
    elif run.get("plan") != plan.hash:
        found.append("Its plan is another one than when it last ran: run snakemake again.")
    if has_wells and counts[INCOMPLETE]:
        found.append(f"{counts[INCOMPLETE]} of its wells are incomplete.")
    if not results.report.is_file():
        found.append("It has no page of its own.")
    return tuple(found)


def _settings(plan: Plan) -> dict[str, str]:
    """What decides the meaning of a plate's numbers, part by part, each as a hash."""
    parts: dict[str, Any] = {}
    for step in plain_values(plan.steps):
        parts[f"step {step['name']}"] = {k: v for k, v in step.items() if k not in _STORAGE_ONLY}
    parts["order of steps"] = [step.name for step in plan.steps]
    parts["channels"] = dict(plan.plate.channels)
    parts["pixel size"] = plan.plate.pixel_size_um
    analysis = plain_values(plan.analysis)
    parts["analysis"] = {k: v for k, v in analysis.items() if k not in ("plate_map", "notes")}
    parts["pipeline's name"] = plan.pipeline
    return {name: digest(json.dumps(part, sort_keys=True, default=str)) for name, part in parts.items()}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
