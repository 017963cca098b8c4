"""A small plate that has run through three stages, with two of intermediate images; run in this process."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hcs_steps.compile import CompileOptions, compile_plate
from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.functions.declare import step_function
from hcs_steps.pipeline import FunctionStep, GlobalPipelineConfig, Pipeline
from hcs_steps.plate import open_plate, write_inventory
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.results import Results
from hcs_steps.run.records import write_marker
from hcs_steps.run.runner import Runner
from hcs_steps.storage import write_text

WELLS = ("A01", "B02", "C03")
NORMALIZE = FunctionStep("stack_percentile_normalize", name="normalize")
TOPHAT = FunctionStep(("tophat", {"selem_radius": 6, "downsample_factor": 1}), name="tophat")
COUNT = FunctionStep(("count_cells_single_channel", {"gaussian_sigma": 1.0}), name="count")
ROIS = {"vfs": {"intermediate_backend": "disk"}, "tables": {"rois": ["geojson"], "well_summary": True}}


@dataclass(frozen=True)
class Plate:
    """Results of a plate, and the folder that they and the plate are in."""

    home: Path
    plan: Plan

    @property
    def results(self) -> Results:
        return Results(self.home / "results")

    def run(self) -> set[tuple[str, str]]:
        """Start all jobs, whether they have to run or not; returns what was not up to date: (stage, unit)."""
        runner = Runner(self.plan, self.results)
        computed = set()
        for stage in self.plan.stages:
            for job, units in self.plan.jobs_of(stage).items():
                outcome = runner.run(stage, units)
                assert not outcome.failed, outcome
                assert not outcome.blocked, outcome
                computed |= {(stage.name, unit) for unit in outcome.done if unit not in outcome.skipped}
                write_marker(self.results.marker(stage.name, job), stage.name, job, outcome.done, (), ())
        return computed

    def replan(self, **changes: Any) -> Plate:
        """The plate with another plan, written as a run does."""
        return planned(self.home, **changes)

    def record(self, stage: str, unit: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.results.record(stage, unit).read_text())
        return record

    def paths(self, stage: str, unit: str, prefix: str = "") -> list[Path]:
        """What the record of a unit lists, below a folder of the results."""
        listed = [item["path"] for item in self.record(stage, unit)["published"]]
        return [self.results.root / path for path in listed if path.startswith(prefix)]

    def outputs(self) -> dict[str, str]:
        """Relative path -> hash of every image, table and array."""
        return {
            path.relative_to(self.results.root).as_posix(): hashlib.blake2b(path.read_bytes()).hexdigest()
            for part in ("images", "tables", "arrays", "exports")
            for path in sorted((self.results.root / part).rglob("*"))
            if path.is_file()
        }

    def copy(self, home: Path) -> Plate:
        """The results and a link to the plate in another folder."""
        shutil.copytree(self.home / "results", home / "results")
        (home / "plate").symlink_to(self.home / "plate")
        return Plate(home, self.plan)


def planned(
    home: Path,
    *,
    steps: Sequence[FunctionStep] = (NORMALIZE, TOPHAT, COUNT),
    wells: Sequence[str] = WELLS,
    config: Mapping[str, Any] = ROIS,
    **options: Any,
) -> Plate:
    """A plate with a plan: normalize and top-hat, both for the next step only, and count."""
    inventory = open_plate(home / "plate")
    pipeline = Pipeline(steps, config=GlobalPipelineConfig(**config))
    search_path = (str(Path(__file__).parent),)
    chosen = CompileOptions(plate_id="plate", wells=list(wells), search_path=search_path, **options)
    made = Plate(home, compile_plate(inventory, pipeline, chosen))
    write_inventory(inventory, made.results.inventory)
    write_text(made.results.plan, made.plan.to_json())
    return made


def finished(home: Path, **changes: Any) -> Plate:
    """A plate that has run."""
    make_plate(home / "plate", wells=WELLS, sites=(1, 1), shape=(48, 48), cells_per_well=4)
    made = planned(home, **changes)
    made.run()
    return made


@step_function(outputs={"qc": "table"}, scope="plate")
def summary(plate):
    """A plate-scope step that looks at images."""
    means = {unit: float(stack.mean()) for unit, _, stack in plate.stacks()}
    return {"unit": list(means), "mean": list(means.values())}


PLATE_STAGES = {("consolidate", PLATE_UNIT), ("report", PLATE_UNIT)}
