"""What the failure of a unit says that ended its process, or whose process was ended."""

from __future__ import annotations

import os
import signal

from hcs_steps.run._memory import NEAR, OUT_OF_MEMORY, memory_limit_mb, memory_sentence
from hcs_steps.run.outcome import Death
from hcs_steps.run.running import Progress

DIED = "died"
"""Kind of the failure of a unit whose process ended without saying why."""

TIME_LIMIT = "time limit"
"""Kind of the failure of a unit that took too long."""

_MEANINGS = {
    signal.SIGSEGV: "a crash of native code: a wrong memory address",
    signal.SIGBUS: "a crash of native code, or a file that became shorter while it was read",
    signal.SIGABRT: "native code gave up",
    signal.SIGFPE: "a crash of native code: an impossible calculation",
    signal.SIGILL: "native code that this processor does not know",
    signal.SIGKILL: "somebody, or the system, killed it",
    signal.SIGTERM: "somebody ended it",
}


def how_it_died(
    unit: str, at: Progress, status: int, oom_killed: bool, predicted_mb: int, peak_mb: int, stack: str
) -> Death:
    """Of a process that ended with a unit unfinished: its wait ``status``, whether the system has killed anything for
    want of memory meanwhile, its peak memory, and the Python stack that it left.
    """
    code = os.waitstatus_to_exitcode(status)
    near_limit = peak_mb >= NEAR * memory_limit_mb()
    if code < 0 and (near_limit or (oom_killed and -code == signal.SIGKILL)):
        text = f"The process was ended by {_signal(-code)}. {memory_sentence(predicted_mb, peak_mb)}"
        return Death(unit, OUT_OF_MEMORY, at.step, _at(at, text), stack)
    if code >= 0:
        text = f"The process exited with code {code} in the middle of the unit, without an error."
        hint = "A function, or a library that it uses, has ended it: it must raise an error instead."
    else:
        meaning = _MEANINGS.get(signal.Signals(-code)) if -code in list(signal.Signals) else None
        text = f"The process was ended by {_signal(-code)}{f' ({meaning})' if meaning else ''}."
        hint = (
            f"{'The stack of this failure says' if stack else 'The log may say'} where it was; its peak memory was "
            f"{peak_mb} MB. Run the unit alone with hcs step --unit {unit} --debug to look closer."
        )
    return Death(unit, DIED, at.step, _at(at, f"{text} {hint}"), stack)


def overdue(unit: str, stage: str, at: Progress, limit_s: float, stack: str) -> Death:
    """Of a unit that was ended because it took longer than its stage gives it."""
    text = (
        f"The unit took longer than the {_time(limit_s)} that stage {stage} gives to each, and was ended. If it is to "
        f"take so long, raise 'orchestration: stages: {stage}: timeout:' in config/config.yaml; the stack of this "
        "failure says where it was."
    )
    return Death(unit, TIME_LIMIT, at.step, _at(at, text), stack)


def _at(at: Progress, text: str) -> str:
    where = str(at)
    return f"{where[0].upper()}{where[1:]}: {text}" if where else text


def _signal(number: int) -> str:
    try:
        return f"signal {number}, {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"


def _time(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:.4g} min"
