"""The key of a plan: whether what it was made from is still what is there."""

from __future__ import annotations

import json
from dataclasses import asdict

from hcs_steps import __version__
from hcs_steps.compile.plan import digest
from hcs_steps.compile.request import Request
from hcs_steps.compile.source import file_state, named_files, source_hash
from hcs_steps.errors import HcsError
from hcs_steps.functions.declare import spec_of
from hcs_steps.pipeline.registry import resolve


def plan_key(request: Request) -> str:
    """Hash of everything a plan is made from: plate, pipeline, function sources, options, version."""
    options = asdict(request.options)
    sources: dict[str, str] = {}
    files: list[dict[str, str]] = []
    for step in request.pipeline.steps:
        for _, call in step.calls:
            try:
                function = resolve(call.function, request.options.search_path)
                sources[call.function] = source_hash(function)
                named = named_files(function, spec_of(function).files, call.kwargs)
                files.append({name: file_state(path) for name, path in named.items()})
            except HcsError as error:  # the phases report it
                sources[call.function] = str(error)
    return digest(
        __version__,
        request.inventory.digest,
        request.inventory.plate_path,
        json.dumps([step.settings() for step in request.pipeline.steps], sort_keys=True),
        request.pipeline.name,
        request.pipeline.config.model_dump_json(),
        json.dumps(options, sort_keys=True, default=str),
        json.dumps([sources, files], sort_keys=True),
    )
