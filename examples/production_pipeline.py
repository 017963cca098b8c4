"""A production pipeline with its configuration: cells counted, neurites traced, sites stitched; one job per well.

python examples/production_pipeline.py PLATE
"""

import os
import sys

from hcs_steps import (
    Backend,
    FunctionStep,
    GlobalPipelineConfig,
    MaterializationBackend,
    PathPlanningConfig,
    PipelineOrchestrator,
    VariableComponents,
    VFSConfig,
    setup_global_gpu_registry,
)
from hcs_steps.functions import (
    ashlar_compute_tile_positions_gpu,
    assemble_stack_cupy,
    count_cells_single_channel,
    create_composite,
    skan_axon_skeletonize_and_analyze,
    stack_percentile_normalize,
    tophat,
)


def create_production_pipeline():
    """The steps and their configuration."""
    global_config = GlobalPipelineConfig(
        num_workers=4,
        path_planning_config=PathPlanningConfig(enable_path_planning=True, enable_smart_caching=True),
        vfs_config=VFSConfig(
            intermediate_backend=Backend.MEMORY, materialization_backend=MaterializationBackend.ZARR
        ),
    )
    pipeline_steps = [
        FunctionStep(
            func=[
                (
                    stack_percentile_normalize,
                    {"low_percentile": 1.0, "high_percentile": 99.0, "target_max": 65535.0},
                )
            ],
            name="normalize",
            variable_components=[VariableComponents.SITE],
            force_disk_output=False,
        ),
        FunctionStep(
            func=[(tophat, {"selem_radius": 50})],
            name="preprocess",
            variable_components=[VariableComponents.SITE],
            force_disk_output=False,
        ),
        FunctionStep(
            func=[create_composite],
            name="composite",
            variable_components=[VariableComponents.CHANNEL],
            force_disk_output=False,
        ),
        FunctionStep(
            func=count_cells_single_channel,
            name="cell_count",
            variable_components=[VariableComponents.SITE],
            force_disk_output=False,
        ),
        FunctionStep(
            func=skan_axon_skeletonize_and_analyze,
            name="neurite_trace",
            variable_components=[VariableComponents.SITE],
            force_disk_output=False,
        ),
        # Tiles are sites, so both steps get the sites of a well, whatever is stacked here.
        FunctionStep(
            func=[
                (
                    ashlar_compute_tile_positions_gpu,
                    {"overlap_ratio": 0.1, "max_shift": 15.0, "stitch_alpha": 0.2},
                )
            ],
            name="positions",
            variable_components=[VariableComponents.CHANNEL],
            force_disk_output=True,
        ),
        FunctionStep(
            func=[(assemble_stack_cupy, {"blend_method": "fixed", "fixed_margin_ratio": 0.1})],
            name="assemble",
            variable_components=[VariableComponents.CHANNEL],
            force_disk_output=True,
        ),
    ]
    return pipeline_steps, global_config


def run_production_pipeline(plate_path: str):
    """Run the pipeline on one plate."""
    os.environ["OPENHCS_SUBPROCESS_MODE"] = "1"  # harmless here: every job is a process of its own

    pipeline_steps, global_config = create_production_pipeline()
    setup_global_gpu_registry(global_config=global_config)

    orchestrator = PipelineOrchestrator(plate_path, global_config=global_config)
    orchestrator.initialize()
    compiled_contexts = orchestrator.compile_pipelines(pipeline_steps)
    results = orchestrator.execute_compiled_plate(
        pipeline_definition=pipeline_steps,
        compiled_contexts=compiled_contexts,
        max_workers=global_config.num_workers,
    )
    print(f"{sum(r.success for r in results.values())} of {len(results)} units done")
    print(f"results: {orchestrator.results.root}")


if __name__ == "__main__":
    run_production_pipeline(sys.argv[1])
