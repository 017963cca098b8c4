"""config/config.yaml: which plates, with which pipelines, to where."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from hcs_steps.errors import ConfigError
from hcs_steps.pipeline._yaml import check_values
from hcs_steps.pipeline.config import Model
from hcs_steps.pipeline.enums import GpuPolicy, MissingPolicy
from hcs_steps.pipeline.files import load_yaml, validation_error
from hcs_steps.pipeline.modes import FULL
from hcs_steps.run_settings import OnFinishSettings, OrchestrationConfig

Values = int | str | list[int | str]


class Select(Model):
    """Which part of a plate is analysed; everything by default."""

    wells: int | str | list[str] | dict[str, Any] | None = None
    """A list, the first n, ``row:A``, ``col:01-06``, ``A01:A12``, or ``{include: ..., exclude: ...}``."""
    site: Values | None = None
    """Sites, by number."""
    channel: Values | None = None
    """Channels, by name or number."""
    z_index: Values | None = None
    """z planes, by number (0 is a projection on plates that have both)."""
    timepoint: Values | None = None
    """Time points, by number."""

    def components(self) -> dict[str, list[int | str]]:
        """The selected values by component, without the wells."""
        chosen = {name: getattr(self, name) for name in ("site", "channel", "z_index", "timepoint")}
        return {
            name: value if isinstance(value, list) else [value]
            for name, value in chosen.items()
            if value is not None
        }


class GridSettings(Model):
    """The grid of a well's sites: the sorted site numbers fill its cells in order."""

    rows: int = Field(ge=1)
    """Rows of sites."""
    columns: int = Field(ge=1)
    """Columns of sites."""
    order: Literal["rows", "columns"] = "rows"
    """``rows``: the second site is to the right of the first; ``columns``: below it."""
    snake: bool = False
    """Every second row (or column) runs backwards."""


class LimitSettings(Model):
    """What one job may use."""

    mem_mb: int | Literal["auto"] | None = "auto"
    """Host memory in MB; ``auto``: this machine's; null: not checked (jobs run on other machines)."""
    gpu_mem_mb: int | None = None
    """GPU memory in MB; null: not checked."""


class BarcodeMapSettings(Model):
    """Plate maps by barcode, as the field's profiling recipes keep them."""

    barcodes: Path
    """A table with the columns Assay_Plate_Barcode and Plate_Map_Name."""
    folder: Path | None = None
    """Where the plate maps are; the folder ``platemap`` beside the table by default."""
    barcode: str | None = None
    """The plate's barcode; its name by default."""


