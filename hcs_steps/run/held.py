"""Arrays of a unit in host memory, on the GPU, or in both places.

An array is moved when somebody needs it elsewhere, once, and then is in both places until one is given up. What
crosses is counted. Nothing is changed on the way: results have the same bytes wherever they were kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import is_cupy, is_on_gpu, to_numpy

MB = 1 << 20


@dataclass
class Transfers:
    """How many arrays the runner moved between host and device, and their bytes. Not what a function moves itself."""

    to_device: int = 0
    to_device_bytes: int = 0
    to_host: int = 0
    to_host_bytes: int = 0

    def summary(self) -> dict[str, float]:
        """For a record: numbers of arrays, and MB."""
        return {
            "to_device": self.to_device,
            "to_device_mb": round(self.to_device_bytes / MB, 3),
            "to_host": self.to_host,
            "to_host_mb": round(self.to_host_bytes / MB, 3),
        }


class Held:
    """An array, on the host, on the GPU, or on both; counted where it is moved."""

    def __init__(self, array: Any, transfers: Transfers) -> None:
        self._transfers = transfers
        self._host: NDArray[Any] | None = None
        self._gpu: Any = None
        if is_cupy(array):
            self._gpu = array
        else:
            self._host = array
        self.shape: tuple[Any, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.nbytes = int(array.nbytes)

    @property
    def is_on_gpu(self) -> bool:
        """Whether it is on the GPU, there as well or there only."""
        return self._gpu is not None

    def on_host(self) -> NDArray[Any]:
        """The array in host memory."""
        if self._host is None:
            self._host = to_numpy(self._gpu)
            self._transfers.to_host += 1
            self._transfers.to_host_bytes += self.nbytes
        return self._host

    def on_gpu(self) -> Any:
        """The array in GPU memory."""
        if self._gpu is None:
            import cupy

            self._gpu = cupy.asarray(self._host)
            self._transfers.to_device += 1
            self._transfers.to_device_bytes += self.nbytes
        return self._gpu

    def on(self, gpu: bool) -> Any:
        """The array where it is wanted."""
        return self.on_gpu() if gpu else self.on_host()

    def leave_gpu(self) -> None:
        """Keep it on the host only."""
        if self._gpu is not None:
            self.on_host()
            self._gpu = None

    def used_up(self) -> None:
        """Nobody needs it on the GPU any more, nor brought from there."""
        self._gpu = None


@dataclass(frozen=True)
class HeldPlane:
    """One plane (Y, X) of a stack (N, Y, X) that is moved as a whole."""

    stack: Held
    index: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(Y, X)."""
        return self.stack.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the stack."""
        return self.stack.dtype

    def on(self, gpu: bool) -> Any:
        """The plane where it is wanted."""
        return self.stack.on(gpu)[self.index]


def planes_of(stack: Held) -> list[HeldPlane]:
    """The planes of a stack."""
    return [HeldPlane(stack, index) for index in range(stack.shape[0])]


def stacked(planes: Sequence[HeldPlane], transfers: Transfers, gpu: bool) -> Held:
    """A stack (N, Y, X) of planes that are alike, a copy of them: on the GPU if it is wanted and they are there."""
    if gpu and all(plane.stack.is_on_gpu for plane in planes):
        import cupy

        return Held(cupy.stack([plane.on(True) for plane in planes]), transfers)
    return Held(np.stack([plane.on(False) for plane in planes]), transfers)


def as_array(value: Any, on_gpu: bool) -> Any:
    """What a function returned, as a CuPy array if it is on the GPU that this process works on, else as a NumPy array.

    A PyTorch tensor on the GPU becomes a CuPy array of the same memory (DLPack).
    """
    if not (on_gpu and is_on_gpu(value)):
        return to_numpy(value)
    if is_cupy(value):
        return value
    import cupy

    return cupy.from_dlpack(value.detach().contiguous())
