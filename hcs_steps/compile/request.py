"""What the compiler is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hcs_steps.compile.plan import AnalysisPlan
from hcs_steps.pipeline.enums import GpuPolicy, MissingPolicy, member
from hcs_steps.pipeline.step import Pipeline
from hcs_steps.plate.inventory import Inventory


@dataclass(frozen=True)
class Limits:
    """What a job may use: host and GPU memory in MB (None: not checked) and the number of GPUs."""

    mem_mb: int | None = None
    gpu_mem_mb: int | None = None
    gpus: int = 0


@dataclass(frozen=True)
class Choice:
    """Which stages are run, by steps that they begin or end with; see `hcs_steps.pipeline.modes.ModeConfig`.

    ``shown`` are the fingerprints of gated stages whose results people have been shown.
    """

    mode: str = "full"
    from_step: str | None = None
    until: str | None = None
    skip: tuple[str, ...] = ()
    existing_images: bool = False
    shown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Grant:
    """What a stage is given; None: what the compiler finds. ``timeout_s`` is for one unit, 0 for none."""

    threads: int | None = None
    mem_mb: int | None = None
    timeout_s: float | None = None


@dataclass(frozen=True)
class CompileOptions:
    """How a pipeline is put on a plate.

    ``wells`` is a well filter; ``select`` restricts site, channel, z_index and timepoint to the listed
    values (channels by name or number). ``store_types`` are references of storage backends besides the
    built-in ones. ``analysis`` says what the wells are. ``grants`` are by stage, with ``""`` for all others;
    ``resume`` is False if everything is to be computed again; ``stage_by_stage`` starts a stage's jobs before those of
    the next.
    """

    plate_id: str
    wells: Any = None
    select: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    missing: MissingPolicy = MissingPolicy.FAIL_UNIT
    parallel_by: str = "well"
    units_per_job: int = 1
    gpu: GpuPolicy = GpuPolicy.AUTO
    limits: Limits = field(default_factory=Limits)
    search_path: tuple[str, ...] = ()
    store_types: Mapping[str, str] = field(default_factory=dict)
    analysis: AnalysisPlan = field(default_factory=AnalysisPlan)
    choice: Choice = field(default_factory=Choice)
    grants: Mapping[str, Grant] = field(default_factory=dict)
    resume: bool = True
    stage_by_stage: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "missing", member(MissingPolicy, self.missing, "missing"))
        object.__setattr__(self, "gpu", member(GpuPolicy, self.gpu, "gpu"))


@dataclass(frozen=True)
class Request:
    """One compilation: a pipeline, a plate and how to put them together."""

    inventory: Inventory
    pipeline: Pipeline
    options: CompileOptions
