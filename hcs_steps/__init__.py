"""hcs-steps: high-content-screening plates through image-analysis pipelines, as a Snakemake workflow.

The public names are imported on first use, so that ``import hcs_steps`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hcs_steps.lazy import lazy_names

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hcs_steps.operations.runs import (
        PipelineRun,
        StageResult,
    )
    from hcs_steps.operations.service import (
        create_orchestrator,
        get_run_status,
        resume_pipeline,
        run_pipeline,
    )
    from hcs_steps.orchestrator import (
        PipelineOrchestrator,
        UnitResult,
        setup_global_gpu_registry,
    )
    from hcs_steps.pipeline import (
        Aggregate,
        Backend,
        FunctionStep,
        GlobalPipelineConfig,
        GpuPolicy,
        GroupBy,
        InputSource,
        MaterializationBackend,
        MissingPolicy,
        NgffVersion,
        PathPlanningConfig,
        Pipeline,
        RoiFormat,
        Scope,
        TablesConfig,
        TiffConfig,
        TiffFiles,
        TiffMetadata,
        Unlisted,
        VariableComponents,
        VFSConfig,
        ZarrChunkStrategy,
        ZarrCodecPipeline,
        ZarrCompressor,
        ZarrConfig,
        load_pipeline,
        register_function,
        step_function,
    )
    from hcs_steps.plate import (
        open_plate,
    )
    from hcs_steps.run.unit import (
        ProcessingContext,
    )
    from hcs_steps.run_settings import (
        OrchestrationConfig,
    )
    from hcs_steps.storage import (
        StorageRegistry,
    )

__all__ = [
    "Aggregate",
    "Backend",
    "FunctionStep",
    "GlobalPipelineConfig",
    "GpuPolicy",
    "GroupBy",
    "InputSource",
    "MaterializationBackend",
    "MissingPolicy",
    "NgffVersion",
    "OrchestrationConfig",
    "PathPlanningConfig",
    "Pipeline",
    "PipelineOrchestrator",
    "PipelineRun",
    "ProcessingContext",
    "RoiFormat",
    "Scope",
    "StageResult",
    "StorageRegistry",
    "TablesConfig",
    "TiffConfig",
    "TiffFiles",
    "TiffMetadata",
    "UnitResult",
    "Unlisted",
    "VFSConfig",
    "VariableComponents",
    "ZarrChunkStrategy",
    "ZarrCodecPipeline",
    "ZarrCompressor",
    "ZarrConfig",
    "create_orchestrator",
    "get_run_status",
    "load_pipeline",
    "open_plate",
    "register_function",
    "resume_pipeline",
    "run_pipeline",
    "setup_global_gpu_registry",
    "step_function",
]

__getattr__ = lazy_names(
    __name__,
    {
        "hcs_steps.operations.runs": ["PipelineRun", "StageResult"],
        "hcs_steps.operations.service": [
            "create_orchestrator",
            "get_run_status",
            "resume_pipeline",
            "run_pipeline",
        ],
        "hcs_steps.orchestrator": [
            "PipelineOrchestrator",
            "UnitResult",
            "setup_global_gpu_registry",
        ],
        "hcs_steps.pipeline": [
            "Aggregate",
            "Backend",
            "FunctionStep",
            "GlobalPipelineConfig",
            "GpuPolicy",
            "GroupBy",
            "InputSource",
            "MaterializationBackend",
            "MissingPolicy",
            "NgffVersion",
            "PathPlanningConfig",
            "Pipeline",
            "RoiFormat",
            "Scope",
            "TablesConfig",
            "TiffConfig",
            "TiffFiles",
            "TiffMetadata",
            "Unlisted",
            "VariableComponents",
            "VFSConfig",
            "ZarrChunkStrategy",
            "ZarrCodecPipeline",
            "ZarrCompressor",
            "ZarrConfig",
            "load_pipeline",
            "register_function",
            "step_function",
        ],
        "hcs_steps.plate": ["open_plate"],
        "hcs_steps.run.unit": ["ProcessingContext"],
        "hcs_steps.run_settings": ["OrchestrationConfig"],
        "hcs_steps.storage": ["StorageRegistry"],
    },
)
