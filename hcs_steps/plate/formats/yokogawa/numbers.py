"""From what a Yokogawa microscope counts (actions, timelines, projections) to a plane's five components.

The same channel may be taken by several actions of one timeline, and the same fields by several timelines: such
planes are different ones. Numbers stay as in the file names wherever that is possible without two planes
becoming one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import NamedTuple

from hcs_steps.plate.inventory import PlaneKey

PROJECTION = "projection"
"""The processing of a projection of which nothing tells the kind."""

Kind = tuple[int, int, int, str]
"""Channel, timeline, action, processing."""


class Taken(NamedTuple):
    """One plane as the microscope counts; ``processing`` is empty for a plane of a stack."""

    well: str
    site: int
    channel: int
    z: int
    timepoint: int
    timeline: int
    action: int
    processing: str


class ChannelSource(NamedTuple):
    """What a channel number stands for: the microscope's channel; action 0 or no processing means any."""

    channel: int
    action: int
    processing: str

    @property
    def suffix(self) -> str:
        """What tells this channel from others of the same microscope channel: `` A02``, `` A02 Sum``."""
        action = f" A{self.action:02d}" if self.action else ""
        return action + (f" {self.processing}" if self.processing else "")


class Numbering:
    """The components of all planes of one plate.

    A channel keeps its number, unless one timeline takes it in several actions: then it is ``<action>01`` for
    channel 1 and so on. Several kinds of projections of one channel are channels of their own too. A projection
    has z 0 beside a stack and z 1 in a plate without one. Timepoints keep their numbers, unless two timelines
    take the same planes: then the timepoints of all timelines, one after the other, are counted through.
    """

    def __init__(self, taken: Collection[Taken]) -> None:
        kinds = {(each.channel, each.timeline, each.action, each.processing) for each in taken}
        self._sources = _sources(kinds)
        self._numbers = _numbers(set(self._sources.values()))
        stacked = {self._sources[kind] for kind in kinds if not kind[3]}
        projected = {self._sources[kind] for kind in kinds if kind[3]}
        raw = {each.z for each in taken if not each.processing}
        self._projection_z = 0 if len(raw) > 1 or stacked & projected else 1
        self._ranks: dict[tuple[int, int], int] = {}
        if len({kind[1] for kind in kinds}) > 1 and self._collide(taken):
            pairs = sorted({(each.timeline, each.timepoint) for each in taken})
            self._ranks = {pair: rank for rank, pair in enumerate(pairs, 1)}

    @property
    def sources(self) -> dict[int, ChannelSource]:
        """Channel number -> what it stands for."""
        return {number: source for source, number in self._numbers.items()}

    @property
    def timepoints(self) -> dict[int, tuple[int, int]]:
        """Timepoint -> (timeline, timepoint in it), if they were counted through."""
        return {rank: pair for pair, rank in self._ranks.items()}

    def key(self, taken: Taken) -> PlaneKey:
        """The components of a plane that was among those given at the start."""
        kind = (taken.channel, taken.timeline, taken.action, taken.processing)
        return PlaneKey(
            taken.well,
            taken.site,
            self._numbers[self._sources[kind]],
            self._projection_z if taken.processing else taken.z,
            self.timepoint(taken.timeline, taken.timepoint),
        )

    def timepoint(self, timeline: int, timepoint: int) -> int:
        """The plate's timepoint of a timeline's one."""
        return self._ranks.get((timeline, timepoint), timepoint)

    def _collide(self, taken: Collection[Taken]) -> bool:
        timelines: dict[PlaneKey, int] = {}
        return any(timelines.setdefault(self.key(each), each.timeline) != each.timeline for each in taken)


def _sources(kinds: Collection[Kind]) -> dict[Kind, ChannelSource]:
    actions: defaultdict[tuple[int, int, str], set[int]] = defaultdict(set)
    processings: defaultdict[int, set[str]] = defaultdict(set)
    for channel, timeline, action, processing in kinds:
        actions[channel, timeline, processing].add(action)
        if processing:
            processings[channel].add(processing)
    repeated = {channel for (channel, _, _), own in actions.items() if len(own) > 1}
    return {
        kind: ChannelSource(
            kind[0],
            kind[2] if kind[0] in repeated else 0,
            # The one projection of a channel is told by its z.
            kind[3] if len(processings[kind[0]]) > 1 else "",
        )
        for kind in kinds
    }


def _numbers(sources: Collection[ChannelSource]) -> dict[ChannelSource, int]:
    base = 100
    while any(max(source.channel, source.action) >= base for source in sources):
        base *= 10
    processings = sorted({source.processing for source in sources} - {""})
    places = {"": 0, **{processing: place for place, processing in enumerate(processings, 1)}}
    return {
        source: source.channel + base * (source.action + base * places[source.processing])
        for source in sorted(sources)
    }
