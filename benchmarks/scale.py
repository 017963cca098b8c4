"""What it costs Snakemake to plan large plates and screens of many plates: time and memory of a dry run.

python benchmarks/scale.py [--sizes 1x384 1x1536 10x384 100x384] [--stages 3]

A size is plates x wells. Plates of tiny images are made (one site, one channel; those of a screen share their files),
with so many stages of a job per well. Prints a row per size: all plates in one Snakemake, the first part of them with
``--batch all=1/PLATES``, and one plate as ``hcs run --by-plate`` plans it. All images are read anew; MB is the largest
resident set.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from planning import pipeline

from hcs_steps.commands.lab import lay_out
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.plate.wells import well_name

SHAPES = {96: (8, 12), 384: (16, 24), 1536: (32, 48)}
SIZES = ("1x96", "1x384", "1x1536", "10x384", "100x384")
SNAKEMAKE = (sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "all")
PLATE_JOBS = 3
"""Jobs of a plate as a whole: tables, page, and the last one."""


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds of processor and of the clock, and MB of its largest resident set."""

    cpu: float
    wall: float
    mb: int

    def __str__(self) -> str:
        return f"{self.cpu:.0f} ({self.wall:.0f}) | {self.mb:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="PLATESxWELLS")
    parser.add_argument("--stages", type=int, default=3)
    arguments = parser.parse_args()
    print(
        "| plates | wells | jobs | all plates: CPU s (wall s) | MB | one batch of PLATES: CPU s (wall s) | MB "
        "| one plate by itself: CPU s (wall s) | MB |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        flush=True,
    )
    for size in arguments.sizes:
        plates, wells = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            lab = Path(folder)
            make_screen(lab, plates, wells, arguments.stages)
            jobs = plates * (wells * arguments.stages + PLATE_JOBS)
            whole = dry_run(lab)
            batch = dry_run(lab, "--batch", f"all=1/{plates}") if plates > 1 else "| "
            alone = dry_run(lab, "--config", 'only_plates=["P001"]') if plates > 1 else "| "
            print(f"| {plates} | {wells:,} | {jobs:,} | {whole} | {batch} | {alone} |", flush=True)


def make_screen(lab: Path, plates: int, wells: int, stages: int) -> None:
    """A lab repository with so many plates of tiny images, and so many stages of a job per well."""
    rows, columns = SHAPES[wells]
    names = [well_name(row, column) for row in range(rows) for column in range(columns)]
    first = lab / "plates" / "P001"
    make_plate(first, wells=names, sites=(1, 1), channels=("DAPI",), shape=(32, 32), cells_per_well=2)
    paths = [lab / "plates" / f"P{number:03}" for number in range(1, plates + 1)]
    for path in paths[1:]:
        shutil.copytree(first, path, copy_function=os.link)
    lay_out(lab, first)
    (lab / "config/pipelines/count.yaml").write_text(pipeline(stages))
    file = lab / "config/config.yaml"
    config = yaml.safe_load(file.read_text())
    config["plates"] = [{"path": str(path)} for path in paths]
    file.write_text(yaml.safe_dump(config))


def dry_run(lab: Path, *arguments: str) -> Cost:
    """What a dry run costs."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [*SNAKEMAKE, *arguments], cwd=lab, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(said)
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - started, used.ru_maxrss >> 10)


if __name__ == "__main__":
    main()
