"""What the Snakefile talks to: the plans of all plates, ready for rules.

The main Snakemake process reads and compiles while it parses, in memory, so that a dry run leaves no trace;
`write` puts plans and rules on disk when a run starts. Any process that Snakemake spawns only loads the
plans.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from hcs_steps.compile.plan import Plan, StagePlan
from hcs_steps.emit.requests import Requests, signed
from hcs_steps.emit.rules import emit_rules, group_plans
from hcs_steps.errors import HcsError
from hcs_steps.learning.summary import Asked
from hcs_steps.results import Results
from hcs_steps.run._processes import process_start
from hcs_steps.run.measure import COMMIT, commit_state
from hcs_steps.run.records import all_attempts
from hcs_steps.run.supervise import MAIN_PROCESS
from hcs_steps.settings import WorkflowSettings, parse_settings

FINISH = "finish"
"""The rule that turns open failures into the exit code."""

AROUND_MB = 384
"""Memory (MB) of what a job of a cluster holds beside `hcs step`: two Snakemake processes of 165 and some shells."""


class Workflow:
    """The plans of a workflow, by results folder, as rules need them.

    Everything a rule asks for is answered from what was there when the workflow was loaded: Snakemake may
    ask again after a job has run, and must get the same answer. ``on_cluster`` is for the Snakefile to set: whether
    jobs run elsewhere than below this process, which Snakemake knows when the first one is about to start.
    """

    on_cluster: Callable[[], bool] = staticmethod(lambda: False)

    def __init__(
        self, plans: Mapping[str, Plan], prepared: Any = (), settings: WorkflowSettings | None = None
    ) -> None:
        self.plans = plans
        self.prepared = tuple(prepared)
        self.settings = settings
        self.groups = group_plans(plans)
        self._attempts: dict[tuple[str, str], dict[str, int]] = {}
        self._jobs: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}

    @property
    def targets(self) -> list[str]:
        """The files of rule all: the page of each plate, and one that is there when nothing failed. Where only some
        wells are asked for, the markers of their jobs; the page is then made of what there is, at the end.
        """
        if self.units:
            return [
                file for folder, units in self.units.items() for file in self._last_markers(folder, units)
            ]
        return [
            file
            for folder in self.plans
            for file in (f"{folder}/report.html", f"{folder}/jobs/{FINISH}.json")
        ]

    def plans_of(self, batch: Any) -> dict[str, Plan]:
        """The plates that Snakemake's ``--batch all=i/n`` is for (None: no batch, so all of them)."""
        if batch is None or batch.rulename != "all":
            return dict(self.plans)
        chosen = batch.get_batch(self.targets)
        return {
            folder: plan
            for folder, plan in self.plans.items()
            if any(target.startswith(f"{folder}/") for target in chosen)
        }

    @cached_property
    def units(self) -> dict[str, tuple[str, ...]]:
        """Results folder -> units that are asked for; empty if all are."""
        asked = self.settings.only_wells if self.settings else None
        if asked is None:
            return {}
        from hcs_steps.plate import expand_wells

        found = {}
        by_plate = isinstance(asked, Mapping) and not asked.keys() <= {"include", "exclude", "every"}
        for folder, plan in self.plans.items():
            wells = asked.get(plan.plate.id, "all") if by_plate else asked
            chosen = set(expand_wells(wells, {unit.well for unit in plan.units.values()}))
            found[folder] = tuple(name for name, unit in plan.units.items() if unit.well in chosen)
        return found

    @cached_property
    def rules(self) -> str:
        """The text of the emitted rules."""
        return emit_rules(self.groups, self.plans)

    def folders(self, group: str | None = None) -> str:
        """A regular expression for the results folders of a group of plates, or of all."""
        chosen = [f for g in self.groups if group is None or g.name == group for f in g.folders]
        return "|".join(re.escape(folder) for folder in chosen)

    def jobs(self, folder: str, stage: str) -> dict[str, tuple[str, ...]]:
        """Job -> units of a stage."""
        if (folder, stage) not in self._jobs:
            plan = self.plans[folder]
            self._jobs[folder, stage] = plan.jobs_of(plan.stage(stage))
        return self._jobs[folder, stage]

    def inputs(self, stage: str) -> Callable[[Any], list[str]]:
        """The input function of a stage's rule."""
        return signed(lambda wildcards: self.markers(str(wildcards.results), stage, str(wildcards.job)))

    def fingerprint(self, stage: str) -> Callable[[Any], str]:
        """The function of a stage's rule that gives what decides whether a job runs again."""
        return signed(lambda wildcards: self.job_state(str(wildcards.results), stage, str(wildcards.job)))

    def markers(self, folder: str, stage: str, job: str) -> list[str]:
        """The markers that a job waits for.

        A plate stage waits for the last job of every chain: what that job waits for is done by then.
        """
        plan = self.plans[folder]
        own = plan.stage(stage)
        upstream = [plan.stage(name) for name in own.upstream]
        if own.scope == "unit":
            return [m for found in upstream for m in self._markers(folder, found, [job])]
        markers = []
        for found in upstream:
            later = [s.name for s in upstream if found.name in s.upstream and not s.skipped]
            covered = {job for name in later for job in self.jobs(folder, name)}
            if found.scope == "plate":
                covered = set(self.jobs(folder, found.name)) if later else set()
            markers += self._markers(
                folder, found, [j for j in self.jobs(folder, found.name) if j not in covered]
            )
        return markers

    def job_state(self, folder: str, stage: str, job: str) -> str:
        """What decides whether a job runs again: its units' fingerprints, and how often they have failed so far.

        A failure counts one up, so the next run retries the job; success changes nothing, so the one after does not.
        """
        plan = self.plans[folder]
        own = plan.stage(stage)
        units = self.jobs(folder, stage).get(job, ())
        failed = sum(self._failed(folder, stage).get(unit, 0) for unit in units)
        text = plan.job_fingerprint(own, units) + (f"+{failed}" if failed else "")
        return text if plan.smart_caching else f"{text} at {self._now}"

    def memory(self, stage: str) -> Callable[[Any, int], int]:
        """The function of a stage's rule that says how much memory (MB) a job asks for. On a cluster, where all
        processes of the job count, what is around it comes on top.
        """
        asked = self._requests.memory(stage)

        def mem_mb(wildcards: Any, attempt: int) -> int:
            return asked(wildcards, attempt) + (AROUND_MB if self.on_cluster() else 0)

        return signed(mem_mb)

    def gpu_memory(self, stage: str) -> Callable[[Any, int], int]:
        """The function of a stage's rule that says how much memory of a device (MB) a job asks for."""
        return self._requests.gpu_memory(stage)

    def runtime(self, stage: str) -> Callable[[Any, int], int]:
        """The function of a stage's rule that says for how long (minutes) a job asks; longer with every attempt."""
        return self._requests.runtime(stage)

    def job_of(self, marker: str) -> tuple[str, str, str] | None:
        """Results folder, stage and job of a marker; None for any other file."""
        folder, found, name = marker.rpartition("/jobs/")
        stage, between, job = name.partition("/")
        if not (found and between and job.endswith(".json") and folder in self.plans):
            return None
        return folder, stage, job.removesuffix(".json")

    def expected_seconds(self, folder: str, stage: str, job: str) -> float | None:
        """How long a job is expected to take, by what its units took before, else others like them; None if that is not
        known.
        """
        return self._requests.seconds(folder, stage, job)

    def asked(self, folder: str) -> dict[str, Asked]:
        """What the most demanding job of each stage of a plate asks for at its first attempt."""
        return self._requests.asked(folder)

    def write(self, folders: Collection[str] | None = None) -> None:
        """Put plans and inventories of these plates (None: all), and the rules, on disk, where they are new."""
        from hcs_steps.emit.wells import write_well_map
        from hcs_steps.plate import holds_inventory, write_inventory
        from hcs_steps.storage.atomic import update_text, write_text

        folders = self.plans if folders is None else folders
        for item in self.prepared:
            if item.results.root.as_posix() not in folders:
                continue
            if item.is_new or (item.well_map.columns and not item.results.plate_map.is_file()):
                write_well_map(item.well_map, item.results, item.plan.tables_folder)
            if item.is_new or not holds_inventory(item.results.inventory, item.inventory):
                write_inventory(item.inventory, item.results.inventory)
            if item.is_new:
                write_text(item.results.plan, item.plan.to_json())
            copy = item.results.plan_copy(item.plan.hash)
            if not copy.is_file():
                write_text(copy, item.plan.to_json())
        for folder in sorted({Path(folder).parent for folder in folders}):
            update_text(folder / "rules.smk", self.rules)

    def _markers(self, folder: str, stage: StagePlan, jobs: list[str]) -> list[str]:
        """The markers of those of the jobs that the stage has; a plate stage has one for all."""
        there = self.jobs(folder, stage.name)
        chosen = there if stage.scope == "plate" and jobs else [job for job in jobs if job in there]
        return [f"{folder}/jobs/{stage.name}/{name}.json" for name in chosen]

    @cached_property
    def _requests(self) -> Requests:
        # A process that Snakemake spawns does not look at what was learned: its job has been given what it has.
        return Requests(self.plans, self.jobs, self._failed, self.settings)

    def _failed(self, folder: str, stage: str) -> dict[str, int]:
        if (folder, stage) not in self._attempts:
            self._attempts[folder, stage] = all_attempts(Results(Path(folder)), stage)
        return self._attempts[folder, stage]

    def _last_markers(self, folder: str, units: Sequence[str]) -> list[str]:
        """The markers of the jobs that the units' work ends with; what these need is made before."""
        plan = self.plans[folder]
        last: dict[str, set[str]] = {}
        for unit in units:
            names = plan.stages_of(unit)
            read = {upstream for name in names for upstream in plan.stage(name).upstream}
            for name in set(names) - read:
                last.setdefault(name, set()).add(unit)
        return [
            f"{folder}/jobs/{name}/{job}.json"
            for name in sorted(last)
            for job, held in self.jobs(folder, name).items()
            if last[name].intersection(held)
        ]

    @cached_property
    def _now(self) -> str:
        from datetime import UTC, datetime

        return datetime.now(UTC).isoformat()


