"""The look that all pictures of a plate share, and the picture of one well in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcs_steps.report._compose import (
    MISSING,
    OUTLINES_ON_BRIGHT,
    OUTLINES_ON_DARK,
    Rgb,
    Rgb8,
    coincide,
    composite,
    contour_file,
    outlines,
    picture_file,
    plate_window,
    resized,
    well_range,
)
from hcs_steps.report._reading import WellImages
from hcs_steps.report._shown import Shown

GAP = 2
"""Pixels between the sites of a picture."""
SAME = 0.9
"""Labels are outlined already if this share of their outlines runs along that of others."""


@dataclass(frozen=True)
class Look:
    """How the pictures of a plate look: windows by channel, the label sets that are drawn, each with its colour.

    ``label_channels`` says of which channel labels are where a name has labels of several.
    """

    shown: Shown
    windows: Mapping[int, tuple[float, float]]
    labels: Mapping[str, tuple[str, Rgb]]
    label_channels: Mapping[str, str]

    def legend(self, step: str) -> str:
        """What is seen, in a few sentences."""
        several = len(self.shown.channels) > 1
        parts = [
            f"{c.name} {c.color_name + ', ' if several else ''}{_number(low)} to {_number(high)}"
            for c in self.shown.channels
            for low, high in (self.windows[c.number],)
        ]
        sentences = [
            f"Images of the step {step}: {'; '.join(parts)}; the same range of intensities in all wells"
            + ("." if several else ", in grey.")
        ]
        if self.shown.left_out:
            sentences.append(f"Not shown: {', '.join(self.shown.left_out)}.")
        if self.labels:
            named = [f"{self._label(name)} {color}" for name, (color, _) in self.labels.items()]
            sentences.append(f"Outlines: {', '.join(named)}.")
        return " ".join(sentences)

    def _label(self, name: str) -> str:
        return f"{name} (of {self.label_channels[name]})" if name in self.label_channels else name


@dataclass(frozen=True)
class Drawn:
    """The picture of one well as pixels and as files."""

    well: str
    picture: Rgb8
    image: bytes
    contours: bytes
    caption: str


def learn_look(shown: Shown, sample: Iterable[WellImages | None]) -> Look:
    """The look of a plate from a sample of its wells, read one at a time."""
    ranges: dict[int, list[tuple[float, float]]] = {channel.number: [] for channel in shown.channels}
    middles: list[float] = []
    outlined = dict.fromkeys(shown.labels, True)
    seen: dict[str, list[float]] = {name: [] for name in shown.labels}
    channels: dict[str, set[int]] = {name: set() for name in shown.labels}
    for item in sample:
        if item is None:
            continue
        for channel, found in ranges.items():
            planes = [plane.ravel() for (_, number), plane in item.images.items() if number == channel]
            joined = np.concatenate(planes) if planes else np.empty(0, np.float32)
            whole = well_range(joined)
            if whole is not None:
                found.append(whole)
                middles.append(float(np.median(joined[np.isfinite(joined)])))
        for name, of in item.channels.items():
            channels[name] |= of
        for name, share in _repeated(item).items():
            seen[name].append(share)
    windows = {channel: plate_window(found) for channel, found in ranges.items()}
    for name, shares in seen.items():
        outlined[name] = not shares or min(shares) < SAME
    bright = (
        len(shown.channels) == 1
        and middles
        and float(np.median(middles)) > sum(next(iter(windows.values()))) / 2
    )
    colors = OUTLINES_ON_BRIGHT if bright else OUTLINES_ON_DARK
    names = [name for name, new in outlined.items() if new]
    known = {channel.number: channel.name for channel in shown.channels}
    return Look(
        shown,
        windows,
        dict(zip(names, colors, strict=False)),
        {name: known.get(min(of), str(min(of))) for name, of in channels.items() if len(of) > 1},
    )


def _repeated(item: WellImages) -> dict[str, float]:
    """By label set with objects: the share of its outlines that runs along those of the sets before it, as those of
    cytoplasm run along those of nuclei and cells.
    """
    shares: dict[str, float] = {}
    drawn: dict[int, NDArray[np.bool_]] = {}
    for name, planes in item.labels.items():
        found = {site: outlines(plane, (plane.shape[0], plane.shape[1])) for site, plane in planes.items()}
        pixels = sum(int(own.sum()) for own in found.values())
        if not pixels:
            continue
        same = sum(coincide(own, drawn[site]) * own.sum() for site, own in found.items() if site in drawn)
        shares[name] = float(same / pixels)
        if shares[name] < SAME:
            drawn |= {site: own | drawn.get(site, False) for site, own in found.items()}
    return shares


def draw(item: WellImages, look: Look, side: int) -> Drawn:
    """A well's picture whose longer side is ``side`` pixels, or as many as there are."""
    rows, columns = look.shown.grid
    height, width = next(iter(item.images.values())).shape
    room = side - GAP * (max(rows, columns) - 1)
    scale = min(1.0, room / max(rows * height, columns * width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    whole = rows * (size[0] + GAP) - GAP, columns * (size[1] + GAP) - GAP
    picture = np.full((*whole, 3), MISSING, np.uint8)
    lines = np.zeros(whole, np.uint8)
    colors = {channel.number: channel.color for channel in look.shown.channels}
    for site in sorted({site for site, _ in item.images}):
        row, column = look.shown.cells.get(site, (0, 0))
        top, left = row * (size[0] + GAP), column * (size[1] + GAP)
        cell = slice(top, top + size[0]), slice(left, left + size[1])
        planes = {c: resized(plane, size) for (s, c), plane in item.images.items() if s == site}
        picture[cell] = composite(planes, look.windows, colors)
        lines[cell] = _lines(item, site, list(look.labels), size)
    contours = contour_file(lines, [color for _, color in look.labels.values()]) if lines.any() else b""
    return Drawn(item.well, picture, picture_file(picture), contours, item.caption)


def _lines(item: WellImages, site: int, names: Sequence[str], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Numbers of the label sets, from 1, where their outlines are; the sets that come first lie on top."""
    lines = np.zeros(size, np.uint8)
    for number, name in reversed(list(enumerate(names, 1))):
        plane = item.labels.get(name, {}).get(site)
        if plane is not None:
            lines[outlines(plane, size)] = number
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
