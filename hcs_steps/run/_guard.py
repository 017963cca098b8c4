"""What a step function may change of the process it runs in, put back after every call."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def put_back() -> Iterator[None]:
    """Keep the standard streams open, and return to the working directory: paths of results are relative to it."""
    streams = sys.stdout, sys.stderr
    folder = ""
    with suppress(OSError):
        folder = os.getcwd()
    sys.stdout, sys.stderr = (stream and _KeptOpen(stream) for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        if folder:
            os.chdir(folder)


class _KeptOpen:
    """A stream that only its owner can close: the log of everything after would be lost."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def close(self) -> None:
        """Flush only."""
        self._stream.flush()
