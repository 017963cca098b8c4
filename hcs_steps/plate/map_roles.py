"""What the columns of a plate map mean: controls, compounds, concentrations and their unit.

The usual names are those of the field's own maps: CellProfiler's and pycytominer's tutorials (``control``,
``treatment``, ``dose``), the JUMP and Broad platemaps (``control_type`` with ``negcon`` and ``poscon_cp``,
``pert_type``, ``pert_iname``, ``broad_sample``, ``mmoles_per_liter``) and the Connectivity Map's (``ctl_vehicle``,
``ctl_untrt``, ``trt_poscon``). The settings decide where they differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hcs_steps.errors import ConfigError, nearest
from hcs_steps.plate._map_header import plain_name
from hcs_steps.plate.platemap import column_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

Columns = Mapping[str, Sequence[Any] | Any]
"""Columns of a plate map as `hcs_steps.plate.platemap.PlateMap` has or matches them."""

ROLE_NAMES = (
    "controltype", "control", "controls", "role", "wellrole", "welltype", "sampletype", "perttype", "contenttype",
)  # fmt: skip
COMPOUND_NAMES = (
    "compound", "compoundname", "compoundid", "treatment", "drug", "pertiname", "pertname", "perturbation",
    "perturbagen", "broadsample", "inhibitor", "molecule", "sirna", "gene", "genesymbol",
)  # fmt: skip
CONCENTRATION_NAMES = (
    "concentration", "conc", "dose", "dosage", "finalconcentration", "finalconc", "compoundconcentration",
    "drugconcentration", "compoundconc", "pertdose", "doselevel",
)  # fmt: skip
NAMED_WITH_UNIT = {"mmolesperliter": "mM", "mmolesperlitre": "mM", "micromolar": "uM", "mgperml": "mg/mL"}
UNIT_NAMES = (
    "unit", "units", "concentrationunit", "concentrationunits", "concunit", "concunits", "doseunit", "doseunits",
    "pertdoseunit",
)  # fmt: skip
"""Names of columns as `plain_name` has them, the likelier first."""

NEGATIVE_WORDS = frozenset({
    "negative", "neg", "negcon", "negctrl", "negcontrol", "negativecontrol", "nc", "dmso", "vehicle", "solvent",
    "untreated", "mock", "ctlvehicle", "ctluntrt", "ctlvector", "ctlvehiclecns", "ctluntrtcns", "ctlvectorcns",
})  # fmt: skip
POSITIVE_WORDS = frozenset({
    "positive", "pos", "poscon", "posctrl", "poscontrol", "positivecontrol", "pc", "posconcp", "poscondiverse",
    "posconorf", "trtposcon",
})  # fmt: skip
"""Values of a role column, without case and anything but letters and digits."""

_VEHICLES = frozenset({"dmso", "vehicle", "solvent", "untreated", "mock"})
_BESIDE_VEHICLES = frozenset({
    "control", "controls", "ctrl", "ctl", "neg", "negative", "only", "alone", "final", "in",
    "medium", "media", "buffer", "water", "cell", "cells", "well", "wells", "treated", "treatment", "transfected",
    "transfection", "infected", "infection", "v", "w", "vol",
})  # fmt: skip
"""Words that leave a vehicle one: ``DMSO 0.1% (v/v)``, ``mock transfected``, but not ``Taxol in DMSO``."""

_UNIT = re.compile(r"^(.+?)[\s_]*[\[(]?((?:p|n|u|µ|μ|m)M|M|[npuµm]?g[/_]m?[lL]|%)[\])]?$")
_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SMALL_UNIT = re.compile(r"^(.+?)[\s_]+(pm|nm|um|µm|mm)$")


@dataclass(frozen=True)
class Roles:
    """Which columns say what; None where the map does not say.

    Attributes
    ----------
    role, compound, concentration, unit_column
        Names of columns, as in the tables.
    unit
        The unit of all concentrations, empty where it is not known or differs from well to well.
    negative, positive
        The values of the role column that were taken as controls, as written.
    other
        Its other values.
    absent
        Values that the settings ask for and no well has.
    passed
        Columns called as roles are, before ``role``, that have no value known as a control.
    """

    role: str | None = None
    compound: str | None = None
    concentration: str | None = None
    unit_column: str | None = None
    unit: str = ""
    negative: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()

    def is_negative(self, columns: Columns) -> NDArray[np.bool_]:
        """Whether each well is a negative control; no well where no column tells."""
        return self._is(columns, self.negative)

    def is_positive(self, columns: Columns) -> NDArray[np.bool_]:
        """Whether each well is a positive control; no well where no column tells."""
        return self._is(columns, self.positive)

    def _is(self, columns: Columns, values: Sequence[str]) -> NDArray[np.bool_]:
        if self.role is None:
            return np.zeros(len(next(iter(columns.values()), ())), bool)
        return np.array([value_text(value) in values for value in columns[self.role]], bool)


def find_roles(
    columns: Columns,
    *,
    role_column: str | None = None,
    compound_column: str | None = None,
    concentration_column: str | None = None,
    unit: str | None = None,
    negative: Iterable[Any] | None = None,
    positive: Iterable[Any] | None = None,
) -> Roles:
    """What the columns of a plate map mean, from their usual names unless the settings say.

    Parameters
    ----------
    columns
        Columns of a plate map, called as in the tables.
    role_column, compound_column, concentration_column
        Columns to use, as in the map's file or as in the tables.
    unit
        The unit of the concentrations, or the column that says it.
    negative, positive
        Values of the role column that are controls; compared as text, without case, and numbers as numbers.

    Returns
    -------
    Roles
        Where no column with the usual name for roles has a known control, but one of the compounds is called as a
        vehicle is (``DMSO``, ``DMSO 0.1%``), the compound column says the roles.

    Raises
    ------
    ConfigError
        If a column that was asked for is not in the map, or a value is to be both controls.
    """
    negative, positive = (None if asked is None else tuple(asked) for asked in (negative, positive))
    compound = _asked(columns, compound_column, "compound_column") or _first(columns, COMPOUND_NAMES)
    role, passed = _role(columns, _asked(columns, role_column, "role_column"), compound, negative, positive)
    concentration = _asked(columns, concentration_column, "concentration_column") or _concentration(columns)
    unit_column, text = _unit(columns, concentration, unit)
    values = _values(columns, role) if role else []
    low, high = _controls(values, negative, positive)
    both = [value for value in low if value in high]
    if both:
        raise ConfigError(
            f"The value {both[0]!r} of column {role} is to be the negative and the positive control.",
            hint="Name different values in analysis.negative and analysis.positive.",
        )
    wanted = [value_text(value) for value in (*(negative or ()), *(positive or ()))]
    return Roles(
        role, compound, concentration, unit_column, text, low, high,
        tuple(value for value in values if value not in low and value not in high),
        tuple(value for value in wanted if not _chosen(values, [value])),
        passed,
    )  # fmt: skip


def _role(
    columns: Columns,
    asked: str | None,
    compound: str | None,
    negative: Sequence[Any] | None,
    positive: Sequence[Any] | None,
) -> tuple[str | None, tuple[str, ...]]:
    """(the column that says roles, those called so that do not say any)."""
    if asked:
        return asked, ()
    called = _named(columns, ROLE_NAMES)
    for number, column in enumerate([*called, *([compound] if compound else [])]):
        if any(_controls(_values(columns, column), negative, positive)):
            return column, tuple(called[:number])
    return (called[0] if called else None), ()


def _controls(
    values: Sequence[str], negative: Iterable[Any] | None, positive: Iterable[Any] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The values that are negative and positive controls."""
    if negative is None:
        low = tuple(value for value in values if _word(value) in NEGATIVE_WORDS or _is_vehicle(value))
    else:
        low = _chosen(values, negative)
    if positive is None:
        return low, tuple(value for value in values if _word(value) in POSITIVE_WORDS)
    return low, _chosen(values, positive)


