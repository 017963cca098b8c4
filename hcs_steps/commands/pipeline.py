"""``hcs pipeline``, ``hcs schemas``: pipeline files, and the schemas that editors check them with."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hcs_steps.pipeline.config import Model
from hcs_steps.pipeline.files import PipelineFile, load_pipeline, pipeline_to_python, pipeline_to_yaml
from hcs_steps.settings import WorkflowSettings
from hcs_steps.storage.atomic import write_text

SCHEMAS: dict[str, type[Model]] = {
    "config.schema.json": WorkflowSettings,
    "pipeline.schema.json": PipelineFile,
}


def run(arguments: argparse.Namespace) -> int:
    """Convert a pipeline file."""
    pipeline = load_pipeline(arguments.file)
    text = pipeline_to_python(pipeline) if arguments.to == "to-python" else pipeline_to_yaml(pipeline)
    if arguments.output:
        write_text(Path(arguments.output), text)
    else:
        print(text, end="")
    return 0


def schemas(arguments: argparse.Namespace) -> int:
    """Write the JSON schemas that editors check configuration files with."""
    for name, model in SCHEMAS.items():
        text = json.dumps(model.model_json_schema(), indent=2) + "\n"
        write_text(Path(arguments.folder) / name, text)
        print(Path(arguments.folder) / name)
    return 0
