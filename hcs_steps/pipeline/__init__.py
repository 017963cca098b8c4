"""What a user writes: steps, pipelines and their configuration.

The names are loaded on first use, because the configuration models need pydantic, which a job does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hcs_steps.lazy import lazy_names

if TYPE_CHECKING:
    from hcs_steps.functions.declare import (
        step_function,
    )
    from hcs_steps.pipeline.config import (
        GlobalPipelineConfig,
        PathPlanningConfig,
        TablesConfig,
        TiffConfig,
        VFSConfig,
        ZarrConfig,
    )
    from hcs_steps.pipeline.enums import (
        Aggregate,
        Backend,
        GpuPolicy,
        GroupBy,
        InputSource,
        MaterializationBackend,
        MissingPolicy,
        NgffVersion,
        RoiFormat,
        Scope,
        TiffFiles,
        TiffMetadata,
        Unlisted,
        VariableComponents,
        ZarrChunkStrategy,
        ZarrCodecPipeline,
        ZarrCompressor,
    )
    from hcs_steps.pipeline.files import (
        load_pipeline,
        pipeline_from_dict,
        pipeline_to_python,
        pipeline_to_yaml,
    )
    from hcs_steps.pipeline.modes import (
        ModeConfig,
    )
    from hcs_steps.pipeline.registry import (
        register_function,
    )
    from hcs_steps.pipeline.step import (
        FunctionStep,
        Pipeline,
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
    "ModeConfig",
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
    "VFSConfig",
    "VariableComponents",
    "ZarrChunkStrategy",
    "ZarrCodecPipeline",
    "ZarrCompressor",
    "ZarrConfig",
    "load_pipeline",
    "pipeline_from_dict",
    "pipeline_to_python",
    "pipeline_to_yaml",
    "register_function",
    "step_function",
]

__getattr__ = lazy_names(
    __name__,
    {
        "hcs_steps.functions.declare": ["step_function"],
        "hcs_steps.pipeline.config": [
            "GlobalPipelineConfig",
            "PathPlanningConfig",
            "TablesConfig",
            "TiffConfig",
            "VFSConfig",
            "ZarrConfig",
        ],
        "hcs_steps.pipeline.enums": [
            "Aggregate",
            "Backend",
            "GpuPolicy",
            "GroupBy",
            "InputSource",
            "MaterializationBackend",
            "MissingPolicy",
            "NgffVersion",
            "RoiFormat",
            "Scope",
            "TiffFiles",
            "TiffMetadata",
            "Unlisted",
            "VariableComponents",
            "ZarrChunkStrategy",
            "ZarrCodecPipeline",
            "ZarrCompressor",
        ],
        "hcs_steps.pipeline.files": [
            "load_pipeline",
            "pipeline_from_dict",
            "pipeline_to_python",
            "pipeline_to_yaml",
        ],
        "hcs_steps.pipeline.modes": ["ModeConfig"],
        "hcs_steps.pipeline.registry": ["register_function"],
        "hcs_steps.pipeline.step": ["FunctionStep", "Pipeline"],
    },
)
