"""The process that computes the units of jobs: how it is tied to the one that watches it, and how it ends."""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from hcs_steps.errors import HcsError
from hcs_steps.run._asked import ENDING
from hcs_steps.run._link import AnotherProcessError, Link, Order
from hcs_steps.run._processes import die_with_parent
from hcs_steps.run.running import Board, use_board

if TYPE_CHECKING:
    from hcs_steps.run._surroundings import Surroundings

Work = Callable[[dict[str, Any], Link], tuple[int, str]]
"""What a worker does with a request: it deals with ``link.death`` and ``link.withdraw``, runs the units that
``link.outcome`` does not name yet, and returns the exit code and what is to be said on the terminal; all else that it
leaves is on disk.
"""

TELL_WHERE = signal.SIGUSR1
"""Makes the process leave its Python stack, also while native code runs."""

_stopped_by = 0


class Stopped(BaseException):
    """Somebody wants the process to end; no error of what it computes."""


def is_stopped() -> bool:
    """Whether somebody wants this process to end: an error since may come of just that."""
    return bool(_stopped_by)


def be_worker(orders: int, pipe: int, board: Board, parent: int, work: Work, *, reuse: bool) -> NoReturn:
    """Do what is ordered as the forked child of ``parent``, in a process group of its own, and end the process.

    ``orders`` and ``pipe`` are the ends of pipes that orders come from and messages go to; it ends with the orders.
    With ``reuse``, each starts in surroundings of its own: the environment and working directory that its request
    names.
    """
    try:
        os.setpgid(0, 0)
        die_with_parent(parent)
        atexit._clear()  # what is registered is the parent's
        use_board(board)
        _handle_signals(pipe)
        before = _surroundings() if reuse else None
        with open(orders, "rb") as lines:
            for line in lines:
                _carry_out(Order.of_line(line), pipe, work, before)
        atexit._run_exitfuncs()
    except Stopped:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        _leave()


def _surroundings() -> Surroundings:
    from hcs_steps.run._surroundings import Surroundings

    return Surroundings()


def _carry_out(order: Order, pipe: int, work: Work, before: Surroundings | None) -> None:
    link = Link(pipe, order.outcome, order.death, order.withdraw)
    try:
        if before is not None:
            before.enter(order.request["environment"], order.request["folder"])
        code, text = _outcome_of(link, work, order.request)
    except AnotherProcessError:
        link.refused()
        return
    fresh = before is not None and before.put_back()
    link.finished(code, text, fresh=fresh and not link.outcome.failed)


def _outcome_of(link: Link, work: Work, request: dict[str, Any]) -> tuple[int, str]:
    try:
        return work(request, link)
    except AnotherProcessError:
        raise
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
    for number in ENDING:
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
