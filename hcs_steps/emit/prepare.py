"""Settings -> plans: read each plate, compile its pipeline, in memory. Nothing is written.

A plate whose plan on disk was made from exactly what is there now is not compiled again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from hcs_steps.compile import CompileOptions, Limits, compile_plate
from hcs_steps.compile.key import plan_key
from hcs_steps.compile.plan import AnalysisPlan, Plan
from hcs_steps.compile.request import Grant, Request
from hcs_steps.emit.configured import choice_of, configured_plates, narrowed
from hcs_steps.emit.wells import WellMap, map_wells
from hcs_steps.errors import ConfigError, PlateError
from hcs_steps.pipeline.step import Pipeline
from hcs_steps.plate import open_plate
from hcs_steps.plate.inventory import Inventory
from hcs_steps.results import Results
from hcs_steps.run.devices import cupy_installed, visible_gpus
from hcs_steps.settings import GridSettings, PlateSettings, WorkflowSettings


@dataclass(frozen=True)
class Prepared:
    """One plate ready to run: its results folder, its plan, its inventory, and what is in its wells."""

    results: Results
    plan: Plan
    inventory: Inventory
    well_map: WellMap

    @property
    def is_new(self) -> bool:
        """Whether the plan on disk is another one, or none."""
        return not (self.results.plan.is_file() and self.results.plan.read_text() == self.plan.to_json())


def prepare_plates(
    settings: WorkflowSettings,
    *,
    root: Path,
) -> list[Prepared]:
    """All chosen plates of a configuration, read and compiled. Raises what reading and compiling raise.

    ``root`` is the working directory: its modules can be named in pipelines.
    """
    prepared = []
    for name, chosen in configured_plates(settings).items():
        plate, results = chosen.settings, chosen.results
        check_folders(plate.path, results.root)
        inventory = open_configured(plate, cache=results.root)
        well_map = map_wells(plate, name, inventory)
        options = compile_options(settings, plate, name, root, well_map.analysis)
        options = narrowed(options, chosen.mode, inventory)
        options = replace(options, choice=choice_of(settings, chosen))
        plan = _plan(results, inventory, chosen.pipeline, options)
        prepared.append(Prepared(results, plan, inventory, well_map))
    return prepared


def open_configured(plate: PlateSettings, *, cache: Path | None = None) -> Inventory:
    """The plate as its settings say that it is read; an inventory in ``cache`` is used if it is current."""
    return open_plate(
        plate.path,
        format=plate.format,
        pattern=plate.pattern,
        channels=plate.channels,
        pixel_size_um=plate.pixel_size_um,
        grid=plate.grid.model_dump() if isinstance(plate.grid, GridSettings) else plate.grid,
        cache=cache,
        keep=False,
    )


def configured_results(settings: WorkflowSettings) -> dict[str, Results]:
    """Where the results of each chosen plate of a configuration are, by the plate's id."""
    return {name: plate.results for name, plate in configured_plates(settings).items()}


def compile_options(
    settings: WorkflowSettings, plate: PlateSettings, name: str, root: Path, analysis: AnalysisPlan
) -> CompileOptions:
    """The compiler's options for a plate of a configuration on this machine."""
    mem_mb = memory_mb() if plate.limits.mem_mb == "auto" else plate.limits.mem_mb
    orchestration = settings.orchestration
    grants = {
        stage: Grant(own.threads, own.mem_mb, own.timeout) for stage, own in orchestration.stages.items()
    }
    gpus = len(visible_gpus()) if cupy_installed() else 0
    return CompileOptions(
        plate_id=name,
        wells=plate.select.wells,
        select=plate.select.components(),
        missing=plate.missing,
        parallel_by=plate.parallel_by,
        units_per_job=plate.units_per_job,
        gpu=plate.gpu,
        limits=Limits(mem_mb, plate.limits.gpu_mem_mb, gpus),
        search_path=(str(root), *(str(folder.resolve()) for folder in settings.search_path)),
        store_types=settings.storage_backends,
        analysis=analysis,
        grants={"": Grant(timeout_s=orchestration.stage_timeout), **grants},
        resume=orchestration.checkpoint,
        stage_by_stage=not orchestration.parallel_stages,
    )


def memory_mb() -> int:
    """Memory of this machine in MB, or of the control group the process runs in if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(file).read_text()))
        except (OSError, ValueError):
            continue
    return total >> 20


def check_folders(plate: Path, results: Path) -> None:
    """Refuse results inside the plate, a plate inside the results, and an output folder that cannot be
    written.
    """
    plate, results = plate.resolve(), results.resolve()
    if results == plate or plate in results.parents:
        raise ConfigError(
            f"The results folder {results} lies inside the plate folder {plate}; raw data is never "
            "written to.",
            hint="Set 'output:' to a folder outside the plate.",
        )
    if results in plate.parents or (
        results.parent in plate.parents and _holds_results(results.parent, plate)
    ):
        raise PlateError(
            f"The plate folder {plate} lies inside the results folder {results}.",
            hint="Move the plate, or set 'output:' to another folder.",
        )
    there = next(folder for folder in (results, *results.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"The output folder {results} cannot be written: {there} "
            f"{'is read-only for this user' if there.is_dir() else 'is a file'}.",
            hint="Choose another 'output:', or get write access to it.",
        )


def _holds_results(output: Path, plate: Path) -> bool:
    """Whether a plate in the output folder would share its folder with somebody's results."""
    return (output / plate.relative_to(output).parts[0] / "plan.json").is_file() or plate.parent == output


def _plan(results: Results, inventory: Inventory, pipeline: Pipeline, options: CompileOptions) -> Plan:
    """The plan on disk if it is current, else a new one."""
    if results.plan.is_file():
        try:
            found = Plan.load(results.plan)
        except ConfigError:
            found = None
        if found is not None and found.key == plan_key(Request(inventory, pipeline, options)):
            return found
    return compile_plate(inventory, pipeline, options)
