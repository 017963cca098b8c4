"""``report.html``: one file that shows what became of a plate, without asking the network for anything.

Every text that comes from a plate, a plate map or an error is escaped; the page's own script is the only one that a
browser runs in it (content security policy), and it may load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from hcs_steps.plate.wells import compact_wells
from hcs_steps.report import _figures
from hcs_steps.report._assets import asset, template
from hcs_steps.report._embedded import DIGITS, SCORE_DIGITS, data_address, pictures_json, plate_json
from hcs_steps.report.model import ReportData, collect
from hcs_steps.results import Results
from hcs_steps.storage.atomic import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from hcs_steps.compile.plan import Plan
    from hcs_steps.report.pictures import PlatePictures

SHOWN_FAILURES = 20
EXCELLENT = 0.5
"""Z' from which an assay is excellent; above 0 it is marginal (J.-H. Zhang et al., J. Biomol. Screen. 4, 67, 1999)."""
EDGE_P, EDGE_DIFFERENCE = 0.01, 0.5
"""An edge effect is worth a look from this p-value and this difference in robust standard deviations."""

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
Z_PRIME = "Z\N{PRIME}"

STATISTICS = {
    "n_negative": f"n {MINUS}",
    "n_positive": "n +",
    "mean_negative": f"Mean {MINUS}",
    "mean_positive": "Mean +",
    "z_prime": Z_PRIME,
    "robust_z_prime": f"Robust {Z_PRIME}",
    "ssmd": "SSMD",
    "robust_ssmd": "Robust SSMD",
    "signal_to_background": "S/B",
    "cv_negative": f"CV {MINUS} (%)",
    "cv_positive": "CV + (%)",
}
EDGES = {
    "n_edge": "n edge",
    "n_inner": "n inner",
    "median_edge": "Median edge",
    "median_inner": "Median inner",
    "edge_difference": "Difference (robust SD)",
    "p_edge": "p edge",
    "p_rows": "p rows",
    "p_columns": "p columns",
    "strongest_row": "Strongest row",
    "strongest_column": "Strongest column",
}


def write_report(plan: Plan, results: Results, pictures: PlatePictures | None = None) -> Path:
    """Write the plate's page from what is on disk; atomically, and the same bytes for the same content."""
    text = render(collect(plan, results), pictures)
    path = results.report
    # A file name that is not UTF-8 may stand in an error.
    write_bytes(path, text.encode("utf-8", "replace"))
    return path


def render(data: ReportData, pictures: PlatePictures | None = None) -> str:
    """The page of a plate as HTML; without ``pictures`` the montage is left out."""
    script = asset("page.js")
    readouts = set(data.readouts)
    return str(
        _template().render(
            data=data,
            style=asset("page.css"),
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            verdict=verdict(data),
            level=level(data),
            highlights=highlights(data),
            problems=has_problems(data),
            plate_json=plate_json(data),
            pictures=pictures,
            pictures_json=pictures_json(pictures),
            sprite=data_address(pictures.sprite, pictures.mime) if pictures else "",
            failures=(data.failures[:SHOWN_FAILURES], data.failures[SHOWN_FAILURES:]),
            statistics=STATISTICS,
            statistics_rows=_split(data.statistics, readouts, "z_prime"),
            edges=EDGES,
            edge_rows=_split(data.edges, readouts, "p_edge"),
            controls=_figures.control_figures(data),
            doses=_figures.dose_figures(data),
            medians=_figures.median_figures(data),
            digits=(DIGITS, SCORE_DIGITS),
            edge_rule=(EDGE_P, EDGE_DIFFERENCE),
        )
    )


@cache
def _template() -> Any:
    filters: dict[str, Callable[..., Any]] = {
        "short": short,
        "exact": exact,
        "duration": duration,
        "wells": compact_wells,
        "percent": percent,
        "moment": moment,
    }
    return template("page.html", filters, {"z_word": z_word, "edge_word": edge_word})


