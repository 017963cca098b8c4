"""Which GPU a job may use: leased by a lock file per device, so that no two jobs share one by accident."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock

CPU = "cpu"
POLL_SECONDS = 0.2
"""How often a job that waits for a device looks again."""


def visible_gpus() -> tuple[str, ...]:
    """Ids of the CUDA devices this process may use: CUDA_VISIBLE_DEVICES, else the NVIDIA device files."""
    granted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if granted is not None:
        return tuple(part.strip() for part in granted.split(",") if part.strip() not in ("", "-1"))
    return tuple(
        sorted(
            (p.name.removeprefix("nvidia") for p in Path("/dev").glob("nvidia[0-9]*")),
            key=lambda n: (len(n), n),
        )
    )


def gpu_ready() -> bool:
    """Whether CuPy is installed and finds a device."""
    try:
        import cupy

        return bool(cupy.cuda.runtime.getDeviceCount() > 0)
    except Exception:  # a broken driver raises errors of CuPy's own
        return False


@contextmanager
def leased_device(wanted: bool) -> Iterator[str]:
    """A device for the time of the block: ``cuda:<id>``, or ``cpu`` if none is wanted or there.

    Waits until a device is free. The lock is the operating system's: it is gone when its holder is, however
    it died. Must run before CUDA is initialised, because it narrows CUDA_VISIBLE_DEVICES to the leased
    device.
    """
    devices = visible_gpus() if wanted else ()
    if not devices:
        yield CPU
        return
    device, lock = _acquire(devices)
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = device
    try:
        yield f"cuda:{device}" if gpu_ready() else CPU
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
        lock.release()


def _acquire(devices: Sequence[str]) -> tuple[str, FileLock]:
    """The first device that is free, and its lock, held."""
    from filelock import FileLock, Timeout

    default = Path(tempfile.gettempdir()) / f"hcs-steps-gpu-{os.getuid()}"
    folder = Path(os.environ.get("HCS_STEPS_GPU_LOCKS", default))
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        for device in devices:
            lock = FileLock(folder / f"{device.replace('/', '_')}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return device, lock
        time.sleep(POLL_SECONDS)