class AnalysisSettings(Model):
    """What the wells of a plate are and which numbers matter, for profiles, statistics and the report."""

    role_column: str | None = None
    """The column of the plate map that tells controls; found by its name (control, role, control_type, ...) if not
    given.
    """
    negative: list[str] = Field(default_factory=list)
    """Its values for negative controls; negative, neg, negcon, dmso, ... if not given."""
    positive: list[str] = Field(default_factory=list)
    """Its values for positive controls; positive, pos, poscon, ... if not given."""
    compound_column: str | None = None
    """The column that names what is in the well; found by its name (compound, drug, ...) if not given."""
    concentration_column: str | None = None
    """The column with its concentration; found by its name (dose, concentration, ...) if not given."""
    unit_column: str | None = None
    """The column with the concentration's unit; found by its name if not given."""
    readouts: list[str] = Field(default_factory=list)
    """The features that matter most: shown first, with dose-response curves; chosen by how well they separate the
    controls if not given.
    """
    normalize_to: Literal["auto", "negative", "plate"] = "auto"
    """Reference of the normalised profiles: the negative controls, or all wells; ``auto``: the controls if there are
    at least four.
    """

    @field_validator("negative", "positive", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return [str(item) if isinstance(item, int | float) else item for item in _listed(value)]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


class PlateDefaults(Model):
    """Settings of a plate; under ``defaults:`` they hold for every plate that does not set its own."""

    pipeline: Path | None = None
    """The pipeline file, YAML or Python."""
    format: str = "auto"
    """The plate's format; ``auto`` detects it and says why."""
    pattern: str | dict[str, Any] | None = None
    """A file-name pattern with named groups, for plates of no known format."""
    channels: dict[int, str] | None = None
    """Channel number -> name, over the plate's own names."""
    pixel_size_um: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Edge length of a pixel in micrometres, over the plate's metadata."""
    grid: str | GridSettings | None = None
    """How the sites of a well are laid out (``5x5``, ``5x5 by columns snake``), where the plate does not say."""
    select: Select = Field(default_factory=Select)
    """Which part of the plate is analysed."""
    missing: MissingPolicy = MissingPolicy.FAIL_UNIT
    """What a missing plane does: ``fail_unit``, ``skip_site`` or ``blank``."""
    parallel_by: Literal["well", "site"] = "well"
    """What a unit is."""
    units_per_job: int = Field(default=1, ge=1)
    """Units that one job takes through one process: 1 on a workstation, more on a cluster."""
    gpu: GpuPolicy = GpuPolicy.AUTO
    """``auto``, ``always`` or ``never``."""
    limits: LimitSettings = Field(default_factory=LimitSettings)
    """What one job may use."""
    plate_map: Path | BarcodeMapSettings | None = None
    """What is in the wells: a CSV or TSV file by well, or plate maps by barcode."""
    analysis: AnalysisSettings = Field(default_factory=AnalysisSettings)
    """What the wells are, and which numbers matter."""


class PlateSettings(PlateDefaults):
    """One plate."""

    path: Path
    """The plate's folder; only ever read."""
    name: str | None = None
    """Names the plate's results; the folder's name by default."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or "/" in value or value.startswith(".")):
            raise ValueError("must be a plain name, without slashes and not starting with a dot")
        return value


class WorkflowSettings(Model):
    """The whole configuration file."""

    output: Path = Path("results")
    """Folder of all results; its path may not hold braces, which mean wildcards to Snakemake."""
    defaults: PlateDefaults = Field(default_factory=PlateDefaults)
    """Settings for every plate."""
    plates: list[PlateSettings] = Field(min_length=1)
    """The plates."""
    storage_backends: dict[str, str] = Field(default_factory=dict)
    """Storage backends of one's own: name -> ``package.module:factory``."""
    search_path: list[Path] = Field(default_factory=list)
    """Folders, besides the working directory, whose modules hold step functions and storage backends."""
    mode: str = FULL
    """Which part of the work is done: a mode of the pipelines."""
    from_step: str | None = None
    """Stages before this step are not run; what they have made is used."""
    until: str | None = None
    """Stages after this step are not run."""
    only_plates: list[str] | None = None
    """Of the plates above, only these, by name."""
    only_wells: Any = None
    """Only these wells are computed (a well filter, or one for each plate by name); tables and page are made of all
    that there is.
    """
    orchestration: OrchestrationConfig = Field(default_factory=OrchestrationConfig)
    """What stops a run, what is tried again, what stages are given."""
    on_finish: OnFinishSettings | None = None
    """Who is told when a run has ended."""

    @field_validator("output")
    @classmethod
    def _no_wildcards(cls, value: Path) -> Path:
        if set("{}") & set(str(value)):
            raise ValueError("must not hold braces, which mean wildcards to Snakemake")
        return value

    @field_validator("only_plates", mode="before")
    @classmethod
    def _plate_names(cls, value: Any) -> Any:
        if value is None or isinstance(value, list):
            return value
        return [name.strip() for name in str(value).split(",") if name.strip()]


def parse_settings(config: Mapping[str, Any], where: str = "config/config.yaml") -> WorkflowSettings:
    """The settings in a configuration mapping; each plate inherits what it does not set from ``defaults``.

    Raises `ConfigError` that names every unknown key and wrong type.
    """
    check_values(config, where=where)
    try:
        defaults = WorkflowSettings.model_validate(dict(config)).defaults
        given = defaults.model_dump(exclude_unset=True)
        merged = [_over(given, plate) for plate in config["plates"]]
        return WorkflowSettings.model_validate({**config, "plates": merged})
    except ValidationError as error:
        raise validation_error(error, WorkflowSettings, where) from None


def _over(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A plate's own settings over the defaults, key by key, also inside ``select``, ``limits`` and
    ``analysis``.
    """
    merged = {**defaults, **own}
    for block in ("select", "limits", "analysis"):
        if isinstance(defaults.get(block), Mapping) and isinstance(own.get(block), Mapping):
            merged[block] = {**defaults[block], **own[block]}
    return merged


def load_settings(path: Path) -> WorkflowSettings:
    """The settings in a file."""
    if not os.path.isfile(path):  # unlike Path.is_file, of any text
        raise ConfigError(f"There is no configuration file {path}.", hint="Run 'hcs init FOLDER' to get one.")
    return parse_settings(load_yaml(path), str(path))


def plate_ids(plates: list[PlateSettings]) -> list[str]:
    """A name for every plate's results: its own, or with a short hash of its path where two are called the
    same.
    """
    names = [plain_id(plate) for plate in plates]
    paths = [plate.path.resolve() for plate in plates]
    twice = [path for path, count in Counter(zip(paths, names, strict=True)).items() if count > 1]
    if twice:
        raise ConfigError(
            f"The plate {twice[0][0]} is listed twice under the name {twice[0][1]}.",
            hint="Give one of them another 'name:', or remove it.",
        )
    counts = Counter(name.casefold() for name in names)
    return [
        name
        if counts[name.casefold()] == 1
        else f"{name}-{hashlib.blake2b(str(path).encode(), digest_size=3).hexdigest()}"
        for name, path in zip(names, paths, strict=True)
    ]


def plain_id(plate: PlateSettings) -> str:
    """What a plate is called where no other one is called the same."""
    return _safe(plate.name or plate.path.resolve().name)


def _safe(name: str) -> str:
    """A folder's name as a results folder: what a shell or a rule could misread becomes ``_``."""
    kept = "".join(c if c.isalnum() or c in "-_.+ " else "_" for c in name).strip(" .")
    return kept.replace(" ", "_") or "plate"
