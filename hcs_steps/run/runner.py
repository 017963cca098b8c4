"""The step runner: one stage over one or several units, each checkpointed, failing and rerunning alone.

For every unit: skip it if its record already matches; leave it if something upstream is not there;
otherwise run it, publish everything it made, and write its record last. A unit's error ends that unit and
nothing else.
"""

from __future__ import annotations

import logging
import shutil
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, Plan, StagePlan
from hcs_steps.compile.stores import store_spec
from hcs_steps.compile.units import key_of
from hcs_steps.errors import HcsError
from hcs_steps.pipeline.registry import importable
from hcs_steps.plate import read_unit_planes
from hcs_steps.results import Results
from hcs_steps.run.devices import CPU, leased_device
from hcs_steps.run.images import ImageFileError
from hcs_steps.run.made import Made
from hcs_steps.run.measure import environment, peak_host_mb, reset_peak
from hcs_steps.run.plate import plate_fingerprint, run_plate_stage
from hcs_steps.run.publish import compute_unit
from hcs_steps.run.records import (
    Failure,
    Record,
    attempts,
    close_failure,
    read_json,
    unit_fingerprint,
    valid_record,
    write_failure,
    write_record,
)
from hcs_steps.storage import StorageRegistry

logger = logging.getLogger("hcs_steps")


@dataclass
class Outcome:
    """What became of a job's units: finished (unit -> fingerprint), skipped of these, failed, blocked by
    upstream.
    """

    done: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)


