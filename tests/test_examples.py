"""The scripts in examples/ run as they stand, and so do the promises of the Python interface."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from hcs_steps import FunctionStep, GlobalPipelineConfig, PipelineOrchestrator
from hcs_steps.errors import ConfigError, HcsError, PlateError
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.storage.tables import read_table

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = pytest.mark.e2e


def plate_in(folder: Path, **options: object) -> Path:
    plate = folder / "plate1"
    settings = {"wells": ["A01", "A02", "B01"], "sites": (1, 2), "shape": (96, 96), "cells_per_well": 12}
    make_plate(plate, **{**settings, **options})
    return plate


def run_example(name: str, *arguments: object, cwd: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_basic_example_counts_every_well_and_takes_a_relative_path(tmp_path: Path) -> None:
    plate_in(tmp_path)
    printed = run_example("basic_pipeline.py", "plate1", cwd=tmp_path)
    assert {"A01 done", "A02 done", "B01 done"} <= set(printed.splitlines())
    workspace = tmp_path / "plate1_workspace"
    counts = read_table(workspace / "results/plate1/tables/cell_counts.parquet")
    assert set(counts["Metadata_Well"]) == {"A01", "A02", "B01"}


def test_production_example_counts_traces_and_stitches_the_sites_of_a_well(tmp_path: Path) -> None:
    pytest.importorskip("skan")
    plate = plate_in(tmp_path, wells=["A01", "B01"], sites=(2, 2), shape=(160, 160), cells_per_well=60)
    assert "2 of 2 units done" in run_example("production_pipeline.py", plate, cwd=tmp_path)
    results = tmp_path / "plate1_workspace/results/plate1"
    kept = sorted(path.name.removesuffix(".ome.zarr") for path in (results / "images").iterdir())
    assert kept == ["assemble", "composite", "positions"]
    labels = {path.name for path in (results / "images/composite.ome.zarr/A/01/1/labels").iterdir()}
    assert {"cells", "axon_skeleton"} <= labels, "beside the images that they were found in"
    tables = {path.stem for path in (results / "tables").glob("*.parquet")}
    assert {"cell_counts", "axon_branches", "axon_summary", "tile_positions", "tile_pairs"} <= tables
    # The script stacks channels, but tiles are sites: each well has one mosaic of its four sites, and the plan says so.
    assert len(read_table(results / "tables/tile_positions.parquet")["x_px"]) == 8
    array = json.loads((results / "images/assemble.ome.zarr/A/01/1/0/zarr.json").read_text())
    height, width = array["shape"][-2:]
    assert 290 < height < 320
    assert 290 < width < 320
    notes = json.loads((results / "plan.json").read_text())["notes"]
    assert sum("stacks site and not channel" in note for note in notes) == 2


def test_several_plates_example_puts_results_where_the_configuration_says(tmp_path: Path) -> None:
    first = plate_in(tmp_path / "one")
    second = tmp_path / "two" / "plate2"
    make_plate(second, wells=["C03"], sites=(1, 1), shape=(96, 96), cells_per_well=8)
    run_example("several_plates.py", tmp_path / "out", first, second, cwd=tmp_path)
    assert (tmp_path / "out/plate1_analysis/results/cell_counts.parquet").is_file()
    assert (tmp_path / "out/plate2_analysis/results/cell_counts.parquet").is_file()


def test_own_function_of_a_script_runs_in_the_jobs_and_is_limited_to_the_filtered_wells(
    tmp_path: Path,
) -> None:
    plate = plate_in(tmp_path)
    printed = run_example("own_function.py", plate, cwd=tmp_path)
    rows = [line for line in printed.splitlines() if line.startswith("plate1,")]
    assert len(rows) == 2 * 2 * 2  # wells x sites x channels


def test_a_storage_backend_of_ones_own_holds_the_images_between_steps(tmp_path: Path) -> None:
    plate = plate_in(tmp_path)
    (tmp_path / "lab_storage.py").write_text(
        "from hcs_steps.storage import TiffStore\n\n\nclass LabStore(TiffStore):\n    pass\n"
    )
    script = tmp_path / "run.py"
    script.write_text(
        "from lab_storage import LabStore\n"
        "from hcs_steps import *\n"
        "if __name__ == '__main__':\n"
        "    registry = StorageRegistry()\n"
        "    registry.register('lab', LabStore)\n"
        "    config = GlobalPipelineConfig(vfs=VFSConfig(intermediate_backend='lab', materialization_backend='disk'))\n"
        f"    o = PipelineOrchestrator({str(plate)!r}, global_config=config, storage_registry=registry).initialize()\n"
        "    steps = [FunctionStep('tophat'), FunctionStep('stack_percentile_normalize')]\n"
        "    results = o.execute_compiled_plate(steps, o.compile_pipelines(steps))\n"
        "    assert all(r.success for r in results.values()), results\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    images = tmp_path / "plate1_workspace/results/plate1/images"
    assert len(list((images / "tophat").rglob("*.tif"))) == 3 * 2 * 2


def test_a_workspace_continues_with_a_bare_snakemake(tmp_path: Path) -> None:
    plate = plate_in(tmp_path)
    run_example("basic_pipeline.py", plate, cwd=tmp_path)
    again = subprocess.run(
        [sys.executable, "-m", "snakemake"],
        cwd=tmp_path / "plate1_workspace",
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0
    assert "Nothing to be done" in again.stderr


def test_a_failed_unit_is_a_result_with_its_reason_and_the_others_succeed(tmp_path: Path) -> None:
    plate = plate_in(tmp_path, broken_well="A02")
    steps = [FunctionStep("count_cells_single_channel")]
    orchestrator = PipelineOrchestrator(plate).initialize()
    results = orchestrator.execute_compiled_plate(steps, orchestrator.compile_pipelines(steps))
    assert {unit: result.success for unit, result in results.items()} == {
        "A01": True,
        "A02": False,
        "B01": True,
    }
    assert "plate1_A02_s1_w1.TIF" in results["A02"].error


@pytest.mark.parametrize("where", ["first", "last"])
def test_a_failed_plate_step_is_a_result_and_the_reason_of_the_units_that_build_on_it(
    tmp_path: Path, where: str
) -> None:
    plate = plate_in(tmp_path, wells=["A01", "A02"])
    (tmp_path / "lab_steps.py").write_text(
        "from hcs_steps.functions.declare import step_function\n\n\n"
        "@step_function(scope='plate', outputs={'level': 'value'})\n"
        "def level(plate):\n    raise ValueError('no level was found')\n\n\n"
        "@step_function(outputs={'used': 'value'}, changes_image=False)\n"
        "def use(stack, level=0):\n    return stack, level\n"
    )
    steps = [
        FunctionStep(f"{tmp_path}/lab_steps.py:level", name="level", scope="plate"),
        FunctionStep(f"{tmp_path}/lab_steps.py:use", name="use"),
    ]
    if where == "last":
        steps.reverse()
    orchestrator = PipelineOrchestrator(plate).initialize()
    results = orchestrator.execute_compiled_plate(steps, orchestrator.compile_pipelines(steps))
    assert list(results) == ["A01", "A02", "plate"]
    assert not results["plate"].success
    assert "no level was found" in results["plate"].error
    for unit in ("A01", "A02"):
        assert results[unit].success is (where == "last")
        assert ("no level was found" in results[unit].error) is (where == "first")


def test_contexts_and_plans_are_frozen_all_the_way_down(tmp_path: Path) -> None:
    orchestrator = PipelineOrchestrator(plate_in(tmp_path)).initialize()
    contexts = orchestrator.compile_pipelines([FunctionStep(("create_composite", {"weights": [1, 2]}))])
    context = contexts["A01"]
    with pytest.raises(TypeError):
        contexts["A01"] = None  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        context.well = "B01"  # type: ignore[misc]
    with pytest.raises(TypeError):
        context.planes[next(iter(context.planes))] = None  # type: ignore[index]
    with pytest.raises(TypeError):
        context.plan.units["A01"] = None  # type: ignore[index]
    (call,) = context.plan.steps[0].calls
    with pytest.raises(TypeError):
        call.kwargs["weights"] = ()  # type: ignore[index]
    assert call.kwargs["weights"] == (1, 2)


def test_one_step_list_serves_several_plates_unchanged(tmp_path: Path) -> None:
    steps = [FunctionStep("tophat"), FunctionStep({"DAPI": "count_cells_single_channel"}, name="nuclei")]
    before = [step.settings() for step in steps]
    for folder in ("one", "two"):
        PipelineOrchestrator(plate_in(tmp_path / folder)).initialize().compile_pipelines(steps)
    assert [step.settings() for step in steps] == before


def test_executing_other_steps_than_compiled_is_refused(tmp_path: Path) -> None:
    orchestrator = PipelineOrchestrator(plate_in(tmp_path)).initialize()
    contexts = orchestrator.compile_pipelines([FunctionStep("tophat")])
    with pytest.raises(HcsError, match="other steps"):
        orchestrator.execute_compiled_plate([FunctionStep("stack_percentile_normalize")], contexts)


def test_a_missing_plate_says_so_before_anything_is_made(tmp_path: Path) -> None:
    orchestrator = PipelineOrchestrator(tmp_path / "nowhere", global_config=GlobalPipelineConfig())
    with pytest.raises(PlateError, match="does not exist"):
        orchestrator.initialize()
    assert not list(tmp_path.iterdir())


def test_a_script_without_a_main_guard_does_not_start_itself_again(tmp_path: Path) -> None:
    plate = plate_in(tmp_path)
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from hcs_steps import FunctionStep, PipelineOrchestrator\n"
        "def same(stack):\n    return stack\n"
        f"o = PipelineOrchestrator({str(plate)!r}).initialize()\n"
        "steps = [FunctionStep(same)]\n"
        "o.execute_compiled_plate(steps, o.compile_pipelines(steps))\n"
    )
    result = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode != 0
    assert "__main__" in result.stderr


def test_a_plate_that_is_not_recognised_is_read_as_told(tmp_path: Path) -> None:
    plate = plate_in(tmp_path, wells=["A01"], sites=(2, 2), channels=["DAPI"])
    for number, path in enumerate(sorted(plate.rglob("*.TIF")), 1):
        path.rename(plate / f"tile_{number}.tif")
    (tmp_path / "steps_of_the_lab.py").write_text(
        "from hcs_steps.functions.declare import step_function\n\n\n"
        "@step_function(outputs={'cells': 'value'})\n"
        "def where(stack, planes, grid_dimensions):\n"
        '    """The grid that a stack lies in, and its cells."""\n'
        "    cells = list(zip(planes['grid_row'].tolist(), planes['grid_column'].tolist()))\n"
        "    return stack, {'grid': list(grid_dimensions), 'cells': cells}\n"
    )
    reading = {
        "pattern": {"regex": r"tile_(?P<site>\d)\.tif", "constants": {"well": "D07"}},
        "grid": "2x2 by columns",
        "pixel_size_um": 0.5,
    }
    steps = [FunctionStep(f"{tmp_path}/steps_of_the_lab.py:where", name="where")]
    orchestrator = PipelineOrchestrator(plate, tmp_path / "work", reading=reading).initialize()
    results = orchestrator.execute_compiled_plate(steps, orchestrator.compile_pipelines(steps))
    assert results["D07"].success, results["D07"].error
    (record,) = (tmp_path / "work").glob("results/*/records/*/D07.json")
    (call,) = json.loads(record.read_text())["outputs"]["where"]["calls"]
    assert call["values"]["cells"] == {"grid": [2, 2], "cells": [[0, 0], [1, 0], [0, 1], [1, 1]]}
    with pytest.raises(ConfigError, match="patern"):
        PipelineOrchestrator(plate, reading={"patern": "x"})
