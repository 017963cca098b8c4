"""How much memory a process may have, and whether it was that which ended it. Imports nothing that takes time."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

OUT_OF_MEMORY = "out of memory"
"""Kind of the failure of a unit that needed more memory of the host than there was."""

OUT_OF_GPU_MEMORY = "out of GPU memory"
"""Kind of the failure of a unit that needed more memory of a GPU than there was: memory of the host does not help."""

CGROUPS = Path("/sys/fs/cgroup")
NEAR = 0.9
"""A process that dies with so much of its memory limit in use died of it."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error says so: of Python, of the system, or of a GPU library, which is told by its class's name."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    return not names.isdisjoint({"MemoryError", "OutOfMemoryError"})


def memory_sentence(predicted_mb: int, peak_mb: int) -> str:
    """What the failure of a unit that ran out of the host's memory says of the figures."""
    return (
        f"It needed more memory than a process may have here ({memory_limit_mb()} MB): {predicted_mb} MB were "
        f"predicted, {peak_mb} MB were measured at the peak. The next attempt is given more."
    )


def memory_limit_mb() -> int:
    """What one process may have here, in MB: the least of its own limits, its control group's, and the machine."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(which)
        limits += [soft] if soft != resource.RLIM_INFINITY else []
    for folder in _memory_groups():
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _text(folder / name).strip()
            limits += [int(text)] if text.isdigit() else []
    return min(limits) >> 20


def oom_kills() -> int:
    """How many processes of this machine or control group the system has killed for want of memory."""
    texts = [_text(Path("/proc/vmstat"))]
    for folder in _memory_groups():
        texts += [_text(folder / "memory.events"), _text(folder / "memory.oom_control")]
    lines = [line.split() for text in texts for line in text.splitlines()]
    return sum(int(words[1]) for words in lines if len(words) == 2 and words[0] == "oom_kill")


def _memory_groups() -> list[Path]:
    """The control group that holds this process's memory, and those around it; what is mounted of them."""
    folders: list[Path] = []
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        mount = CGROUPS / "memory" if controllers else CGROUPS
        inner = mount / path.lstrip("/")
        folders += [f for f in (inner, *inner.parents) if f == mount or mount in f.parents]
    return [folder for folder in folders if folder.is_dir()]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
