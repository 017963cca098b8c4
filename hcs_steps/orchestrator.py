"""The Python interface: one plate, a list of steps, results by unit.

It is the same workflow as on the command line. The orchestrator lays out an ordinary workspace (Snakefile, config,
pipeline file), runs Snakemake there, and reads the records; ``snakemake`` in that folder continues where it stopped.

A script that starts a run does so under ``if __name__ == "__main__":``, because jobs import it to find its functions.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from hcs_steps.commands.lab import lay_out
from hcs_steps.compile import compile_plate
from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan
from hcs_steps.compile.units import key_of
from hcs_steps.emit.configured import results_folder
from hcs_steps.emit.prepare import check_folders, compile_options, open_configured
from hcs_steps.emit.wells import map_wells
from hcs_steps.errors import ConfigError, HcsError, PipelineError
from hcs_steps.pipeline.config import GlobalPipelineConfig
from hcs_steps.pipeline.files import pipeline_to_yaml
from hcs_steps.pipeline.step import FunctionStep, Pipeline, plain
from hcs_steps.plate import Inventory
from hcs_steps.results import Results
from hcs_steps.run.devices import visible_gpus
from hcs_steps.run.records import open_failures, valid_record
from hcs_steps.run.runner import Runner
from hcs_steps.run.unit import ProcessingContext
from hcs_steps.settings import PlateSettings, Select, WorkflowSettings, parse_settings, plate_ids
from hcs_steps.storage import StorageRegistry
from hcs_steps.storage.atomic import write_text

RUNNING = "HCS_STEPS_RUNNING"
"""Set in the environment of a run, so that an unguarded script cannot start itself again from its own jobs."""

PIPELINE_FILE = "config/pipelines/pipeline.yaml"


@dataclass(frozen=True)
class UnitResult:
    """What became of one unit: its records by stage, and why it has not all of them.

    ``failure`` is the unit's own, or that of a plate-scope step which it builds on.
    """

    unit: str
    well: str
    success: bool
    records: Mapping[str, Mapping[str, Any]]
    failure: Mapping[str, Any] | None = None

    @property
    def error(self) -> str:
        """Why it failed; empty if it did not."""
        return "" if self.failure is None else str(self.failure["error"])


class PipelineOrchestrator:
    """Runs pipelines on one plate.

    Parameters
    ----------
    plate_path
        The plate's folder; only ever read. Relative paths are fine.
    workspace_path
        Where the workflow and its results live; ``<plate>_workspace`` beside the plate by default.
    global_config
        Backends, paths, workers; see `GlobalPipelineConfig`.
    storage_registry
        Storage backends of one's own; see `StorageRegistry`.
    reading
        How the plate is read and what is in it, where that is not found out: ``format``, ``pattern``,
        ``channels``, ``pixel_size_um``, ``grid``, ``plate_map``, ``analysis``, as in the configuration file.
    """

    def __init__(
        self,
        plate_path: str | Path,
        workspace_path: str | Path | None = None,
        global_config: GlobalPipelineConfig | None = None,
        storage_registry: StorageRegistry | None = None,
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        self.plate_path = Path(plate_path).expanduser().absolute()
        default = self.plate_path.with_name(f"{self.plate_path.name}_workspace")
        self.workspace_path = (
            default if workspace_path is None else Path(workspace_path).expanduser().absolute()
        )
        self.global_config = global_config or GlobalPipelineConfig()
        self.storage_registry = storage_registry or StorageRegistry()
        self.reading = _absolute_map(reading or {})
        self._settings = parse_settings(
            {"plates": [{"path": str(self.plate_path), **self.reading}]}, "reading"
        ).plates[0]
        self.inventory: Inventory | None = None

    def initialize(self) -> PipelineOrchestrator:
        """Read the plate and check the folders. Raises `PlateError` or `ConfigError`; writes nothing."""
        self.inventory = open_configured(self._settings)
        check_folders(self.plate_path, self.results.root)
        return self

    @property
    def results(self) -> Results:
        """The plate's results folder."""
        (name,) = plate_ids([PlateSettings(path=self.plate_path)])
        folder = results_folder(Path("results"), name, Pipeline([], config=self._config()))
        return Results(self.workspace_path / folder)

    def compile_pipelines(
        self, steps: Sequence[FunctionStep], well_filter: Any = None
    ) -> Mapping[str, ProcessingContext]:
        """The steps on the plate: unit -> frozen context. The steps are not modified and serve any other plate.

        Raises `CompileError` with everything that is wrong.
        """
        inventory = self._inventory()
        plate = PlateSettings(path=self.plate_path, select=Select(wells=plain(well_filter)))
        settings = WorkflowSettings(
            plates=[plate],
            storage_backends=dict(self.storage_registry.references()),
            search_path=[Path(folder) for folder in self._search_path()[1:]],
        )
        (name,) = plate_ids([plate])
        analysis = map_wells(self._settings, name, inventory).analysis
        options = compile_options(settings, plate, name, self.workspace_path, analysis)
        plan = compile_plate(inventory, Pipeline(steps, config=self._config()), options)
        by_well: dict[str, dict[Any, Any]] = {}
        for plane in inventory.planes:
            by_well.setdefault(plane.well, {})[key_of(plane)] = plane
        contexts = {
            unit: ProcessingContext.create(plan, unit, by_well.get(found.well, {}))
            for unit, found in plan.units.items()
        }
        return MappingProxyType(contexts)

    def execute_compiled_plate(
        self,
        pipeline_definition: Sequence[FunctionStep],
        compiled_contexts: Mapping[str, ProcessingContext],
        max_workers: int | None = None,
    ) -> Mapping[str, UnitResult]:
        """Run the compiled units through Snakemake; what is up to date is not run again.

        Returns a result per unit; units that failed say why. If the pipeline has plate-scope steps, or what is made
        of all units at the end failed, the result ``"plate"`` says what became of that. Raises `HcsError` if nothing
        could start.
        """
        if os.environ.get(RUNNING):
            raise PipelineError(
                "A script tried to start a run from inside its own run.",
                hint="Put the code that starts it under: if __name__ == '__main__':",
            )
        plan = self._checked_plan(pipeline_definition, compiled_contexts)
        self._write_workspace(pipeline_definition, compiled_contexts)
        workers = max_workers or self.global_config.num_workers
        command = [sys.executable, "-m", "snakemake", "--cores", str(workers), "--executor", "hcs"]
        code = subprocess.run(
            command, cwd=self.workspace_path, env={**os.environ, RUNNING: "1"}, check=False
        ).returncode
        if code == 2:
            raise HcsError(
                f"The run in {self.workspace_path} could not start.", hint="The reason is printed above."
            )
        return self._collect(plan, compiled_contexts)

    def _config(self) -> GlobalPipelineConfig:
        """The configuration with its output folder as an absolute path: the run happens in another folder."""
        paths = self.global_config.path_planning
        if paths.global_output_folder is None:
            return self.global_config
        absolute = paths.model_copy(update={"global_output_folder": paths.global_output_folder.absolute()})
        return self.global_config.model_copy(update={"path_planning": absolute})

    def _inventory(self) -> Inventory:
        if self.inventory is None:
            raise ConfigError("The plate has not been read yet.", hint="Call initialize() first.")
        return self.inventory

    def _search_path(self) -> tuple[str, ...]:
        """Where step functions are found: the workspace, and where the calling script finds its own modules."""
        script = getattr(sys.modules.get("__main__"), "__file__", None)
        folders = [self.workspace_path, Path.cwd(), *([Path(script).resolve().parent] if script else [])]
        return tuple(dict.fromkeys(str(folder) for folder in folders))

    def _checked_plan(self, steps: Sequence[FunctionStep], contexts: Mapping[str, ProcessingContext]) -> Plan:
        if not contexts:
            raise PipelineError(
                "There is nothing to run: no contexts.", hint="Pass what compile_pipelines returned."
            )
        plan = next(iter(contexts.values())).plan
        wells = list(dict.fromkeys(context.well for context in contexts.values()))
        now = next(iter(self.compile_pipelines(steps, wells).values())).plan
        if [s.fingerprint for s in now.stages] != [s.fingerprint for s in plan.stages]:
            raise PipelineError(
                "The contexts were compiled from other steps than those given.",
                hint="Pass the same steps to compile_pipelines and execute_compiled_plate.",
            )
        return now

    def _write_workspace(
        self, steps: Sequence[FunctionStep], contexts: Mapping[str, ProcessingContext]
    ) -> None:
        """Make the workspace an ordinary lab repository for exactly this run."""
        lay_out(self.workspace_path, self.plate_path)
        wells = list(dict.fromkeys(context.well for context in contexts.values()))
        config: dict[str, Any] = {
            "output": "results",
            "plates": [
                {
                    "path": str(self.plate_path),
                    "pipeline": PIPELINE_FILE,
                    "select": {"wells": wells},
                    **self.reading,
                }
            ],
            "search_path": list(self._search_path()[1:]),
        }
        if references := self.storage_registry.references():
            config["storage_backends"] = references
        write_text(
            self.workspace_path / PIPELINE_FILE, pipeline_to_yaml(Pipeline(steps, config=self._config()))
        )
        write_text(self.workspace_path / "config/config.yaml", yaml.safe_dump(config, sort_keys=False))

    def _collect(self, plan: Plan, contexts: Mapping[str, ProcessingContext]) -> Mapping[str, UnitResult]:
        runner = Runner(plan, self.results)
        failures = {(f["stage"], f["unit"]): f for f in open_failures(plan, self.results)}

        def result(unit: str, well: str, stages: Sequence[StagePlan]) -> UnitResult:
            found = {
                s.name: valid_record(self.results, s.name, unit, runner.fingerprint(s, unit), files=False)
                for s in stages
            }
            records = {name: record for name, record in found.items() if record is not None}
            undone = [s for s in stages if s.name not in records]
            own = [(s.name, unit) for s in undone]
            above = [(name, PLATE_UNIT) for s in undone for name in plan.plate_stages_above(s)]
            failure = next((failures[key] for key in (*own, *above) if key in failures), None)
            return UnitResult(unit, well, not undone, MappingProxyType(records), failure)

        collected = {
            unit: result(unit, context.well, [plan.stage(name) for name in plan.stages_of(unit)])
            for unit, context in contexts.items()
        }
        plate = result(PLATE_UNIT, "", [s for s in plan.stages if s.scope == "plate"])
        if not plate.success or any(step.scope == "plate" for step in plan.steps):
            collected[PLATE_UNIT] = plate
        return MappingProxyType(collected)


def _absolute_map(reading: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the plate map's files as absolute paths: the run happens in another folder."""
    found = reading.get("plate_map")
    if isinstance(found, str | Path):
        return {**reading, "plate_map": str(Path(found).absolute())}
    if isinstance(found, Mapping):
        files = {
            name: str(Path(found[name]).absolute()) for name in ("barcodes", "folder") if found.get(name)
        }
        return {**reading, "plate_map": {**found, **files}}
    return dict(reading)


def setup_global_gpu_registry(global_config: GlobalPipelineConfig | None = None) -> tuple[str, ...]:
    """The GPUs that jobs may lease, as they are found now.

    Nothing needs to be set up: every job leases its device when it starts. Kept for scripts that announce it.
    """
    return visible_gpus()
