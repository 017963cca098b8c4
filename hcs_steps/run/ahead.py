"""Reading ahead: the system fetches the files of the next unit while this one is computed.

Nothing is held here. The system is told which files will be wanted, and reads them into its own cache, from which it
takes memory back whenever anybody needs it. That costs a unit some milliseconds, so it is done only where reading the
last unit of the stage took longer than `SLOW_S`: on a file server, or a disk that has not seen the plate yet.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hcs_steps.run._memory import memory_limit_mb

SLOW_S = 0.1
"""Reading that takes less is not worth the trouble."""

SHARE = 8
"""At most one part in so many of the memory that there is, is filled ahead."""


def read_ahead(paths: Iterable[Path]) -> int:
    """Let the system read these files, without waiting for it; returns the bytes asked for. Folders are left out, and
    so is everything where the system cannot be asked (macOS).
    """
    most, asked = (memory_limit_mb() << 20) // SHARE, 0
    if not hasattr(os, "posix_fadvise"):
        return 0
    for path in paths:
        with suppress(OSError):  # whoever reads it says what is wrong with it
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                found = os.fstat(file)
                if not stat.S_ISREG(found.st_mode):
                    continue
                if asked + found.st_size > most:
                    break
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
                asked += found.st_size
            finally:
                os.close(file)
    return asked