def verdict(data: ReportData) -> str:
    """In a sentence, what became of the wells."""
    failed, incomplete = data.status("failed"), data.status("incomplete")
    total = len(data.wells)
    if failed and len(failed) == total:
        return f"Nothing was measured: all {total} wells failed."
    if not failed and not incomplete:
        broken = sorted({failure.stage for failure in data.failures})
        return f"All {total} wells done." + (
            f" Failed for the whole plate: {', '.join(broken)}." if broken else ""
        )
    counts = {"failed": len(failed), "incomplete": len(incomplete), "done": len(data.status("done"))}
    return f"{total} wells: {', '.join(f'{count} {name}' for name, count in counts.items() if count)}."


def level(data: ReportData) -> str:
    """How bad it is: ``good``, ``poor`` (something failed) or ``bad`` (nothing was measured)."""
    if len(data.status("done")) == 0:
        return "bad"
    return "poor" if data.failures or len(data.status("done")) < len(data.wells) else "good"


def has_problems(data: ReportData) -> bool:
    """Whether anything went wrong that a person should see first."""
    return bool(data.failures or data.status("incomplete") or data.damaged or data.map_problems)


def highlights(data: ReportData) -> list[tuple[str, str, str]]:
    """The numbers under the title: label, value, remark."""
    done = len(data.status("done"))
    shown = [("wells done", f"{done} / {len(data.wells)}", "")]
    counted = [well.objects for well in data.wells if well.objects is not None]
    if counted:
        shown.append(("objects", f"{sum(counted):,}", f"{sum(counted) / len(counted):.0f} per well"))
    rows = {str(row["feature"]): row for row in data.statistics}
    for name in [name for name in data.readouts if name in rows][:2]:
        z = rows[name]["z_prime"]
        shown.append((Z_PRIME, short(z), f"{name}: {z_word(z)}" if z_word(z) else name))
    if data.flag_counts:
        flagged = sum(bool(well.flags) for well in data.wells)
        shown.append(("wells with QC flags", str(flagged), ""))
    if data.curves:
        fitted = sum(row["status"] == "ok" for row in data.curves)
        shown.append(("dose-response fits", f"{fitted} / {len(data.curves)}", "ok / tried"))
    if data.run.start:
        shown.append(("work in all jobs", duration(data.run.seconds), ""))
    return shown


def _split(
    rows: Sequence[Mapping[str, Any]], readouts: set[str], key: str
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The rows of the readouts, and all others, best first: the highest Z' or the lowest p-value."""
    sign = -1 if key == "z_prime" else 1

    def place(row: Mapping[str, Any]) -> float:
        value = row.get(key)
        return sign * value if isinstance(value, int | float) and math.isfinite(value) else math.inf

    ranked = sorted(rows, key=place)
    return (
        [row for row in ranked if str(row["feature"]) in readouts],
        [row for row in ranked if str(row["feature"]) not in readouts],
    )


def z_word(value: Any) -> str:
    """What a Z' means: excellent, marginal or unusable; nothing for NaN."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    return "excellent" if value >= EXCELLENT else "marginal" if value > 0 else "unusable"


def edge_word(row: Mapping[str, Any]) -> str:
    """``edge`` where the edge wells differ enough to be looked at."""
    p, difference = row.get("p_edge"), row.get("edge_difference")
    if not (isinstance(p, float) and isinstance(difference, float)):
        return ""
    return "edge effect" if p < EDGE_P and abs(difference) >= EDGE_DIFFERENCE else ""


def short(value: Any) -> str:
    """A number for a table: four significant digits, all of those before the point up to a million; a dash for
    none.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return DASH
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    text = (
        str(value)
        if isinstance(value, int)
        else f"{value:.0f}"
        if 1e4 <= abs(value) < 1e6
        else f"{value:.4g}"
    )
    return text.replace("-", MINUS, 1) if text.startswith("-") else text


def exact(value: Any) -> str:
    """A number as the page keeps it: six significant digits; nothing for none."""
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}" if math.isfinite(value) else ""
    return "" if value is None else str(value)


def percent(value: float) -> str:
    """A part of one in per cent."""
    return f"{100 * value:.0f} %"


def duration(seconds: float) -> str:
    """Seconds as people say them: ``0.42 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if not math.isfinite(seconds):
        return DASH
    if seconds < 59.5:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def moment(text: str) -> str:
    """A time of a record, to the second: ``2026-01-31 12:00:00 UTC``."""
    from datetime import UTC, datetime

    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
