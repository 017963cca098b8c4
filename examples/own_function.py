"""A step function of one's own, in the script itself, with a table of its own.

python examples/own_function.py PLATE
"""

import sys

import numpy as np
import pandas as pd

from hcs_steps import FunctionStep, PipelineOrchestrator, step_function


@step_function(outputs={"brightness": "table"}, rows={"brightness": "planes"}, changes_image=False, memory=2)
def measure_brightness(stack, percentile=99.0):
    """The brightness of every plane of a stack (N, Y, X); the images pass unchanged."""
    values = np.percentile(stack.reshape(len(stack), -1), percentile, axis=1)
    return stack, {"plane": np.arange(len(stack)), "brightness": values}


def main(plate_path: str) -> None:
    steps = [FunctionStep("tophat"), FunctionStep((measure_brightness, {"percentile": 99.9}))]
    orchestrator = PipelineOrchestrator(plate_path).initialize()
    contexts = orchestrator.compile_pipelines(steps, well_filter=2)
    for unit, result in orchestrator.execute_compiled_plate(steps, contexts).items():
        print(unit, "done" if result.success else result.error)
    print(pd.read_parquet(orchestrator.results.table("tables", "brightness")).to_csv(index=False))


if __name__ == "__main__":
    main(sys.argv[1])
