"""``hcs pipeline``, ``hcs functions``, ``hcs schemas``: pipelines and what they are made of."""

from __future__ import annotations

import argparse
import inspect
import json
from pathlib import Path

from hcs_steps.functions.declare import spec_of
from hcs_steps.pipeline.config import Model
from hcs_steps.pipeline.files import PipelineFile, load_pipeline, pipeline_to_python, pipeline_to_yaml
from hcs_steps.pipeline.registry import known_names, resolve
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


def functions(arguments: argparse.Namespace) -> int:
    """List the built-in step functions, or describe one."""
    if arguments.name:
        func = resolve(arguments.name, (str(Path.cwd()),))
        print(f"{arguments.name}{inspect.signature(func)}\n\n{inspect.getdoc(func) or ''}")
        return 0
    for name in known_names():
        func = resolve(name)
        outputs = ", ".join(f"{o.name} ({o.kind})" for o in spec_of(func).outputs)
        print(
            f"{name}: {(inspect.getdoc(func) or '').splitlines()[0]}"
            + (f" Returns {outputs}." if outputs else "")
        )
    return 0


def schemas(arguments: argparse.Namespace) -> int:
    """Write the JSON schemas that editors check configuration files with."""
    for name, model in SCHEMAS.items():
        text = json.dumps(model.model_json_schema(), indent=2) + "\n"
        write_text(Path(arguments.folder) / name, text)
        print(Path(arguments.folder) / name)
    return 0
