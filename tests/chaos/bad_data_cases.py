"""Every case of bad data, how it ends, and the table of them in docs/reliability.md.

``python tests/chaos/bad_data_docs.py`` writes the table anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

WELL = "the well fails, the others are done"
REFUSED = "refused before anything runs"
TOLD = "all wells are done, and it is told"
FINE = "all wells are done"
STEP = "the plate's step fails, the wells are done"
STOPS = "wells fail or the run stops, and a rerun with room completes it"

SAME = "the same bytes come out"

CASES: list[Case] = []


@dataclass(frozen=True)
class Case:
    """One kind of bad data: ``spoil`` makes it on a bench, ``end`` is how the run must end, ``says`` what must be said.

    ``plate`` are arguments of `make_plate`, ``units`` the units that fail, ``remains`` says what does not hold yet;
    a ``slow`` one starts processes.
    """

    group: str
    name: str
    end: str
    says: str
    spoil: Callable[[Any], None]
    plate: Mapping[str, Any] = field(default_factory=dict)
    units: tuple[str, ...] = ("B01",)
    remains: str = ""
    slow: bool = False


def cases(group: str) -> Callable[..., Callable[[Callable[[Any], None]], Callable[[Any], None]]]:
    """A decorator that enters a function as a case of the group."""

    def case(
        name: str,
        end: str,
        says: str = "",
        *,
        units: tuple[str, ...] = ("B01",),
        remains: str = "",
        slow: bool = False,
        **plate: Any,
    ) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
        def enter(spoil: Callable[[Any], None]) -> Callable[[Any], None]:
            CASES.append(Case(group, name, end, says, spoil, plate, units, remains, slow))
            return spoil

        return enter

    return case


def table() -> str:
    """The cases as Markdown: case, expected, seen."""
    lines = []
    for group in dict.fromkeys(case.group for case in CASES):
        own = [case for case in CASES if case.group == group]
        lines += [f"### {group} ({len(own)})", "", "| case | expected | seen |", "|---|---|---|"]
        lines += [f"| {_cell(case.name)} | {case.end} | {_seen(case)} |" for case in own]
        lines.append("")
    return "\n".join(lines)


def _seen(case: Case) -> str:
    if case.remains:
        return f"**not yet:** {case.remains}"
    return _cell(f"“{case.says}”" if case.says and case.says != SAME else case.says or "as expected")


def _cell(text: str) -> str:
    return text.translate({ord("|"): "&#124;", ord("<"): "&lt;", ord("*"): "\\*", ord("`"): "&#96;"})