def load_workflow(config: Mapping[str, Any], *, main_process: bool, scratch: Path) -> tuple[Workflow, str]:
    """The workflow of a configuration, and the file that holds its rules.

    ``scratch`` is a folder of the calling process that is removed with it: rules are included from there
    until a run writes them to the work folder. Ends the process with exit code 2 and one paragraph if
    nothing can start.
    """
    # Jobs call `hcs` by name, here and in every process that Snakemake spawns: the one of this environment.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    try:
        settings = parse_settings(config)
        if main_process:
            from hcs_steps.emit.prepare import prepare_plates

            os.environ[COMMIT] = commit_state()
            os.environ[MAIN_PROCESS] = f"{os.getpid()}:{process_start(os.getpid())}"
            prepared = prepare_plates(settings, root=Path.cwd())
            workflow = Workflow({p.results.root.as_posix(): p.plan for p in prepared}, prepared, settings)
        else:
            workflow = Workflow(_load_plans(settings))
    except HcsError as error:
        refuse(error)
    rules = scratch / "rules.smk"
    rules.write_text(workflow.rules, encoding="utf-8")
    return workflow, str(rules)


def refuse(error: HcsError) -> NoReturn:
    """Print the paragraph of an error that keeps everything from starting, and exit with 2."""
    print(f"hcs-steps: {error}", file=sys.stderr)
    raise SystemExit(2) from None


def _load_plans(settings: Any) -> dict[str, Plan]:
    """The plans that the main process has written, by results folder."""
    from hcs_steps.emit.prepare import configured_results

    return {
        results.root.as_posix(): Plan.load(results.plan) for results in configured_results(settings).values()
    }
