"""The display on a terminal: bars of plates and stages, what is computed now, and the last failures, in place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from hcs_steps.compile.plan import Plan
from hcs_steps.operations.watching._lines import STYLES, Line, number, rich_text, short, span
from hcs_steps.operations.watching._status_text import final_lines, progress_text
from hcs_steps.operations.watching.status import PlateStatus, StageStatus, UnitState

BAR = 30
SHOWN_RUNNING = 8
SHOWN_FAILURES = 4
_ORDER: tuple[UnitState, ...] = ("done", "failed", "died", "blocked", "running", "waiting")
_BLOCKS = {"waiting": "\N{BOX DRAWINGS LIGHT HORIZONTAL}", "": "\N{BOX DRAWINGS HEAVY HORIZONTAL}"}
_ASCII = {"waiting": "-", "failed": "X", "died": "X", "blocked": "b", "running": ">", "": "="}


def in_place(stream: TextIO, *, colours: bool = True) -> Any:
    """What ``rich`` draws with, below what is printed meanwhile, until it is stopped.

    The cursor stays visible and the screen is the ordinary one, so even a killed process leaves the terminal in order.
    """
    from rich.console import Console
    from rich.live import Live

    class VisibleCursor(Console):
        def show_cursor(self, show: bool = True) -> bool:
            return False

    console = VisibleCursor(file=stream, highlight=False, no_color=not colours or None)
    return Live(console=console, auto_refresh=False, transient=True)


class ScreenView:
    """Draws plates on a terminal, and prints what is said above them."""

    def __init__(self, stream: TextIO, *, colours: bool = True) -> None:
        self._live = in_place(stream, colours=colours)
        self.console = self._live.console
        unicode = (stream.encoding or "").lower().startswith("utf")
        self._signs = _BLOCKS if unicode and not self.console.no_color else _ASCII
        self._failures: list[Line] = []
        self._began = time.monotonic()

    def show(self, statuses: Sequence[PlateStatus]) -> None:
        """Draw the plates anew."""
        from rich.console import Group

        if not self._live.is_started:
            self._live.start()
        lines = self.lines(statuses, self.console.width, self.console.height - 1)
        self._live.update(Group(*(rich_text(line) for line in lines)), refresh=True)

    def failed(self, status: PlateStatus, failure: Mapping[str, Any]) -> None:
        """Keep the failure among the last ones."""
        where = f"{status.plate} {failure.get('unit')} {failure.get('stage')}: "
        self._failures.append([(where, STYLES["failed"]), (short(str(failure.get("error", "")), 400), "")])
        del self._failures[:-SHOWN_FAILURES]

    def say(self, text: str, style: str = "") -> None:
        """Print the message above the plates."""
        from rich.text import Text

        self.console.print(Text(text, style=style), soft_wrap=True)

    def end(self, statuses: Sequence[PlateStatus], plans: Sequence[Plan]) -> None:
        """Take the plates off the terminal, and print how it ended."""
        if self._live.is_started:
            self._live.stop()
        for line in final_lines(statuses, plans):
            self.console.print(rich_text(line), soft_wrap=True)

    def lines(self, statuses: Sequence[PlateStatus], width: int, height: int) -> list[Line]:
        """What is on the screen: at most ``height`` lines, the last one empty; stages only of plates on which something
        runs.
        """
        head: Line = [("hcs-steps", "bold"), (f"   for {span(time.monotonic() - self._began)}", "dim")]
        tail = [[], [("last failures", STYLES["failed"])], *self._failures] if self._failures else []
        now = self._running_lines(statuses)
        room = max(2, height - 2 - len(tail) - len(now))
        active = [s for s in statuses if s.running or len(statuses) == 1] or list(statuses[:1])
        plates: list[Line] = []
        left_out = 0
        for status in sorted(statuses, key=lambda s: s not in active):
            block = [self._plate_line(status)]
            if status in active:
                block += [self._stage_line(stage, status) for stage in status.stages if not stage.skipped]
            if plates and len(plates) + len(block) > room - 1:
                left_out += 1
                continue
            plates += block[: room - 1]
        if left_out:
            plates.append([(f"and {left_out} more plates", "dim")])
        # What a job prints on the terminal itself then has a line of its own.
        return [*[head, *plates, *now, *tail][: height - 1], []]

    def _plate_line(self, status: PlateStatus) -> Line:
        counts: dict[UnitState, int] = {}
        for state in status.units.values():
            counts[state] = counts.get(state, 0) + 1
        text = f"  {counts.get('done', 0)}/{len(status.units)} units, {number(status.rate)} results a minute"
        if status.eta_seconds != 0:
            text += f", left {'' if status.eta_seconds is None else 'about '}{span(status.eta_seconds)}"
        return [
            (f"{short(status.plate, 22):<22} ", "bold"),
            *self._bar(counts, len(status.units)),
            (text, ""),
        ]

    def _stage_line(self, stage: StageStatus, status: PlateStatus) -> Line:
        line: Line = [(f"  {short(stage.name, 20):<20} ", ""), *self._bar(stage.counts, stage.total)]
        line.append((f"  {stage.count('done')}/{stage.total}", ""))
        for state in ("running", "failed", "died", "blocked", "waiting"):
            if stage.counts.get(state):
                line.append((f"  {stage.counts[state]} {state}", STYLES[state]))
        if stage.count("running") or stage.count("waiting"):
            pace = f"  {number(stage.rate)} a minute" if stage.rate is not None else ""
            line.append((pace + (f"  left {span(stage.left)}" if stage.left is not None else ""), "dim"))
        return line

    def _bar(self, counts: Mapping[Any, int], total: int) -> Line:
        """A bar of `BAR` signs; whatever there is any of has at least one."""
        there = [(state, counts.get(state, 0)) for state in _ORDER if counts.get(state)]
        sizes = {state: max(1, BAR * count // max(total, 1)) for state, count in there}
        if sizes:
            widest = max(sizes, key=lambda state: sizes[state])
            sizes[widest] += BAR - sum(sizes.values())
        return [(self._signs.get(state, self._signs[""]) * sizes[state], STYLES[state]) for state, _ in there]

    def _running_lines(self, statuses: Sequence[PlateStatus]) -> list[Line]:
        """What is computed now, the longest first."""
        from hcs_steps.operations.watching._stage_reader import seconds_of

        several = len(statuses) > 1
        found = [(status, told) for status in statuses for told in status.running]
        found.sort(key=lambda pair: str(pair[1].get("started")))
        lines: list[Line] = [[]] if found else []
        for status, told in found[:SHOWN_RUNNING]:
            where = f"{status.plate} {told.get('unit')}" if several else str(told.get("unit"))
            since = span(max(0.0, time.time() - seconds_of(told.get("started"))))
            memory = f", {told['rss_mb']} MB" if told.get("rss_mb") else ""
            lines.append(
                [
                    (f"  {where:<8} ", STYLES["running"]),
                    (f"{told.get('stage')}: {progress_text(told)}", ""),
                    (f"   {since}{memory}", "dim"),
                ]
            )
        if len(found) > SHOWN_RUNNING:
            lines.append([(f"  and {len(found) - SHOWN_RUNNING} more", "dim")])
        return lines
