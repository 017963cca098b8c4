"""Settings and plate map -> what the wells of a plate are. Nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.compile.plan import AnalysisPlan
from hcs_steps.errors import ConfigError
from hcs_steps.plate.inventory import Inventory
from hcs_steps.plate.map_roles import Roles, find_roles
from hcs_steps.plate.platemap import MapProblem, PlateMap, column_name, read_plate_map
from hcs_steps.plate.wells import sort_wells
from hcs_steps.results import Results
from hcs_steps.settings import AnalysisSettings, BarcodeMapSettings, PlateSettings
from hcs_steps.storage import table_csv, write_table, write_text

SHOWN = 8
"""So many wells are named in a note; the table of problems has them all."""


@dataclass(frozen=True)
class WellMap:
    """What the wells of a plate are.

    ``columns`` are those of the plate map for every well of the plate, ``Metadata_Well`` first; empty without a
    plate map. ``problems`` are its wells that the plate does not have, and the other way round.
    """

    analysis: AnalysisPlan
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    problems: tuple[MapProblem, ...] = ()


def map_wells(plate: PlateSettings, name: str, inventory: Inventory) -> WellMap:
    """What the settings and the plate map of a plate say of its wells; ``name`` is the plate's id.

    Raises `PlateError` or `ConfigError` for a plate map that cannot be read or does not fit the settings.
    """
    settings = plate.analysis
    if plate.plate_map is None:
        _need_no_map(settings)
        return WellMap(AnalysisPlan(readouts=tuple(settings.readouts), normalize_to=settings.normalize_to))
    found = _read(plate.plate_map, name, plate.path)
    wells = sort_wells({*inventory.wells, *(key.well for key in inventory.missing)})
    columns, problems = found.match(wells)
    roles = find_roles(
        columns,
        role_column=settings.role_column,
        compound_column=settings.compound_column,
        concentration_column=settings.concentration_column,
        unit=settings.unit_column,
        negative=settings.negative or None,
        positive=settings.positive or None,
    )
    analysis = AnalysisPlan(
        plate_map=found.digest,
        role=roles.role or "",
        compound=roles.compound or "",
        concentration=roles.concentration or "",
        unit=roles.unit_column or "",
        unit_name=roles.unit,
        negative=roles.negative,
        positive=roles.positive,
        readouts=tuple(settings.readouts),
        normalize_to=settings.normalize_to,
        notes=tuple(_notes(found, roles, columns, problems)),
    )
    return WellMap(analysis, {"Metadata_Well": np.array(wells, object), **columns}, tuple(problems))


def write_well_map(found: WellMap, results: Results, tables: str) -> None:
    """Write the plate map as it was understood, and what of it does not fit; or take away an older one."""
    listing = results.table(tables, "plate_map_problems", ".csv")
    if not found.columns:
        results.plate_map.unlink(missing_ok=True)
        listing.unlink(missing_ok=True)
        return
    write_table(results.plate_map, found.columns)
    columns = {name: [getattr(p, name) for p in found.problems] for name in ("kind", "well", "detail")}
    write_text(listing, table_csv(columns))


def _need_no_map(settings: AnalysisSettings) -> None:
    """Refuse settings that only have a meaning with a plate map."""
    given = [
        name
        for name in (
            "role_column", "negative", "positive", "compound_column", "concentration_column", "unit_column"
        )
        if getattr(settings, name)
    ]  # fmt: skip
    if settings.normalize_to == "negative":
        given.append("normalize_to: negative")
    if given:
        raise ConfigError(
            f"analysis sets {', '.join(given)}, but the plate has no plate map.",
            hint="Set plate_map: a CSV or TSV file with a column for the well.",
        )


def _read(setting: Path | BarcodeMapSettings, name: str, plate: Path) -> PlateMap:
    folder = plate.resolve().name
    if isinstance(setting, BarcodeMapSettings):
        return read_plate_map(
            setting.barcodes, plate=name, barcode=setting.barcode or folder, folder=setting.folder
        )
    return read_plate_map(setting, plate=name, barcode=folder)


def _notes(
    found: PlateMap, roles: Roles, columns: Mapping[str, NDArray[Any]], problems: Sequence[MapProblem]
) -> Iterator[str]:
    """How the plate map was understood, and what does not fit."""
    file = found.path.name
    if roles.role is None:
        yield f"Plate map {file}: no column tells controls (analysis.role_column names one)."
    else:
        groups = [
            f"{what} {', '.join(map(repr, values)) or 'none'} ({int(wells.sum())} wells)"
            for what, values, wells in (
                ("negative", roles.negative, roles.is_negative(columns)),
                ("positive", roles.positive, roles.is_positive(columns)),
            )
        ]
        yield f"Plate map {file}: controls by {_bare(roles.role)}: {'; '.join(groups)}."
        if roles.absent:
            yield f"Plate map {file}: no well has {', '.join(map(repr, roles.absent))} in {_bare(roles.role)}."
    if roles.compound and roles.concentration:
        unit = f"in {_bare(roles.unit_column)}" if roles.unit_column else roles.unit or "of no known unit"
        yield (
            f"Plate map {file}: compounds by {_bare(roles.compound)}, concentrations by {_bare(roles.concentration)} "
            f"({unit})."
        )
    wells_by_kind: dict[str, list[str]] = {}
    for problem in problems:
        wells_by_kind.setdefault(problem.kind, []).append(problem.well)
    for kind, number in Counter(problem.kind for problem in problems).items():
        named = ", ".join(wells_by_kind[kind][:SHOWN]) + (" ..." if number > SHOWN else "")
        yield f"Plate map {file}: {number} x {kind}: {named}."


def _bare(column: str | None) -> str:
    return (column or "").removeprefix(column_name(""))
