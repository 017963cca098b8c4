"""What a record says about the process: memory, versions, commit."""

from __future__ import annotations

import os
import platform
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from hcs_steps import __version__
from hcs_steps.run import _gpu_memory

COMMIT = "HCS_STEPS_COMMIT"
"""Environment variable in which the main process tells its jobs `commit_state`, so that each need not ask."""

PATIENCE = 5.0
"""Seconds that git may take to compare a work tree with its commit."""

PACKAGES = ("numpy", "scipy", "skimage", "zarr", "tifffile", "pyarrow", "cupy", "torch")
"""Packages whose versions a record names if the job loaded them."""


def reset_peak(on_gpu: bool = False) -> None:
    """Start measuring peak memory anew, where the system can (Linux); otherwise the peak is the process's.

    Of the GPU, too, if the process works on one, which gives back what the unit before has left there.
    """
    if on_gpu:
        _gpu_memory.reset_peak()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def status_mb(what: str) -> float | None:
    """A figure of the memory of this process, in MB, by its name in ``/proc/self/status``; None where there is none."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def peak_host_mb() -> int:
    """Peak resident memory since `reset_peak`, in MB."""
    found = status_mb("VmHWM")
    if found is not None:
        return int(found)
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
    """The commit of the repository around the working directory, with ``-dirty`` where its tracked files differ.

    What the main process found out (`COMMIT` in the environment), else `commit_state`, asked once per process.
    """
    known = os.environ.get(COMMIT)
    return commit_state() if known is None else known


def commit_state(folder: Path | str = ".") -> str:
    """``<hash>`` of the commit that is checked out around a folder, ``<hash>-dirty`` if tracked files differ from it.

    An empty string where nobody can tell: no repository, no commit yet, no git, or an answer that takes longer than
    `PATIENCE`. One process; nothing is written, not even git's own cache. Links to repositories (work trees,
    submodules) are git's business.
    """
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        # A group of its own: git starts helpers, which would keep the pipe open after it was killed.
        with subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as git:
            try:
                answer, _ = git.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(git.pid, signal.SIGKILL)
                return ""
    except OSError:
        return ""
    lines = answer.decode(errors="replace").splitlines()
    commit = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), "")
    if git.returncode or commit in ("", "(initial)"):
        return ""
    return f"{commit}-dirty" if any(not line.startswith("#") for line in lines) else commit
