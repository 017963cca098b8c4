"""What a plate-scope function works on: the tables and images of all units, a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hcs_steps.compile.plan import PLATE_UNIT, RAW, Plan, StagePlan
from hcs_steps.compile.stages import last_producer, source_of
from hcs_steps.compile.units import channel_names, key_of
from hcs_steps.errors import HcsError, StepError
from hcs_steps.pipeline.stacks import group_stacks
from hcs_steps.plate import read_inventory_file, read_unit_planes, vendor_flatfield
from hcs_steps.results import Results
from hcs_steps.run.images import read_raw_plane
from hcs_steps.run.records import read_record, unit_fingerprint, valid_record
from hcs_steps.run.running import progress
from hcs_steps.storage.protocol import Image, ImageStore, PlaneKey
from hcs_steps.storage.tables import read_table


class PlateData:
    """What a plate-scope function works on: ``f(plate, **params) -> out1`` or ``(out1, out2, ...)``.

    ``units`` are the units whose upstream results are there, ``missing`` the others. Images come one stack
    or one plane at a time and are never all in memory; they are those that the function's step reads.
    ``notes`` end in the step's record: what was left out, and why.
    """

    def __init__(
        self, plan: Plan, stage: StagePlan, results: Results, stores: Callable[[int], ImageStore]
    ) -> None:
        self.name = plan.plate.id
        self.notes: list[str] = []
        self._plan = plan
        self._stage = stage
        self._results = results
        self._stores = stores
        self._records = upstream_records(plan, stage, results)
        complete = [unit for unit in plan.units if self._complete(unit)]
        self.units: tuple[str, ...] = tuple(complete)
        self.missing: tuple[str, ...] = tuple(unit for unit in plan.units if unit not in set(complete))

    def table(self, name: str) -> Mapping[str, Any]:
        """All rows of a table, by its output name, of the units that are there.

        Each unit's are those of the last step before that returns it for the unit; what an earlier plate-scope step
        returned counts where no unit has a later one.
        """
        steps = self._plan.steps
        made = [(self._producer(unit, name), unit) for unit in self.units]
        parts = dict.fromkeys(
            (step, unit if steps[step].scope == "unit" else PLATE_UNIT)
            for step, unit in made
            if step is not None
        )
        chosen = [part for part in parts if part[1] != PLATE_UNIT] or parts
        found = [self._outputs(step, unit).get("tables", {}) for step, unit in chosen]
        paths = [self._results.root / tables[name]["path"] for tables in found if name in tables]
        if not paths:
            raise StepError(f"No unit has a table {name!r}.", hint="Check the outputs of the steps before.")
        tables = [read_table(path) for path in paths]
        names = dict.fromkeys(column for table in tables for column in table)
        return {c: np.concatenate([table[c] for table in tables if c in table]) for c in names}

    def stacks(self, step: int | None = None) -> Iterator[tuple[str, Mapping[str, int], Image]]:
        """(unit, fixed components, stack (N, Y, X)) of every unit: the images that the step reads.

        Stacks follow the step's ``variable_components``; ``step`` is its index in the plan, by default the
        stage's. A stack with a plane that cannot be read is left out and noted.
        """
        index = self._index if step is None else step
        for number, unit in enumerate(self.units, 1):
            progress(self._plan.steps[index].name, number, len(self.units), unit)
            source, keys = self._images_of(unit, index)
            read = self._reader(unit, source)
            for group, stack in group_stacks(keys, self._plan.steps[index].variable_components):
                try:
                    planes = [read(key) for key in stack]
                except HcsError as error:
                    self.notes.append(f"{unit}, {_text(stack[0])} was left out: {error.message}")
                    continue
                yield unit, group, np.stack(planes)

    @cached_property
    def channels(self) -> Mapping[int, str]:
        """Channel names by number, in the images that the step reads."""
        base = {int(number): name for number, name in self._plan.plate.channels.items()}
        names: dict[int, str] = {}
        for layout in {self._plan.units[unit].layout for unit in self.units}:
            source, keys = self._source(layout, self._index)
            known = channel_names(self._plan.steps, self._plan.layouts[layout].sources, source, base)
            names |= {key.channel: known.get(key.channel, str(key.channel)) for key in keys}
        return dict(sorted(names.items()))

    def count_planes(self, channel: int) -> int:
        """Number of planes of a channel on the plate."""
        return sum(len(keys) for _, keys in self._planes_of(channel))

    def sample_planes(
        self, channel: int, limit: int | None = None, seed: int = 0
    ) -> Iterator[tuple[Mapping[str, Any], Image]]:
        """(components, plane (Y, X)) of at most ``limit`` planes of a channel, spread evenly over wells and sites.

        One plane at a time is read. The choice depends on ``seed`` and on which planes there are, nothing else. A
        plane that cannot be read is left out and noted: one bad file does not stop a plate.
        """
        planes = [(unit, key) for unit, keys in self._planes_of(channel) for key in keys]
        if limit is not None and limit < len(planes):
            # One plane out of each of `limit` equal parts of the plate, which is in the order of wells and sites.
            within = np.random.default_rng(seed).random(limit)
            chosen = ((np.arange(limit) + within) * (len(planes) / limit)).astype(np.int64)
            planes = [planes[i] for i in chosen]
        open_unit, read = "", None
        for number, (unit, key) in enumerate(planes, 1):
            progress(self._plan.steps[self._index].name, number, len(planes), f"{unit}, {_text(key)}")
            if unit != open_unit or read is None:
                open_unit, read = unit, self._reader(unit, self._images_of(unit, self._index)[0])
            try:
                plane = read(key)
            except HcsError as error:
                self.notes.append(f"{unit}, {_text(key)} was left out: {error.message}")
                continue
            yield {"well": self._plan.units[unit].well, **key._asdict()}, plane

    def vendor_flatfield(self, channel: int) -> tuple[Image, Image] | None:
        """The microscope's own (gain, dark) images of a channel, float32 (Y, X); None if the plate has none.

        The gain has the mean 1: a corrected image is (image - dark) / gain.
        """
        layouts = [self._plan.layouts[self._plan.units[unit].layout] for unit in self.units]
        shape = max(((item.height, item.width) for item in layouts), default=(0, 0))
        return vendor_flatfield(Path(self._plan.plate.path), self._inventory.metadata, channel, shape)

    @cached_property
    def _inventory(self) -> Any:
        return read_inventory_file(self._results.inventory)

    def _producer(self, unit: str, name: str) -> int | None:
        """The last step before that returns an output of that name for a unit."""
        layout = self._plan.layouts[self._plan.units[unit].layout]
        return last_producer(self._plan.steps[: self._index], layout, name)

    def _outputs(self, step: int, unit: str) -> Mapping[str, Any]:
        """What the record of a step says of its named outputs; nothing where it has none."""
        stage = next(s for s in self._plan.stages if step in s.steps)
        record = self._records.get((stage.name, unit), {"outputs": {}})
        outputs: Mapping[str, Any] = record["outputs"].get(self._plan.steps[step].name, {})
        return outputs

    @property
    def _index(self) -> int:
        return self._stage.steps[0]

    def _planes_of(self, channel: int) -> Iterator[tuple[str, list[PlaneKey]]]:
        for unit in self.units:
            blank = set(self._plan.layouts[self._plan.units[unit].layout].blank)
            keys = self._images_of(unit, self._index)[1]
            yield unit, [key for key in keys if key.channel == channel and key not in blank]

    def _images_of(self, unit: str, index: int) -> tuple[int, tuple[PlaneKey, ...]]:
        """Whose images a step reads of a unit (`RAW`: the plate's own), and which planes those are."""
        return self._source(self._plan.units[unit].layout, index)

    def _source(self, layout: int, index: int) -> tuple[int, tuple[PlaneKey, ...]]:
        found = self._plan.layouts[layout]
        source = source_of(self._plan.steps, found, index)
        source = RAW if source is None else source
        return source, found.left_by(source)

    def _reader(self, unit: str, source: int) -> Callable[[PlaneKey], Image]:
        well = self._plan.units[unit].well
        if source != RAW:
            store = self._stores(source)
            return lambda key: store.read(well, key)
        folder = Path(self._plan.plate.path)
        planes = {key_of(plane): plane for plane in read_unit_planes(self._results.inventory, well)}
        layout = self._plan.layouts[self._plan.units[unit].layout]

        def read(key: PlaneKey) -> Image:
            if key in planes:
                return read_raw_plane(folder, planes[key])
            return np.zeros((layout.height, layout.width), layout.dtype)

        return read

    def _complete(self, unit: str) -> bool:
        if self._plan.units[unit].refused:
            return False
        stages = (self._plan.stage(name) for name in self._stage.upstream)
        return all(
            (s.name, unit) in self._records
            for s in stages
            if s.scope == "unit" and self._plan.in_stage(s, unit)
        )


def _text(key: PlaneKey) -> str:
    return ", ".join(f"{name} {value}" for name, value in key._asdict().items())


def upstream_records(plan: Plan, stage: StagePlan, results: Results) -> dict[tuple[str, str], dict[str, Any]]:
    """The valid records of everything upstream of a plate stage: (stage, unit) -> record. Cleaned units are done."""
    records = {}
    for name in stage.upstream:
        upstream = plan.stage(name)
        for unit in plan.units_of(upstream):
            if unit == PLATE_UNIT:
                record = read_record(results, name, unit)
            else:
                fingerprint = unit_fingerprint(plan, results, upstream, unit)
                record = valid_record(results, name, unit, fingerprint, files=False)
            if record is not None:
                records[name, unit] = record
    return records
