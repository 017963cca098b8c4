"""The pool of warm processes, as the process that has jobs for them sees it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from hcs_steps.run._surroundings import environment_of_job
from hcs_steps.run.supervise import INTERRUPTED


class Pool:
    """Processes that run ``hcs step`` commands, as many as are asked for at the same time.

    ``packages`` and ``functions`` (modules) are what they load before their first job, see
    `hcs_steps.run.preload.preload`; ``threads`` is how many their numerical libraries may use at most. Its methods may
    be called from any thread.
    """

    def __init__(self, packages: Collection[str], functions: Collection[str], threads: int) -> None:
        self._loads = {"packages": sorted(packages), "functions": sorted(functions)}
        self._threads = threads
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._idle: dict[str, list[socket.socket]] = {}
        self._busy: set[socket.socket] = set()
        self._stopped = False

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        kind: str = "",
        following: Sequence[str] = (),
    ) -> int:
        """Run the arguments of ``hcs`` in an environment and in this process's working directory; returns the exit
        code, 130 if it was stopped. Jobs of another ``kind`` are left to other processes. ``following`` is a command
        that is likely to be next: its files are read ahead.
        """
        request = {
            "command": list(command),
            "following": list(following),
            "environment": dict(environment),
            "folder": os.getcwd(),
        }
        channel = self._take(kind)
        if channel is None:
            return INTERRUPTED
        answer = b""
        try:
            channel.sendall(json.dumps(request).encode() + b"\n")
            while not answer.endswith(b"\n") and (part := channel.recv(64)):
                answer += part
        except OSError:
            answer = b""
        with self._lock:
            self._busy.discard(channel)
            if answer and int(answer) != INTERRUPTED and not self._stopped:
                self._idle.setdefault(kind, []).append(channel)
            else:
                channel.close()
        return int(answer) if answer else _LOST

    def open(self) -> None:
        """Begin to load, ahead of the first job."""
        with self._lock:
            self._open_control()

    def stop(self) -> None:
        """Stop what is running, and start nothing more; calls of `run` return soon."""
        with self._lock:
            self._stopped = True
            for channel in self._busy:
                with suppress(OSError):
                    channel.shutdown(socket.SHUT_WR)
            if self._server is not None:
                self._server.kill()  # no job runs in it, and it may still be loading

    def close(self) -> None:
        """Let all processes go; what is still running is stopped."""
        self.stop()
        with self._lock:
            for channel in (c for channels in self._idle.values() for c in channels):
                channel.close()
            self._idle = {}
            if self._control is not None:
                self._control.close()
        if self._server is not None:
            self._server.wait()

    def _take(self, kind: str) -> socket.socket | None:
        """A channel to a process that has nothing to do, the last used first: it has more in memory. None if nothing is
        to start any more.
        """
        with self._lock:
            if self._stopped:
                return None
            idle = self._idle.get(kind, [])
            while idle and not _is_open(idle[-1]):
                idle.pop().close()
            channel = idle.pop() if idle else self._new_channel()
            self._busy.add(channel)
            return channel

    def _new_channel(self) -> socket.socket:
        own, other = socket.socketpair()
        with other:
            try:
                socket.send_fds(self._open_control(), [b"."], [other.fileno()])
            except OSError:  # somebody has killed it
                self._control = None
                socket.send_fds(self._open_control(), [b"."], [other.fileno()])
        return own

    def _open_control(self) -> socket.socket:
        """The socket of a process that lives and has been told what to load."""
        if self._control is None:
            own, other = socket.socketpair()
            with other:
                self._server = subprocess.Popen(
                    [
                        sys.executable,
                        "-P",  # what lies in the lab's folder is no module of ours
                        "-m",
                        "hcs_steps.warm.server",
                        str(other.fileno()),
                        json.dumps(self._loads),
                    ],
                    pass_fds=[other.fileno()],
                    stdin=subprocess.DEVNULL,
                    env=environment_of_job(self._threads, ""),
                )
            self._control = own
        return self._control


_LOST = 1
"""The exit code of a job whose process has gone without a word."""


def _is_open(channel: socket.socket) -> bool:
    """Whether there is still a process at the other end of a channel; none has anything to say unasked."""
    try:
        channel.setblocking(False)
        return bool(channel.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        channel.setblocking(True)
