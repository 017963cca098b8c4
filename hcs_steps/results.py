"""Where everything of one plate is, inside its results folder. The only module that spells these paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Results:
    """The results folder of one plate."""

    root: Path

    @property
    def plan(self) -> Path:
        """The compiled plan."""
        return self.root / "plan.json"

    @property
    def inventory(self) -> Path:
        """All planes of the plate."""
        return self.root / "inventory.parquet"

    @property
    def failures_table(self) -> Path:
        """One row per open failure."""
        return self.root / "failures.csv"

    @property
    def run(self) -> Path:
        """What ran last, and how it ended or how far it is."""
        return self.root / "run.json"

    @property
    def learned(self) -> Path:
        """What units took, for the next run to ask for."""
        return self.root / "learned.json"

    @property
    def runs_folder(self) -> Path:
        """Folder of what ran before, by run id."""
        return self.root / "runs"

    @property
    def outputs_index(self) -> Path:
        """What there is, by unit and kind."""
        return self.root / "processing_results.yaml"

    def plan_copy(self, plan_hash: str) -> Path:
        """A plan that ran, kept for as long as records name it."""
        return self.root / "plans" / f"{plan_hash}.json"

    def gate(self, stage: str) -> Path:
        """That the results of a gated stage have been shown."""
        return self.root / "gates" / f"{stage}.json"

    @property
    def lock(self) -> Path:
        """What a run holds locked for as long as it lives."""
        return self.root / ".lock"

    @property
    def report(self) -> Path:
        """The page that shows it all."""
        return self.root / "report.html"

    @property
    def plate_map(self) -> Path:
        """What the plate map says of every well."""
        return self.root / "plate_map.parquet"

    @property
    def images(self) -> Path:
        """Folder of the image stores."""
        return self.root / "images"

    def record(self, stage: str, unit: str) -> Path:
        """The checkpoint of a unit in a stage."""
        return self.root / "records" / stage / f"{unit}.json"

    def running(self, stage: str, unit: str) -> Path:
        """That a unit is being computed: where, since when, and how far it is."""
        return self.root / "running" / stage / f"{unit}.json"

    def failure(self, stage: str, unit: str) -> Path:
        """The open failure of a unit in a stage."""
        return self.root / "failures" / stage / f"{unit}.json"

    def resolved(self, stage: str, unit: str) -> Path:
        """The last failure of a unit that has succeeded since."""
        return self.root / "failures" / stage / f"{unit}.resolved.json"

    def marker(self, stage: str, job: str) -> Path:
        """The file that Snakemake knows a job by."""
        return self.root / "jobs" / stage / f"{job}.json"

    def log(self, stage: str, job: str) -> Path:
        """A job's log."""
        return self.root / "logs" / stage / f"{job}.log"

    def part(self, tables: str, step: str, unit: str, output: str) -> Path:
        """One unit's rows of a table; ``tables`` is the plan's tables folder."""
        return self.root / tables / "by_unit" / step / f"{unit}.{output}.parquet"

    def table(self, tables: str, name: str, suffix: str = ".parquet") -> Path:
        """A table of the whole plate."""
        return self.root / tables / f"{name}{suffix}"

    def rois(self, step: str, well: str, site: int, labels: str, suffix: str) -> Path:
        """The outlines of the labelled objects of one site."""
        return self.root / "exports" / "rois" / step / f"{well}_s{site}.{labels}{suffix}"

    def all_rois(self, step: str, well: str, site: int) -> list[Path]:
        """The outlines that there are of one site, of any labels and format."""
        return sorted((self.root / "exports" / "rois" / step).glob(f"{well}_s{site}.*"))

    @property
    def well_summary(self) -> Path:
        """One row per well, in the style of MetaXpress."""
        return self.root / "exports" / "well_summary.csv"

    def array(self, step: str, unit: str, output: str, call: int) -> Path:
        """An array output of one call."""
        return self.root / "arrays" / step / f"{unit}.{output}.{call}.npy"

    def relative(self, path: Path) -> str:
        """``path`` relative to the results folder, POSIX style."""
        return path.relative_to(self.root).as_posix()
