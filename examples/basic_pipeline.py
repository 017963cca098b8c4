"""Normalise, remove background, merge channels, count: one plate from Python.

python examples/basic_pipeline.py PLATE
"""

import sys

from hcs_steps import FunctionStep, GlobalPipelineConfig, PipelineOrchestrator, VariableComponents
from hcs_steps.functions import (
    count_cells_single_channel,
    create_composite,
    stack_percentile_normalize,
    tophat,
)

steps = [
    FunctionStep(
        func=[
            (
                stack_percentile_normalize,
                {"low_percentile": 1.0, "high_percentile": 99.0, "target_max": 65535.0},
            )
        ],
        name="normalize",
        variable_components=[VariableComponents.SITE],
    ),
    FunctionStep(
        func=[(tophat, {"selem_radius": 50})],
        name="preprocess",
        variable_components=[VariableComponents.SITE],
    ),
    FunctionStep(
        func=[create_composite],
        name="composite",
        variable_components=[VariableComponents.CHANNEL],
    ),
    FunctionStep(
        func=count_cells_single_channel,
        name="cell_count",
        variable_components=[VariableComponents.SITE],
    ),
]


def main(plate_path: str) -> None:
    orchestrator = PipelineOrchestrator(
        plate_path=plate_path,
        global_config=GlobalPipelineConfig(num_workers=4),
    )
    orchestrator.initialize()
    compiled_contexts = orchestrator.compile_pipelines(steps)
    results = orchestrator.execute_compiled_plate(
        pipeline_definition=steps,
        compiled_contexts=compiled_contexts,
        max_workers=4,
    )
    for unit, result in results.items():
        print(unit, "done" if result.success else result.error)


if __name__ == "__main__":
    main(sys.argv[1])
