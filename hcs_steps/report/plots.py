"""The static plots of the report, as SVG to be put into the page: the same content gives the same bytes.

Texts of the plate (compounds, features) stand in the page around the plots, never in them. Colours are those of
M. Okabe and K. Ito (2008), told apart by colour-blind readers; marks differ in shape as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.report._disk import as_number
from hcs_steps.report.model import NEGATIVE, POSITIVE, Dose

Floats = NDArray[np.float64]

ROLE_STYLES = {
    NEGATIVE: ("#0072B2", "o"),
    "": ("#9A9A9A", "."),
    POSITIVE: ("#D55E00", "^"),
}
_SETTINGS: Mapping[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hcs-steps",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "axes.linewidth": 0.8,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-4, 5),
    "axes.formatter.use_mathtext": False,
}
_INCH = 96.0
"""CSS pixels."""


def colour_scale(name: str, steps: int = 64) -> tuple[str, ...]:
    """A colour map of matplotlib as hexadecimal colours."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return tuple(to_hex(colour) for colour in colormaps[name](np.linspace(0, 1, steps)))


def strip_plot(groups: Mapping[str, Sequence[float]], key: str) -> str:
    """Values of one feature in groups (``negative``, ``''`` for all other wells, ``positive``) side by side.

    Each well is a mark, spread sideways by its rank so that it is the same every time; a bar is the median.
    """

    def draw(axes: Any) -> None:
        there = [(role, _finite(groups.get(role, ()))) for role in ROLE_STYLES]
        there = [(role, values) for role, values in there if values.size]
        for place, (role, values) in enumerate(there):
            colour, mark = ROLE_STYLES[role]
            # The golden ratio spreads any number of marks evenly.
            offsets = ((np.arange(values.size) * 0.618034) % 1 - 0.5) * 0.56
            axes.plot(
                place + offsets, values, mark, color=colour, markersize=4.5, alpha=0.75, markeredgewidth=0
            )
            axes.hlines(np.median(values), place - 0.36, place + 0.36, color="#111111", linewidth=1.4)
        words = {NEGATIVE: "negative", "": "other wells", POSITIVE: "positive"}
        axes.set_xticks(range(len(there)), [f"{words[role]}\nn = {values.size}" for role, values in there])
        axes.set_xlim(-0.6, len(there) - 0.4)

    return svg_plot(draw, 250, 190, key)


def dose_plot(doses: Sequence[Dose], row: Mapping[str, Any], key: str) -> str:
    """The wells of a compound, the fitted curve, and EC50 with its confidence interval.

    Concentrations are on a log axis; wells without compound stand left of a break. ``row`` is the row of the
    table of dose responses.
    """
    from hcs_steps.statistics import logistic

    feature = str(row["feature"])
    x = np.array([dose.concentration for dose in doses], np.float64)
    y = np.array([dose.values.get(feature, np.nan) for dose in doses], np.float64)
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    positive = x[x > 0]
    ec50 = as_number(row.get("ec50"))
    shown = positive if positive.size or not ec50 > 0 else np.array([ec50 / 30, ec50 * 30])

    def draw(axes: Any) -> None:
        axes.set_xscale("log")
        if shown.size:
            low, high = shown.min(), shown.max()
            step = (high / low) ** (1 / max(len(np.unique(shown)) - 1, 1)) if high > low else 10.0
            zero = low / max(step, 10**0.5) ** 1.5
            left = zero / step**0.5 if (x == 0).any() else low / step**0.5
            axes.set_xlim(left, high * step**0.5)
            curve = np.geomspace(low / step**0.4, high * step**0.4, 120)
            _draw_fit(axes, row, curve, logistic)
            axes.plot(positive, y[x > 0], "o", color="#0072B2", markersize=4, alpha=0.8, markeredgewidth=0)
            if (x == 0).any():
                at = np.full((x == 0).sum(), zero)
                axes.plot(at, y[x == 0], "s", color="#555555", markersize=3.6, alpha=0.8, markeredgewidth=0)
                _axis_break(axes, (zero * low) ** 0.5, zero)
            _log_ticks(axes, low, high, zero if (x == 0).any() else None)

    return svg_plot(draw, 270, 190, key)


def _draw_fit(axes: Any, row: Mapping[str, Any], x: Floats, logistic: Callable[..., Any]) -> None:
    values = {name: as_number(row.get(name)) for name in ("bottom", "top", "ec50", "hill")}
    if not all(np.isfinite(value) for value in values.values()):
        return
    axes.plot(x, logistic(x, **values), "-", color="#111111", linewidth=1.2)
    low, high, ec50 = as_number(row.get("ec50_low")), as_number(row.get("ec50_high")), values["ec50"]
    inside = axes.get_xlim()
    if np.isfinite(low) and np.isfinite(high):
        axes.axvspan(
            min(max(low, inside[0]), inside[1]), min(max(high, inside[0]), inside[1]),
            color="#E69F00", alpha=0.22, linewidth=0,
        )  # fmt: skip
    if inside[0] <= ec50 <= inside[1]:
        axes.axvline(ec50, color="#B8730A", linewidth=1, linestyle=(0, (4, 2)))


def _axis_break(axes: Any, where: float, zero: float) -> None:
    """Two strokes across the axis between the wells without compound and the lowest dose."""
    across = axes.get_xaxis_transform()
    axes.text(where, 0, "//", transform=across, ha="center", va="center", fontsize=9, color="#444444")


def _log_ticks(axes: Any, low: float, high: float, zero: float | None) -> None:
    """Ticks at powers of ten, in between where there are few, and ``0`` at the wells without compound."""
    from matplotlib.ticker import FixedLocator, NullFormatter

    powers = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    stride = max(1, len(powers) // 5)
    ticks = [10.0**p for p in powers[::stride] if low * 0.7 <= 10.0**p <= high * 1.5]
    if len(ticks) < 2:
        ticks = sorted({float(low), float(high)})
    labels = [f"{tick:g}" for tick in ticks]
    if zero is not None:
        ticks, labels = [zero, *ticks], ["0", *labels]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.set_xticks(ticks, labels)
    axes.xaxis.set_minor_locator(FixedLocator([]))
    axes.xaxis.set_minor_formatter(NullFormatter())


def line_plot(names: Sequence[str], values: Sequence[float], key: str) -> str:
    """The medians of the rows or of the columns of a plate, in order, with the median of all as a line."""

    def draw(axes: Any) -> None:
        y = np.array(values, np.float64)
        x = np.arange(y.size)
        known = y[np.isfinite(y)]
        if known.size:
            axes.axhline(np.median(known), color="#9A9A9A", linewidth=1)
        axes.plot(x, y, "o-", color="#0072B2", markersize=3.5, linewidth=0.8)
        stride = max(1, -(-y.size // 12))
        axes.set_xticks(x[::stride], list(names)[::stride])

    return svg_plot(draw, 330, 150, key)


def _finite(values: Iterable[float]) -> Floats:
    array = np.asarray(list(values), np.float64)
    return array[np.isfinite(array)]


def svg_plot(draw: Callable[[Any], None], width: int, height: int, key: str) -> str:
    """One plot as an ``<svg>`` element; ``key`` keeps its ids apart from those of the page's other plots."""
    import io

    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(dict(_SETTINGS)):
        figure = Figure(figsize=(width / _INCH, height / _INCH), dpi=_INCH, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing, transparent=True)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r' id="(?:figure|axes|patch|line2d|text|xtick|ytick|matplotlib\.axis|PathCollection)_\d+"', "", svg
    )
    # A style sheet inside would hold for the whole page.
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{key}-", svg)
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
