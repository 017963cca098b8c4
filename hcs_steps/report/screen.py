"""``screen.html``: several plates beside each other, with what speaks against comparing them, and joined tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.errors import ConfigError
from hcs_steps.report import plots
from hcs_steps.report._assets import asset, template
from hcs_steps.report._disk import as_number
from hcs_steps.report._screen_plates import (
    DONE,
    FAILED,
    INCOMPLETE,
    NOT_RUN,
    UNREADABLE,
    PlateSummary,
    control_rows,
    control_values,
    summarize,
)
from hcs_steps.report._screen_tables import JoinedTables, join_tables, link
from hcs_steps.report.page import EXCELLENT, MINUS, STATISTICS, Z_PRIME, edge_word, moment, short, z_word
from hcs_steps.results import Results
from hcs_steps.storage.atomic import write_bytes

MOST_READOUTS = 4
SHOWN_FAILURES = 20
SHOWN_PARTS = 6
MEASURES = ("z_prime", "robust_z_prime", "ssmd", "robust_ssmd")
STYLES = (("#0072B2", "o"), ("#D55E00", "^"), ("#009E73", "s"), ("#CC79A7", "D"))
"""Colours of M. Okabe and K. Ito (2008) and marks of the readouts in the plot."""


@dataclass(frozen=True)
class Screen:
    """What `write_screen` made.

    ``page`` is the path of the page. ``problems`` are sentences on joined tables that could not be made, ``notes`` on
    what changed in those that could; the page has both.
    """

    page: Path
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def write_screen(plates: Sequence[Results], output: Path) -> Screen:
    """Write ``screen.html`` and the joined tables ``screen/*.parquet`` into the output folder.

    Plates that have not run, or only in part, are reported. Memory grows by a few numbers per plate: plates
    are read one after the other, and tables joined batch by batch. The same content gives the same bytes.
    """
    if not plates:
        raise ConfigError(
            "There are no plates to join.", hint="List them under 'plates' in the configuration."
        )
    found = _compared([summarize(results, edge_word) for results in plates])
    chosen = _readouts(found)
    joined = join_tables(found, output)
    path = output / "screen.html"
    write_bytes(path, render(found, chosen, joined, output).encode("utf-8", "replace"))
    return Screen(path, joined.problems, joined.notes)


def render(
    plates: Sequence[PlateSummary], readouts: Sequence[str], joined: JoinedTables, output: Path
) -> str:
    """The page as HTML."""
    controls = [control_rows(plate, readouts) for plate in plates]
    series = {name: [as_number(rows.get(name, {}).get("z_prime")) for rows in controls] for name in readouts}
    counts = Counter(plate.state for plate in plates)
    return str(
        _template().render(
            style=asset("page.css"),
            plates=plates,
            controls=controls,
            readouts=readouts,
            explicit=any(plate.readouts for plate in plates),
            measures={name: STATISTICS[name] for name in MEASURES},
            tables=joined.tables,
            notes=joined.notes,
            title=f"Screen of {_plates(len(plates))}",
            verdict=_verdict(counts, len(plates), joined),
            level=_level(counts, len(plates), joined),
            links=[link(plate.results.report, output) for plate in plates],
            failure_links=[link(plate.results.failures_table, output) for plate in plates],
            shown_failures=SHOWN_FAILURES,
            marks=dict(zip(readouts, STYLES, strict=False)),
            plot=_plot(series) if any(np.isfinite(values).any() for values in series.values()) else "",
            excellent=EXCELLENT,
        )
    )


def _compared(plates: Sequence[PlateSummary]) -> list[PlateSummary]:
    """The plates, each with a warning if it was not analysed as most of the others."""
    planned = [plate for plate in plates if plate.settings]
    usual = {
        part: Counter(plate.settings.get(part, "") for plate in planned).most_common(1)[0][0]
        for part in dict.fromkeys(part for plate in planned for part in plate.settings)
    }
    versions = Counter(plate.version for plate in planned if plate.version).most_common(1)
    compared = []
    for plate in plates:
        warnings = list(plate.warnings)
        others = [
            part for part, value in usual.items() if plate.settings and plate.settings.get(part, "") != value
        ]
        if others:
            more = f" and {len(others) - SHOWN_PARTS} more" if len(others) > SHOWN_PARTS else ""
            warnings.append(
                f"It was not analysed as most plates (different: {', '.join(others[:SHOWN_PARTS])}{more}): its numbers "
                "may not be comparable."
            )
        if plate.version and plate.version != versions[0][0]:
            warnings.append(f"It ran with hcs-steps {plate.version}, most plates with {versions[0][0]}.")
        compared.append(replace(plate, warnings=tuple(warnings)))
    return compared


def _readouts(plates: Sequence[PlateSummary]) -> list[str]:
    """The readouts that the settings name, else the features whose controls are apart on most of the plates."""
    named = list(dict.fromkeys(name for plate in plates for name in plate.readouts))
    if named:
        return named[:MOST_READOUTS]
    values: defaultdict[str, list[float]] = defaultdict(list)
    for plate in plates:
        for feature, value in control_values(plate, "z_prime").items():
            values[feature].append(value)
    most = max(map(len, values.values()), default=0)
    common = [feature for feature, found in values.items() if 2 * len(found) >= most]
    return sorted(common, key=lambda feature: (-float(np.median(values[feature])), feature))[:MOST_READOUTS]


def _plot(series: Mapping[str, Sequence[float]]) -> str:
    """Z' of every readout over the plates, numbered as in the table."""
    count = len(next(iter(series.values())))

    def draw(axes: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        for (colour, mark), values in zip(STYLES, series.values(), strict=False):
            clipped = np.maximum(np.array(values, np.float64), -1.0)
            axes.plot(
                range(1, count + 1), clipped, mark, linestyle="-", linewidth=0.8, markersize=4, color=colour
            )
        axes.axhline(EXCELLENT, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)))
        axes.axhline(0, color="#555555", linewidth=0.8)
        axes.set_xlim(0.5, count + 0.5)
        axes.set_ylim(-1.05, 1.05)
        axes.set_yticks(
            [-1, -0.5, 0, 0.5, 1], [f"\N{LESS-THAN OR EQUAL TO} {MINUS}1", f"{MINUS}0.5", "0", "0.5", "1"]
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=min(count, 12), min_n_ticks=1))
        axes.set_xlabel("plate (number in the table)")
        axes.set_ylabel(Z_PRIME)

    return plots.svg_plot(draw, 900, 230, "zprime")


def _verdict(counts: Mapping[str, int], total: int, joined: JoinedTables) -> str:
    words = {
        FAILED: "with failed wells",
        INCOMPLETE: "incomplete",
        NOT_RUN: "not run",
        UNREADABLE: "unreadable",
    }
    parts = [f"{counts[state]} {word}" for state, word in words.items() if counts[state]]
    lost = len(joined.problems)
    more = f" {lost} of {len(joined.tables)} joined tables could not be made." if lost else ""
    if not parts:
        return f"All wells of {_plates(total)} done.{more}"
    return f"{_plates(total)}: {counts[DONE]} done, {', '.join(parts)}.{more}"


def _level(counts: Mapping[str, int], total: int, joined: JoinedTables) -> str:
    if counts[DONE] == total and not joined.problems:
        return "good"
    return "poor" if counts[DONE] + counts[FAILED] else "bad"


def _plates(count: int) -> str:
    return f"{count} plate{'' if count == 1 else 's'}"


def _template() -> Any:
    return template("screen.html", {"short": short, "moment": _moment, "z_word": z_word}, {})


def _moment(text: str) -> str:
    try:
        return moment(text)
    except ValueError:
        return text
