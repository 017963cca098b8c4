"""Small inventories, pipelines and plans that the targets damage."""

from __future__ import annotations

from hcs_steps.compile import CompileOptions, compile_plate
from hcs_steps.compile.plan import Plan
from hcs_steps.pipeline import FunctionStep, GlobalPipelineConfig, Pipeline
from hcs_steps.plate.inventory import Inventory, Plane, PlaneKey, Problem

WELLS = ("A01", "A02", "B01")


def small_inventory() -> Inventory:
    """Three wells of two sites and two channels; one plane is missing."""
    planes = tuple(
        Plane(
            well, site, channel, 1, 1, path=f"{well}_s{site}_w{channel}.tif", size=200, mtime_ns=1, height=64, width=64,
            dtype="uint16", pixel_size_um=0.65, x_um=40.0 * site, y_um=0.0, grid_row=0, grid_column=site - 1,
        )
        for well in WELLS
        for site in (1, 2)
        for channel in (1, 2)
    )  # fmt: skip
    return Inventory(
        plate_path="/plates/P1",
        name="P1",
        format="test",
        evidence=("Made for a test.",),
        planes=planes[:-1],
        channels={1: "DAPI", 2: "GFP"},
        rows=8,
        columns=12,
        grid_dimensions=(1, 2),
        pixel_size_um=0.65,
        pixel_size_source="metadata",
        missing=(PlaneKey(*planes[-1][:5]),),
        problems=(Problem("missing", "B01 s2 c2 z1 t1", "No file."),),
        disagreements=("The metadata say so.",),
        digest="00ff",
        metadata={"objective": "20x"},
    )


def compiled(pipeline: Pipeline, inventory: Inventory) -> Plan:
    """The plan of a pipeline on a plate."""
    return compile_plate(inventory, pipeline, CompileOptions(plate_id="P1", units_per_job=2))


def small_plan() -> Plan:
    """Two stages that depend on each other, with every kind of output, and the plate's own stages."""
    steps = [
        FunctionStep(("tophat", {"selem_radius": 9}), name="flat", force_disk_output=True),
        FunctionStep({"DAPI": "count_cells_single_channel"}, name="count", unlisted="pass"),
    ]
    return compiled(Pipeline(steps, name="p", config=GlobalPipelineConfig()), small_inventory())
