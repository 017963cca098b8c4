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
from hcs_steps.storage.atomic import write_json

CELLS = {"A01": 60, "A02": 100, "A03": 140, "B01": 180, "B02": 220, "B03": 120, "C01": 80, "C02": 160}
"""Wells of the demo plate and how many cells are in each."""


def run(arguments: argparse.Namespace) -> int:
    """Make the plate, run the workflow, print what came out beside what was put in."""
    started = time.perf_counter()
    lab = Path(arguments.folder)
    lay_out(lab, plate=lab / "plate")
    truth = _plate(lab, arguments.broken_well, arguments.layout)
    made = time.perf_counter()
    print(
        f"The plate is in {lab / 'plate'}; running: cd {lab} && snakemake --profile profiles/default\n",
        flush=True,
    )
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/default", "--cores", arguments.cores]
    code = subprocess.run([*command, "--quiet", "rules"], cwd=lab, env=os.environ, check=False).returncode
    if code == 2:
        return 2
    ran = time.perf_counter()
    results = Results(lab / "results" / "plate")
    _compare(results, truth)
    print(f"images   {results.images / 'cell_count.ome.zarr'}")
    print(
        f"tables   {results.table('tables', 'cell_counts', '.csv')} (one row per nucleus), wells.csv beside it"
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
        wells=list(CELLS),
        cells_per_well=CELLS,
        sites=(2, 2),
        seed=1,
        broken_well=broken_well,
        layout=layout,
    )
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
        counted = row.get("Count_cell_counts_DAPI", "")
        off = f"{(int(counted) - expected) / expected:+.1%}" if counted else ""
        table.add_row(well, row.get("status", "missing"), counted, str(expected), off)
    Console().print(table)
