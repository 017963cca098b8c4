"""Plates in memory and a module of step functions to compile."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hcs_steps.compile import CompileOptions, Limits, compile_plate
from hcs_steps.compile.plan import Plan
from hcs_steps.pipeline import FunctionStep, GlobalPipelineConfig, Pipeline
from hcs_steps.plate import well_name
from hcs_steps.plate.inventory import Inventory, Plane, PlaneKey

OWN_FUNCTIONS = """
from hcs_steps.functions.declare import step_function


def smooth(stack, sigma=1.0):
    return stack


@step_function(reduces=True)
def project(stack, method="max"):
    return stack[:1]


@step_function(outputs={"spots": "table"}, changes_image=False)
def find(stack, threshold=0.5):
    return stack, {}


@step_function(outputs={"cells": "labels"})
def segment(stack):
    return stack, stack


@step_function(outputs={"sizes": "table"}, changes_image=False)
def measure(stack, cells, planes=None):
    return stack, {}


@step_function(memory=200.0)
def greedy(stack):
    return stack


@step_function(devices=("cpu", "gpu"))
def on_gpu(stack):
    return stack


@step_function(dtype="float64")
def widen(stack):
    return stack


@step_function(outputs={"flat_field": "array"}, scope="plate")
def estimate(plate):
    return ()


def no_stack():
    return None
"""


class Lab:
    """Makes inventories, pipelines and plans with few words."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "own.py").write_text(OWN_FUNCTIONS)

    def __getattr__(self, name: str) -> str:
        """Reference of a function of `OWN_FUNCTIONS`."""
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{self.folder.as_posix()}/own.py:{name}"

    def wells(self, count: int) -> list[str]:
        rows, columns = {96: (8, 12), 384: (16, 24), 1536: (32, 48)}.get(count, (1, count))
        return [well_name(row, column) for row in range(rows) for column in range(columns)]

    def plane(self, well: str, site: int = 1, channel: int = 1, z: int = 1, t: int = 1) -> Plane:
        path = f"{well}_s{site}_w{channel}_z{z}_t{t}.tif"
        return Plane(well, site, channel, z, t, path, 0, 2048, 10, 512, 512, "uint16")

    def inventory(
        self,
        wells: Sequence[str] = ("A01", "A02", "B01"),
        sites: int = 2,
        channels: Sequence[str] = ("DAPI", "GFP"),
        z: int = 1,
        t: int = 1,
        drop: Callable[[Plane], bool] = lambda plane: False,
        change: Callable[[Plane], Plane] = lambda plane: plane,
    ) -> Inventory:
        planes = (
            self.plane(well, site, channel, zz, tt)
            for well in wells
            for site in range(1, sites + 1)
            for channel in range(1, len(channels) + 1)
            for zz in range(1, z + 1)
            for tt in range(1, t + 1)
        )
        planes = tuple(planes)
        kept = tuple(change(plane) for plane in planes if not drop(plane))
        sites_kept = {(plane.well, plane.site) for plane in kept}
        lost = (
            PlaneKey(*plane[:5]) for plane in planes if drop(plane) and (plane.well, plane.site) in sites_kept
        )
        return Inventory(
            plate_path="/plates/P1",
            name="P1",
            format="test",
            evidence=(),
            planes=kept,
            channels=dict(enumerate(channels, 1)),
            rows=32,
            columns=48,
            grid_dimensions=(1, sites),
            pixel_size_um=0.65,
            pixel_size_source="metadata",
            missing=tuple(lost),
            problems=(),
            disagreements=(),
            digest=str(hash(kept)),
        )

    def plan(
        self,
        steps: Iterable[FunctionStep | str],
        inventory: Inventory | None = None,
        config: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        name: str = "p",
        **options: Any,
    ) -> Plan:
        made = [step if isinstance(step, FunctionStep) else FunctionStep(step) for step in steps]
        pipeline = Pipeline(made, name=name, config=GlobalPipelineConfig(**(config or {})))
        settings = CompileOptions(plate_id="P1", limits=Limits(**(limits or {})), **options)
        return compile_plate(inventory or self.inventory(), pipeline, settings)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))