class Runner:
    """Runs stages of one plan.

    ``log`` is named in failures; ``debug`` lets a unit's error through; ``force`` computes what is up to
    date.
    """

    def __init__(
        self, plan: Plan, results: Results, *, log: str = "", debug: bool = False, force: bool = False
    ) -> None:
        self.plan = plan
        self.results = results
        self.log = log
        self.debug = debug
        self.skip_finished = plan.smart_caching and not force
        self._stores: dict[int, Any] = {}
        self._planes: dict[str, Any] = {}

    def run(self, stage: StagePlan, units: Sequence[str]) -> Outcome:
        """Run the stage over the units, one after the other."""
        outcome = Outcome()
        with leased_device(bool(stage.gpu)) as device:
            for unit in units:
                self._run_one(stage, unit, device, outcome)
        return outcome

    def _run_one(self, stage: StagePlan, unit: str, device: str, outcome: Outcome) -> None:
        fingerprint = self.fingerprint(stage, unit)
        if self.skip_finished and valid_record(self.results, stage.name, unit, fingerprint):
            logger.info("%s: %s is up to date", stage.name, unit)
            close_failure(
                self.results, stage.name, unit
            )  # in case the record's writer was killed before it could
            outcome.skipped.append(unit)
            outcome.done[unit] = fingerprint
            return
        old = self._retract(stage, unit)
        if self._blocked(stage, unit):
            logger.info("%s: %s has no upstream result", stage.name, unit)
            self._withdraw(stage, unit, old)
            outcome.blocked.append(unit)
            return
        logger.info("%s: %s starts on %s", stage.name, unit, device)
        reset_peak()
        start, clock = datetime.now(UTC), time.perf_counter()
        try:
            result = self._compute(stage, unit, device)
        except Exception as error:  # the unit's error, whatever it is, ends the unit
            self._withdraw(stage, unit, old)
            failure = self._failure(stage, unit, error)
            write_failure(self.results, failure)
            outcome.failed[unit] = failure.error
            logger.error("%s: %s failed: %s", stage.name, unit, failure.error)
            logger.info("%s", failure.stack)
            if self.debug:
                raise
            return
        record = Record(
            stage=stage.name,
            unit=unit,
            fingerprint=fingerprint,
            start=start.isoformat(timespec="milliseconds"),
            end=datetime.now(UTC).isoformat(timespec="milliseconds"),
            seconds={name: round(seconds, 4) for name, seconds in result.seconds.items()},
            items_processed=result.items,
            items_failed=0,
            peak_host_mb=peak_host_mb(),
            peak_gpu_mb=_peak_gpu_mb(device),
            device=device,
            published=tuple(result.published),
            outputs=result.outputs,
            notes=tuple(result.notes),
            **environment(),
        )
        self._remove(old, {item["path"] for item in result.published})
        write_record(self.results, record)
        outcome.done[unit] = fingerprint
        logger.info("%s: %s done in %.2f s", stage.name, unit, time.perf_counter() - clock)

    def fingerprint(self, stage: StagePlan, unit: str) -> str:
        """What the unit's record must carry; a plate's covers the upstream results that are there now."""
        if unit != PLATE_UNIT:
            return unit_fingerprint(self.plan, self.results, stage, unit)
        return plate_fingerprint(self.plan, stage, self.results)

    def _compute(self, stage: StagePlan, unit: str, device: str) -> Made:
        if unit == PLATE_UNIT:
            return run_plate_stage(self.plan, stage, self.results, self.store)
        refused = self.plan.units[unit].refused
        if refused:
            raise ImageFileError(
                f"The unit cannot run: {refused}.",
                file="",
                hint="Copy the missing files into the plate, leave the well out with 'select', or, if only some of "
                "its planes are missing, set missing: skip_site or blank for the "
                "plate.",
            )
        return compute_unit(
            self.plan, stage, unit, self.planes(unit), self.results, self.store, device != CPU
        )

    def planes(self, unit: str) -> Mapping[Any, Any]:
        """The raw planes of a unit's well, by key."""
        well = self.plan.units[unit].well
        if well not in self._planes:
            self._planes = {well: {key_of(p): p for p in read_unit_planes(self.results.inventory, well)}}
        return self._planes[well]  # type: ignore[no-any-return]

    def store(self, step: int) -> Any:
        """The image store of a step, opened and declared once."""
        if step not in self._stores:
            registry = StorageRegistry.from_references(dict(self.plan.store_types))
            found = self.plan.steps[step]
            with importable(self.plan.search_path):
                store = registry.open(found.backend, store_spec(self.plan, found, self.results.root))
            store.declare()
            self._stores[step] = store
        return self._stores[step]

    def _blocked(self, stage: StagePlan, unit: str) -> bool:
        """Whether a result that the unit reads is missing. A plate stage works on what is there."""
        if unit == PLATE_UNIT:
            return False
        for name in stage.upstream:
            upstream = self.plan.stage(name)
            if upstream.scope == "plate":
                record = read_json(self.results.record(name, PLATE_UNIT))
                if record is None or not record.get("success"):
                    return True
            elif self.plan.in_stage(upstream, unit) and not valid_record(
                self.results, name, unit, self.fingerprint(upstream, unit)
            ):
                return True
        return False

    def _retract(self, stage: StagePlan, unit: str) -> list[str]:
        """Take back the unit's record, so that nothing claims to be done meanwhile; returns what it
        published.
        """
        path = self.results.record(stage.name, unit)
        record = read_json(path)
        path.unlink(missing_ok=True)
        return [str(item["path"]) for item in (record or {}).get("published", ())]

    def _withdraw(self, stage: StagePlan, unit: str, published: Iterable[str]) -> None:
        """Remove everything that an earlier run published of the unit, and let its stores say again what they expect.

        Not only what its record listed: the record may be gone, or have been that of a stage or unit of another name.
        """
        self._remove(published, ())
        if unit == PLATE_UNIT:
            return
        found = self.plan.units[unit]
        for index in (i for i in stage.steps if self.plan.steps[i].written):
            sites = sorted({key.site for key in self.plan.layouts[found.layout].keys[index]})
            with suppress(HcsError):  # a store that cannot be opened is why the unit failed
                self.store(index).remove(found.well, sites)
        for index in (i for i in stage.steps if self.plan.steps[i].labels):
            for site in {key.site for key in self.plan.layouts[found.layout].keys[index]}:
                for path in self.results.all_rois(self.plan.steps[index].name, found.well, site):
                    path.unlink(missing_ok=True)

    def _remove(self, published: Iterable[str], keep: Iterable[str]) -> None:
        """Remove what an earlier run of the unit published and this one did not."""
        root = self.results.root.resolve()
        for relative in set(published) - set(keep):
            path = (root / relative).resolve()
            if root not in path.parents:  # a record is data: it never reaches outside the results
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _failure(self, stage: StagePlan, unit: str, error: Exception) -> Failure:
        cause = getattr(error, "error", error)
        return Failure(
            stage=stage.name,
            unit=unit,
            step=getattr(error, "step", stage.name),
            kind="out of memory" if isinstance(cause, MemoryError) else type(cause).__name__,
            error=str(error) or type(error).__name__,
            file=getattr(cause, "file", ""),
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            log=self.log,
            attempt=attempts(self.results, stage.name, unit) + 1,
            stack="".join(traceback.format_exception(cause)),
        )


def _peak_gpu_mb(device: str) -> int:
    if device == CPU:
        return 0
    import cupy

    return int(cupy.get_default_memory_pool().total_bytes() >> 20)
