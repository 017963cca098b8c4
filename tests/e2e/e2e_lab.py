"""A lab repository in a temporary folder: change it, run Snakemake in it, ask what was run and computed."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml
from numpy.typing import NDArray

from hcs_steps.commands.lab import init
from hcs_steps.plate.synthetic import make_plate

WELLS = ("A01", "A02", "B01", "B02", "C01", "C02")
UNIT_STAGES = ("normalize", "tophat", "count")
PLATE_STAGES = ("qc", "consolidate", "report")
PLATE = frozenset((stage, "plate") for stage in PLATE_STAGES)

PIXELS = '''\
"""Pixel functions of the lab."""


def offset(stack, by=0):
    """Add a constant."""
    return stack + stack.dtype.type(by)
'''

SUMMARY = '''\
"""Plate functions of the lab."""

from hcs_steps.functions.declare import step_function


@step_function(outputs={"qc": "table"}, scope="plate")
def summary(plate):
    """One row per unit: how many objects it has."""
    wells = list(plate.table("cell_counts")["Metadata_Well"])
    return {"unit": list(plate.units), "objects": [wells.count(unit) for unit in plate.units]}
'''

NORMALIZE = {"name": "normalize", "func": "stack_percentile_normalize"}
TOPHAT = {"name": "tophat", "func": {"use": "tophat", "with": {"selem_radius": 6, "downsample_factor": 1}}}
COUNT = {"name": "count", "func": {"use": "count_cells_single_channel", "with": {"gaussian_sigma": 1.0}}}
QC = {"name": "qc", "func": "functions.summary:summary", "scope": "plate"}

Units = set[tuple[str, str]]

# Snakemake's Slurm plugin asks scontrol as it is imported, which waits for a cluster where there is none.
ENVIRONMENT = {**os.environ, "SLURM_CONF": os.devnull}


def three_stages() -> dict[str, Any]:
    """Normalize, top-hat and a function of the lab's own, count, a plate-scope step; a job per well and step."""
    chain = [TOPHAT["func"], "functions.pixels:offset"]
    return {
        "config": {"vfs": {"intermediate_backend": "disk"}, "tables": {"csv": True}},
        "steps": [NORMALIZE, {"name": "tophat", "func": chain}, COUNT, QC],
    }


def one_stage(**path_planning: Any) -> dict[str, Any]:
    """The quickest pipeline: one job per well."""
    return {"config": {"path_planning": path_planning}, "steps": [NORMALIZE]}


def small_plate(folder: Path, wells: Sequence[str] = WELLS, **changes: Any) -> Path:
    values: dict[str, Any] = {"sites": (1, 2), "shape": (48, 48), "cells_per_well": 6}
    make_plate(folder, wells=wells, **(values | changes))
    return folder


@dataclass(frozen=True)
class Run:
    """One call of Snakemake: its exit code and text, jobs it announced and finished by rule, units computed."""

    code: int
    output: str
    announced: Counter[str]
    finished: Counter[str]
    computed: Units

    @property
    def idle(self) -> bool:
        """Whether Snakemake found nothing to do."""
        return self.code == 0 and "Nothing to be done" in self.output and not self.finished


