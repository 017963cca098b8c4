"""Settings and plate map -> what the wells of a plate are. Nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.compile.plan import AnalysisPlan
from hcs_steps.errors import ConfigError
from hcs_steps.plate.inventory import Inventory
from hcs_steps.plate.map_concentrations import read_concentrations
from hcs_steps.plate.map_roles import Roles, find_roles, value_text
from hcs_steps.plate.platemap import MapProblem, PlateMap, bare_name, read_plate_map
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
    roles = find_roles(
        found.match(wells)[0],
        role_column=settings.role_column,
        compound_column=settings.compound_column,
        concentration_column=settings.concentration_column,
        unit=settings.unit_column,
        negative=settings.negative or None,
        positive=settings.positive or None,
    )
    found, roles = read_concentrations(found, roles, wells)
    columns, problems = found.match(wells)
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
) -> list[str]:
    """How the plate map was understood, and what does not fit."""
    said = [*_role_notes(roles, columns), *_compound_notes(roles, columns)]
    for kind in dict.fromkeys(problem.kind for problem in problems):
        alike = [problem for problem in problems if problem.kind == kind]
        if kind.endswith("column"):
            said += [problem.detail.removeprefix(f"{found.path.name}: ") for problem in alike]
        else:
            said.append(f"{len(alike)} x {kind}: {_listed(problem.well or repr('') for problem in alike)}.")
    return [f"Plate map {found.path.name}: {text}" for text in said]


def _role_notes(roles: Roles, columns: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    if roles.role is None:
        yield "no column tells controls (analysis.role_column names one)."
        return
    for column in roles.passed:
        yield (
            f"no value of {bare_name(column)} is known as a control, so {bare_name(roles.role)} tells them; "
            "analysis.negative, analysis.positive and analysis.role_column decide. "
            f"Values of {bare_name(column)}: {_counted(columns[column])}."
        )
    controls = (
        ("negative", roles.negative, roles.is_negative(columns)),
        ("positive", roles.positive, roles.is_positive(columns)),
    )
    groups = [
        f"{what} {', '.join(map(repr, values)) or 'none'} ({int(wells.sum())} wells)"
        for what, values, wells in controls
    ]
    yield f"controls by {bare_name(roles.role)}: {'; '.join(groups)}."
    none = [what for what, values, _ in controls if not values]
    if none:
        names = " and ".join(f"analysis.{what}" for what in none)
        rest = _counted(columns[roles.role][~(controls[0][2] | controls[1][2])])
        yield (
            f"no value of {bare_name(roles.role)} is known as a {' or a '.join(none)} control; {names} "
            + (f"decide. Its values: {rest}." if len(none) == 2 else f"decides. Its other values: {rest}.")
        )
    if roles.absent:
        yield f"no well has {', '.join(map(repr, roles.absent))} in {bare_name(roles.role)}."


def _compound_notes(roles: Roles, columns: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    if roles.compound is None:
        return
    if roles.concentration:
        unit = f"in {bare_name(roles.unit_column)}" if roles.unit_column else roles.unit or "of no known unit"
        yield (
            f"compounds by {bare_name(roles.compound)}, concentrations by {bare_name(roles.concentration)} ({unit})."
        )
    alike: dict[str, set[str]] = {}
    for value in columns[roles.compound][~roles.is_negative(columns)].tolist():
        alike.setdefault("".join(value_text(value).split()).casefold(), set()).add(value_text(value))
    for names in alike.values():
        if len(names) > 1:
            listed = _listed(map(repr, sorted(names)))
            yield f"{listed} differ in case or spaces only, and count as different compounds."


def _counted(values: NDArray[Any]) -> str:
    """The different values of a column and the wells of each, the most frequent first."""
    counts = Counter(value_text(value) for value in values.tolist())
    missing = counts.pop("", 0)
    said = [f"{value!r} ({number} wells)" for value, number in counts.most_common()]
    if missing:
        said.append(f"none ({missing} wells)")
    return _listed(said) or "none"


def _listed(texts: Iterable[str]) -> str:
    texts = list(texts)
    return ", ".join(texts[:SHOWN]) + (" ..." if len(texts) > SHOWN else "")
