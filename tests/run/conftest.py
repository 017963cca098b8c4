"""A pipeline on a small synthetic plate, run in this process, without Snakemake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcs_steps.compile import CompileOptions, compile_plate
from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.compile.request import Limits
from hcs_steps.pipeline import FunctionStep, GlobalPipelineConfig, Pipeline
from hcs_steps.plate import open_plate, write_inventory
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.results import Results
from hcs_steps.run import devices, workplace
from hcs_steps.run.records import read_json
from hcs_steps.run.runner import Runner
from hcs_steps.storage.protocol import PlaneKey
from hcs_steps.storage.tables import read_table


@dataclass(frozen=True)
class Ran:
    """A pipeline that ran: its plan, its results, and the plate's truth."""

    plan: Plan
    results: Results
    truth: dict[str, Any]
    runner: Runner
    steps: Sequence[FunctionStep]
    folder: Path
    gpu: str

    def again(self) -> Ran:
        """Read the plate anew, compile and run: what a second call of Snakemake does."""
        return _run(self.folder, self.steps, self.truth, self.gpu)

    def outputs(self, step: str, unit: str) -> dict[str, Any]:
        stage = next(s for s in self.plan.stages if step in [self.plan.steps[i].name for i in s.steps])
        record = read_json(self.results.record(stage.name, unit))
        assert record is not None, read_json(self.results.failure(stage.name, unit))
        return record["outputs"][step] | {"notes": record["notes"]}

    def ended(self, step: str, unit: str) -> str:
        """When the unit's run of the stage that holds the step ended."""
        stage = next(s for s in self.plan.stages if step in [self.plan.steps[i].name for i in s.steps])
        return read_json(self.results.record(stage.name, unit))["end"]

    def table(self, step: str, unit: str, name: str) -> dict[str, Any]:
        return read_table(self.results.root / self.outputs(step, unit)["tables"][name]["path"])

    def image(self, step: str, well: str, *key: int, labels: str | None = None) -> np.ndarray:
        index = [s.name for s in self.plan.steps].index(step)
        return self.runner.store(index).read(well, PlaneKey(*key), labels)


def _run(root: Path, steps: Sequence[FunctionStep], truth: dict[str, Any], gpu: str) -> Ran:
    inventory = open_plate(root / "plate")
    options = CompileOptions(plate_id="plate", gpu=gpu, limits=Limits(gpus=1))
    plan = compile_plate(inventory, Pipeline(steps, config=GlobalPipelineConfig()), options)
    results = Results(root / "results")
    results.root.mkdir(exist_ok=True)
    write_inventory(inventory, results.inventory)
    runner = Runner(plan, results)
    for stage in plan.stages:
        runner.run(stage, [PLATE_UNIT] if stage.scope == "plate" else list(plan.units))
    return Ran(plan, results, truth, runner, steps, root, gpu)


@pytest.fixture
def one_gpu(cupy_standin: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The stand-in of CuPy, with one device to lease that nobody else knows of."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("HCS_STEPS_GPU_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setattr(devices, "_own", None)
    monkeypatch.setattr(workplace, "_worked", {})
    return cupy_standin


@pytest.fixture
def run_steps(tmp_path: Path) -> Callable[..., Ran]:
    """``run_steps(steps, **plate)``: make a plate, compile the steps, run every stage over every unit, below the folder
    ``place``.
    """

    def run(
        steps: Sequence[FunctionStep],
        prepare: Callable[[Path], Any] = lambda folder: None,
        gpu: str = "never",
        place: str = ".",
        **plate: Any,
    ) -> Ran:
        root = tmp_path / place
        folder = root / "plate"
        settings: dict[str, Any] = {
            "wells": ["A01", "B02"],
            "sites": (1, 2),
            "shape": (96, 112),
            "cells_per_well": 8,
        }
        truth = make_plate(folder, **(settings | plate))
        prepare(folder)
        return _run(root, steps, truth, gpu)

    return run
