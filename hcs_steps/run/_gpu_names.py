"""Which GPUs this process may use, and what each is called by everybody who could use it, too.

What CUDA_VISIBLE_DEVICES calls ``0`` is another device in another job: Slurm numbers the devices of a job from 0
where it hides the others. A lock needs the name that all processes agree on: the UUID, which NVIDIA's management
library knows (nvidia-ml-py), else the number that Slurm gives the device on its node, else the number itself.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
BY_BUS = "PCI_BUS_ID"
"""The order of devices that nvidia-smi, Slurm and the management library number by; CUDA's own may differ from it."""

_SLURM = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
_UUID = ("GPU-", "MIG-")


@dataclass(frozen=True)
class Gpu:
    """A device: ``name`` as CUDA_VISIBLE_DEVICES of this process has it, ``key`` as everybody who shares it."""

    name: str
    key: str


def visible_gpus() -> tuple[str, ...]:
    """Names of the CUDA devices this process may use: CUDA_VISIBLE_DEVICES, else as many as there are device files.

    As CUDA reads it: what follows an entry that is no device (``-1``, ``NoDevFiles``) does not count.
    """
    granted = os.environ.get(VISIBLE)
    if granted is None:
        # CUDA numbers from 0 what it can open: a container that was given /dev/nvidia2 alone knows it as 0.
        return tuple(str(number) for number in range(len(_device_files())))
    names: list[str] = []
    for part in granted.split(","):
        name = part.strip()
        if not (re.fullmatch(r"[0-9]+", name) or name.startswith(_UUID)):
            break
        if name not in names:
            names.append(name)
    return tuple(names)


def found_gpus() -> tuple[Gpu, ...]:
    """The devices behind `visible_gpus`, each once, by keys that other jobs, containers and users agree on."""
    names = visible_gpus()
    if not names:
        return ()
    uuids = _uuids()
    numbers = _slurm_numbers(len(names))
    found: dict[str, Gpu] = {}
    for position, name in enumerate(names):
        if name.startswith(_UUID):
            # An abbreviated UUID is as good to CUDA as a whole one.
            key = next((known for each in uuids for known in each if known.startswith(name)), name)
            found.setdefault(key, Gpu(name, key))
        elif int(name) < len(uuids):
            # One that is cut into instances is leased by instance.
            whole = len(uuids[int(name)]) == 1
            for key in uuids[int(name)]:
                found.setdefault(key, Gpu(name if whole else key, key))
        else:
            key = f"{platform.node()}-{numbers[position] if numbers else name}"
            found.setdefault(key, Gpu(name, key))
    return tuple(found.values())


def _slurm_numbers(count: int) -> Sequence[str]:
    """The numbers on their node of the ``count`` devices that Slurm gave this job; empty where it did not say."""
    for variable in _SLURM:
        numbers = _numbers(os.environ.get(variable, ""))
        if len(numbers) == count:
            return numbers
    return ()


def _numbers(text: str) -> list[str]:
    """``0,2-4`` as 0, 2, 3, 4; nothing if it is no such list."""
    numbers: list[str] = []
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part.strip())
        if not found:
            return []
        first, last = int(found[1]), int(found[2] or found[1])
        numbers += [str(number) for number in range(first, last + 1)]
    return numbers


def _uuids() -> list[list[str]]:
    """By number, the UUID of each device that this process may open, or those of the instances it is cut into.

    Empty where nvidia-ml-py or a driver is missing, and where CUDA is told to number devices in another order.
    """
    if os.environ.get(ORDER, BY_BUS) != BY_BUS:
        return []
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
        return [_instances(pynvml, handle) or [_text(pynvml.nvmlDeviceGetUUID(handle))] for handle in handles]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def _instances(pynvml: Any, device: Any) -> list[str]:
    """The UUIDs of the instances (MIG) of a device; none if it is whole."""
    found: list[str] = []
    with suppress(pynvml.NVMLError):  # of devices that cannot be cut
        if pynvml.nvmlDeviceGetMigMode(device)[0]:
            for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(device)):
                with suppress(pynvml.NVMLError):  # of numbers that are not taken
                    instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(device, number)
                    found.append(_text(pynvml.nvmlDeviceGetUUID(instance)))
    return found


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _device_files() -> list[Path]:
    return [p for p in Path("/dev").glob("nvidia[0-9]*") if p.name.removeprefix("nvidia").isdigit()]
