"""Different pipelines for different plates, one configuration: results in one folder, TIFF between the steps.

python examples/several_plates.py RESULTS PLATE1 PLATE2
"""

import sys

from hcs_steps import (
    Backend,
    FunctionStep,
    GlobalPipelineConfig,
    MaterializationBackend,
    PathPlanningConfig,
    PipelineOrchestrator,
    VFSConfig,
    ZarrChunkStrategy,
    ZarrCompressor,
    ZarrConfig,
)

steps_for_plate1 = [FunctionStep("stack_percentile_normalize"), FunctionStep("count_cells_single_channel")]
steps_for_plate2 = [
    FunctionStep(("tophat", {"selem_radius": 20}), variable_components="site"),
    FunctionStep({"DAPI": "count_cells_single_channel"}, name="nuclei"),
]


def main(results_folder: str, plate1: str, plate2: str) -> None:
    global_config = GlobalPipelineConfig(
        num_workers=8,
        path_planning=PathPlanningConfig(
            output_dir_suffix="_analysis",
            global_output_folder=results_folder,
            materialization_results_path="results",
        ),
        vfs=VFSConfig(intermediate_backend=Backend.DISK, materialization_backend=MaterializationBackend.ZARR),
        zarr=ZarrConfig(compressor=ZarrCompressor.LZ4, chunk_strategy=ZarrChunkStrategy.ADAPTIVE),
    )
    pipeline_data = {plate1: steps_for_plate1, plate2: steps_for_plate2}
    for plate_path, steps in pipeline_data.items():
        orchestrator = PipelineOrchestrator(plate_path=plate_path, global_config=global_config)
        orchestrator.initialize()
        compiled_contexts = orchestrator.compile_pipelines(steps)
        results = orchestrator.execute_compiled_plate(
            pipeline_definition=steps, compiled_contexts=compiled_contexts
        )
        print(plate_path, "->", orchestrator.results.root, {u: r.success for u, r in results.items()})


if __name__ == "__main__":
    main(*sys.argv[1:4])
