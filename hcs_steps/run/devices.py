"""The GPU that a job may use: a slot of a device, leased for as long as the job works.

A process keeps the device that it has first used: CUDA reads CUDA_VISIBLE_DEVICES once. One that runs many jobs
therefore asks for the same device again; where that is taken and another is free, `DeviceTaken` tells who can start a
fresh process to do so.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from hcs_steps.run import _gpu_memory
from hcs_steps.run._gpu_names import BY_BUS, ORDER, VISIBLE, Gpu, found_gpus, visible_gpus
from hcs_steps.run._gpu_slots import Slot, Ticket, lock_folder, slots_per_device, take

__all__ = [
    "CPU",
    "DeviceLease",
    "DeviceTaken",
    "cupy_installed",
    "gpu_ready",
    "leased_device",
    "visible_gpus",
]

CPU = "cpu"
FIRST_POLL_S, LAST_POLL_S = 0.01, 0.2
"""How soon a job that waits for a device looks again, at first and after a while."""

_own: Gpu | None = None
"""The device that CUDA has in this process."""


class DeviceTaken(Exception):
    """This process is bound to a device that has no free slot now, and another device has one: start a fresh process
    for the job. Nothing of the job has been touched.
    """


@dataclass(frozen=True)
class DeviceLease:
    """What a job works on: ``device`` as records name it, `CPU` or ``cuda:<name>``; for a GPU also its ``key``, the
    name that is the same in every job and container, and the number of the ``slot``.
    """

    device: str = CPU
    key: str = ""
    slot: int = 0

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.device != CPU


def cupy_installed() -> bool:
    """Whether CuPy is there to be imported; does not import it."""
    return sys.modules.get("cupy") is not None or importlib.util.find_spec("cupy") is not None


def gpu_ready() -> bool:
    """Whether CuPy is installed and finds a device. Binds the process to the devices that it can see."""
    try:
        import cupy

        return bool(cupy.cuda.runtime.getDeviceCount() > 0)
    except Exception:  # a broken driver raises errors of CuPy's own
        return False


@contextmanager
def leased_device(wanted: bool, *, may_move: bool = False) -> Iterator[DeviceLease]:
    """A device for the time of the block: a GPU, or the CPU if none is wanted, there, or usable with CuPy.

    Waits until a device is free, behind those who came before. The lock is the operating system's: it is gone when its
    holder is, however it died. In the block CUDA_VISIBLE_DEVICES is narrowed to the leased device; CUDA must not have
    been used in the process before but by this function. At the end GPU memory that nothing uses is given back, the
    CUDA context stays.

    With ``may_move``, `DeviceTaken` where the process's own device is taken or is not the job's to use, and another is
    free; without, it waits for its own. `ConfigError` for settings or lock files that cannot be used.
    """
    gpus = found_gpus() if wanted and cupy_installed() else ()
    if not gpus:
        yield DeviceLease()
        return
    gpu, slot = _acquire(gpus, may_move)
    try:
        with _only(gpu):
            if not _is_usable(gpu):
                slot.release()  # the CPU needs none
                yield DeviceLease()
                return
            try:
                yield DeviceLease(f"cuda:{gpu.name}", gpu.key, slot.number)
            finally:
                _gpu_memory.free()
    finally:
        slot.release()


def _is_usable(gpu: Gpu) -> bool:
    """Whether CuPy can work on the device, which is then this process's."""
    global _own
    ready = gpu_ready()
    if ready:
        _own = gpu
    return ready


def _acquire(gpus: Sequence[Gpu], may_move: bool) -> tuple[Gpu, Slot]:
    """A device that is free when it is this process's turn, and its slot, held."""
    folder, slots = lock_folder(), slots_per_device()
    own = _own and next((gpu for gpu in gpus if gpu.key == _own.key), None)
    if _own is not None and own is None:
        raise DeviceTaken(f"This process has {_own.key}, which is not for this job.")
    wanted = (own,) if own is not None and not may_move else gpus
    ticket = Ticket(folder, [gpu.key for gpu in wanted])
    pause = FIRST_POLL_S
    try:
        while True:
            claimed = ticket.claimed()
            for gpu, number in _preferred(wanted, slots, own):
                slot = None if gpu.key in claimed else take(folder, gpu.key, number)
                if slot is None:
                    continue
                if own is not None and gpu != own:
                    slot.release()
                    raise DeviceTaken(f"This process has {own.key}, which is taken; {gpu.key} is free.")
                return gpu, slot
            time.sleep(pause)
            pause = min(2 * pause, LAST_POLL_S)
    finally:
        ticket.withdraw()


def _preferred(gpus: Sequence[Gpu], slots: int, own: Gpu | None) -> list[tuple[Gpu, int]]:
    """Devices and slots in the order to try them: the process's own device, then all evenly."""
    every = [(gpu, number) for number in range(slots) for gpu in gpus]
    return sorted(every, key=lambda item: item[0] != own)


@contextmanager
def _only(gpu: Gpu) -> Iterator[None]:
    """Let CUDA, in this process and those that it starts, see one device only."""
    before = {name: os.environ.get(name) for name in (VISIBLE, ORDER)}
    os.environ[VISIBLE] = gpu.name
    os.environ.setdefault(ORDER, BY_BUS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
