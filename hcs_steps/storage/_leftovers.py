"""Temporary siblings, under which everything is built that is to be published, and what killed processes left of them.

A sibling is called ``.<name>.tmp-<pid>-<machine and random>`` (``old`` where something is on its way out).
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from hcs_steps.storage._system_errors import storage_errors

_ABANDONED_S = 3600.0
"""Age after which a sibling of another machine cannot belong to a live process any more."""


def sweep_leftovers(path: Path, *, shared: bool = False) -> None:
    """Remove what killed publications of exactly ``path`` left beside it.

    For a target that several live processes may be writing (``shared``), siblings that may be a live process's stay.
    """
    path = Path(path)
    start, rest = f".{path.name}.", re.compile(r"(tmp|old)-(\d+)-([0-9a-f]+)")
    with storage_errors("clean up beside", path):
        try:
            names = [name for name in os.listdir(path.parent) if name.startswith(start)]
        except (FileNotFoundError, NotADirectoryError):
            return  # publishing will say what is wrong with the folder
        for name in names:
            match = rest.fullmatch(name, len(start))
            if match is None:
                continue
            sibling = path.parent / name
            if not shared or _is_abandoned(sibling, int(match[2]), match[3]):
                delete(sibling)


def _is_abandoned(sibling: Path, pid: int, random: str) -> bool:
    """Whether nobody can still be writing a sibling: its process, which this machine knows, is gone; or it is old."""
    if own_machine() and random.startswith(own_machine()):
        return not _lives(pid)
    try:
        return time.time() - sibling.stat().st_mtime > _ABANDONED_S
    except FileNotFoundError:
        return False  # its process finished meanwhile


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def sibling_of(path: Path, kind: str) -> Path:
    """A name beside ``path`` that nothing has: ``kind`` is ``tmp`` or ``old``."""
    return path.with_name(f".{path.name}.{kind}-{own_mark()}")


def own_mark() -> str:
    """What the name of something temporary of this process ends with: ``<pid>-<machine and random, hexadecimal>``."""
    return f"{os.getpid()}-{own_machine()}{secrets.token_hex(4)}"


@cache
def own_machine() -> str:
    """Eight hexadecimal digits for where the number of a process means that process: a machine since it was started,
    and on Linux a container of it; none where processes cannot be asked whether they live.
    """
    if os.name != "posix":
        return ""
    known = os.uname().nodename
    with suppress(OSError):
        known += Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")
    return hashlib.blake2b(known.encode(), digest_size=4).hexdigest()


def delete(path: Path) -> None:
    """Best effort: a leftover that cannot go yet (held open on a network disk) goes at the next sweep."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
