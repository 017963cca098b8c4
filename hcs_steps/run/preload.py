"""What a process loads before it knows its jobs, and how much memory each package of that takes.

A record says what a unit would have taken in a process of its own. One that has loaded the packages of all stages of a
run holds more than that: what the packages of other stages take is measured when they are loaded, and left out.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from hcs_steps.compile.process_memory import PACKAGES_MB, TABLE
from hcs_steps.pipeline.registry import BUILTINS
from hcs_steps.run.measure import status_mb

if TYPE_CHECKING:
    from hcs_steps.compile.plan import Plan

BASE = (
    "hcs_steps.commands.step",
    "hcs_steps.run.runner",
    "hcs_steps.run._surroundings",
    "hcs_steps.operations.provenance.explain",
    "hcs_steps.report.summary",
    "numcodecs",
    "psutil",
    "pyarrow.parquet",
    "threadpoolctl",
    "tifffile",
    "zarr.codecs",
)
"""What every job loads."""

MODULES = {
    "scipy.ndimage": ("scipy.ndimage",),
    "scipy.linalg": ("scipy.linalg", "scipy.sparse.csgraph", "scipy.spatial", "scipy.fft"),
    "scipy.optimize": ("scipy.optimize", "scipy.interpolate"),
    "skimage": (
        "skimage.feature",
        "skimage.filters",
        "skimage.measure",
        "skimage.morphology",
        "skimage.segmentation",
        "skimage.transform",
    ),
    "pandas": ("pandas",),
    "skan": ("skan",),
    "torch": ("torch",),
}
"""The modules of each large package that functions use; for the names see `hcs_steps.compile.process_memory`."""

_sizes: dict[str, float] = {}


def preload(packages: Collection[str], functions: Iterable[str] = ()) -> None:
    """Import what every job loads, large packages, and modules of functions; what is not installed is left out.

    To be called in a process that has not imported much: memory is measured package by package.
    """
    for module in BASE:
        importlib.import_module(module)
    for name in PACKAGES_MB:
        if name in packages:
            before = _own_mb()
            for module in MODULES[name]:
                _try(module)
            _sizes[name] = max(0.0, _own_mb() - before)
    for module in functions:
        _try(module)


def unneeded_mb(packages: Collection[str]) -> int:
    """Megabytes that `preload` has loaded for other stages than one that uses these packages."""
    return int(sum(size for name, size in _sizes.items() if name not in packages))


def loads_of(plans: Iterable[Plan]) -> tuple[set[str], set[str]]:
    """What jobs of the plans load: large packages, and modules of built-in functions. A lab's own code is left to its
    jobs: importing it may do anything.
    """
    packages, functions = {TABLE}, set()
    for plan in plans:
        packages.update(name for stage in plan.stages if not stage.skipped for name in stage.packages)
        names = {call.function for step in plan.steps for call in step.calls} & BUILTINS.keys()
        functions |= {BUILTINS[name].partition(":")[0] for name in names}
    return packages, functions


def _try(module: str) -> None:
    if module not in sys.modules:
        try:
            importlib.import_module(module)
        except Exception:  # a package that is broken, or not there, is the business of the job that needs it
            return


def _own_mb() -> float:
    """Memory that this process has for itself, in MB: forked ones have it, too, before they have touched anything."""
    return status_mb("RssAnon") or 0.0
