"""processing_results.yaml: what there is of a plate, by unit and kind, also after a run that did not get to its end.

An index for other programs: paths relative to the results folder, of results that are valid for the plan and exist. The
same results give the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan, digest
from hcs_steps.errors import ConfigError
from hcs_steps.results import Results
from hcs_steps.run.plate import fingerprint_over
from hcs_steps.run.records import open_failures, read_record
from hcs_steps.storage.atomic import write_text

Records = dict[tuple[str, str], dict[str, Any]]
"""(stage, unit) -> record."""


def write_outputs(plan: Plan, results: Results, *, run_id: str = "") -> Path:
    """Write the index of a plate and return its path; every record is read once.

    ``units`` maps units to their ``status`` (``done``: every stage that is not left out has its result; ``failed``;
    ``incomplete``), images, labels, tables, arrays and outlines by step, and what failed. ``plate`` holds what is made
    of all units. What is not there is left out.
    """
    path = results.outputs_index
    write_text(path, _yaml(outputs(plan, results, run_id=run_id)))
    return path


def outputs(plan: Plan, results: Results, *, run_id: str = "") -> dict[str, Any]:
    """The content of the index."""
    failures = open_failures(plan, results)
    there = Shelf(plan, results, failures)
    failed: dict[str, dict[str, Any]] = {}
    for failure in failures:
        failed.setdefault(str(failure.get("unit")), failure)
    units = {}
    for unit, found in plan.units.items():
        stages = [s for s in plan.stages if s.scope == "unit" and plan.in_stage(s, unit)]
        lacking = [s.name for s in stages if not s.skipped and (s.name, unit) not in there.records]
        units[unit] = {
            **_state(unit, lacking, failed),
            "well": found.well,
            **there.of_unit(unit, stages),
        }
    plate_stages = [s for s in plan.stages if s.scope == "plate"]
    lacking = [s.name for s in plate_stages if not s.skipped and (s.name, PLATE_UNIT) not in there.records]
    return {
        "plate_id": plan.plate.id,
        **({"run": run_id} if run_id else {}),
        "mode": plan.mode,
        "pipeline": plan.pipeline,
        "plan": plan.hash,
        "complete": not failures and not lacking and all(unit["status"] == "done" for unit in units.values()),
        "plate": {**_state(PLATE_UNIT, lacking, failed), **there.of_plate(plate_stages)},
        "units": units,
    }


class Shelf:
    """The valid records of a plate, and what they published by kind."""

    def __init__(self, plan: Plan, results: Results, failures: list[dict[str, Any]]) -> None:
        self.plan = plan
        self.root = str(results.root)
        self.records: Records = {}
        self._of_plate: dict[str, dict[str, Any]] = {}
        for stage in plan.stages:
            for unit in plan.units_of(stage):
                with suppress(ConfigError):  # of a newer version: nothing that this one can use
                    record = read_record(results, stage.name, unit)
                    if record is None:
                        continue
                    if unit == PLATE_UNIT:
                        self._of_plate[stage.name] = record
                    if self._is_valid(stage, unit, record, failures):
                        self.records[stage.name, unit] = record

    def _is_valid(
        self, stage: StagePlan, unit: str, record: Mapping[str, Any], failures: list[dict[str, Any]]
    ) -> bool:
        """Whether the runner would find the record up to date."""
        own = self.plan.fingerprint(stage, unit)
        if unit == PLATE_UNIT:
            own = fingerprint_over(own, stage, self._found_by(stage), failures)
        else:
            above = [self._of_plate.get(name, {}) for name in self.plan.plate_stages_above(stage)]
            own = digest(own, *(str(found.get("fingerprint")) for found in above)) if above else own
        return record["success"] and record["fingerprint"] == own and self._exist(record)

    def _found_by(self, stage: StagePlan) -> dict[tuple[str, str], str]:
        """The fingerprints of the results that a plate stage finds upstream, as the runner counts them."""
        found: dict[tuple[str, str], str] = {}
        for name in stage.upstream:
            for unit in self.plan.units_of(self.plan.stage(name)):
                there = self.records.get((name, unit)) if unit != PLATE_UNIT else self._of_plate.get(name)
                if there is not None:
                    found[name, unit] = there["fingerprint"]
        return found

    def _exist(self, record: Mapping[str, Any]) -> bool:
        return all(self._exists(item["path"]) for item in record["published"] if not item.get("cleaned"))

    def _exists(self, path: str) -> bool:
        return os.path.exists(f"{self.root}/{path}")

    def of_unit(self, unit: str, stages: Iterable[StagePlan]) -> dict[str, Any]:
        """What a unit has: kind -> step -> what it made."""
        kinds: dict[str, dict[str, Any]] = {}
        for stage in (s for s in stages if (s.name, unit) in self.records):
            record = self.records[stage.name, unit]
            paths = [item["path"] for item in record["published"] if not item.get("cleaned")]
            images = self._images(stage, paths)
            if images:
                kinds.setdefault("images", {}).update(images)
            for index in stage.steps:
                step = self.plan.steps[index]
                for name, found in self._labels(step.labels, images.get(self._home(index), ())).items():
                    kinds.setdefault("labels", {}).setdefault(step.name, {})[name] = found
                rois = [path for path in paths if path.startswith(f"exports/rois/{step.name}/")]
                if rois:
                    kinds.setdefault("rois", {})[step.name] = rois
            self._named(record, kinds)
        return {
            kind: kinds[kind] for kind in ("images", "labels", "tables", "arrays", "rois") if kind in kinds
        }

    def of_plate(self, stages: Iterable[StagePlan]) -> dict[str, Any]:
        """What the plate has: tables and exports by name, the page, and what plate-scope steps made, by step."""
        kinds: dict[str, dict[str, Any]] = {}
        found: dict[str, Any] = {}
        for stage in (s for s in stages if (s.name, PLATE_UNIT) in self.records):
            record = self.records[stage.name, PLATE_UNIT]
            self._named(record, kinds)
            if not stage.steps:
                for path in (item["path"] for item in record["published"]):
                    self._shelve(path, found)
        steps = {kind: kinds[kind] for kind in ("tables", "arrays") if kind in kinds}
        return {**found, **({"steps": steps} if steps else {})}

    def _shelve(self, path: str, found: dict[str, Any]) -> None:
        """Put a file of the plate's own stages where it belongs."""
        name = Path(path).name
        if path.startswith("exports/"):
            found.setdefault("exports", {})[name] = path
        elif name.endswith(".html"):
            found["report"] = path
        elif path.startswith(f"{self.plan.tables_folder}/") or self.plan.tables_folder in (".", ""):
            found.setdefault("tables", {}).setdefault(Path(name).stem, []).append(path)
        else:
            found.setdefault("files", []).append(path)

    def _images(self, stage: StagePlan, paths: Iterable[str]) -> dict[str, list[str]]:
        """Step -> the folders of its images, a site each."""
        stores = {f"{s.store}/": s.name for s in (self.plan.steps[i] for i in stage.steps) if s.written}
        images: dict[str, list[str]] = {}
        for path in paths:
            for folder, step in stores.items():
                if path.startswith(folder):
                    images.setdefault(step, []).append(path)
        return images

    def _labels(self, names: Iterable[str], images: Iterable[str]) -> dict[str, list[str]]:
        """Name -> where the labels lie beside their images."""
        found = {name: [f"{image}/labels/{name}" for image in images] for name in names}
        there = {name: [path for path in paths if self._exists(path)] for name, paths in found.items()}
        return {name: paths for name, paths in there.items() if paths}

    def _home(self, index: int) -> str:
        home = self.plan.steps[index].labels_in
        return self.plan.steps[home].name if home >= 0 else ""

    def _named(self, record: Mapping[str, Any], kinds: dict[str, dict[str, Any]]) -> None:
        """Tables and arrays, which have names of their own."""
        for step, made in record["outputs"].items():
            for name, table in made.get("tables", {}).items():
                kinds.setdefault("tables", {}).setdefault(step, {})[name] = table["path"]
            for call in made.get("calls", ()):
                for name, path in call["arrays"].items():
                    kinds.setdefault("arrays", {}).setdefault(step, {}).setdefault(name, []).append(path)


def _state(unit: str, lacking: list[str], failed: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How far a unit is, and what stopped it."""
    if unit in failed:
        told = ("stage", "step", "kind", "error", "file", "log", "time", "attempt")
        return {"status": "failed", "failure": {name: failed[unit].get(name, "") for name in told}}
    return {"status": "incomplete", "lacks": lacking} if lacking else {"status": "done"}


def _yaml(content: Mapping[str, Any]) -> str:
    """Safe YAML in the order given. File names that are not UTF-8, which YAML cannot hold, are escaped."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # a build without libyaml has only the slow one
    dump = partial(yaml.dump, Dumper=dumper, sort_keys=False, allow_unicode=True, width=10_000)
    try:
        return str(dump(content))
    except UnicodeEncodeError:
        return str(dump(_escaped(content)))


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
