"""Pipeline files: a pipeline that compiles or is refused, and that survives being written as YAML and as Python."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz_lab import TEXTS, damaged, examples, hostile_number, hostile_text, mutated, new_folder, outcome
from fuzz_plans import compiled, small_inventory
from hypothesis import given
from hypothesis import strategies as st

from hcs_steps.compile.plan import Plan
from hcs_steps.errors import CompileError, ConfigError, PipelineError
from hcs_steps.pipeline import (
    Pipeline,
    load_pipeline,
    pipeline_from_dict,
    pipeline_to_python,
    pipeline_to_yaml,
)

GOOD: dict[str, Any] = {
    "name": "count",
    "description": "Counts nuclei.",
    "config": {
        "num_workers": 2,
        "vfs": {"intermediate_backend": "disk", "materialization_backend": "zarr"},
        "zarr": {"compressor": "zstd", "compression_level": 3, "ngff_version": 0.4},
        "tables": {"csv": True, "aggregate": ["median", "mad"], "rois": "imagej"},
        "path_planning": {"output_dir_suffix": "_x", "materialization_results_path": "tables"},
    },
    "steps": [
        {"func": {"use": "tophat", "with": {"selem_radius": 9}}, "name": "flat", "force_disk_output": True},
        {"func": "create_composite", "variable_components": ["channel"], "well_filter": ["A01", "row:B"]},
        {
            "name": "count",
            "func": {
                "DAPI": ["tophat", {"use": "count_cells_single_channel", "as": {"cells": "nuclei"}}],
                2: "count_cells_single_channel",
            },
            "group_by": "channel",
            "input_source": "pipeline_start",
            "unlisted": "pass",
        },
    ],
}
TEXT = yaml.safe_dump(GOOD).encode()

functions = st.sampled_from(
    ["tophat", "count_cells_single_channel", "segment_nuclei", "measure_objects", "max_project", "os.system", "",
    ":", "a:b:c",
     "no.such.module:f", "/no/such/file.py:f", "json:loads.__globals__", "../x.py:f", "\0:f"]
)  # fmt: skip
values = hostile_text | hostile_number | st.none() | st.booleans()
call = functions | st.fixed_dictionaries(
    {"use": functions},
    optional={
        "with": st.dictionaries(st.sampled_from(["selem_radius", "sigma", "stack", "threshold"]) | hostile_text,
        values, max_size=2),
        "as": st.dictionaries(st.sampled_from(["cells", "nuclei"]) | hostile_text, hostile_text, max_size=2),
    },
)  # fmt: skip
chain = call | st.lists(call, max_size=3)
components = st.sampled_from(["site", "channel", "z_index", "timepoint", "well", "none", "SITE", ""])
step = st.fixed_dictionaries(
    {"func": chain | st.dictionaries(st.sampled_from(["DAPI", "GFP", 1, 2, "use"]) | hostile_text, chain, max_size=3)},
    optional={
        "name": hostile_text,
        "variable_components": components | st.lists(components, max_size=3),
        "group_by": components,
        "input_source": st.sampled_from(["previous_step", "pipeline_start", "x"]),
        "force_disk_output": st.booleans(),
        "well_filter": st.sampled_from([1, 0, -1, 10**30, "A01", "row:A-Z", "col:99", ["A01", 2],
        {"exclude": "row:A"}, {"include": {}}]),
        "scope": st.sampled_from(["unit", "plate"]),
        "unlisted": st.sampled_from(["drop", "pass"]),
        "gate": st.booleans(),
    },
)  # fmt: skip
pipelines = st.fixed_dictionaries(
    {"steps": st.lists(step, min_size=1, max_size=3)},
    optional={"name": hostile_text, "description": hostile_text},
)


@lru_cache
def folder() -> Path:
    return new_folder()


def use(pipeline: Pipeline) -> None:
    """Write it as YAML and as Python, and compile it, which imports functions but runs none."""
    text = pipeline_to_yaml(pipeline)
    assert pipeline_from_dict(yaml.safe_load(text), where="again") == pipeline
    namespace: dict[str, Any] = {}
    exec(compile(pipeline_to_python(pipeline), "pipeline.py", "exec"), namespace)
    assert namespace["pipeline"] == pipeline
    plan = compiled(pipeline, small_inventory())
    assert Plan.from_json(plan.to_json(), where="again").to_json() == plan.to_json()


@examples(60)
@given(tree=mutated(GOOD) | pipelines)
def test_a_pipeline_compiles_or_is_refused(tree: Any) -> None:
    _, error = outcome(lambda: use(pipeline_from_dict(tree, where="p.yaml")))
    assert error is None or isinstance(error, ConfigError | PipelineError | CompileError)


@examples(40)
@given(content=damaged(TEXT) | st.binary(max_size=60))
def test_a_damaged_file_is_a_pipeline_or_is_refused(content: bytes) -> None:
    path = folder() / "p.yaml"
    path.write_bytes(content)
    outcome(lambda: use(load_pipeline(path)))


@pytest.mark.parametrize("text", TEXTS)
def test_a_path_that_cannot_be_a_pipeline_is_refused(text: str) -> None:
    _, error = outcome(lambda: load_pipeline(text))
    assert isinstance(error, ConfigError)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("place", ["step", "output", "tables"])
def test_no_name_leads_results_elsewhere(place: str, text: str) -> None:
    """A plan names stores, stages and tables inside the plate's results, whatever a pipeline calls them."""
    names = {"step": "count", "output": "cells", "tables": "tables"} | {place: text}
    tree = {
        "config": {"path_planning": {"materialization_results_path": names["tables"]}},
        "steps": [
            {
                "name": names["step"],
                "func": {"use": "count_cells_single_channel", "as": {"cells": names["output"]}},
                "force_disk_output": True,
            }
        ],
    }
    plan, error = outcome(lambda: compiled(pipeline_from_dict(tree, where="p.yaml"), small_inventory()))
    if error is None:
        assert Plan.from_json(plan.to_json(), where="plan.json") == plan


@pytest.mark.parametrize(
    "changed",
    [
        {"config": {"tables": {"aggregate": {}}}},
        {"config": {"tables": {"rois": [["imagej"]]}}},
        {"config": {"path_planning": {"materialization_results_path": "a\nb"}}},
        {"steps": [{"func": {"use": "tophat", "with": [{"selem_radius": 9}]}}]},
        {"steps": [{"func": "tophat", "name": "x" * 300}]},
        {"steps": [{"func": {"use": "tophat", "with": {"selem_radius": float("inf")}}}]},
        {"steps": [{"func": {"use": "tophat", "with": {"selem_radius": 10**5000}}}]},
        {"description": "\0"},
    ],
)
def test_what_fuzzing_has_found_is_refused(changed: dict[str, Any]) -> None:
    _, error = outcome(lambda: use(pipeline_from_dict({**GOOD, **changed}, where="p.yaml")))
    assert isinstance(error, ConfigError | PipelineError | CompileError)
