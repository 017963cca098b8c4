"""Concentrations of a plate map as numbers and units, however the lab wrote them: ``10``, ``0,3``, ``10 µM``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan

from hcs_steps.errors import PlateError
from hcs_steps.plate._delimited import MISSING, require_one_decimal_mark
from hcs_steps.plate._map_places import MapProblem
from hcs_steps.plate.map_roles import Roles, value_text
from hcs_steps.plate.platemap import PlateMap, bare_name

_AMOUNT = re.compile(
    r"([+-]?(?=[.,]?[0-9])[0-9.,]+(?:[eE][+-]?[0-9]+)?)\s*"
    r"([fpnuµμmFPNU]?M|[fpnuµμ]m|[fpnuµμm]?mol/[lL]|[fpnuµμmk]?(?:g|U|IU)/[muµμ]?[lL]|%(?:\s*\(?[vw]/[vw]\)?)?)?"
)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOTHING = frozenset(
    {*(word.casefold() for word in MISSING), "-", "--", "\N{EN DASH}", "\N{EM DASH}", "none"}
)
_MICRO = str.maketrans("µμ", "uu")  # micro sign, Greek mu
_SHOWN = 5


@dataclass(frozen=True)
class _Amount:
    """A number and its unit, NaN and empty where the text has none."""

    number: float = nan
    unit: str = ""


def read_concentrations(found: PlateMap, roles: Roles, wells: Iterable[str]) -> tuple[PlateMap, Roles]:
    """The plate map with concentrations as numbers, and the roles of its columns then.

    The column of the concentrations is float, NaN where it has no number. If its texts have units and neither its name
    nor a unit column says them for every well, ``<concentration>_unit`` does in the map returned (text, None where
    nobody says it). A column that is also that of roles or compounds stays, beside ``<concentration>_number``. No
    other column changes.

    What is written for one of ``wells`` and is no number is a problem ``unreadable concentration``; ``NA``, ``-`` and
    ``none`` are not for negative controls, which have no concentration.

    Raises `PlateError` where a text has another unit than the unit column or the name of the column says, and for
    numbers with marks that can be read in two ways.
    """
    column = roles.concentration
    if column is None:
        return found, roles
    texts = found.texts[column]
    amounts = _amounts(found, column, texts)
    problems = _unreadable(found, roles, texts, amounts, frozenset(wells))
    columns, written = dict(found.columns), dict(found.texts)
    units = _units(found, roles, amounts)
    if units is not None:
        name = _free(columns, f"{column}_unit")
        columns[name], written[name] = units, tuple(unit or "" for unit in units)
        # Nothing of a compound is nothing in any unit.
        dosed = {unit or "" for unit, amount in zip(units, amounts, strict=True) if abs(amount.number) > 0}
        roles = replace(roles, unit_column=name, unit=dosed.pop() if len(dosed) == 1 else "")
    if column in (roles.role, roles.compound) and any(isinstance(value, str) for value in columns[column]):
        column = _free(columns, f"{column}_number")
        written[column] = texts
        roles = replace(roles, concentration=column)
    columns[column] = tuple(amount.number for amount in amounts)
    return replace(found, columns=columns, texts=written, problems=(*found.problems, *problems)), roles


def _amounts(found: PlateMap, column: str, texts: Sequence[str]) -> list[_Amount]:
    matches = [_AMOUNT.fullmatch(text.replace("\N{MINUS SIGN}", "-")) for text in texts]
    numbers = [match[1] if match else "" for match in matches]
    require_one_decimal_mark(found.path, bare_name(column), numbers, found.lines, found.delimiter)
    amounts = []
    for match, number in zip(matches, numbers, strict=True):
        number = number.replace(",", ".")
        value = float(number) if _NUMBER.fullmatch(number) else nan
        unit = (match[2] or "") if match and isfinite(value) else ""
        amounts.append(_Amount(value if isfinite(value) else nan, _molar(unit.replace("μ", "µ"))))
    return amounts


def _molar(unit: str) -> str:
    """``µmol/L``, ``µm`` and ``UM`` as ``µM`` and ``uM``."""
    found = re.fullmatch(r"(.?)(?:M|m|mol/[lL])", unit)
    return f"{found[1].lower()}M" if found else unit


def _unreadable(
    found: PlateMap, roles: Roles, texts: Sequence[str], amounts: Sequence[_Amount], wells: frozenset[str]
) -> list[MapProblem]:
    negative = roles.is_negative(found.columns)
    problems = []
    for row, (well, text, amount) in enumerate(zip(found.wells, texts, amounts, strict=True)):
        needless = not text or (negative[row] and text.casefold() in _NOTHING)
        if well in wells and not needless and not isfinite(amount.number):
            detail = (
                f"{found.path.name}, line {found.lines[row]}: {text!r} in column {bare_name(roles.concentration)!r} "
                "is no concentration; the well counts as one without."
            )
            problems.append(MapProblem("unreadable concentration", well, detail))
    return problems


def _units(found: PlateMap, roles: Roles, amounts: Sequence[_Amount]) -> tuple[str | None, ...] | None:
    """The unit of each well; None if what the map says apart from the texts is enough."""
    if not any(amount.unit for amount in amounts):
        return None
    if roles.unit_column is None:
        told = [roles.unit] * len(amounts)
        by = f"the unit of column {bare_name(roles.concentration)!r}"
    else:
        told = [value_text(value).strip() for value in found.columns[roles.unit_column]]
        by = f"as column {bare_name(roles.unit_column)!r} says"
    rows = [row for row, amount in enumerate(amounts) if amount.unit]
    against = [row for row in rows if told[row] and _key(told[row]) != _key(amounts[row].unit)]
    if against:
        lines = ", ".join(str(found.lines[row]) for row in against[:_SHOWN])
        more = " ..." if len(against) > _SHOWN else ""
        text = found.texts[roles.concentration or ""][against[0]]
        raise PlateError(
            f"{found.path}, line{'s' if len(against) > 1 else ''} {lines}{more}: the concentration {text!r} is not in "
            f"{told[against[0]]!r}, {by}.",
            hint="Say the unit once: with the number, in a unit column, or in the name of the column.",
        )
    if all(told[row] for row in rows):
        return None
    return tuple(amount.unit or unit or None for amount, unit in zip(amounts, told, strict=True))


def _key(unit: str) -> str:
    return _molar(re.sub(r"\s+", "", unit)).translate(_MICRO).casefold()


def _free(columns: Iterable[str], name: str) -> str:
    """``name``, or with a number behind it if there is such a column."""
    taken = {column.casefold() for column in columns}
    names = [name, *(f"{name}_{number}" for number in range(2, len(taken) + 3))]
    return next(free for free in names if free.casefold() not in taken)
