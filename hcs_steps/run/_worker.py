"""The process that computes the units of a job: how it is tied to the one that watches it, and how it ends."""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from hcs_steps.errors import HcsError
from hcs_steps.run._link import Link
from hcs_steps.run._processes import die_with_parent
from hcs_steps.run.running import Board, use_board

TELL_WHERE = signal.SIGUSR1
"""Makes the process leave its Python stack, also while native code runs."""

_stopped_by = 0


class Stopped(BaseException):
    """Somebody wants the process to end; no error of what it computes."""


def is_stopped() -> bool:
    """Whether somebody wants this process to end: an error since may come of just that."""
    return bool(_stopped_by)


def be_worker(link: Link, board: Board, parent: int, work: Callable[[Link], tuple[int, str]]) -> NoReturn:
    """Do the work as the forked child of ``parent``, in a process group of its own, and end the process."""
    try:
        os.setpgid(0, 0)
        die_with_parent(parent)
        atexit._clear()  # what is registered is the parent's
        use_board(board)
        _handle_signals(link.pipe)
        link.finished(*_outcome_of(link, work))
        atexit._run_exitfuncs()
    finally:
        _leave()


def _outcome_of(link: Link, work: Callable[[Link], tuple[int, str]]) -> tuple[int, str]:
    try:
        return work(link)
    except Exception as error:
        if is_stopped():
            raise Stopped from None
        if not isinstance(error, HcsError):
            traceback.print_exc()
            return 1, f"hcs: {type(error).__name__}: {error}"
        text = f"hcs: {error}"
        if link.has_log:
            print(text, file=sys.stderr)
        return 2, text


def _handle_signals(pipe: int) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    faulthandler.enable(file=pipe, all_threads=False)
    faulthandler.register(TELL_WHERE, file=pipe, all_threads=False)


def _stop(number: int, frame: FrameType | None) -> None:
    global _stopped_by
    if not _stopped_by:  # what cleans up is not interrupted again
        _stopped_by = number
        raise Stopped


def _leave() -> NoReturn:
    """End the process here and now: it is a copy of another one, whose callers must not go on in it."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        if _stopped_by:
            # Who watches is to see what ended it.
            signal.signal(_stopped_by, signal.SIG_DFL)
            os.kill(os.getpid(), _stopped_by)
    finally:
        os._exit(1)
