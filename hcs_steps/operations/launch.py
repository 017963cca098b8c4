"""``hcs run``: Snakemake with the live display, for a part of the work if asked, tried again where that may help."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.emit.prepare import prepare_plates
from hcs_steps.errors import ConfigError
from hcs_steps.operations.calls import Calls
from hcs_steps.results import Results
from hcs_steps.run.claim import claim
from hcs_steps.run.records import forget, open_failures
from hcs_steps.settings import WorkflowSettings, load_settings, parse_settings

TRIED_AGAIN = frozenset({"out of memory", "time limit", "died"})
"""Kinds of failures that more memory, or just another attempt, may mend."""

_alone = threading.Lock()
"""Plates are compiled one after the other: a lab's modules are loaded through what a process has once, ``sys.path``."""


@dataclass(frozen=True)
class Request:
    """What is to be run.

    ``plates`` are names and ``wells`` a well filter, None for all. ``changes`` go over the configuration file
    (``mode``, ``from_step``, ``until``, ``orchestration``). ``force`` computes again what is up to date.
    ``snakemake`` are further arguments for Snakemake.
    """

    config: Path = Path("config/config.yaml")
    plates: tuple[str, ...] | None = None
    wells: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    jobs: int | None = None
    profile: str | None = None
    dry_run: bool = False
    display: bool = True
    snakemake: tuple[str, ...] = ()

    @property
    def overrides(self) -> dict[str, Any]:
        """What goes over the configuration file."""
        chosen = {"only_plates": list(self.plates) if self.plates else None, "only_wells": self.wells}
        return {**self.changes, **{key: value for key, value in chosen.items() if value is not None}}


def run(request: Request, calls: Calls | None = None, name: str = "") -> int:
    """Run it in the working directory; returns the exit code. `ConfigError` if it cannot start.

    ``calls`` are those that a signal ends together; with a ``name``, what is printed is printed behind that.
    """
    calls = calls or Calls()
    settings = configured(request)
    if request.force and not request.dry_run:
        with _alone:
            forget_results(settings, request)
    retries, limit = settings.orchestration.retries, settings.orchestration.total_timeout
    end = None if limit is None else time.monotonic() + limit
    code = _snakemake(request, retries, calls, name)
    for _ in range(retries):
        if request.dry_run or code != 1 or not _worth_another_try(settings):
            break
        if end is not None:
            request = with_time_left(request, end - time.monotonic())
        print("hcs run: trying again what died, ran out of memory or took too long.", file=sys.stderr)
        code = _snakemake(replace(request, force=False), retries, calls, name)
    return code


def with_time_left(request: Request, seconds: float) -> Request:
    """The request with so much left of the time that all may take; none left ends it at once."""
    orchestration = {**request.changes.get("orchestration", {}), "total_timeout": max(0.1, round(seconds, 1))}
    return replace(request, changes={**request.changes, "orchestration": orchestration})


def configured(request: Request) -> WorkflowSettings:
    """The settings of a request: its file, and what goes over it."""
    from hcs_steps.pipeline.files import load_yaml

    load_settings(request.config)  # says what is wrong in the file itself
    return parse_settings(_merged(load_yaml(request.config), request.overrides), str(request.config))


def _merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings key by key, as Snakemake puts ``--config`` over the file."""
    merged = dict(values)
    for key, value in over.items():
        own = merged.get(key)
        both = isinstance(own, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(own, value) if both else value  # type: ignore[arg-type]
    return merged


def forget_results(settings: WorkflowSettings, request: Request) -> int:
    """Drop the records of what is to be computed again; returns how many there were. Nothing else is removed."""
    from hcs_steps.emit.workflow import Workflow

    prepared = prepare_plates(settings, root=Path.cwd())
    workflow = Workflow({p.results.root.as_posix(): p.plan for p in prepared}, prepared, settings)
    dropped = 0
    for folder, plan in workflow.plans.items():
        results = Results(Path(folder))
        lock = claim(results)
        try:
            for stage in plan.stages:
                wanted = _units_of(plan, stage.name, workflow.units.get(folder))
                for unit in () if stage.skipped else wanted:
                    if results.record(stage.name, unit).exists():
                        forget(results, stage.name, unit, "asked for by --force")
                        dropped += 1
        finally:
            if lock is not None:
                lock.release()
    return dropped


def _units_of(plan: Plan, stage: str, chosen: Sequence[str] | None) -> Sequence[str]:
    units = plan.units_of(plan.stage(stage))
    return units if chosen is None else [unit for unit in units if unit in chosen and unit != PLATE_UNIT]


def _worth_another_try(settings: WorkflowSettings) -> bool:
    """Whether something failed that another attempt may mend."""
    from hcs_steps.emit.configured import configured_plates

    for plate in configured_plates(settings).values():
        if not plate.results.plan.is_file():
            continue
        failures = open_failures(Plan.load(plate.results.plan), plate.results)
        if any(failure.get("kind") in TRIED_AGAIN for failure in failures):
            return True
    return False


def command(request: Request, retries: int = 0) -> list[str]:
    """The call of Snakemake that a request means; jobs that die as a whole are its to try again."""
    words = [sys.executable, "-m", "snakemake"]
    if request.profile is not None:
        words += ["--profile", request.profile]
    if request.jobs is not None:
        words += ["--cores" if request.profile is None else "--jobs", str(request.jobs)]
    elif request.profile is None and not Path("profiles/default/config.yaml").is_file():
        words += ["--cores", "all"]
    if request.profile is None and not _names_executor(request.snakemake):
        words += ["--executor", "hcs"]
    if retries:
        words += ["--retries", str(retries)]
    if request.display:
        words += ["--logger", "hcs"]
    if request.dry_run:
        words.append("--dry-run")
    if request.config != Path("config/config.yaml"):
        words += ["--configfile", str(request.config)]
    words += request.snakemake
    if request.overrides:
        # Escapes of characters beyond 16 bits are two characters to Snakemake.
        values = {key: json.dumps(value, ensure_ascii=False) for key, value in request.overrides.items()}
        words += ["--config", *(f"{key}={value}" for key, value in values.items())]
    return words


def _names_executor(arguments: Sequence[str]) -> bool:
    """Whether somebody else says where jobs run: these arguments of Snakemake, or a profile of the environment."""
    words = {argument.partition("=")[0] for argument in arguments}
    return not words.isdisjoint({"--executor", "-e", "--profile"}) or "SNAKEMAKE_PROFILE" in os.environ


def _snakemake(request: Request, retries: int, calls: Calls, name: str) -> int:
    """One call of Snakemake."""
    _check_folder()
    with calls.signals():
        return calls.run(command(request, retries), name)


def _check_folder() -> None:
    if not Path("Snakefile").is_file():
        raise ConfigError(
            f"There is no Snakefile in {Path.cwd()}.",
            hint="Go to the folder that hcs init has made (it holds Snakefile and config/).",
        )
