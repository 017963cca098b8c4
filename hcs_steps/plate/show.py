"""The inventory for people: what `hcs inspect` prints, as text and as JSON."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from hcs_steps.plate.inventory import PROBLEM_KINDS, Inventory, Problem
from hcs_steps.plate.pixel_check import PixelCheck
from hcs_steps.plate.wells import compact_wells, row_name, well_name

EXAMPLES = 3
WIDTH = 100
_SHADES = ((1.0, "#"), (0.5, "+"), (0.0, "-"))
_LABEL = 14


def inventory_json(inventory: Inventory, checked: PixelCheck | None = None) -> dict[str, Any]:
    """The inventory's facts as JSON-ready values: no planes, but counts of them; unknown numbers are None.

    ``checked`` adds what a look at the pixels found.
    """
    planes = inventory.planes
    per_well = Counter(plane.well for plane in planes)
    layouts = Counter((plane.channel, plane.height, plane.width, plane.dtype) for plane in planes)
    sites = {(plane.well, plane.site): math.isfinite(plane.x_um) for plane in planes}
    gridded = {(plane.well, plane.site) for plane in planes if plane.grid_row >= 0}
    sites_per_well = Counter(well for well, _ in sites)
    problems = inventory.problems + (checked.problems if checked else ())
    return {
        "plate": inventory.name,
        "path": inventory.plate_path,
        "format": inventory.format,
        "evidence": list(inventory.evidence),
        "digest": inventory.digest,
        "planes": len(planes),
        # A file of many pages counts once; the size of a plane of a Zarr array is that of its own chunks.
        "bytes": sum(
            size
            for _, size, _ in {
                (plane.path, plane.size, 0 if "." in plane.path.rpartition("/")[2] else plane.page)
                for plane in planes
            }
        ),
        "wells": list(inventory.wells),
        "planes_per_well": dict(per_well),
        "plate_dimensions": [inventory.rows, inventory.columns],
        "sites": list(inventory.values("site")),
        "sites_per_well": [min(sites_per_well.values(), default=0), max(sites_per_well.values(), default=0)],
        "channels": {str(number): name for number, name in inventory.channels.items()},
        "z_indices": list(inventory.values("z_index")),
        "timepoints": list(inventory.values("timepoint")),
        "layouts": [
            {"channel": channel, "height": height, "width": width, "dtype": dtype, "planes": count}
            for (channel, height, width, dtype), count in sorted(layouts.items())
            if dtype
        ],
        "pixel_size_um": None if math.isnan(inventory.pixel_size_um) else inventory.pixel_size_um,
        "pixel_size_source": inventory.pixel_size_source,
        "grid_dimensions": list(inventory.grid_dimensions) if inventory.grid_dimensions else None,
        "sites_with_position": sum(sites.values()),
        "sites_in_grid": len(gridded),
        "sites_total": len(sites),
        "missing_planes": len(inventory.missing),
        "problems": {
            kind: {
                "count": len(problems),
                "examples": [[each.what, each.why] for each in problems[:EXAMPLES]],
            }
            for kind, problems in _by_kind(problems).items()
        },
        "pixels_compared": {"planes": checked.planes_read, "of": checked.planes_total} if checked else None,
        "disagreements": list(inventory.disagreements),
        "metadata": dict(inventory.metadata),
    }


def inventory_table(inventory: Inventory, checked: PixelCheck | None = None) -> str:
    """The facts of `inventory_json` as plain text of at most 100 columns."""
    facts = inventory_json(inventory, checked)
    lines = [
        *_line("plate", f"{facts['plate']} ({facts['path']})"),
        *_line("format", f"{facts['format']}. {' '.join(facts['evidence'])}"),
        *_line("planes", f"{facts['planes']:,} in {_bytes(facts['bytes'])}"),
        *_line("wells", f"{len(facts['wells'])}: {compact_wells(facts['wells'])}"),
        *_line("sites", _sites(facts)),
        *_line("channels", ", ".join(f"{number} = {name}" for number, name in facts["channels"].items())),
        *_line("z", _numbers(facts["z_indices"]) + _spacing(facts, "z_step_um", "um apart")),
        *_line("timepoints", _numbers(facts["timepoints"]) + _spacing(facts, "time_interval_s", "s apart")),
        *_line("images", _layouts(facts)),
        *_line("pixel size", _pixel_size(facts)),
        *_line("positions", _positions(facts)),
        *_line("pixels", _compared(facts)),
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
    kinds: dict[str, list[Problem]] = {kind: [] for kind in PROBLEM_KINDS}
    for problem in problems:
        kinds[problem.kind].append(problem)
    return {kind: found for kind, found in kinds.items() if found}


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


def _sites(facts: Mapping[str, Any]) -> str:
    fewest, most = facts["sites_per_well"]
    count = f"{most}" if fewest == most else f"{fewest} to {most}"
    grid = facts["grid_dimensions"]
    layout = f"in a grid of {grid[0]} rows x {grid[1]} columns" if grid else "grid unknown"
    return f"{count} per well: {_numbers(facts['sites'])}, {layout}"


def _positions(facts: Mapping[str, Any]) -> str:
    total, known, gridded = facts["sites_total"], facts["sites_with_position"], facts["sites_in_grid"]
    text = f"known for {known:,} of {total:,} sites"
    return text if gridded == total or not known else f"{text}; {total - gridded:,} sites lie on no grid"


def _compared(facts: Mapping[str, Any]) -> str:
    compared = facts["pixels_compared"]
    if compared is None:
        return "not looked at"
    copies, constant = (facts["problems"].get(kind, {"count": 0})["count"] for kind in ("copy", "constant"))
    if compared["planes"] == compared["of"]:
        extent = f"all {compared['of']:,} planes compared"
    else:
        extent = f"{compared['planes']:,} of {compared['of']:,} planes compared (--deep reads all)"
    return f"{extent}: {copies:,} copies of another, {constant:,} of a single value"


def _spacing(facts: Mapping[str, Any], key: str, unit: str) -> str:
    return f", {facts['metadata'][key]} {unit}" if key in facts["metadata"] else ""


def _layouts(facts: Mapping[str, Any]) -> str:
    shapes: Counter[str] = Counter()
    channels: dict[str, list[str]] = {}
    for each in facts["layouts"]:
        shape = f"{each['height']} x {each['width']} {each['dtype']}"
        shapes[shape] += each["planes"]
        channels.setdefault(shape, []).append(str(each["channel"]))
    if len(shapes) < 2:
        return next(iter(shapes), "unknown")
    return "; ".join(
        f"{shape} ({count:,} planes, channel {', '.join(channels[shape])})"
        for shape, count in shapes.most_common()
    )


def _pixel_size(facts: Mapping[str, Any]) -> str:
    if facts["pixel_size_um"] is not None:
        return f"{facts['pixel_size_um']:g} um (from {facts['pixel_size_source']})"
    text = "unknown; set pixel_size_um to measure in micrometres"
    hint = facts["metadata"].get("tiff_resolution_um")
    return f"{text} (the TIFFs' resolution tag, often wrong, says {hint})" if hint else text


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
