"""What a job may change of the process it runs in, put back after it, so that the next one finds nothing of it."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_THREADS = (
    "OMP_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_TEMPORARY = ("TMPDIR", "TMP", "TEMPDIR", "TEMP")


def environment_of_job(threads: int, temporary: str) -> dict[str, str]:
    """The environment of this process as Snakemake changes it for a job's command: threads of numerical libraries, and
    where temporary files go (nothing is changed for an empty text).
    """
    own = dict.fromkeys(_THREADS, str(threads)) | (dict.fromkeys(_TEMPORARY, temporary) if temporary else {})
    return {**os.environ, **own}


class Surroundings:
    """The process as it was before a job; made in the main thread, and put back any number of times."""

    def __init__(self) -> None:
        self._streams = sys.stdout, sys.stderr
        self._descriptors = os.dup(1), os.dup(2)
        self._umask = _umask()
        self._arguments, self._path = (sys.argv, list(sys.argv)), (sys.path, list(sys.path))
        self._signals = _handlers()
        self._recursion = sys.getrecursionlimit()
        root = logging.getLogger()
        self._logging = list(root.handlers), root.level, logging.root.manager.disable
        self._warnings = list(warnings.filters)
        self._numpy_errors = numpy.geterr() if (numpy := sys.modules.get("numpy")) else {}

    def enter(self, environment: Mapping[str, str], folder: str) -> None:
        """Give a job its environment, which is replaced as a whole, and its working directory."""
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        for name, value in environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        tempfile.tempdir = None  # it is found anew when it is next asked for
        random.seed()  # as in a new process: no two jobs draw the same
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()
        if torch := sys.modules.get("torch"):
            torch.default_generator.seed()
        os.chdir(folder)
        limit_threads(int(environment.get("OMP_NUM_THREADS") or 0))

    def put_back(self) -> bool:
        """Undo what a job has changed; whether all could be undone. Environment and folder are the next job's own."""
        with suppress(ValueError, OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        job_streams = {id(stream): stream for stream in (sys.stdout, sys.stderr)}
        sys.stdout, sys.stderr = self._streams
        for number, kept in enumerate(self._descriptors, 1):
            os.dup2(kept, number)
        for stream in job_streams.values():
            if stream not in self._streams:
                with suppress(Exception):  # it is whatever the job has made of it
                    stream.close()
        os.umask(self._umask)
        sys.argv, sys.argv[:] = self._arguments
        sys.setrecursionlimit(self._recursion)
        root = logging.getLogger()
        root.handlers[:], level, logging.root.manager.disable = self._logging
        root.setLevel(level)
        warnings.filters[:] = self._warnings  # type: ignore[index]
        warnings._filters_mutated()  # type: ignore[attr-defined]
        if numpy := sys.modules.get("numpy"):
            numpy.seterr(**self._numpy_errors)
        _give_back_memory()
        # Modules stay, and where one of the job's has changed the path, it is that path that they mean.
        same_path = sys.path is self._path[0] and sys.path == self._path[1]
        return same_path and self._signals == _handlers() and not _has_children()


_trim: Any = None
_limits: Any = None
_limit = 0


def limit_threads(threads: int) -> None:
    """Let the numerical libraries that are loaded already use so many threads at most; 0 changes nothing.

    Those that are loaded later look at the environment.
    """
    global _limits, _limit
    if threads == _limit or not threads or "numpy" not in sys.modules:
        return
    from threadpoolctl import ThreadpoolController

    if _limits is not None:
        _limits.restore_original_limits()
    _limits, _limit = ThreadpoolController().limit(limits=threads), threads
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


_SIGNALS = tuple(int(number) for number in signal.valid_signals())


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in _SIGNALS}


def _umask() -> int:
    found = os.umask(0o022)
    os.umask(found)
    return found


def _give_back_memory() -> None:
    """Return what is free to the system, so that the next unit's peak is its own (glibc only)."""
    global _trim
    if _trim is None:
        import ctypes

        _trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)
    _trim(0)


def _has_children() -> bool:
    """Whether a process that the job has started is still there (told on Linux only)."""
    tasks = "/proc/self/task"
    with suppress(OSError):
        for thread in os.listdir(tasks):
            with suppress(OSError), open(f"{tasks}/{thread}/children", "rb") as children:
                if children.read().strip():
                    return True
    return False