def _asked(columns: Columns, name: str | None, setting: str) -> str | None:
    if not name:
        return None
    final = _find(columns, name)
    if final is None:
        raise ConfigError(
            f"analysis.{setting} is {name!r}, but the plate map has no such column.",
            hint=nearest(column_name(name), columns).replace("Metadata_", ""),
        )
    return final


def _find(columns: Columns, name: str) -> str | None:
    if name in columns:
        return name
    wanted = column_name(name).casefold()
    return next((column for column in columns if column.casefold() == wanted), None)


def _first(columns: Columns, names: Sequence[str]) -> str | None:
    return next(iter(_named(columns, names)), None)


def _named(columns: Columns, names: Sequence[str]) -> list[str]:
    """The columns with values that are called so, the likelier first."""
    plain = {plain_name(column): column for column in reversed(list(columns)) if _values(columns, column)}
    return [plain[name] for name in names if name in plain]


def _concentration(columns: Columns) -> str | None:
    bare = {column: (_split_unit(column)[0], column) for column in columns}
    for name in (*CONCENTRATION_NAMES, *NAMED_WITH_UNIT):
        for column, (stem, _) in bare.items():
            if name in (plain_name(column), plain_name(stem)) and _values(columns, column):
                return column
    return None


def _unit(columns: Columns, concentration: str | None, unit: str | None) -> tuple[str | None, str]:
    """(the column that says it, the unit of all wells)."""
    own = plain_name(concentration or "concentration")
    column = _find(columns, unit) if unit else _first(columns, (f"{own}unit", f"{own}units", *UNIT_NAMES))
    if unit and column is None:
        return None, unit
    if column is not None:
        values = _values(columns, column)
        return column, values[0] if len(values) == 1 else ""
    if concentration is None:
        return None, ""
    return None, NAMED_WITH_UNIT.get(plain_name(concentration), _split_unit(concentration)[1])


def _split_unit(column: str) -> tuple[str, str]:
    """(name, unit) of ``conc_uM`` or ``Dose_(nM)``; the unit is empty where there is none."""
    found = _UNIT.fullmatch(column)
    if found:
        return found[1], found[2].replace("_", "/").replace("μ", "µ")
    found = _SMALL_UNIT.fullmatch(column)
    return (found[1], found[2][:-1] + "M") if found else (column, "")


def _chosen(values: Sequence[str], asked: Iterable[Any]) -> tuple[str, ...]:
    wanted = {
        text.casefold() for value in asked for text in (value_text(value), _number_text(value_text(value)))
    }
    return tuple(value for value in values if value.casefold() in wanted)


def _number_text(text: str) -> str:
    """A number as `value_text` writes it: ``1.0`` as ``1``; another text as it is, also ``01``."""
    return value_text(float(text)) if _NUMBER.fullmatch(text) else text


def _is_vehicle(value: str) -> bool:
    words = [word for word in re.split(r"[\W_]+", value.casefold()) if not re.fullmatch(r"([0-9]+x?)?", word)]
    return any(word in _VEHICLES for word in words) and all(
        word in _VEHICLES or word in _BESIDE_VEHICLES for word in words
    )


def _values(columns: Columns, column: str) -> list[str]:
    """The different values of a column as text, sorted."""
    return sorted({value_text(value) for value in columns[column]} - {""})


def _word(value: str) -> str:
    return re.sub(r"[\W_]+", "", value.casefold())


def value_text(value: Any) -> str:
    """A value of a plate map as settings name it: 1.0 as ``1``, a missing one as nothing."""
    if value is None or value != value:
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
