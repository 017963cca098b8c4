"""Which plots the page shows, and what stands beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hcs_steps.report._disk import as_number
from hcs_steps.report.model import ReportData
from hcs_steps.report.plots import dose_plot, line_plot, strip_plot

MOST_DOSE_PLOTS = 36
MOST_STRIPS = 12
MOST_LINES = 6


@dataclass(frozen=True)
class Figure:
    """A plot with its title; ``row`` is the row of the table that it shows."""

    title: str
    svg: str
    row: Mapping[str, Any]


def control_figures(data: ReportData) -> tuple[Figure, ...]:
    """The controls and all other wells, one plot per readout."""
    if not any(well.role for well in data.wells):
        return ()
    rows = {str(row["feature"]): row for row in data.statistics}
    figures = []
    for number, name in enumerate(data.readouts[:MOST_STRIPS]):
        feature = data.feature(name)
        if feature is not None and np.isfinite(feature.values).any():
            groups: dict[str, list[float]] = {}
            for well, value in zip(data.wells, feature.values.tolist(), strict=True):
                groups.setdefault(well.role, []).append(value)
            figures.append(Figure(name, strip_plot(groups, f"strip{number}"), rows.get(name, {})))
    return tuple(figures)


def dose_figures(data: ReportData) -> tuple[Figure, ...]:
    """One plot per compound and feature, readouts first; where there are too many, fits that are ok are kept."""
    order = {name: place for place, name in enumerate(data.readouts)}

    def place(row: Mapping[str, Any]) -> int:
        return order.get(str(row["feature"]), len(order))

    kept = sorted(data.curves, key=lambda row: (place(row), row["status"] != "ok"))[:MOST_DOSE_PLOTS]
    return tuple(
        Figure(
            f"{row['compound']} · {row['feature']}",
            dose_plot(data.doses.get(str(row["compound"]), ()), row, f"dose{number}"),
            row,
        )
        for number, row in enumerate(sorted(kept, key=lambda row: (place(row), str(row["compound"]))))
    )


def median_figures(data: ReportData) -> tuple[Figure, ...]:
    """The medians of rows and of columns, for the first readouts that have any."""
    known = (row for row in data.medians if np.isfinite(as_number(row["median"])))
    names = list(dict.fromkeys(str(row["feature"]) for row in known))
    chosen = [name for name in data.readouts if name in names] or names
    figures = []
    for number, name in enumerate(chosen[:MOST_LINES]):
        for kind in ("row", "column"):
            line = list(_medians(data.medians, name, kind))
            if line:
                svg = line_plot([place for place, _ in line], [y for _, y in line], f"{kind}{number}")
                figures.append(Figure(f"{name}: medians of {kind}s", svg, {}))
    return tuple(figures)


def _medians(rows: Iterable[Mapping[str, Any]], feature: str, kind: str) -> Iterable[tuple[str, float]]:
    for row in rows:
        if row["feature"] == feature and row["kind"] == kind:
            yield str(row["name"]), as_number(row["median"])
