"""The plan: everything that will run on one plate, compiled, frozen, hashed.

A plan is a tree of frozen dataclasses and one JSON file. It is O(wells) with a tiny constant, because units
that look alike share one `Layout`; where the raw planes are is left to the inventory. It is therefore small
enough for every process that Snakemake starts to load it whole. No third-party import: a job loads this
module first.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hcs_steps.errors import ConfigError, nearest
from hcs_steps.frozen import FrozenDict, freeze
from hcs_steps.storage.protocol import PlaneKey

PLAN_VERSION = 6
RAW = -1
"""Stands for the plate's own images where a step index is expected."""
PLATE_UNIT = "plate"
"""Unit id of a plate-scope stage."""


class Frozen:
    """Makes every mapping of a dataclass immutable, all the way down."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if isinstance(value, Mapping) and not isinstance(value, FrozenDict):
                object.__setattr__(self, item.name, freeze(value))


@dataclass(frozen=True)
class CallPlan(Frozen):
    """One function call; ``injected`` are parameters that the runner fills by name. It ``moves`` planes if they come
    back at other places or of another size.

    ``outputs`` are (name, kind) pairs, of which the last ``optional`` may not come back, and ``rows`` says what the
    rows of each table are; see `hcs_steps.functions.declare` for these and the other fields.
    """

    function: str
    kwargs: Mapping[str, Any]
    source: str
    outputs: tuple[tuple[str, str], ...]
    rows: Mapping[str, str]
    optional: int
    injected: tuple[str, ...]
    reduces: bool
    changes_image: bool
    dtype: str
    mosaic: bool
    moves: bool
    devices: tuple[str, ...]


@dataclass(frozen=True)
class StepPlan(Frozen):
    """One step. ``branches`` maps a component value to a chain; a pattern without branches has the key
    ``""``.

    ``backend`` is where the step's images are kept (``memory``: they are gone after the stage) and
    ``store`` the store's path relative to the plate's results. ``own_images`` is False for a step that only
    measures or labels: whoever reads its images reads those of the step before. ``labels_in`` is the index of the
    step in whose store its labels lie. ``kept`` images are results, with a pyramid; a ``checkpoint`` step ends its
    stage.
    """

    name: str
    scope: str
    branches: Mapping[str, tuple[CallPlan, ...]]
    variable_components: tuple[str, ...]
    group_by: str
    input_source: str
    unlisted: str
    own_images: bool
    labels_in: int = RAW
    backend: str = "memory"
    store: str = ""
    kept: bool = False
    checkpoint: bool = False

    @property
    def calls(self) -> tuple[CallPlan, ...]:
        """All calls of all branches."""
        return tuple(call for chain in self.branches.values() for call in chain)

    @property
    def written(self) -> bool:
        """Whether the step's images outlive its stage."""
        return bool(self.store)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that it returns."""
        return tuple(dict.fromkeys(n for call in self.calls for n, kind in call.outputs if kind == "labels"))


@dataclass(frozen=True)
class StoreSettings:
    """How OME-Zarr and TIFF images are written; see `hcs_steps.storage.protocol.StoreSpec`."""

    compressor: str = "lz4"
    compression_level: int = 5
    chunk_strategy: str = "adaptive"
    ngff_version: str = "0.5"
    codec_pipeline: str = "zarr"
    tiff_files: str = "plane"
    tiff_metadata: str = "ome"


@dataclass(frozen=True)
class TableSettings:
    """Which tables are made of a plate; see `hcs_steps.pipeline.config.TablesConfig`."""

    csv: bool = False
    aggregate: tuple[str, ...] = ("median",)
    rois: tuple[str, ...] = ()
    well_summary: bool = False


@dataclass(frozen=True)
class TablePlan:
    """One table of the plate: what its rows are (``objects``, ``planes`` or ``other``), and the (step, output) pairs
    that it is made of.
    """

    rows: str
    sources: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class AnalysisPlan:
    """What the wells of a plate are, and which numbers matter.

    ``plate_map`` hashes the plate map; empty where there is none. ``role``, ``compound``,
    ``concentration`` and ``unit`` are columns of it, ``negative`` and ``positive`` the values of ``role`` that mean
    controls; ``unit_name`` is the unit of all concentrations where there is only one. ``notes`` say what was found
    out and how.
    """

    plate_map: str = ""
    role: str = ""
    compound: str = ""
    concentration: str = ""
    unit: str = ""
    unit_name: str = ""
    negative: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    readouts: tuple[str, ...] = ()
    normalize_to: str = "auto"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """What one unit looks like at every step; shared by all units that look alike.

    ``planes`` are the raw planes in use, ``blank`` those of them that are missing and read as zeros.
    ``sources`` says for each step which step's images it reads (`RAW` for the plate's own), or None where
    the step is not for the unit; ``keys`` which planes it leaves.
    """

    planes: tuple[PlaneKey, ...]
    blank: tuple[PlaneKey, ...]
    height: int
    width: int
    dtype: str
    sources: tuple[int | None, ...]
    keys: tuple[tuple[PlaneKey, ...], ...]

    def left_by(self, source: int) -> tuple[PlaneKey, ...]:
        """The planes that a step leaves, or those of the plate for `RAW`."""
        return self.planes if source == RAW else self.keys[source]


@dataclass(frozen=True)
class UnitPlan:
    """One unit: a well, or one site of it. ``raw`` hashes its raw planes; ``refused`` says why it cannot
    run.
    """

    well: str
    layout: int
    raw: str
    refused: str = ""


@dataclass(frozen=True)
class StagePlan:
    """Consecutive steps (indices) that run as one job over one unit, or over a chunk of units.

    ``upstream`` names the stages whose results it reads, ``fingerprint`` hashes its steps and everything
    upstream. ``packages`` are the large ones that its process loads (`hcs_steps.compile.process_memory`), ``mem_mb``
    and ``gpu_mem_mb`` the predicted peak of one unit; with ``gpu_only`` a job that has a GPU whose memory does not
    suffice fails, and is not done by the CPU; ``runtime`` is in minutes, ``timeout_s`` the seconds that one unit may
    take (0: any). ``skipped`` says why the stage is left out; its results are those that are there. After a ``gate`` a
    run stops for people to look.
    """

    name: str
    scope: str
    steps: tuple[int, ...]
    upstream: tuple[str, ...]
    fingerprint: str = ""
    packages: tuple[str, ...] = ()
    gpu: int = 0
    gpu_only: bool = False
    mem_mb: int = 0
    gpu_mem_mb: int = 0
    runtime: int = 60
    threads: int = 1
    timeout_s: float = 0.0
    gate: bool = False
    skipped: str = ""


@dataclass(frozen=True)
class PlateInfo(Frozen):
    """What a job needs to know of the plate besides its planes.

    ``correction`` hashes the illumination correction that the microscope keeps with the plate.
    """

    id: str
    path: str
    format: str
    rows: int
    columns: int
    channels: Mapping[str, str]
    grid_dimensions: tuple[int, int] | None
    pixel_size_um: float | None
    correction: str = ""


@dataclass(frozen=True)
class Plan(Frozen):
    """The compiled pipeline of one plate.

    ``key`` hashes everything the plan was made from: as long as it is the same, the plan is current.
    ``jobs`` maps job ids to the units they take through one process. ``tables`` are by name. ``store_types`` are
    import references of the lab's own storage backends. ``notes`` say what the plan leaves out and why. ``mode`` is
    what the run is for, and ``gate`` the stage after which the plan ends for people to look.
    """

    key: str
    pipeline: str
    plate: PlateInfo
    steps: tuple[StepPlan, ...] = ()
    stages: tuple[StagePlan, ...] = ()
    layouts: tuple[Layout, ...] = ()
    units: Mapping[str, UnitPlan] = field(default_factory=dict)
    jobs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tables: Mapping[str, TablePlan] = field(default_factory=dict)
    table_settings: TableSettings = field(default_factory=TableSettings)
    analysis: AnalysisPlan = field(default_factory=AnalysisPlan)
    storage: StoreSettings = field(default_factory=StoreSettings)
    store_types: Mapping[str, str] = field(default_factory=dict)
    search_path: tuple[str, ...] = ()
    tables_folder: str = "tables"
    smart_caching: bool = True
    stage_by_stage: bool = False
    mode: str = "full"
    gate: str = ""
    notes: tuple[str, ...] = ()
    version: int = PLAN_VERSION

    @cached_property
    def hash(self) -> str:
        """Hash of the plan's JSON."""
        return digest(self.to_json())

    @cached_property
    def _stages_by_name(self) -> dict[str, StagePlan]:
        return {stage.name: stage for stage in self.stages}

    @cached_property
    def _units_of_steps(self) -> dict[tuple[int, ...], tuple[str, ...]]:
        """What `units_of` has found, by the steps of a stage."""
        return {}

    def stage(self, name: str) -> StagePlan:
        """The stage called ``name``; `ConfigError` with the nearest name otherwise."""
        if name not in self._stages_by_name:
            raise ConfigError(
                f"The plan of {self.plate.id} has no stage {name!r}.",
                hint=nearest(name, self._stages_by_name),
            )
        return self._stages_by_name[name]

    def stages_above(self, stage: StagePlan) -> tuple[StagePlan, ...]:
        """The stages that a stage builds on, directly or through others, in the order of the plan."""
        above: set[str] = set()
        waiting = list(stage.upstream)
        while waiting:
            name = waiting.pop()
            if name not in above:
                above.add(name)
                waiting += self.stage(name).upstream
        return tuple(s for s in self.stages if s.name in above)

    def plate_stages_above(self, stage: StagePlan) -> tuple[str, ...]:
        """The names of those of them that are of the whole plate."""
        return tuple(s.name for s in self.stages_above(stage) if s.scope == "plate")

    def in_stage(self, stage: StagePlan, unit: str) -> bool:
        """Whether any step of the stage is for the unit."""
        if stage.scope == "plate":
            return unit == PLATE_UNIT
        sources = self.layouts[self.units[unit].layout].sources
        return any(sources[step] is not None for step in stage.steps)

    def units_of(self, stage: StagePlan) -> tuple[str, ...]:
        """The units that run in a stage."""
        if stage.scope == "plate":
            return (PLATE_UNIT,)
        if stage.steps not in self._units_of_steps:
            self._units_of_steps[stage.steps] = tuple(u for u in self.units if self.in_stage(stage, u))
        return self._units_of_steps[stage.steps]

    def stages_of(self, unit: str) -> tuple[str, ...]:
        """The unit stages that a unit goes through, without those that are left out."""
        stages = (stage for stage in self.stages if stage.scope == "unit" and not stage.skipped)
        return tuple(stage.name for stage in stages if self.in_stage(stage, unit))

    def jobs_of(self, stage: StagePlan) -> dict[str, tuple[str, ...]]:
        """The jobs of a stage and their units; a job without units of the stage does not exist, nor one of a stage
        that is left out.
        """
        names = (PLATE_UNIT,) if stage.scope == "plate" else self.jobs
        return {job: units for job in names if (units := self.units_of_job(stage, job))}

    def units_of_job(self, stage: StagePlan, job: str) -> tuple[str, ...]:
        """The units of one job of a stage; none if the stage has no such job."""
        if stage.skipped:
            return ()
        if stage.scope == "plate":
            return (PLATE_UNIT,) if job == PLATE_UNIT else ()
        return tuple(unit for unit in self.jobs.get(job, ()) if self.in_stage(stage, unit))

    def fingerprint(self, stage: StagePlan, unit: str) -> str:
        """What a unit's results in a stage depend on: the steps, everything upstream, and its raw planes; a
        plate's on those of all units, and on what else its step can read of the plate.
        """
        if unit == PLATE_UNIT:
            correction = self.plate.correction if stage.steps else ""
            units = sorted(self.units.items())
            return digest(
                stage.fingerprint, correction, *(digest(name, *self._seen(stage, u)) for name, u in units)
            )
        return digest(stage.fingerprint, *self._seen(stage, self.units[unit]))

    def _seen(self, stage: StagePlan, unit: UnitPlan) -> tuple[str, ...]:
        """What a stage sees of a unit: its raw planes, why it cannot run, which planes are in use and where."""
        return unit.raw, unit.refused, self._shape(stage.name, unit.layout)

    def job_fingerprint(self, stage: StagePlan, units: Sequence[str]) -> str:
        """The fingerprints of a job's units in one."""
        return digest(*(self.fingerprint(stage, unit) for unit in units))

    def _shape(self, stage: str, layout: int) -> str:
        """Hash of what a layout looks like in a stage and in everything upstream of it."""
        if (stage, layout) not in self._shapes:
            found = self.layouts[layout]
            parts = [(found.sources[step], found.keys[step]) for step in self._lineage(stage)]
            self._shapes[stage, layout] = digest(str(found.planes), str(found.blank), str(parts))
        return self._shapes[stage, layout]

    @cached_property
    def _shapes(self) -> dict[tuple[str, int], str]:
        return {}

    def _lineage(self, stage: str) -> list[int]:
        """The steps of a stage and of all stages upstream of it."""
        names, waiting = set(), [stage]
        while waiting:
            name = waiting.pop()
            if name not in names:
                names.add(name)
                waiting += self._stages_by_name[name].upstream
        return sorted(step for name in names for step in self._stages_by_name[name].steps)

    def to_json(self) -> str:
        """The plan as JSON: the same plan gives the same bytes. Units stay in plate order."""
        return json.dumps(plain_values(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> Plan:
        """A plan from its JSON; ``where`` names the file in errors. `ConfigError` if it is not one."""
        from hcs_steps.compile.plan_shape import check_plan  # which knows the classes of this module

        try:
            data = json.loads(text, parse_float=_finite, parse_constant=_finite)
            if data["version"] != PLAN_VERSION:
                raise ConfigError(
                    f"{where} was made by another version of hcs-steps (plan version {data['version']}, "
                    "this one "
                    f"reads {PLAN_VERSION}).",
                    hint="Run snakemake again: it compiles the plan anew.",
                )
            plan = _decode(cls, data)
            check_plan(plan)
            return plan
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"{where} is not a plan of this version of hcs-steps: {type(error).__name__}: {error}.",
                hint="Run snakemake again: it compiles the plan anew.",
            ) from None

    @classmethod
    def load(cls, path: Path | str) -> Plan:
        """The plan in a file."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # ValueError: no text, or a path that no file can have
            raise ConfigError(
                f"The plan {path} cannot be read: {error}.",
                hint="Run snakemake, or hcs compile --write, first.",
            ) from None
        return cls.from_json(text, where=str(path))


def digest(*parts: str) -> str:
    """A 128-bit hash of strings, as hex; boundaries between the parts count."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogateescape")
        state.update(len(encoded).to_bytes(8, "little"))
        state.update(encoded)
    return state.hexdigest()


