"""What a process that takes many jobs keeps from one to the next: plans, and the stores that it has opened."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from hcs_steps.compile.plan import Plan
from hcs_steps.results import Results
from hcs_steps.run._link import AnotherProcessError
from hcs_steps.run.runner import Runner

if TYPE_CHECKING:
    from hcs_steps.run._link import Link

MOST = 8
"""So many plates are kept; those that were used last."""


class KeptRunners:
    """Runners by plan file, ready for the next job. In a process that can be replaced they are not patient, see
    `Runner`.
    """

    def __init__(self, *, replaceable: bool = False) -> None:
        self._replaceable = replaceable
        self._runners: OrderedDict[str, tuple[tuple[int, ...], Runner]] = OrderedDict()
        self._search_path: tuple[str, ...] | None = None

    def runner(self, path: Path, *, log: str, force: bool, link: Link | None) -> Runner:
        """A runner of the plan in a file, with the plate's results beside it. `ConfigError` if it cannot be read.

        `AnotherProcessError` if the plan has changed, or its functions are looked for elsewhere than those of a plan
        before: what a module name stands for has been settled in this process.
        """
        name = os.path.abspath(path)
        state = _state(path)
        known = self._runners.pop(name, None)
        if known is not None and known[0] != state:
            raise AnotherProcessError
        if known is None:
            plan = Plan.load(path)
            if self._search_path not in (None, plan.search_path):
                raise AnotherProcessError
            self._search_path = plan.search_path
            known = state, Runner(plan, Results(path.parent), may_move=self._replaceable)
        self._runners[name] = known
        while len(self._runners) > MOST:
            self._runners.popitem(last=False)
        return known[1].for_job(log=log, force=force, link=link)


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:  # whoever reads it says so
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
