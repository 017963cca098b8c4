"""Pictures of every well for the report: one large one per well, with the outlines of its labels, and a montage.

A picture is for looking at and for comparing wells: each channel has one display window for the whole plate.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from hcs_steps.compile.plan import Plan
from hcs_steps.plate.wells import compact_wells
from hcs_steps.report._drawing import Drawn, Look, draw, learn_look
from hcs_steps.report._reading import WellImages, WellReader
from hcs_steps.report._shown import Shown, choose
from hcs_steps.report._sprite import Sprite, tile_size
from hcs_steps.results import Results
from hcs_steps.run.records import open_failures
from hcs_steps.storage.protocol import ImageStore

MIME = "image/webp"
SIDES = (800, 720, 640, 560, 480, 400, 360, 320, 280, 240, 200, 160, 128, 96, 64, 48, 32)
"""Lengths of a picture's longer side, in pixels, that are tried."""
SAMPLED_WELLS = 32
WEIGHED_WELLS = 6
_MOST_NOTES = 20


@dataclass(frozen=True)
class WellPicture:
    """The picture of one well, an image file of type ``mime``, with what is on it in ``caption``.

    ``contours`` is a PNG of the same size in pixels, transparent but for the outlines of the labels; empty if the
    well has none.
    """

    image: bytes
    mime: str
    contours: bytes
    width: int
    height: int
    caption: str


@dataclass(frozen=True)
class PlatePictures:
    """The pictures of a plate.

    ``sprite`` is the montage of all ``rows`` x ``columns`` wells in the layout of the plate, each well a square of
    ``tile`` pixels. ``wells`` has no entry for a well without images. ``legend`` says what the colours mean, ``notes``
    what could not be shown and why; both are plain text.
    """

    sprite: bytes
    mime: str
    tile: int
    rows: int
    columns: int
    wells: Mapping[str, WellPicture] = field(default_factory=dict)
    legend: str = ""
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return len(self.sprite) + sum(len(well.image) + len(well.contours) for well in self.wells.values())


def plate_pictures(
    plan: Plan, results: Results, stores: Callable[[int], ImageStore], *, budget_bytes: int = 7_500_000
) -> PlatePictures | None:
    """Pictures of all wells that have published images, as large as fit into ``budget_bytes`` together.

    ``stores`` opens the image store of a step by its index. None if the plan keeps no images. What cannot be read is
    noted, never an error. The same images give the same bytes.
    """
    shown = choose(plan, results)
    if shown is None:
        return None
    reader = WellReader(plan, shown, stores)
    failed = _failed_wells(plan, results)
    wells = list(reader.published)
    sample = _spread(wells, SAMPLED_WELLS)
    look = learn_look(shown, (reader.read(well, _site_pixels(256, shown), shown.labels) for well in sample))
    start = SIDES.index(_fitting_side(reader, look, budget_bytes))
    for side in SIDES[start:]:
        pictures, sprite = _draw_all(plan, reader, look, failed, side)
        found = PlatePictures(
            sprite=sprite.file(),
            mime=MIME,
            tile=sprite.tile,
            rows=plan.plate.rows,
            columns=plan.plate.columns,
            wells=pictures,
            legend=look.legend(plan.steps[shown.step].name),
            notes=tuple(_notes(reader, failed)),
        )
        if found.size <= budget_bytes:
            break
    return found


def _draw_all(
    plan: Plan, reader: WellReader, look: Look, failed: frozenset[str], side: int
) -> tuple[dict[str, WellPicture], Sprite]:
    """Every well at one size. Reading is for one thread; drawing and compressing keep the others busy."""
    sprite = Sprite(plan.plate.rows, plan.plate.columns, tile_size(plan.plate.columns))
    pictures: dict[str, WellPicture] = {}
    pixels = _site_pixels(side, look.shown)
    items = (reader.read(well, pixels, look.labels) for well in reader.published)
    for drawn in _drawn(items, look, side):
        sprite.place(drawn.well, drawn.picture)
        height, width = drawn.picture.shape[:2]
        pictures[drawn.well] = WellPicture(drawn.image, MIME, drawn.contours, width, height, drawn.caption)
    for well in sorted(failed):
        sprite.cross(well)
    return pictures, sprite


def _drawn(items: Iterable[WellImages | None], look: Look, side: int) -> Iterator[Drawn]:
    """The pictures of wells, in order, drawn in threads; a few wells at a time are held."""
    threads = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Drawn]] = deque()
        for item in items:
            if item is not None:
                waiting.append(pool.submit(draw, item, look, side))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _fitting_side(reader: WellReader, look: Look, budget: int) -> int:
    """The largest size at which a few wells say that all will fit, with room for the montage."""
    sample = _spread(list(reader.published), WEIGHED_WELLS)
    read = [reader.read(well, _site_pixels(SIDES[0], look.shown), look.labels) for well in sample]
    items = [item for item in read if item is not None]

    def fits(side: int) -> bool:
        weights = [len(one.image) + len(one.contours) for one in _drawn(items, look, side)]
        return sum(weights) * len(reader.published) <= 0.9 * budget * len(items)

    if not items or fits(SIDES[0]):
        return SIDES[0]
    # Sizes fall, so the answer turns from False to True once.
    return SIDES[min(bisect_left(SIDES, True, key=fits), len(SIDES) - 1)]


def _site_pixels(side: int, shown: Shown) -> int:
    """How long a site is in a picture of that size."""
    return math.ceil(side / max(shown.grid))


def _spread(wells: list[str], count: int) -> list[str]:
    """At most ``count`` of the wells, evenly spread over the plate."""
    if len(wells) <= count:
        return wells
    # Not a regular grid: every 24th well of a plate would be one column, often that of the controls.
    order = np.random.default_rng(0).permutation(len(wells))[:count]
    return [wells[i] for i in sorted(order)]


def _failed_wells(plan: Plan, results: Results) -> frozenset[str]:
    """Wells with an open failure, or that could not run."""
    failures = (str(item.get("unit")) for item in open_failures(plan, results))
    failed = {plan.units[unit].well for unit in failures if unit in plan.units}
    return frozenset(failed | {unit.well for unit in plan.units.values() if unit.refused})


def _notes(reader: WellReader, failed: frozenset[str]) -> Iterator[str]:
    """What is not shown and why, wells with the same reason together."""
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for well in reader.wells:
        if well in reader.problems:
            reasons[reader.problems[well]].append(well)
        elif well not in reader.published:
            reasons["failed and has no images." if well in failed else "has no images yet."].append(well)
    for reason, wells in list(reasons.items())[:_MOST_NOTES]:
        yield f"{compact_wells(wells)}: {reason}"
    rest = [well for wells in list(reasons.values())[_MOST_NOTES:] for well in wells]
    if rest:
        yield f"{compact_wells(rest)}: not shown, or not in whole, for other reasons."
