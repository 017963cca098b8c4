"""What a record says about the process: memory, versions, commit."""

from __future__ import annotations

import os
import platform
import resource
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from hcs_steps import __version__

PACKAGES = ("numpy", "scipy", "skimage", "zarr", "tifffile", "pyarrow", "cupy", "torch")
"""Packages whose versions a record names if the job loaded them."""


def reset_peak() -> None:
    """Start measuring peak memory anew, where the system can (Linux); otherwise the peak is the process's."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_host_mb() -> int:
    """Peak resident memory since `reset_peak`, in MB."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) >> 10
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20


def machine() -> str:
    """The machine that the job runs on: its name, what it is, and how many processors it has."""
    system = f"{platform.system()} {platform.machine()}"
    return f"{platform.node() or 'unknown'} ({system}, {os.cpu_count()} CPUs)"


def environment() -> dict[str, Any]:
    """Where the job runs, versions of what is loaded, and the commit of the repository around it."""
    versions = {"hcs-steps": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            versions[name] = str(version)
    return {"machine": machine(), "versions": versions, "git_commit": git_commit()}


@cache
def git_commit() -> str:
    """The checked-out commit of the repository around the working directory, or an empty string."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        git = folder / ".git"
        if git.is_dir():
            return _head(git)
    return ""


def _head(git: Path) -> str:
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        loose = git / reference
        if loose.is_file():
            return loose.read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {reference}")), "")
    except OSError:
        return ""