@dataclass(frozen=True)
class Lab:
    """A lab repository."""

    root: Path

    @classmethod
    def create(cls, root: Path, plates: Sequence[Path], pipeline: Mapping[str, Any], **defaults: Any) -> Lab:
        """As ``hcs init`` lays it out, with two functions of the lab's own; plates by relative path."""
        init(Namespace(folder=str(root), plate=None))
        lab = cls(root)
        (root / "functions" / "pixels.py").write_text(PIXELS)
        (root / "functions" / "summary.py").write_text(SUMMARY)
        paths = [{"path": os.path.relpath(plate, root)} for plate in plates]
        lab.set_pipeline(pipeline)
        lab.set_config(
            {"output": "results", "defaults": {"pipeline": "config/pipelines/p.yaml", **defaults}}, paths
        )
        return lab

    def copy(self, target: Path) -> Lab:
        """The folder that holds this lab and its plates, copied with all times."""
        shutil.copytree(self.root.parent, target, dirs_exist_ok=True)
        return Lab(target / self.root.name)

    def set_pipeline(self, pipeline: Mapping[str, Any]) -> None:
        (self.root / "config" / "pipelines" / "p.yaml").write_text(
            yaml.safe_dump(dict(pipeline), sort_keys=False)
        )

    def set_config(self, values: Mapping[str, Any], plates: Sequence[Mapping[str, Any]]) -> None:
        text = yaml.safe_dump({**values, "plates": list(plates)}, sort_keys=False)
        (self.root / "config" / "config.yaml").write_text(text)

    def edit_config(self, **changes: Any) -> None:
        """Change keys under ``defaults:``."""
        values = yaml.safe_load((self.root / "config" / "config.yaml").read_text())
        values["defaults"].update(changes)
        (self.root / "config" / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace text in a file of the repository; it must be there."""
        text = (self.root / file).read_text()
        assert old in text, f"{file} does not hold {old!r}"
        (self.root / file).write_text(text.replace(old, new))

    @property
    def results(self) -> Path:
        """The results folder of the only plate."""
        (plan,) = self.root.glob("results/*/plan.json")
        return plan.parent

    def call(self, *arguments: str) -> Run:
        """Run Snakemake with nothing but ``arguments``."""
        before = self._starts()
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--executor", "hcs", "--cores", "2", *arguments],
            cwd=self.root,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        computed = {unit for unit, start in self._starts().items() if before.get(unit) != start}
        stats = re.search(r"^Job stats:\njob +count\n.*\n((?:\w+ +\d+\n)+)", done.stdout, re.MULTILINE)
        rows = [line.split() for line in stats[1].splitlines()] if stats else []
        announced = Counter({name: int(count) for name, count in rows if name != "total"})
        finished = Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", done.stdout, re.MULTILINE))
        return Run(done.returncode, done.stdout, announced, finished, computed)

    def run(self) -> Run:
        """A dry run, which must change nothing, then a run, which must start exactly the jobs that were announced."""
        before = self.tree()
        dry = self.call("-n")
        assert dry.code == 0, dry.output
        assert self.tree() == before, "a dry run changed files"
        real = self.call()
        assert dry.announced == real.announced, (
            f"dry run: {dry.announced}; run: {real.announced}\n{real.output}"
        )
        # Of the jobs that start, only the last one may end badly.
        unfinished = Counter({"finish": 1, "all": 1}) if real.code else Counter()
        assert real.announced - real.finished == unfinished, real.output
        return real

    def tree(self) -> dict[str, tuple[int, str]]:
        """Everything in the repository and the plates beside it, but for what Snakemake and Python keep."""
        kept = {".snakemake", "__pycache__"}
        found = snapshot(self.root.parent)
        # A folder's time tells only that one of those was made in it.
        return {
            name: (mtime if content else 0, content)
            for name, (mtime, content) in found.items()
            if kept.isdisjoint(name.split("/"))
        }

    def records(self, results: Path | None = None) -> dict[tuple[str, str], dict[str, Any]]:
        """(stage, unit) -> record."""
        folder = (results or self.results) / "records"
        return {(p.parent.name, p.stem): json.loads(p.read_text()) for p in folder.glob("*/*.json")}

    def _starts(self) -> dict[tuple[str, str], str]:
        folders = [plan.parent for plan in self.root.glob("results/*/plan.json")]
        several = len(folders) > 1
        return {
            (f"{folder.name}/{stage}" if several else stage, unit): record["start"]
            for folder in folders
            for (stage, unit), record in self.records(folder).items()
        }

    def rows(self, table: str) -> list[dict[str, str]]:
        """A CSV file of the results."""
        with (self.results / table).open(newline="") as file:
            return list(csv.DictReader(file))

    def statuses(self) -> dict[str, str]:
        """Well -> status, from tables/wells.csv."""
        return {row["Metadata_Well"]: row["status"] for row in self.rows("tables/wells.csv")}

    def failures(self) -> dict[tuple[str, str], dict[str, Any]]:
        """(stage, unit) -> open failure."""
        found = (
            p for p in (self.results / "failures").glob("*/*.json") if not p.name.endswith(".resolved.json")
        )
        return {(p.parent.name, p.stem): json.loads(p.read_text()) for p in found}


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Relative path -> (mtime, hash of the bytes) of every file and folder below ``folder``."""
    return {
        p.relative_to(folder).as_posix(): (
            p.stat().st_mtime_ns,
            "" if p.is_dir() else hashlib.blake2b(p.read_bytes()).hexdigest(),
        )
        for p in sorted(folder.rglob("*"))
    }


def contents(folder: Path) -> dict[str, str]:
    """Relative path -> hash of every file below ``folder``."""
    return {name: content for name, (_, content) in snapshot(folder).items() if content}


def final_outputs(results: Path) -> dict[str, str]:
    """What a user keeps: images and tables."""
    return {f"{part}/{k}": v for part in ("images", "tables") for k, v in contents(results / part).items()}


def leftovers(results: Path) -> list[str]:
    """Temporary files and folders that nobody removed."""
    temporary = re.compile(r"\..*\.(tmp|old)(-.*)?")
    return sorted(
        p.relative_to(results).as_posix() for p in results.rglob(".*") if temporary.fullmatch(p.name)
    )


def image_files(plate: Path, well: str) -> list[Path]:
    return sorted(plate.rglob(f"*_{well}_*.TIF"))


def raw_image(plate: Path, well: str, site: int, channel: int) -> NDArray[Any]:
    (path,) = plate.rglob(f"*_{well}_s{site}_w{channel}.TIF")
    return tifffile.imread(path)


def replace_pixels(path: Path) -> None:
    """Other pixels in a file that is otherwise the same."""
    with tifffile.TiffFile(path) as file:
        pixels, text = file.pages[0].asarray(), file.pages[0].description
    tifffile.imwrite(path, np.flipud(pixels) + 7, description=text, metadata=None, software=False)


def truncate(path: Path) -> bytes:
    """Cut a file to half; returns what it held."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return content


def of_unit(unit: str) -> Units:
    """A unit in all unit stages of `three_stages`."""
    return {(stage, unit) for stage in UNIT_STAGES}
