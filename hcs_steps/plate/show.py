"""The inventory for people: what `hcs inspect` prints, as text and as JSON."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from hcs_steps.plate.inventory import Inventory, Problem
from hcs_steps.plate.wells import compact_wells, row_name, well_name

EXAMPLES = 3
WIDTH = 100
_SHADES = ((1.0, "#"), (0.5, "+"), (0.0, "-"))
_LABEL = 14


def inventory_json(inventory: Inventory) -> dict[str, Any]:
    """The inventory's facts as JSON-ready values: no planes, but counts of them; unknown numbers are None."""
    planes = inventory.planes
    per_well = Counter(plane.well for plane in planes)
    layouts = sorted(
        {(plane.channel, plane.height, plane.width, plane.dtype) for plane in planes if plane.dtype}
    )
    sites = {(plane.well, plane.site): math.isfinite(plane.x_um) for plane in planes}
    return {
        "plate": inventory.name,
        "path": inventory.plate_path,
        "format": inventory.format,
        "evidence": list(inventory.evidence),
        "digest": inventory.digest,
        "planes": len(planes),
        "bytes": sum(plane.size for plane in planes),
        "wells": list(inventory.wells),
        "planes_per_well": dict(per_well),
        "plate_dimensions": [inventory.rows, inventory.columns],
        "sites": list(inventory.values("site")),
        "channels": {str(number): name for number, name in inventory.channels.items()},
        "z_indices": list(inventory.values("z_index")),
        "timepoints": list(inventory.values("timepoint")),
        "layouts": [
            {"channel": channel, "height": height, "width": width, "dtype": dtype}
            for channel, height, width, dtype in layouts
        ],
        "pixel_size_um": None if math.isnan(inventory.pixel_size_um) else inventory.pixel_size_um,
        "pixel_size_source": inventory.pixel_size_source,
        "grid_dimensions": list(inventory.grid_dimensions) if inventory.grid_dimensions else None,
        "sites_with_position": sum(sites.values()),
        "sites_total": len(sites),
        "problems": {
            kind: {
                "count": len(problems),
                "examples": [[each.what, each.why] for each in problems[:EXAMPLES]],
            }
            for kind, problems in _by_kind(inventory.problems).items()
        },
        "disagreements": list(inventory.disagreements),
        "metadata": dict(inventory.metadata),
    }


def inventory_table(inventory: Inventory) -> str:
    """The inventory's facts as plain text of at most 100 columns."""
    facts = inventory_json(inventory)
    lines = [
        *_line("plate", f"{facts['plate']} ({facts['path']})"),
        *_line("format", f"{facts['format']}. {' '.join(facts['evidence'])}"),
        *_line("planes", f"{facts['planes']:,} in {_bytes(facts['bytes'])}"),
        *_line("wells", f"{len(facts['wells'])}: {compact_wells(facts['wells'])}"),
        *_line("sites", f"{len(facts['sites'])} per well: {_numbers(facts['sites'])}{_grid(facts)}"),
        *_line("channels", ", ".join(f"{number} = {name}" for number, name in facts["channels"].items())),
        *_line("z", _numbers(facts["z_indices"]) + _spacing(facts, "z_step_um", "um apart")),
        *_line("timepoints", _numbers(facts["timepoints"]) + _spacing(facts, "time_interval_s", "s apart")),
        *_line("images", _layouts(facts)),
        *_line("pixel size", _pixel_size(facts)),
        *_line("positions", f"known for {facts['sites_with_position']} of {facts['sites_total']} sites"),
        "",
        *_plate_map(inventory.rows, inventory.columns, facts["planes_per_well"]),
    ]
    for sentence in facts["disagreements"]:
        lines += ["", *_line("note", sentence)]
    for kind, found in facts["problems"].items():
        lines += ["", f"{kind} ({found['count']:,})"]
        lines += [text for what, why in found["examples"] for text in _wrapped(f"{what}: {why}", "  ")]
        if found["count"] > EXAMPLES:
            lines.append(f"  and {found['count'] - EXAMPLES:,} more")
    return "\n".join(lines) + "\n"


def _by_kind(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    return kinds


def _plate_map(rows: int, columns: int, per_well: Mapping[str, int]) -> list[str]:
    """One mark per well: ``#`` as many planes as the fullest well has, ``+`` and ``-`` fewer, ``.`` none."""
    most = max(per_well.values(), default=1)
    numbers = range(1, columns + 1)
    tens = "   " + " ".join(str(number // 10) if number % 10 == 0 else " " for number in numbers)
    lines = [tens.rstrip()] if columns > 9 else []
    lines.append("   " + " ".join(str(number % 10) for number in numbers))
    for row in range(rows):
        cells = (per_well.get(well_name(row, column), 0) / most for column in range(columns))
        shades = (
            "." if not share else next(mark for limit, mark in _SHADES if share >= limit) for share in cells
        )
        lines.append(f"{row_name(row):>2} " + " ".join(shades))
    lines.append(f"   # {most} planes   + at least half   - fewer   . none")
    return lines


def _line(label: str, text: str) -> list[str]:
    first, *rest = _wrapped(text, " " * _LABEL) or [""]
    return [f"{label:<{_LABEL}}{first.strip()}", *rest]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _numbers(numbers: list[int]) -> str:
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def _grid(facts: Mapping[str, Any]) -> str:
    grid = facts["grid_dimensions"]
    return f", in a grid of {grid[0]} rows x {grid[1]} columns" if grid else ", grid unknown"


def _spacing(facts: Mapping[str, Any], key: str, unit: str) -> str:
    return f", {facts['metadata'][key]} {unit}" if key in facts["metadata"] else ""


def _layouts(facts: Mapping[str, Any]) -> str:
    shapes = Counter(f"{each['height']} x {each['width']} {each['dtype']}" for each in facts["layouts"])
    if len(shapes) == 1:
        return next(iter(shapes))
    return (
        "; ".join(
            f"channel {each['channel']} {each['height']} x {each['width']} {each['dtype']}"
            for each in facts["layouts"]
        )
        or "unknown"
    )


def _pixel_size(facts: Mapping[str, Any]) -> str:
    if facts["pixel_size_um"] is None:
        return "unknown; set pixel_size_um to measure in micrometres"
    return f"{facts['pixel_size_um']:g} um (from {facts['pixel_size_source']})"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
