"""Lines of text with styles, for the terminal with colours and for everything else without."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TextIO

Line = list[tuple[str, str]]
"""Parts of a line, each with a style as ``rich`` names them; ``""`` for none."""

STYLES = {
    "done": "green",
    "running": "bold cyan",
    "failed": "bold red",
    "died": "bold red",
    "blocked": "magenta",
    "waiting": "dim",
    "skipped": "dim",
}
"""Of states of units."""


def text_of(line: Line) -> str:
    """The line without its styles or space at its end."""
    return "".join(text for text, _ in line).rstrip()


def rich_text(line: Line) -> Any:
    """The line for ``rich``."""
    from rich.text import Text

    return Text.assemble(*line, overflow="ellipsis", no_wrap=True)


def print_lines(lines: Iterable[Line], stream: TextIO) -> None:
    """Print lines, in colours if it goes to a terminal that has them."""
    if stream.isatty():
        from rich.console import Console

        console = Console(file=stream, highlight=False)
        for line in lines:
            console.print(rich_text(line), soft_wrap=True)
        return
    for line in lines:
        print(text_of(line), file=stream)


def table_lines(
    header: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]], left: int = 1
) -> list[Line]:
    """A table, each column as wide as it must be: the first ``left`` ones to the left, the others to the right."""
    cells = [[(name, "bold") for name in header], *rows]
    widths = [max(len(row[column][0]) for row in cells) for column in range(len(header))]
    lines = []
    for row in cells:
        line: Line = []
        for column, (text, style) in enumerate(row):
            padded = text.ljust(widths[column]) if column < left else text.rjust(widths[column])
            line.append((f"{'  ' if column else ''}{padded}", style))
        lines.append(line)
    return lines


def short(text: str, width: int) -> str:
    """At most ``width`` characters of the first line of a text."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= width else line[: width - 3].rstrip() + "..."


def span(seconds: float | None) -> str:
    """A length of time: ``42 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``; ``-`` if it is not known."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def number(value: float | None) -> str:
    """A figure with about two digits; ``-`` if it is not known."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def clock(text: str) -> str:
    """A time in ISO 8601 as the people at this machine read it, to the second; ``-`` if it is none."""
    try:
        return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return "-"
