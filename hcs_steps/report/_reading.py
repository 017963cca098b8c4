"""What the pictures of a plate are made of, read well by well. Nothing that is wrong with one well stops a plate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from hcs_steps.compile.plan import Plan
from hcs_steps.errors import HcsError
from hcs_steps.report._preview import preview
from hcs_steps.report._shown import Shown
from hcs_steps.storage.protocol import Image, ImageStore, PlaneKey

Place = tuple[int, int]
"""A site and a channel."""


@dataclass(frozen=True)
class WellImages:
    """Planes (Y, X) of one well at about the size they are shown at.

    ``images`` are by (site, channel), ``labels`` by name and site, of the shape of that site's images.
    ``channels`` says of which channels there are labels of a name; ``caption`` which planes these are.
    """

    well: str
    images: Mapping[Place, Image]
    labels: Mapping[str, Mapping[int, Image]]
    channels: Mapping[str, frozenset[int]]
    caption: str


@dataclass
class WellReader:
    """Reads the wells that are shown. ``problems`` says by well what could not be read.

    One thread at a time may read: stores keep what they opened.
    """

    plan: Plan
    shown: Shown
    stores: Callable[[int], ImageStore]
    problems: dict[str, str] = field(default_factory=dict)

    @cached_property
    def wells(self) -> list[str]:
        """The wells that the step is for, in the order of the plan."""
        step = self.shown.step
        units = self.plan.units.values()
        return list(dict.fromkeys(unit.well for unit in units if self.plan.layouts[unit.layout].keys[step]))

    @cached_property
    def published(self) -> dict[str, tuple[dict[Place, PlaneKey], str]]:
        """Of every well that has images: the planes that are shown, and which those are in words."""
        return {well: found for well in self.wells if (found := self._published(well)) is not None}

    def _published(self, well: str) -> tuple[dict[Place, PlaneKey], str] | None:
        numbers = {channel.number for channel in self.shown.channels}
        try:
            keys = list(self.stores(self.shown.step).keys(well))
        except Exception as error:  # a store or a codec fails in ways of its own; the others are still shown
            self.problems[well] = f"is not shown: {_reason(error)}"
            return None
        planes = {place: key for place, key in self.shown.planes(keys).items() if place[1] in numbers}
        return (planes, self._caption(well, planes.values(), keys)) if planes else None

    def read(self, well: str, pixels: int, labels: Iterable[str]) -> WellImages | None:
        """A well and the labels of these names, at ``pixels`` per site or a little more; None, and noted, if it
        cannot be read.
        """
        store = self.stores(self.shown.step)
        keys, caption = self.published[well]
        try:
            images = {place: preview(store, well, key, None, pixels) for place, key in keys.items()}
        except Exception as error:  # as above
            self.problems[well] = f"is not shown: {_reason(error)}"
            return None
        shapes = {site: plane.shape for (site, _), plane in images.items()}
        planes: dict[str, dict[int, Image]] = {}
        channels: dict[str, frozenset[int]] = {}
        for name in labels:
            try:
                lying, chosen, channels[name] = self._labels(well, name, keys.values())
                found = {site: preview(lying, well, key, name, pixels) for site, key in chosen.items()}
            except Exception as error:  # as above
                self.problems.setdefault(well, f"has no outlines of {name}: {_reason(error)}")
                continue
            planes[name] = {site: plane for site, plane in found.items() if plane.shape == shapes[site]}
        return WellImages(well, images, planes, channels, caption)

    def _labels(
        self, well: str, name: str, images: Iterable[PlaneKey]
    ) -> tuple[ImageStore, dict[int, PlaneKey], frozenset[int]]:
        """Where the labels that go with the images lie: the store, the plane by site, and of which channels there
        are any. Of one site those of the same z and timepoint come first, then the nearest, then the first channel.
        """
        of_site = {key.site: key for key in images}
        for step in self.shown.labels[name]:
            store = self.stores(step)
            keys = [key for key in store.keys(well, name) if key.site in of_site]
            if keys:
                break
        chosen: dict[int, PlaneKey] = {}
        for key in sorted(keys, key=lambda key: (_apart(key, of_site[key.site]), key)):
            chosen.setdefault(key.site, key)
        return store, chosen, frozenset(key.channel for key in keys)

    def _caption(self, well: str, shown: Iterable[PlaneKey], published: Sequence[PlaneKey]) -> str:
        planes = list(shown)
        parts = [
            _of(name, {getattr(key, of) for key in planes}, {getattr(key, of) for key in published})
            for name, of in (("site", "site"), ("z", "z_index"), ("timepoint", "timepoint"))
        ]
        missing = [c.name for c in self.shown.channels if c.number not in {key.channel for key in planes}]
        parts += [f"without {', '.join(missing)}"] if missing else []
        return ", ".join((well, *filter(None, parts)))


def _apart(key: PlaneKey, other: PlaneKey) -> tuple[int, int]:
    return abs(key.timepoint - other.timepoint), abs(key.z_index - other.z_index)


def _of(name: str, shown: set[int], there: set[int]) -> str:
    """Which values of a component are shown, of how many; nothing of a component that has one."""
    if len(there) == 1:
        return ""
    if shown == there:
        return f"all {len(there)} {name}s"
    which = {True: "the projection", False: "the middle plane"}[shown == {0}] + ", " if name == "z" else ""
    return f"{which}{name} {', '.join(map(str, sorted(shown)))} of {len(there)}"


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, HcsError) else f"{type(error).__name__}: {error}."
