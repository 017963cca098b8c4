"""What tests of several packages share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def cupy_standin() -> Iterator[ModuleType]:
    """A module in the place of ``cupy``: ``f(cupy_standin.asarray(x)).get()`` takes the path of a GPU."""
    spec = importlib.util.spec_from_file_location("cupy_standin", Path(__file__).with_name("cupy_standin.py"))
    standin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(standin)
    with standin.installed() as cupy:
        yield cupy


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """``real_data("set")`` is the folder of a real data set; the test is skipped where it is absent."""
    root = Path(os.environ.get("HCS_STEPS_DATA") or REPOSITORY.parent / "shared" / "data")

    def folder(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(
                f"real data set {name!r} is not there; set HCS_STEPS_DATA to the folder that holds it"
            )
        return path

    return folder


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., Any]:
    """Makes plans of small plates in memory."""
    from hcs_steps.compile import CompileOptions, compile_plate
    from hcs_steps.pipeline import FunctionStep, GlobalPipelineConfig, Pipeline
    from hcs_steps.plate.inventory import Inventory, Plane

    def make_plan(
        *steps: str,
        pipeline: str = "count",
        wells: Iterable[str] = ("A01", "B02"),
        plate: str = "P1",
        radius: int = 5,
        filters: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:
        """Every step is a tophat of its own stage, and is called as given."""
        planes = tuple(
            Plane(w, s, 1, 1, 1, f"{w}{s}.tif", 0, 9, 9, 64, 64, "uint16") for w in wells for s in (1, 2)
        )
        inventory = Inventory(
            plate_path=f"/{plate}",
            name=plate,
            format="test",
            evidence=(),
            planes=planes,
            channels={1: "DAPI"},
            rows=8,
            columns=12,
            grid_dimensions=None,
            pixel_size_um=0.65,
            pixel_size_source="metadata",
            missing=(),
            problems=(),
            disagreements=(),
            digest="digest",
        )
        made = [
            FunctionStep(("tophat", {"selem_radius": radius}), name=name, well_filter=filters.get(name))
            for name in steps
        ]
        config = GlobalPipelineConfig(vfs={"intermediate_backend": "disk"})  # type: ignore[arg-type]
        return compile_plate(
            inventory, Pipeline(made, name=pipeline, config=config), CompileOptions(plate_id=plate)
        )

    return make_plan


@pytest.fixture(scope="session")
def write_one_step() -> Callable[..., Any]:
    """``write_one_step(plate, folder, "module:function", "name", search_path=(...))`` compiles one step of a lab's own
    for a plate, with further options of the compiler, and writes plan and inventory into a new results folder.
    """
    from hcs_steps.compile import CompileOptions, compile_plate
    from hcs_steps.pipeline import FunctionStep, GlobalPipelineConfig, Pipeline
    from hcs_steps.plate import open_plate, write_inventory
    from hcs_steps.results import Results

    def write(plate: Path, folder: Path, function: str, name: str, **options: Any) -> Results:
        inventory = open_plate(plate)
        pipeline = Pipeline([FunctionStep(func=function, name=name)], config=GlobalPipelineConfig())
        plan = compile_plate(inventory, pipeline, CompileOptions(plate_id="plate", **options))
        results = Results(folder)
        results.root.mkdir()
        write_inventory(inventory, results.inventory)
        results.plan.write_text(plan.to_json())
        return results

    return write
