"""What the report of a plate says, collected from the tables and records on disk.

Nothing is computed here that a table already holds: the numbers of the page are the numbers of the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, AnalysisPlan, Plan, PlateInfo
from hcs_steps.plate.map_roles import value_text
from hcs_steps.plate.wells import parse_well
from hcs_steps.report import _run_facts as facts
from hcs_steps.report import _wells
from hcs_steps.report._disk import Columns, Disk, as_number, as_text, is_number, rows_of
from hcs_steps.report._run_facts import FailureFacts, RunFacts, StageCost
from hcs_steps.report._wells import Feature, FlagFacts, WellState
from hcs_steps.report.numbers import named_readouts, readouts_of
from hcs_steps.results import Results

NEGATIVE, POSITIVE = "negative", "positive"
Rows = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Dose:
    """One well of a dose series: its concentration, in the unit of the fitted curve, and its values of the
    fitted features.
    """

    well: str
    concentration: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class ReportData:
    """All that the page of one plate shows.

    ``statistics``, ``edges``, ``medians`` and ``curves`` are rows of the tables of the same content,
    ``doses`` the wells of each compound, the negative
    controls as dose 0. ``readouts`` are those of the settings, or, with ``chosen`` False,
    those with the best controls. ``damaged`` names files that could not be read.
    """

    plate: PlateInfo
    pipeline: str
    plan_hash: str
    folder: str
    tables: str
    rows: int
    columns: int
    run: RunFacts
    wells: tuple[WellState, ...]
    map_columns: tuple[str, ...]
    failures: tuple[FailureFacts, ...]
    retry: str
    notes: tuple[str, ...]
    damaged: tuple[str, ...]
    map_problems: tuple[Mapping[str, str], ...]
    features: tuple[Feature, ...]
    statistics: Rows
    readouts: tuple[str, ...]
    chosen: bool
    edges: Rows
    medians: Rows
    curves: Rows
    doses: Mapping[str, tuple[Dose, ...]]
    flags: tuple[FlagFacts, ...]
    flag_counts: tuple[tuple[str, int, int], ...]
    costs: tuple[StageCost, ...]

    def status(self, name: str) -> tuple[str, ...]:
        """The wells with a status, row by row."""
        return tuple(well.name for well in self.wells if well.status == name)

    def feature(self, name: str) -> Feature | None:
        """The first feature with this name."""
        return next((feature for feature in self.features if feature.name == name), None)


def collect(plan: Plan, results: Results) -> ReportData:
    """Read what is on disk of a plate: missing files leave their part empty, damaged ones are named."""
    analysis = plan.analysis
    disk = Disk(plan, results)
    records = disk.records()
    failures = facts.failure_facts(plan, results)
    summary = disk.table("wells", "Metadata_Well", "unit", "status")
    aggregate, profiles, normalized = disk.profiles()
    images = disk.table("images", "Metadata_Well")
    statistics = disk.table("statistics", "feature", "z_prime")
    names = _wells.plate_wells(plan)
    found = _wells.features(names, aggregate, summary, profiles, normalized, images, records, plan)
    roles = _roles(analysis, (summary, profiles))
    curves = tuple(rows_of(disk.table("dose_response", "compound", "feature", "status")))
    places = [parse_well(name) for name in names]
    return ReportData(
        plate=plan.plate,
        pipeline=plan.pipeline,
        plan_hash=plan.hash,
        folder=results.root.as_posix(),
        tables=plan.tables_folder,
        rows=max([plan.plate.rows, *(row + 1 for row, _ in places)]),
        columns=max([plan.plate.columns, *(column + 1 for _, column in places)]),
        run=facts.run_facts(plan, records),
        wells=_wells.well_states(plan, summary, profiles, records, failures, roles),
        map_columns=tuple(n.removeprefix("Metadata_") for n in _wells.map_columns((summary, profiles))),
        failures=failures,
        retry=facts.retry_command(results),
        notes=(*plan.notes, *_stage_notes(plan, records)),
        map_problems=disk.listing("plate_map_problems"),
        features=found,
        statistics=tuple(rows_of(statistics)),
        readouts=tuple(readouts_of(analysis, statistics, profiles)),
        chosen=bool(named_readouts(analysis, profiles)),
        edges=tuple(rows_of(disk.table("edge_effects", "feature"))),
        medians=tuple(rows_of(disk.table("plate_medians", "feature", "kind", "name", "median"))),
        curves=curves,
        doses=_doses(analysis, (profiles, summary), curves, roles),
        flags=_wells.flagged_fields(images),
        flag_counts=_flag_counts(images),
        costs=facts.stage_costs(plan, records, failures),
        damaged=tuple(disk.damaged),
    )


def _stage_notes(plan: Plan, records: Mapping[tuple[str, str], Mapping[str, Any]]) -> tuple[str, ...]:
    """What the plate's own stages have to say: what was left out, how numbers were made."""
    found = (records.get((stage.name, PLATE_UNIT), {}).get("notes") for stage in plan.stages)
    return tuple(str(note) for notes in found if isinstance(notes, list) for note in notes)


