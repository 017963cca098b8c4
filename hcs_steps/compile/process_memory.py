"""What a process takes before it holds an image: Python, this package, and the libraries that its functions load.

Resident megabytes (of 2**20 bytes), shared libraries included, as Linux counts them. Measured with Python 3.11 on
x86-64 and rounded up by a fifth: other versions and more processor cores take a little more.
"""

from __future__ import annotations

from collections.abc import Iterable

BASE_MB = 125
"""``hcs step`` with NumPy, tifffile, Arrow, Zarr and Numcodecs: it reads images and writes them."""

PACKAGES_MB = {
    "scipy.ndimage": 22,
    "scipy.linalg": 32,
    "scipy.optimize": 15,
    "skimage": 22,
    "pandas": 45,
    "skan": 125,
    "torch": 220,
}
"""What each package adds, with what it loads itself and none of the packages above it does. ``scipy.linalg`` stands for
sparse, spatial and fft, too; ``scipy.optimize`` for interpolate."""

ASSUMED = ("scipy.ndimage", "scipy.linalg", "scipy.optimize", "skimage", "pandas")
"""What a function may load that does not say."""

TABLE = "pandas"
"""What Arrow loads where a table is written."""

CONSOLIDATE_MB = (220, 0.17)
REPORT_MB = (264, 0.2)
"""The stages that join the tables of a plate and that make its page: what each takes, and what more for each unit. The
tables of a plate are read in parts, what is shown of them is held. Measured up to 1,536 wells of 500 features.
"""
GPU_KEPT_MB = 2048
"""So much of what steps have left waits on the GPU for later steps of the stage; the rest waits on the host."""


def process_mb(packages: Iterable[str]) -> int:
    """Megabytes of a process that loads the packages, each once."""
    return BASE_MB + sum(PACKAGES_MB[name] for name in sorted(set(packages)))
