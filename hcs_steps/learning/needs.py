"""What a unit's demand in a stage depends on: units of the same need, of whatever plate, take about the same.

A need is the functions of the stage with their sources and parameters, how their results are written, and how many
planes of which size and type they get. A changed parameter is another need, so nothing is learned from what ran before
it; another raw file, or a change further up, is not.
"""

from __future__ import annotations

import json
from collections import Counter

from hcs_steps.compile.plan import PLATE_UNIT, Layout, Plan, StagePlan, digest, plain_values


class Needs:
    """The needs of the units of one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._known: dict[tuple[str, int], str] = {}

    def of(self, stage: StagePlan, unit: str) -> str:
        """The need of a unit in a stage; all units of one layout share it."""
        layout = -1 if unit == PLATE_UNIT else self.plan.units[unit].layout
        if (stage.name, layout) not in self._known:
            images = self._plate() if layout < 0 else _images(self.plan.layouts[layout], stage.steps)
            # Tables and the page of a plate are made of what all its steps have left.
            steps = stage.steps or tuple(range(len(self.plan.steps)))
            self._known[stage.name, layout] = digest(
                _text([self.plan.steps[index] for index in steps]), _text(self.plan.storage),
                _text(self.plan.table_settings) if stage.scope == "plate" else "", str(stage.gpu), images,
            )  # fmt: skip
        return self._known[stage.name, layout]

    def _plate(self) -> str:
        """All images of the plate."""
        every = tuple(range(len(self.plan.steps)))
        layouts = Counter(unit.layout for unit in self.plan.units.values())
        return str(sorted((_images(self.plan.layouts[i], every), count) for i, count in layouts.items()))


def _images(layout: Layout, steps: tuple[int, ...]) -> str:
    """What the steps read and leave: numbers of planes, and their size and type. Which sites they are does not
    matter.
    """
    planes = []
    for step in steps:
        source = layout.sources[step]
        planes.append(None if source is None else (len(layout.left_by(source)), len(layout.keys[step])))
    return str((layout.height, layout.width, layout.dtype, planes))


def _text(value: object) -> str:
    plain = [plain_values(item) for item in value] if isinstance(value, list) else plain_values(value)
    return json.dumps(plain, sort_keys=True)
