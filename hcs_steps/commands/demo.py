"""``hcs demo``: a small plate with known truth, through Snakemake, compared with what was put in."""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hcs_steps.commands.lab import lay_out
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.results import Results
from hcs_steps.storage import as_columns, table_csv, write_json, write_text

ROWS = "ABCD"
DOSES_UM = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Concentrations in columns 2 to 7; column 1 has the negative controls, column 8 the positive ones."""

EC50_UM = 0.2
HILL = 1.6
HEALTHY, DYING = 60, 8
"""Cells per field without treatment, and with so much of a toxic one that no more die."""

TOXIC, HARMLESS = "Toxin", "Placebo"
"""The compounds of rows A and B, and of rows C and D."""

MAP_FILE = "config/plate_map.csv"


def plate_map() -> list[dict[str, Any]]:
    """What is in each well of the demo plate, and how many cells per field."""
    rows = []
    for letter in ROWS:
        compound = TOXIC if letter in "AB" else HARMLESS
        for column in range(1, len(DOSES_UM) + 3):
            entry: dict[str, Any] = {"well": f"{letter}{column:02d}", "compound": "DMSO", "dose_uM": 0.0}
            cells: float = HEALTHY
            if column > len(DOSES_UM) + 1:
                entry |= {"compound": "Kill all", "dose_uM": 10.0}
                cells = DYING
            elif column > 1:
                dose = DOSES_UM[column - 2]
                entry |= {"compound": compound, "dose_uM": dose}
                if compound == TOXIC:
                    cells = DYING + (HEALTHY - DYING) / (1 + (dose / EC50_UM) ** HILL)
            role = {1: "negative", len(DOSES_UM) + 2: "positive"}.get(column, "")
            rows.append(entry | {"control": role, "cells": round(cells)})
    return rows


def run(arguments: argparse.Namespace) -> int:
    """Make the plate, run the workflow, print what came out beside what was put in."""
    started = time.perf_counter()
    lab = Path(arguments.folder)
    lay_out(lab, plate=lab / "plate")
    truth = _plate(lab, arguments.broken_well, arguments.layout)
    made = time.perf_counter()
    print(
        f"The plate is in {lab / 'plate'}; running: cd {lab} && snakemake --executor hcs\n",
        flush=True,
    )
    command = [sys.executable, "-m", "snakemake", "--executor", "hcs", "--cores", arguments.cores]
    code = subprocess.run([*command, "--quiet", "rules"], cwd=lab, env=os.environ, check=False).returncode
    if code == 2:
        return 2
    ran = time.perf_counter()
    results = Results(lab / "results" / "plate")
    _compare(results, truth)
    print(f"report   {results.report} (open it in a browser)")
    print(f"images   {results.images / 'cell_count.ome.zarr'}")
    print(
        f"tables   {results.table('tables', 'cell_counts')} (one row per nucleus); wells.csv, statistics.csv, "
        "dose_response.csv and more beside it"
    )
    print(f"records  {results.root / 'records'} (one per well), {results.failures_table}")
    print(f"time     {made - started:.1f} s to make the plate, {ran - made:.1f} s to run the workflow")
    return code


def _plate(lab: Path, broken_well: str | None, layout: str) -> dict[str, Any]:
    """The demo plate and its truth, made anew only if another one is asked for."""
    known = lab / "truth.json"
    asked = {"broken_well": broken_well, "layout": layout}
    if known.is_file():
        truth: dict[str, Any] = json.loads(known.read_text())
        if truth.get("asked") == asked and (lab / "plate").is_dir():
            return truth
        shutil.rmtree(lab / "plate", ignore_errors=True)
    truth = make_plate(
        lab / "plate",
        wells=[entry["well"] for entry in plate_map()],
        cells_per_well={entry["well"]: entry["cells"] for entry in plate_map()},
        sites=(1, 1),
        seed=1,
        broken_well=broken_well,
        layout=layout,
    )
    rows = [{name: entry[name] for name in entry if name != "cells"} for entry in plate_map()]
    write_text(lab / MAP_FILE, table_csv(as_columns(rows)))
    config = lab / "config/config.yaml"
    write_text(config, config.read_text().replace(f"# plate_map: {MAP_FILE}", f"plate_map: {MAP_FILE}"))
    write_json(known, truth | {"asked": asked})
    return truth


def _compare(results: Results, truth: dict[str, Any]) -> None:
    """Counts per well beside the truth; cells in the overlap of two sites are counted in both, as in the images."""
    with results.table("tables", "wells", ".csv").open() as file:
        rows = {row["Metadata_Well"]: row for row in csv.DictReader(file)}
    table = Table(title="Nuclei per well, over all sites", title_justify="left")
    for name in ("well", "status", "counted", "truth", "difference"):
        table.add_column(name, justify="left" if name in ("well", "status") else "right")
    for well, put_in in truth["wells"].items():
        row = rows.get(well, {})
        expected = sum(site["count"][0] for site in put_in["sites"].values())
        counted = row.get("Count_cell_counts", "")
        off = f"{int(counted) - expected:+d}" if counted else ""
        table.add_row(well, row.get("status", "missing"), counted, str(expected), off)
    Console().print(table)
