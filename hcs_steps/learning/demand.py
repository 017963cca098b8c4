"""What to ask for when it is known what others took: the largest that was measured, and a margin.

No share of the measured ones is left out, since every unit that gets too little is computed twice. The margin shrinks
with the number of units that were measured: the next one of n + 1 is the largest with a chance of 1 / (n + 1).
"""

from __future__ import annotations

import math

from hcs_steps.compile.grants import MARGIN_MINUTES
from hcs_steps.compile.memory import GPU_BASE_MB
from hcs_steps.compile.process_memory import BASE_MB
from hcs_steps.learning.measured import Measured

ENOUGH = 8
"""With fewer units measured, what was predicted is asked for, unless more was measured."""
SLOWER = 2.0
"""Another machine, or a busy disk, may take so many times as long."""
STEP_MB = 32
"""Memory is asked for in multiples of this, as it is predicted."""


def margin(count: int) -> float:
    """Times the largest of ``count`` measured figures: 1.5 for one, 1.24 for 8, 1.12 for 384."""
    return 1.1 + 0.4 / math.sqrt(count)


def enough(scope: str) -> int:
    """How many units have to be measured for less than predicted to be asked for. A plate's stage runs but once."""
    return 1 if scope == "plate" else ENOUGH


def is_enough(measured: Measured | None, scope: str) -> bool:
    """Whether so many units were measured."""
    return measured is not None and measured.count >= enough(scope)


def host_mb(predicted: int, measured: Measured | None, scope: str) -> int:
    """MB of memory of a job's own process; never less than what was measured, with a margin, or what any takes."""
    if measured is None:
        return predicted
    if not is_enough(measured, scope):
        return max(predicted, _rounded(measured.host_mb.largest * margin(ENOUGH)))
    return _rounded(max(BASE_MB, measured.host_mb.largest * margin(measured.count)))


def gpu_mb(predicted: int, measured: Measured | None, scope: str) -> int:
    """MB of memory of a job on its device, from those units that ran on one; a record does not count the context."""
    if measured is None or not measured.on_device or not predicted:
        return predicted
    if measured.on_device < enough(scope):
        return max(predicted, _rounded(GPU_BASE_MB + measured.gpu_mb.largest * margin(ENOUGH)))
    return _rounded(GPU_BASE_MB + measured.gpu_mb.largest * margin(measured.on_device))


def minutes(predicted: int, measured: Measured | None, scope: str, units: int) -> int:
    """Minutes of a job of so many units: what nine of ten units do not exceed for each, once the slowest one on top,
    on a machine that is slower, and the time to start.
    """
    if measured is None:
        return predicted
    seconds = SLOWER * (measured.seconds.largest + (units - 1) * measured.seconds.high)
    needed = math.ceil(seconds / 60) + MARGIN_MINUTES
    return needed if is_enough(measured, scope) else max(predicted, needed)


def _rounded(mb: float) -> int:
    return math.ceil(mb / STEP_MB) * STEP_MB
