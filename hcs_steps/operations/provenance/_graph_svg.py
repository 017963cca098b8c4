"""A graph as an SVG picture: layers from top to bottom, boxes with text, curves from what is read to what reads it.

Own, small layout in the manner of Sugiyama et al. (1981): longest-path layers, places for long curves in the layers
that they pass, orders by the mean of the neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_LETTER, _LINE, _PAD = 6.7, 17.0, 12.0
_GAP_X, _GAP_Y, _MARGIN = 28.0, 44.0, 20.0
_THIN = 12.0
"""Width of the place of a curve that passes a layer."""
_LONGEST = 46
"""Letters in a line of a box."""
_HANGING = "  "

_STYLE = """\
svg{background:#fff;font-family:system-ui,sans-serif;font-size:12px}
.t{fill:#1b1f24}.s{fill:#57606a}.h{font-weight:600;font-size:13px}
.b{stroke-width:1.3}
.plate .b,.unit .b{fill:#f6f8fa;stroke:#8c959f}
.plate .b{fill:#eef4fb;stroke:#2f6db5}
.gate .b{fill:#fff4e0;stroke:#b76e00;stroke-dasharray:6 3}
.skipped .b{fill:none;stroke:#afb8c1;stroke-dasharray:3 3}.skipped text{fill:#8c959f}
.e{fill:none;stroke:#57606a;stroke-width:1.4}.a{fill:#57606a}
@media(prefers-color-scheme:dark){
svg{background:#0d1117}.t{fill:#e6edf3}.s{fill:#9198a1}
.unit .b{fill:#161b22;stroke:#656c76}.plate .b{fill:#10233c;stroke:#4d8fdc}
.gate .b{fill:#2d2107;stroke:#d9932b}.skipped .b{fill:none;stroke:#3d444d}.skipped text{fill:#656c76}
.e{stroke:#9198a1}.a{fill:#9198a1}}"""


@dataclass(frozen=True)
class Box:
    """One box: what it reads (names of boxes before it), its heading and lines, and its ``kind``: unit, plate, gate or
    skipped.
    """

    name: str
    reads: tuple[str, ...]
    heading: str
    lines: tuple[str, ...]
    kind: str


@dataclass
class _Place:
    """A box, or (without one) where a curve passes a layer; its centre is at ``x``."""

    box: Box | None
    width: float
    height: float
    before: list[_Place]
    after: list[_Place]
    layer: int
    x: float = 0.0
    y: float = 0.0


def draw(boxes: Sequence[Box], title: str) -> str:
    """The picture of boxes, each of which reads only boxes before it, as the text of an SVG file."""
    boxes = [_fitted(box) for box in boxes]
    layers, curves = _layers(boxes)
    _order(layers)
    width, height = _positions(layers)
    places = [place for layer in layers for place in layer if place.box is not None]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img"><title>{_text(title)}</title><style>{_STYLE}</style>',
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path class="a" d="M0 0L8 4L0 8z"/></marker></defs>',
        *(_curve(curve) for curve in curves),
        *(_box(place) for place in places),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _fitted(box: Box) -> Box:
    """The box with long lines broken."""
    lines = tuple(part for line in box.lines for part in _broken(line))
    return Box(box.name, box.reads, _broken(box.heading)[0], lines, box.kind)


def _broken(line: str) -> list[str]:
    """A line in parts of at most `_LONGEST` letters, cut between words where there are any."""
    parts: list[str] = []
    while len(line) > _LONGEST:
        cut = line.rfind(" ", len(_HANGING) + 1, _LONGEST + 1)
        cut = cut if cut > 0 else _LONGEST
        parts.append(line[:cut])
        line = _HANGING + line[cut:].lstrip()
    return [*parts, line]


def _layers(boxes: Sequence[Box]) -> tuple[list[list[_Place]], list[list[_Place]]]:
    """The layers, each in the order of the boxes, and the curves as the places that they lead through."""
    places: dict[str, _Place] = {}
    for box in boxes:
        longest = max(map(len, (box.heading, *box.lines)))
        depth = max((places[name].layer + 1 for name in box.reads), default=0)
        size = longest * _LETTER + 2 * _PAD, (1 + len(box.lines)) * _LINE + _PAD + 3
        places[box.name] = _Place(box, *size, [], [], depth)
    layers: list[list[_Place]] = [[] for _ in range(1 + max(place.layer for place in places.values()))]
    for place in places.values():
        layers[place.layer].append(place)
    curves = []
    for box in boxes:
        for name in box.reads:
            start, end = places[name], places[box.name]
            between = [_Place(None, _THIN, 0, [], [], number) for number in range(start.layer + 1, end.layer)]
            for place in between:
                layers[place.layer].append(place)
            curves.append([start, *between, end])
            for one, other in zip(curves[-1], curves[-1][1:], strict=False):
                one.after.append(other)
                other.before.append(one)
    return layers, curves


def _order(layers: list[list[_Place]]) -> None:
    """Put neighbours below each other, so that few curves cross."""
    for sweep in range(8):
        down = sweep % 2 == 0
        for number in range(len(layers)) if down else reversed(range(len(layers))):
            rank = {id(place): n for layer in layers for n, place in enumerate(layer)}

            def mean(place: _Place, rank: Mapping[int, int] = rank, down: bool = down) -> float:
                near = place.before if down else place.after
                return sum(rank[id(other)] for other in near) / len(near) if near else rank[id(place)]

            layers[number].sort(key=mean)


def _positions(layers: list[list[_Place]]) -> tuple[float, float]:
    """Give every place its x and y; returns width and height of the picture."""
    y = _MARGIN
    for layer in layers:
        x = 0.0
        for place in layer:
            place.x, place.y = x + place.width / 2, y
            x += place.width + _GAP_X
        height = max(place.height for place in layer)
        for place in (place for place in layer if place.box is None):
            place.height = height  # the curve goes straight down between the boxes
        y += height + _GAP_Y
    for sweep in range(24):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            _pull(layer, down=sweep % 2 == 0)
    left = min(place.x - place.width / 2 for layer in layers for place in layer) - _MARGIN
    for layer in layers:
        for place in layer:
            place.x -= left
    right = max(place.x + place.width / 2 for layer in layers for place in layer)
    return right + _MARGIN, y - _GAP_Y + _MARGIN


def _pull(layer: list[_Place], down: bool) -> None:
    """Move the places of a layer towards their neighbours, in their order and apart from each other."""
    wanted = []
    for place in layer:
        near = place.before if down else place.after
        wanted.append(sum(other.x for other in near) / len(near) if near else place.x)
    from_left = _apart(layer, wanted, 1)
    from_right = _apart(layer, wanted, -1)
    for place, one, other in zip(layer, from_left, from_right, strict=True):
        place.x = (one + other) / 2


def _apart(layer: list[_Place], wanted: list[float], direction: int) -> list[float]:
    """The wanted places, moved in one direction until none lies on another."""
    found: list[float] = []
    order = list(zip(layer, wanted, strict=True))[::direction]
    for number, (place, x) in enumerate(order):
        if number:
            least = found[-1] + direction * ((order[number - 1][0].width + place.width) / 2 + _GAP_X)
            x = max(x, least) if direction > 0 else min(x, least)
        found.append(x)
    return found[::direction]


def _curve(places: Sequence[_Place]) -> str:
    x, y = places[0].x, places[0].y + places[0].height
    path = f"M{x:.1f} {y:.1f}"
    for place in places[1:]:
        middle = (y + place.y) / 2
        path += f"C{x:.1f} {middle:.1f} {place.x:.1f} {middle:.1f} {place.x:.1f} {place.y:.1f}"
        x, y = place.x, place.y + place.height
        path += f"V{y:.1f}" if place.box is None else ""
    return f'<path class="e" d="{path}" marker-end="url(#arrow)"/>'


def _box(place: _Place) -> str:
    assert place.box is not None
    x, y = place.x - place.width / 2, place.y
    rows = [
        f'<text class="t h" x="{x + _PAD:.1f}" y="{y + _LINE + 3:.1f}">{_text(place.box.heading)}</text>',
        *(
            f'<text class="s" xml:space="preserve" x="{x + _PAD:.1f}" y="{y + _LINE * (number + 2) + 3:.1f}">'
            f"{_text(line)}</text>"
            for number, line in enumerate(place.box.lines)
        ),
    ]
    shape = f'<rect class="b" x="{x:.1f}" y="{y:.1f}" width="{place.width:.1f}" height="{place.height:.1f}" rx="7"/>'
    return f'<g class="{place.box.kind}">{shape}{"".join(rows)}</g>'


def _text(text: str) -> str:
    """Text for XML: what XML cannot hold is left out."""
    held = (
        c
        for c in text
        if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    )
    return escape("".join(held))
