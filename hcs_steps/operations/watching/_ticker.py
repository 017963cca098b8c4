"""The display where there is no terminal: a line now and then."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from hcs_steps.compile.plan import Plan
from hcs_steps.operations.watching._failure_groups import common_part
from hcs_steps.operations.watching._lines import Line, print_lines, short, text_of
from hcs_steps.operations.watching._status_text import final_lines, summary_line
from hcs_steps.operations.watching.status import PlateStatus

EVERY_S = 10.0
"""A plate has no more than one line in so long."""
ALIKE = 10
"""So many failures with the same cause are told one by one."""


class LineView:
    """Lines with the time: of every plate that has moved on, of every failure, and a table at the end."""

    def __init__(self, stream: TextIO, *, every_s: float = EVERY_S) -> None:
        self.stream = stream
        self.every_s = every_s
        self._said: dict[str, tuple[float, object]] = {}
        self._alike: Counter[tuple[str, str]] = Counter()

    def show(self, statuses: Sequence[PlateStatus]) -> None:
        """A line for every plate that has moved on and had none for a while."""
        for status in statuses:
            key, moved = str(status.results.root), _progress(status)
            last, said = self._said.get(key, (-self.every_s, None))
            if moved != said and time.monotonic() - last >= self.every_s:
                self._said[key] = (time.monotonic(), moved)
                self._print(text_of(summary_line(status)))

    def failed(self, status: PlateStatus, failure: Mapping[str, Any]) -> None:
        """A line for the failure; of many with the same cause only for the first ones."""
        cause = (str(failure.get("stage")), common_part(str(failure.get("error", ""))))
        self._alike[cause] += 1
        if self._alike[cause] > ALIKE + 1:
            return
        if self._alike[cause] == ALIKE + 1:
            self._print(f"{status.plate}: more in {cause[0]} fail like that; hcs failures lists them all.")
            return
        where, error = (
            f"{failure.get('unit')} failed in {failure.get('stage')}",
            str(failure.get("error", "")),
        )
        log = f" (log: {failure['log']})" if failure.get("log") else ""
        self._print(f"{status.plate}: {where}: {failure.get('kind')}: {short(error, 300)}{log}")

    def say(self, text: str, style: str = "") -> None:
        """The message as it is."""
        print(text, file=self.stream, flush=True)

    def end(self, statuses: Sequence[PlateStatus], plans: Sequence[Plan]) -> None:
        """The last state as a table."""
        lines: list[Line] = final_lines(statuses, plans)
        print_lines(lines, self.stream)
        self.stream.flush()

    def _print(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=self.stream, flush=True)


def _progress(status: PlateStatus) -> object:
    """What has to change for a new line."""
    return [(stage.count("done"), stage.count("failed")) for stage in status.stages], status.state
