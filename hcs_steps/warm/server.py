"""``python -m hcs_steps.warm.server FD LOADS``: what jobs need is loaded, and those who take them forked.

It runs no job itself and starts no thread of Python, so that forking it is safe at any time. For every socket that it
is sent it forks a process that serves it (`hcs_steps.run.supervise.serve`). It ends when its own socket, FD, is closed.
LOADS are the arguments of `hcs_steps.run.preload.preload`, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import traceback
from typing import Any

from hcs_steps.cli import build_parser
from hcs_steps.commands.step import run_units
from hcs_steps.run._asked import ENDING
from hcs_steps.run._link import Link
from hcs_steps.run.kept import KeptRunners
from hcs_steps.run.preload import preload
from hcs_steps.run.supervise import serve

_parser: argparse.ArgumentParser = build_parser()
_kept = KeptRunners(replaceable=True)


def run_command(request: dict[str, Any], link: Link) -> tuple[int, str]:
    """What a worker does: the command line of an ``hcs step``; it is told which one is likely to follow."""
    try:
        arguments = _parser.parse_args(request["command"])
        following = _parser.parse_args(request["following"]) if request["following"] else None
    except SystemExit as error:  # it has said why
        return int(error.code or 0), ""
    return run_units(arguments, link, _kept, following)


def main() -> None:
    """Load what jobs need; then one process for each socket that comes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    # Who ends the run with a signal to the whole group means the jobs; this one goes with its socket.
    before = {number: signal.getsignal(number) for number in (*ENDING, signal.SIGCHLD)}
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    preload(**json.loads(sys.argv[2]))
    while True:
        _, sockets, _, _ = socket.recv_fds(control, 1, 1)
        if not sockets:
            return
        if os.fork() == 0:
            try:
                control.close()
                for number, handler in before.items():
                    signal.signal(number, handler)
                serve(run_command, socket.socket(fileno=sockets[0]))
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)
        os.close(sockets[0])


if __name__ == "__main__":
    main()
