"""A plate as text: one sign per well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hcs_steps.compile.plan import Plan
from hcs_steps.operations.watching._lines import STYLES, Line
from hcs_steps.operations.watching.status import RANK, STATES, UnitState
from hcs_steps.plate.wells import row_name, well_name

SIGNS: Mapping[UnitState, str] = {
    "done": "#",
    "running": ">",
    "failed": "X",
    "died": "!",
    "blocked": "b",
    "waiting": ".",
    "skipped": "-",
}
WIDE = 24
"""A plate of more columns has no space between its wells."""


def plate_map(plan: Plan, units: Mapping[str, UnitState]) -> list[Line]:
    """The rows of the plate under a ruler of its columns, and what the signs mean.

    A well of several units shows what its worst unit is at, one that is not in the plan a space.
    """
    wells = well_states(plan, units)
    rows, columns = plan.plate.rows, plan.plate.columns
    gap = " " if columns <= WIDE else ""
    tens = gap.join(str(n // 10) if n % 10 == 0 else " " for n in range(1, columns + 1))
    ones = gap.join(str(n % 10) for n in range(1, columns + 1))
    lines: list[Line] = [[("    " + text, "dim")] for text in ((tens, ones) if columns > 9 else (ones,))]
    for row in range(rows):
        line: Line = [(f"{row_name(row):>2}  ", "dim")]
        for column in range(columns):
            state = wells.get(well_name(row, column))
            line.append((SIGNS[state] if state else " ", STYLES[state] if state else ""))
            line.append((gap, ""))
        lines.append(line)
    return [*lines, legend(units)]


def well_states(plan: Plan, units: Mapping[str, UnitState]) -> dict[str, UnitState]:
    """Well -> the worst state of its units."""
    found: dict[str, UnitState] = {}
    for unit, state in units.items():
        well = plan.units[unit].well
        known = found.get(well, state)
        found[well] = known if RANK[known] <= RANK[state] else state
    return found


def legend(units: Mapping[str, UnitState]) -> Line:
    """The signs that occur, and how many units have them."""
    counts = Counter(units.values())
    line: Line = [("    ", "")]
    for state in STATES:
        if counts[state]:
            line += [(SIGNS[state], STYLES[state]), (f" {state} {counts[state]}   ", "")]
    return line
