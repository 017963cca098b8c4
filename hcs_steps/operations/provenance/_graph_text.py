"""A graph as text: one node after the other, lines at the left for what is still to be read.

Every lane belongs to a node whose readers have not all come yet, as in the log of a version control system.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """One node: what it reads (names of nodes before it), and its text. ``faint`` is one that is left out."""

    name: str
    reads: tuple[str, ...]
    lines: tuple[str, ...]
    faint: bool = False


def lanes(nodes: Sequence[Node]) -> list[str]:
    """The drawing of nodes, each of which reads only nodes before it."""
    readers = {node.name: sum(node.name in other.reads for other in nodes) for node in nodes}
    open_lanes: list[str | None] = []
    drawing: list[str] = []
    for node in nodes:
        lane = _place(node, open_lanes, readers)
        drawing += _joins(node, lane, open_lanes, readers)
        mark = "○" if node.faint else "●"
        open_lanes[lane] = node.name
        first = _row(open_lanes, {lane: mark})
        if not readers[node.name]:
            open_lanes[lane] = None
        _trim(open_lanes)
        drawing.append(f"{first}  {node.lines[0]}")
        drawing += [f"{_row(open_lanes, {}).ljust(len(first))}    {line}" for line in node.lines[1:]]
        if open_lanes:
            drawing.append(_row(open_lanes, {}))
    return [line.rstrip() for line in drawing]


def _place(node: Node, open_lanes: list[str | None], readers: dict[str, int]) -> int:
    """The lane of a node: that of the first thing it reads, if nobody else reads that any more, else a free one."""
    for source in node.reads:
        readers[source] -= 1
    ending = [
        open_lanes.index(source) for source in node.reads if source in open_lanes and not readers[source]
    ]
    if ending:
        return min(ending)
    if None in open_lanes:
        return open_lanes.index(None)
    open_lanes.append(None)
    return len(open_lanes) - 1


def _joins(node: Node, lane: int, open_lanes: list[str | None], readers: dict[str, int]) -> Iterator[str]:
    """A row for every line that comes from another lane; the lanes of what nobody reads any more end."""
    started = open_lanes[lane] is not None
    for source in sorted(node.reads, key=lambda name: open_lanes.index(name)):
        start = open_lanes.index(source)
        if start == lane:
            continue
        goes_on = readers[source] > 0
        left = min(start, lane)
        marks = {left: "├" if (goes_on if left == start else started) else ("╰" if left == start else "╭")}
        right = max(start, lane)
        marks[right] = "┤" if (goes_on if right == start else started) else ("╯" if right == start else "╮")
        yield _row(open_lanes, marks, (left, right))
        if not goes_on:
            open_lanes[start] = None
        started = True


def _row(open_lanes: Sequence[str | None], marks: dict[int, str], span: tuple[int, int] = (0, 0)) -> str:
    """One row of lines: ``marks`` by lane, and a line across from one lane to another."""
    cells = []
    for number, name in enumerate(open_lanes):
        across = span[0] <= number < span[1]
        inside = span[0] < number < span[1]
        symbol = marks.get(number) or (
            ("┼" if inside else "│") if name is not None else ("─" if inside else " ")
        )
        cells.append(symbol + ("─" if across else " "))
    return "".join(cells).rstrip()


def _trim(open_lanes: list[str | None]) -> None:
    while open_lanes and open_lanes[-1] is None:
        open_lanes.pop()