def _roles(analysis: AnalysisPlan, tables: Iterable[Columns]) -> dict[str, str]:
    """Well -> its role, where it has one."""
    words = dict.fromkeys(analysis.negative, NEGATIVE) | dict.fromkeys(analysis.positive, POSITIVE)
    there = _wells.map_values(tables, analysis.role) if analysis.role else {}
    return {well: words[value_text(value)] for well, value in there.items() if value_text(value) in words}


def _doses(
    analysis: AnalysisPlan, tables: tuple[Columns, ...], curves: Rows, roles: Mapping[str, str]
) -> dict[str, tuple[Dose, ...]]:
    """Compound -> its wells and the negative controls, as the curves were fitted to them."""
    if not (analysis.compound and analysis.concentration and curves):
        return {}
    compounds = _wells.map_values(tables, analysis.compound)
    amounts = _wells.map_values(tables, analysis.concentration)
    units = _wells.map_values(tables, analysis.unit) if analysis.unit else {}
    values = {
        name: _wells.by_well(table, name)
        for name in dict.fromkeys(str(row["feature"]) for row in curves)
        for table in tables[::-1]
        if name in table and is_number(table[name])
    }

    def dose(well: str, amount: float) -> Dose:
        return Dose(well, amount, {name: known[well] for name, known in values.items() if well in known})

    controls = [dose(well, 0.0) for well, role in roles.items() if role == NEGATIVE]
    found: dict[str, list[Dose]] = {str(row["compound"]): list(controls) for row in curves}
    fitted = {str(row["compound"]): str(row.get("unit") or "") for row in curves}
    for well, name in compounds.items():
        compound = as_text(name).strip()
        amount = as_number(amounts.get(well))
        if compound in found and roles.get(well) != NEGATIVE and amount >= 0:
            factor = _conversion(as_text(units.get(well)).strip(), fitted[compound])
            found[compound].append(dose(str(well), amount * factor))
    return {name: tuple(sorted(doses, key=lambda d: d.concentration)) for name, doses in found.items()}


def _conversion(unit: str, other: str) -> float:
    """What a concentration in ``unit`` is multiplied by to be in the other; 1 where that is not known."""
    from hcs_steps.statistics import molar

    factor = molar(unit) / molar(other) if unit and other and unit != other else 1.0
    return float(factor) if factor > 0 else 1.0


def _flag_counts(images: Columns) -> tuple[tuple[str, int, int], ...]:
    """Every flag with the number of flagged rows and of all rows."""
    return tuple(
        (name.removeprefix("QC_"), int(_wells.truth(column).sum()), len(column))
        for name, column in images.items()
        if name.startswith("QC_") and column.dtype.kind in "bO"
    )
