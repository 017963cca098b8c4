"""hcs-steps: high-content-screening plates through image-analysis pipelines, as a Snakemake workflow.

The public names are imported on first use, so that ``import hcs_steps`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hcs_steps.orchestrator import (
        PipelineOrchestrator,
        ProcessingContext,
        UnitResult,
        setup_global_gpu_registry,
    )
    from hcs_steps.pipeline import (
        Backend,
        FunctionStep,
        GlobalPipelineConfig,
        GpuPolicy,
        GroupBy,
        InputSource,
        MaterializationBackend,
        MissingPolicy,
        PathPlanningConfig,
        Pipeline,
        Scope,
        Unlisted,
        VariableComponents,
        VFSConfig,
        ZarrChunkStrategy,
        ZarrCompressor,
        ZarrConfig,
        load_pipeline,
        register_function,
        step_function,
    )
    from hcs_steps.plate import open_plate
    from hcs_steps.storage import StorageRegistry

__all__ = [
    "Backend",
    "FunctionStep",
    "GlobalPipelineConfig",
    "GpuPolicy",
    "GroupBy",
    "InputSource",
    "MaterializationBackend",
    "MissingPolicy",
    "PathPlanningConfig",
    "Pipeline",
    "PipelineOrchestrator",
    "ProcessingContext",
    "Scope",
    "StorageRegistry",
    "UnitResult",
    "Unlisted",
    "VFSConfig",
    "VariableComponents",
    "ZarrChunkStrategy",
    "ZarrCompressor",
    "ZarrConfig",
    "load_pipeline",
    "open_plate",
    "register_function",
    "setup_global_gpu_registry",
    "step_function",
]

_ORCHESTRATOR = ("PipelineOrchestrator", "ProcessingContext", "UnitResult", "setup_global_gpu_registry")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _ORCHESTRATOR:
        home = "hcs_steps.orchestrator"
    else:
        home = {"open_plate": "hcs_steps.plate", "StorageRegistry": "hcs_steps.storage"}.get(
            name, "hcs_steps.pipeline"
        )
    return getattr(importlib.import_module(home), name)
