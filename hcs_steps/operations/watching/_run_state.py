"""What became of the latest run of a plate: what run.json says, and whether its process still lives."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hcs_steps.operations._alive import is_alive

RunState = Literal["never", "running", "done", "failed", "stopped", "died"]
ENDED = frozenset({"done", "failed", "stopped", "died"})
SILENCE_S = 180.0
"""A run on another machine that has not touched run.json for so long counts as dead."""


def run_state(run: Mapping[str, Any] | None, path: Path, now: float) -> tuple[RunState, str]:
    """(state, reason) of the run that ``run``, the content of the file at ``path``, tells of."""
    if run is None:
        return "never", ""
    state = str(run.get("state", ""))
    if state in ENDED:
        return state, str(run.get("reason") or "")  # type: ignore[return-value]
    if state != "running":
        return ("done" if run.get("success") else "failed"), str(run.get("reason") or "")
    if is_alive(run, _written(path), now, SILENCE_S):
        return "running", str(run.get("reason") or "")
    where = f"process {run.get('pid', '?')} on {str(run.get('machine', '?')).split(' (')[0]}"
    return "died", f"its {where} has ended without saying why"


def _written(path: Path) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
