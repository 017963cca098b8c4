"""The step runner: one stage over one or several units, each checkpointed, failing and rerunning alone.

For every unit: skip it if its record already matches; leave it if something upstream is not there;
otherwise run it, publish everything it made, and write its record last. A unit's error ends that unit and
nothing else.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hcs_steps.compile.plan import PLATE_UNIT, RAW, Plan, StagePlan
from hcs_steps.compile.stores import store_spec
from hcs_steps.compile.units import key_of
from hcs_steps.pipeline.registry import importable
from hcs_steps.plate import read_unit_planes
from hcs_steps.results import Results
from hcs_steps.run._failures import MissingInputError, failure_of_death, failure_of_error, peak_gpu_mb
from hcs_steps.run._link import Link
from hcs_steps.run._memory import OUT_OF_MEMORY
from hcs_steps.run._withdrawal import remove_published, retract_record, withdraw_unit
from hcs_steps.run._worker import Stopped, is_stopped
from hcs_steps.run.ahead import SLOW_S, read_ahead
from hcs_steps.run.devices import DeviceLease, leased_device
from hcs_steps.run.images import ImageFileError
from hcs_steps.run.lease import UnitLease
from hcs_steps.run.made import Made
from hcs_steps.run.measure import environment, peak_host_mb, reset_peak
from hcs_steps.run.outcome import Death, Outcome
from hcs_steps.run.plate import plate_fingerprint, run_plate_stage
from hcs_steps.run.preload import unneeded_mb
from hcs_steps.run.publish import compute_unit
from hcs_steps.run.records import (
    Failure,
    Record,
    attempts,
    close_failure,
    read_json,
    read_record,
    shortages,
    unit_fingerprint,
    valid_record,
    write_failure,
    write_record,
)
from hcs_steps.storage import StorageRegistry

logger = logging.getLogger("hcs_steps")


class Runner:
    """Runs stages of one plan.

    ``log`` is named in failures; ``debug`` lets a unit's error through; ``force`` computes what is up to
    date; ``link`` is told which units start and end; ``may_move`` lets `DeviceTaken` through, before any unit is
    touched, where a fresh process would get a GPU sooner than this one.
    """

    def __init__(
        self,
        plan: Plan,
        results: Results,
        *,
        log: str = "",
        debug: bool = False,
        force: bool = False,
        link: Link | None = None,
        may_move: bool = False,
    ) -> None:
        self.plan = plan
        self.results = results
        self.log = log
        self.debug = debug
        self.force = force
        self.link = link
        self.may_move = may_move
        self._stores: dict[int, Any] = {}
        self._planes: dict[str, Any] = {}
        self._reading_s: dict[str, float] = {}

    def for_job(self, *, log: str, force: bool, link: Link | None) -> Runner:
        """One for another job, with the same stores."""
        runner = copy.copy(self)
        runner.log, runner.force, runner.link = log, force, link
        return runner

    def run(self, stage: StagePlan, units: Sequence[str], following: Sequence[str] = ()) -> Outcome:
        """Run the stage over the units, one after the other; ``following`` are those that somebody runs after them."""
        outcome = Outcome()
        with leased_device(bool(stage.gpu), may_move=self.may_move) as device:
            for unit, later in zip(units, [*units[1:], *following, PLATE_UNIT], strict=False):
                self._read_ahead(stage, later)
                state, text = self._run_one(stage, unit, device)
                outcome.note(unit, state, text)
                if self.link is not None:
                    self.link.ended(unit, state, text)
        return outcome

    def settle(self, stage: StagePlan, death: Death) -> None:
        """Make a failure of how a unit's process died, unless the unit was done by then."""
        unit = death.unit
        fingerprint = self.fingerprint(stage, unit)
        if valid_record(self.results, stage.name, unit, fingerprint):
            state, text = "done", fingerprint
        else:
            self.withdraw(stage, unit, retract_record(self.results, stage, unit))
            state, text = "failed", self._fail(failure_of_death(stage, death))
        if self.link is not None:
            self.link.ended(unit, state, text)

    def withdraw(self, stage: StagePlan, unit: str, published: Iterable[str] = ()) -> None:
        """Leave nothing of a unit that is not done."""
        withdraw_unit(self.plan, self.results, stage, unit, published, self.store)

    def _run_one(self, stage: StagePlan, unit: str, device: DeviceLease) -> tuple[str, str]:
        """What became of the unit, and the text for it; see `Outcome.note`."""
        fingerprint = self.fingerprint(stage, unit)
        if self._is_done(stage, unit, fingerprint):
            return "skipped", fingerprint
        if self.link is None:  # nobody watches, and so nobody would keep up a lease
            return self._compute_one(stage, unit, device, fingerprint)
        lease = UnitLease(self.results, stage.name, unit)
        lease.take()
        try:
            if lease.waited and self._is_done(stage, unit, fingerprint := self.fingerprint(stage, unit)):
                state, text = "skipped", fingerprint
            else:
                state, text = self._compute_one(stage, unit, device, fingerprint)
        except BaseException:
            lease.release()
            raise
        if state in (
            "skipped",
            "blocked",
        ):  # the others are up to who watches, and has been told that they start
            lease.release()
        return state, text

    def _read_ahead(self, stage: StagePlan, unit: str) -> None:
        """Let the system read the raw files of a unit, if that is slow here."""
        if unit == PLATE_UNIT or self._reading_s.get(stage.name, 0.0) < SLOW_S:
            return
        layout = self.plan.layouts[self.plan.units[unit].layout]
        if any(layout.sources[index] == RAW for index in stage.steps):
            planes = read_unit_planes(self.results.inventory, self.plan.units[unit].well)
            read_ahead(Path(self.plan.plate.path) / path for path in sorted({plane.path for plane in planes}))

    def _is_done(self, stage: StagePlan, unit: str, fingerprint: str) -> bool:
        """Whether there is nothing to do for the unit."""
        skip_finished = self.plan.smart_caching and not self.force
        if not (skip_finished and valid_record(self.results, stage.name, unit, fingerprint)):
            return False
        logger.info("%s: %s is up to date", stage.name, unit)
        # In case the record's writer was killed before it could.
        close_failure(self.results, stage.name, unit)
        return True

    def _compute_one(
        self, stage: StagePlan, unit: str, device: DeviceLease, fingerprint: str
    ) -> tuple[str, str]:
        """What became of a unit that is not done."""
        former = read_record(self.results, stage.name, unit)
        old = retract_record(self.results, stage, unit)
        missing = self._missing_upstream(stage, unit)
        if missing is not None and not missing.skipped and not self._is_lost(missing, unit):
            logger.info("%s: %s has no upstream result", stage.name, unit)
            self.withdraw(stage, unit, old)
            return "blocked", ""
        logger.info("%s: %s starts on %s", stage.name, unit, device.device)
        if self.link is not None:
            self.link.started(unit)
        try:
            if missing is not None:
                raise MissingInputError(missing, unit, self.plan)
            because = self._because(stage, unit, former)
            self._run_to_record(stage, unit, device, fingerprint, because, old)
        except (Exception, SystemExit) as error:  # the unit's error, whatever it is, ends the unit
            self.withdraw(stage, unit, [*old, *retract_record(self.results, stage, unit)])
            if is_stopped():
                raise Stopped from None
            text = self._fail(failure_of_error(stage, unit, error, device.device))
            if self.debug:
                raise
            return "failed", text
        except BaseException:  # somebody ends the process
            # What the plan's own last stages write is whole, file by file, and better than nothing.
            if stage.steps and not self.results.record(stage.name, unit).exists():
                self.withdraw(stage, unit, old)
            raise
        return "done", fingerprint

    def _run_to_record(
        self,
        stage: StagePlan,
        unit: str,
        device: DeviceLease,
        fingerprint: str,
        because: tuple[str, ...],
        old: Sequence[str],
    ) -> None:
        """Compute the unit, publish everything, and write its record."""
        reset_peak(device.on_gpu)
        start, clock = datetime.now(UTC), time.perf_counter()
        result = self._compute(stage, unit, device.on_gpu)
        self._reading_s[stage.name] = result.seconds.get("read", 0.0)
        record = Record(
            stage=stage.name,
            unit=unit,
            fingerprint=fingerprint,
            start=start.isoformat(timespec="milliseconds"),
            end=datetime.now(UTC).isoformat(timespec="milliseconds"),
            seconds={name: round(seconds, 4) for name, seconds in result.seconds.items()},
            items_processed=result.items,
            items_failed=0,
            peak_host_mb=peak_host_mb() - unneeded_mb(stage.packages),
            peak_gpu_mb=peak_gpu_mb(device.device),
            device=device.device,
            gpu={"id": device.key, "slot": device.slot, **result.gpu} if device.on_gpu else {},
            published=tuple(result.published),
            outputs=result.outputs,
            notes=tuple(result.notes),
            plan=self.plan.hash,
            mode=self.plan.mode,
            because=because,
            **environment(),
        )
        remove_published(self.results, old, {item["path"] for item in result.published})
        write_record(self.results, record)
        logger.info("%s: %s done in %.2f s", stage.name, unit, time.perf_counter() - clock)

    def _because(self, stage: StagePlan, unit: str, record: Mapping[str, Any] | None) -> tuple[str, ...]:
        """Why the unit is computed, whose record was this one."""
        from hcs_steps.operations.provenance.explain import reasons

        tried = attempts(self.results, stage.name, unit)
        return reasons(
            self.plan, self.results, stage, unit, record, attempts=tried, forced=self.force, files=True
        )

    def fingerprint(self, stage: StagePlan, unit: str) -> str:
        """What the unit's record must carry; a plate's covers the upstream results that are there now."""
        if unit != PLATE_UNIT:
            return unit_fingerprint(self.plan, self.results, stage, unit)
        return plate_fingerprint(self.plan, stage, self.results)

    def _compute(self, stage: StagePlan, unit: str, on_gpu: bool) -> Made:
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
        return compute_unit(self.plan, stage, unit, self.planes(unit), self.results, self.store, on_gpu)

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

    def _missing_upstream(self, stage: StagePlan, unit: str) -> StagePlan | None:
        """The first stage that the unit reads from and that has no result for it. A plate stage takes what is there."""
        if unit == PLATE_UNIT:
            return None
        for name in stage.upstream:
            upstream = self.plan.stage(name)
            if upstream.scope == "plate":
                record = read_json(self.results.record(name, PLATE_UNIT))
                if record is None or not record.get("success"):
                    return upstream
            elif self.plan.in_stage(upstream, unit) and not valid_record(
                self.results, name, unit, self.fingerprint(upstream, unit)
            ):
                return upstream
        return None

    def _is_lost(self, upstream: StagePlan, unit: str) -> bool:
        """Whether a stage is done for the unit, but what it has made is gone."""
        of = PLATE_UNIT if upstream.scope == "plate" else unit
        record = read_record(self.results, upstream.name, of)
        return record is not None and record["fingerprint"] == self.fingerprint(upstream, of)

    def _fail(self, failure: Failure) -> str:
        """Open the failure, and log it; returns its text."""
        attempt = attempts(self.results, failure.stage, failure.unit) + 1
        short = shortages(self.results, failure.stage, failure.unit) + (failure.kind == OUT_OF_MEMORY)
        write_failure(self.results, replace(failure, log=self.log, attempt=attempt, shortages=short))
        logger.error("%s: %s failed: %s", failure.stage, failure.unit, failure.error)
        logger.info("%s", failure.stack)
        return failure.error
