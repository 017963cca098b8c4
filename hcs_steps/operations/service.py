"""The runs of a lab repository from Python: start, resume, ask.

The same as ``hcs run`` and ``hcs status``; see `hcs_steps.orchestrator` for one plate and a list of steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hcs_steps.compile.plan import Plan
from hcs_steps.emit.configured import configured_plates
from hcs_steps.errors import ConfigError, HcsError, nearest
from hcs_steps.operations import launch
from hcs_steps.operations.launch import Request
from hcs_steps.operations.runs import PipelineRun, read_run
from hcs_steps.operations.watching._document import status_document
from hcs_steps.operations.watching.status import StatusReader
from hcs_steps.pipeline.modes import FULL, all_modes
from hcs_steps.results import Results
from hcs_steps.run_settings import OrchestrationConfig


class RunOrchestrator:
    """Starts, resumes and watches the runs of the plates of a configuration; made by `create_orchestrator`."""

    def __init__(self, config_path: Path, orchestration_config: OrchestrationConfig | None = None) -> None:
        self.config_path = config_path
        self.folder = config_path.parent.parent
        self.orchestration_config = orchestration_config

    def run_pipeline(
        self,
        plate: str | None = None,
        mode: str = FULL,
        *,
        wells: str | None = None,
        from_stage: str | None = None,
        until: str | None = None,
        force_restart: bool = False,
        jobs: int | None = None,
        profile: str | None = None,
        display: bool = False,
    ) -> PipelineRun:
        """Run one plate, by its name (None: the only one), and return what run.json says at the end.

        What is up to date is not computed again, unless ``force_restart``. ``wells`` is a well filter, ``from_stage``
        and ``until`` bound the stages. Raises `HcsError` if the run could not start.
        """
        changes: dict[str, Any] = {"mode": mode}
        if from_stage is not None:
            changes["from_step"] = from_stage
        if until is not None:
            changes["until"] = until
        if self.orchestration_config is not None:
            changes["orchestration"] = self.orchestration_config.model_dump(mode="json", exclude_unset=True)
        request = Request(
            config=self._relative(),
            plates=(self._plate(plate),),
            wells=wells,
            changes=changes,
            force=force_restart,
            jobs=jobs,
            profile=profile,
            display=display,
        )
        with _inside(self.folder):
            code = launch.run(request)
            (chosen,) = configured_plates(launch.configured(request)).values()
            found = read_run(chosen.results)
        if code == 2 or found is None:
            raise HcsError(
                f"The run of {request.plates} could not start.", hint="The reason is printed above."
            )
        return found

    def resume_pipeline(self, plate: str | None = None, **options: Any) -> PipelineRun:
        """Go on with the plate's latest run, in its mode: what is done is kept, what failed is tried again."""
        last = self._last(plate)
        return self.run_pipeline(plate, options.pop("mode", last.mode if last else FULL), **options)

    def get_run_status(self, plate: str | None = None, mode: str | None = None) -> dict[str, Any]:
        """How far the plate is, also while a run goes on elsewhere: the document of ``hcs status --json``."""
        results = self._results(plate, mode or FULL)
        plan = Plan.load(results.plan)
        return status_document(StatusReader(plan, results).read(), plan)

    def _last(self, plate: str | None) -> PipelineRun | None:
        """The latest run of the plate, of the modes that have folders of their own, too."""
        with _inside(self.folder):
            settings = launch.configured(Request(config=self._relative(), plates=(self._plate(plate),)))
            (chosen,) = configured_plates(settings).values()
            runs = []
            for name in all_modes(chosen.pipeline.modes):
                (found,) = configured_plates(settings.model_copy(update={"mode": name})).values()
                runs.append(read_run(found.results))
        known = [run for run in runs if run is not None]
        return max(known, key=lambda run: run.start_time, default=None)

    def _results(self, plate: str | None, mode: str) -> Results:
        request = Request(config=self._relative(), plates=(self._plate(plate),), changes={"mode": mode})
        with _inside(self.folder):
            (chosen,) = configured_plates(launch.configured(request)).values()
            return Results(chosen.results.root.absolute())

    def _plate(self, name: str | None) -> str:
        with _inside(self.folder):
            names = list(configured_plates(launch.configured(Request(config=self._relative()))))
        if name is None and len(names) == 1:
            return names[0]
        if name not in names:
            raise ConfigError(
                f"{self.config_path} has no plate {name!r}." if name else "Which plate is meant?",
                hint=nearest(name, names) if name else f"Name one of {', '.join(names)}.",
            )
        return name

    def _relative(self) -> Path:
        return self.config_path.relative_to(self.folder)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Paths in a configuration are relative to the lab repository."""
    former = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(former)


def create_orchestrator(
    config_path: str | Path = "config/config.yaml",
    orchestration_config: OrchestrationConfig | Mapping[str, Any] | None = None,
) -> RunOrchestrator:
    """The orchestrator of a lab repository, by its configuration file; ``orchestration_config`` goes over what the file
    says under ``orchestration``. Raises `ConfigError` for a file that is not there or not valid.
    """
    path = Path(config_path).expanduser().absolute()
    if isinstance(orchestration_config, Mapping):
        orchestration_config = OrchestrationConfig.model_validate(dict(orchestration_config))
    orchestrator = RunOrchestrator(path, orchestration_config)
    with _inside(orchestrator.folder):
        launch.configured(Request(config=path.relative_to(orchestrator.folder)))
    return orchestrator


def run_pipeline(
    config_path: str | Path = "config/config.yaml", plate: str | None = None, **options: Any
) -> PipelineRun:
    """Run a plate of a lab repository; see `RunOrchestrator.run_pipeline`."""
    return create_orchestrator(config_path).run_pipeline(plate, **options)


def resume_pipeline(
    config_path: str | Path = "config/config.yaml", plate: str | None = None, **options: Any
) -> PipelineRun:
    """Go on with a plate's latest run; see `RunOrchestrator.resume_pipeline`."""
    return create_orchestrator(config_path).resume_pipeline(plate, **options)


def get_run_status(
    config_path: str | Path = "config/config.yaml", plate: str | None = None
) -> dict[str, Any]:
    """How far a plate is; see `RunOrchestrator.get_run_status`."""
    return create_orchestrator(config_path).get_run_status(plate)
