"""Sums up, while a run goes on and at its end, what the units of a plate took, for later runs to ask for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress

from hcs_steps.compile.plan import PLATE_UNIT, Plan
from hcs_steps.errors import HcsError
from hcs_steps.learning.needs import Needs
from hcs_steps.learning.summary import Asked, Summary, Took, summarise, write_summary
from hcs_steps.operations.provenance.explain import made_by
from hcs_steps.operations.watching._stage_reader import Done
from hcs_steps.operations.watching.status import StatusReader
from hcs_steps.results import Results

logger = logging.getLogger("hcs_steps")

ABSURD_MB, ABSURD_S = 1 << 24, 30 * 86400.0
"""What a record says beyond this (16 TB, 30 days) is damage, or a clock that was set: no job is to ask for it."""


class Learner:
    """What was learned from the records of one plate; ``asked`` is what the jobs of this run ask for, by stage."""

    def __init__(self, plan: Plan, results: Results, asked: Mapping[str, Asked]) -> None:
        self.results = results
        self.asked = asked
        self._needs: dict[str, Needs | None] = {plan.hash: Needs(plan)}
        self._written = -1

    def write(self, reader: StatusReader) -> None:
        """Write the summary of the records that ``reader`` has seen last, if there are others than when it was written.

        A summary that cannot be written costs a warning: nothing depends on it.
        """
        if reader.version == self._written:
            return
        try:
            write_summary(self.results, self.summary(reader))
            self._written = reader.version
        except (HcsError, OSError) as error:
            logger.warning("What units took cannot be kept for the next run: %s", error)

    def summary(self, reader: StatusReader) -> Summary:
        """The summary of the records that ``reader`` has seen last, those of former plans among them."""
        return summarise(
            {stage: tuple(self._took(stage, reader.records)) for stage in reader.records},
            self.asked,
        )

    def _took(self, stage: str, records: Mapping[str, Mapping[str, Done]]) -> Iterator[Took]:
        for unit, record in records[stage].items():
            need = self._need(stage, unit, record.plan)
            seconds = record.end - record.start
            if need and unit == PLATE_UNIT and not self._was_whole(stage, record, records):
                continue
            if need and 0 < record.host_mb < ABSURD_MB and record.start > 0 and 0 <= seconds < ABSURD_S:
                yield Took(unit, need, record.host_mb, record.gpu_mb, seconds)

    def _was_whole(self, stage: str, record: Done, records: Mapping[str, Mapping[str, Done]]) -> bool:
        """Whether a stage of the plate had all its units: it runs with those that are there, and then takes less."""
        needs = self._needs[record.plan]
        assert needs is not None
        return all(
            (found := records.get(above.name, {}).get(unit)) is not None and found.end <= record.start
            for above in needs.plan.stages_above(needs.plan.stage(stage))
            if above.scope == "unit"
            for unit in needs.plan.units_of(above)
        )

    def _need(self, stage: str, unit: str, plan_hash: str) -> str | None:
        """The need of a unit by the plan that it was computed with; None if that is not there any more."""
        if plan_hash not in self._needs:
            self._needs[plan_hash] = None
            with suppress(HcsError, OSError):
                self._needs[plan_hash] = Needs(made_by(self.results, {"plan": plan_hash}))
        needs = self._needs[plan_hash]
        if needs is None or all(found.name != stage for found in needs.plan.stages):
            return None
        known = unit == PLATE_UNIT or unit in needs.plan.units
        return needs.of(needs.plan.stage(stage), unit) if known else None
