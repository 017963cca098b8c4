"""The configuration of a pipeline, as immutable models.

Every model takes enumerations as members or strings and refuses unknown keys with the nearest valid one.
The short names (``path_planning``, ``vfs``, ``zarr``) and the long ones (``path_planning_config`` ...) mean
the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator

from hcs_steps.pipeline.enums import (
    Aggregate,
    Backend,
    MaterializationBackend,
    NgffVersion,
    RoiFormat,
    TiffFiles,
    TiffMetadata,
    ZarrChunkStrategy,
    ZarrCodecPipeline,
    ZarrCompressor,
)
from hcs_steps.shape import is_name


class Model(BaseModel):
    """Base of all configuration models: frozen, strict about keys, documented by attribute docstrings."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )


class PathPlanningConfig(Model):
    """Where results go."""

    output_dir_suffix: str = ""
    """Appended to the plate's name to name its results folder."""
    global_output_folder: Path | None = None
    """Folder that holds the results of all plates; None: ``results`` in the working directory."""
    materialization_results_path: str = "tables"
    """Folder for tables inside a plate's results folder (relative, no ``..``)."""
    enable_path_planning: bool = True
    """False: the suffix is ignored and results go to ``<output folder>/<plate>`` as they are named."""
    enable_smart_caching: bool = True
    """True: units whose fingerprint has not changed are not computed again. False: everything is."""

    @field_validator("materialization_results_path")
    @classmethod
    def _stay_inside(cls, value: str) -> str:
        path = Path(value)
        if not path.parts or not all(map(is_name, path.parts)):
            raise ValueError("must be a relative folder inside the plate's results, without '..'")
        return path.as_posix()


class VFSConfig(Model):
    """Where images are kept."""

    intermediate_backend: Backend | str = Backend.MEMORY
    """Between steps: ``memory`` fuses steps into one job per unit, ``disk`` and ``zarr`` make one job per
    step. Also the name of a backend registered in a `StorageRegistry`.
    """
    materialization_backend: MaterializationBackend | str = MaterializationBackend.ZARR
    """For the pipeline's final images and those of steps with ``force_disk_output``: ``zarr`` or ``disk``
    (TIFF).
    """

    @field_validator("intermediate_backend", mode="before")
    @classmethod
    def _lower_intermediate(cls, value: Any) -> Any:
        return _member_or_name(Backend, value)

    @field_validator("materialization_backend", mode="before")
    @classmethod
    def _lower_materialization(cls, value: Any) -> Any:
        return _member_or_name(MaterializationBackend, value)


def _member_or_name(kind: type[Backend] | type[MaterializationBackend], value: Any) -> Any:
    text = str(getattr(value, "value", value))
    return kind(text.lower()) if text.lower() in set(kind) else text


class ZarrConfig(Model):
    """How OME-Zarr images are written."""

    compressor: ZarrCompressor = ZarrCompressor.LZ4
    """``lz4``, ``zstd``, ``gzip`` or ``none``."""
    compression_level: int = Field(default=5, ge=0, le=22)
    """Level handed to the compressor."""
    chunk_strategy: ZarrChunkStrategy = ZarrChunkStrategy.ADAPTIVE
    """``adaptive``, ``plane`` or ``well``."""
    ngff_version: NgffVersion = NgffVersion.V0_5
    """``0.5`` (Zarr v3, a few files per well and level) or ``0.4`` (Zarr v2, a file per chunk) for older tools."""
    codec_pipeline: ZarrCodecPipeline = ZarrCodecPipeline.ZARR
    """What reads the images back: ``zarr``, or ``zarrs``, which is faster, where that package is installed."""

    @field_validator("compressor", "chunk_strategy", "ngff_version", "codec_pipeline", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return _lowered(value)


class TiffConfig(Model):
    """How TIFF images are written (``materialization_backend: disk``); the compressor is that of ``zarr``."""

    files: TiffFiles = TiffFiles.PLANE
    """``plane``: a file for each plane; ``well``: a file with all planes that a job makes of a well."""
    metadata: TiffMetadata = TiffMetadata.OME
    """``ome``: OME-TIFF; ``imagej``: hyperstacks that ImageJ opens without a plug-in."""

    @field_validator("files", "metadata", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return _lowered(value)


class TablesConfig(Model):
    """Which tables are made of a plate besides those that every plate has."""

    csv: bool = False
    """Also write the tables of objects and fields as CSV; the small ones always are."""
    aggregate: list[Aggregate] = Field(default_factory=lambda: [Aggregate.MEDIAN], min_length=1)
    """How the objects of a well become its profile: ``median``, ``mean``, ``mad``; a table for each. Statistics and
    the report use the first.
    """
    rois: list[RoiFormat] = Field(default_factory=list)
    """Outlines of all labelled objects, per well: ``imagej``, ``geojson``."""
    well_summary: bool = False
    """Also write ``exports/well_summary.csv``, in the style of MetaXpress: header lines, then one row per well."""

    @field_validator("aggregate", "rois", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        values = value if isinstance(value, list | tuple) else [value]
        lowered = [_lowered(item) for item in values]  # of anything, hashable or not
        return [item for place, item in enumerate(lowered) if item not in lowered[:place]]


def _lowered(value: Any) -> Any:
    """A name in any case; YAML reads a version such as 0.4 as a number."""
    return str(value).lower() if isinstance(value, str | float) else value


class GlobalPipelineConfig(Model):
    """Everything about how a pipeline runs that is not a step."""

    num_workers: int = Field(default=1, ge=1)
    """Jobs that run at the same time when the orchestrator starts Snakemake itself."""
    path_planning: PathPlanningConfig = Field(
        default_factory=PathPlanningConfig,
        validation_alias=AliasChoices("path_planning", "path_planning_config"),
    )
    """Where results go."""
    vfs: VFSConfig = Field(default_factory=VFSConfig, validation_alias=AliasChoices("vfs", "vfs_config"))
    """Where images are kept."""
    zarr: ZarrConfig = Field(default_factory=ZarrConfig, validation_alias=AliasChoices("zarr", "zarr_config"))
    """How OME-Zarr images are written."""
    tiff: TiffConfig = Field(default_factory=TiffConfig, validation_alias=AliasChoices("tiff", "tiff_config"))
    """How TIFF images are written."""
    tables: TablesConfig = Field(
        default_factory=TablesConfig, validation_alias=AliasChoices("tables", "tables_config")
    )
    """Which tables are made of a plate."""

    @property
    def path_planning_config(self) -> PathPlanningConfig:
        """The same as ``path_planning``."""
        return self.path_planning

    @property
    def vfs_config(self) -> VFSConfig:
        """The same as ``vfs``."""
        return self.vfs

    @property
    def zarr_config(self) -> ZarrConfig:
        """The same as ``zarr``."""
        return self.zarr

    @property
    def tiff_config(self) -> TiffConfig:
        """The same as ``tiff``."""
        return self.tiff

    @property
    def tables_config(self) -> TablesConfig:
        """The same as ``tables``."""
        return self.tables