def plain_values(value: Any) -> Any:
    """A part of a plan as JSON holds it."""
    if is_dataclass(value):
        return {item.name: plain_values(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [plain_values(item) for item in value]
    return value


def _finite(text: str) -> float:
    """A number of a JSON text; `ValueError` for what a plan cannot hold and JSON has no words for."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is no finite number")
    return value


def _decode(cls: type[Plan], data: Mapping[str, Any]) -> Plan:
    values = dict(data)
    values["plate"] = PlateInfo(
        **{**values["plate"], "grid_dimensions": _pair(values["plate"]["grid_dimensions"])}
    )
    values["steps"] = tuple(_decode_step(step) for step in values["steps"])
    values["stages"] = tuple(StagePlan(**_tuples(stage)) for stage in values["stages"])
    values["layouts"] = tuple(_decode_layout(layout) for layout in values["layouts"])
    values["units"] = {name: UnitPlan(**unit) for name, unit in values["units"].items()}
    values["jobs"] = {job: tuple(units) for job, units in values["jobs"].items()}
    values["tables"] = {
        name: TablePlan(table["rows"], tuple((s, o) for s, o in table["sources"]))
        for name, table in values["tables"].items()
    }
    values["table_settings"] = TableSettings(**_tuples(values["table_settings"]))
    values["analysis"] = AnalysisPlan(**_tuples(values["analysis"]))
    values["storage"] = StoreSettings(**values["storage"])
    values["search_path"] = tuple(values["search_path"])
    values["notes"] = tuple(values["notes"])
    return cls(**values)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _decode_step(step: Mapping[str, Any]) -> StepPlan:
    branches = {
        branch: tuple(
            CallPlan(
                **{
                    **call,
                    "outputs": tuple((name, kind) for name, kind in call["outputs"]),
                    "injected": tuple(call["injected"]),
                    "devices": tuple(call["devices"]),
                }
            )
            for call in chain
        )
        for branch, chain in step["branches"].items()
    }
    return StepPlan(
        **{**step, "branches": branches, "variable_components": tuple(step["variable_components"])}
    )


def _decode_layout(layout: Mapping[str, Any]) -> Layout:
    return Layout(
        **{
            **layout,
            "planes": _keys(layout["planes"]),
            "blank": _keys(layout["blank"]),
            "sources": tuple(layout["sources"]),
            "keys": tuple(_keys(keys) for keys in layout["keys"]),
        }
    )


def _keys(values: Sequence[Sequence[int]]) -> tuple[PlaneKey, ...]:
    return tuple(PlaneKey(*value) for value in values)


def _pair(value: Sequence[int] | None) -> tuple[int, int] | None:
    return None if value is None else (value[0], value[1])
